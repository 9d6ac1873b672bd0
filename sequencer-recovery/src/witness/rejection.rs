//! What the sequencer would not accept, and its word for it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why the sequencer would not accept an event: its own words, and two for what it answers without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Holders have different contents under one id.
    DuplicateEventId,
    /// Its command was accepted already.
    DuplicateCommandId,
    /// The payload is not the one that was signed.
    InvalidPayloadHash,
    /// The ciphertext is not the one that was signed.
    InvalidCipherHash,
    /// The signature does not hold.
    InvalidSignature,
    /// Its key is not registered, or not valid at the time that it is judged at.
    AgentKeyInvalid,
    /// Not version 1.
    UnsupportedVersion,
    /// A field has a form that the sequencer does not take.
    SchemaValidation,
    /// Its entity is at another version than it was made for.
    VersionConflict,
    /// A payload of more than 1 MiB, which the sequencer answers with HTTP 413.
    PayloadTooLarge,
    /// A NUL character, which the sequencer's database cannot hold: it answers with HTTP 500.
    NulCharacter,
    /// Not the sequencer's word: a check that is not made here, so the event is not taken.
    NotChecked,
}

impl Reason {
    /// The word that reports use; of the sequencer's answers where it has one.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::DuplicateEventId => "duplicate_event_id",
            Reason::DuplicateCommandId => "duplicate_command_id",
            Reason::InvalidPayloadHash => "invalid_payload_hash",
            Reason::InvalidCipherHash => "invalid_cipher_hash",
            Reason::InvalidSignature => "invalid_signature",
            Reason::AgentKeyInvalid => "agent_key_invalid",
            Reason::UnsupportedVersion => "unsupported_version",
            Reason::SchemaValidation => "schema_validation",
            Reason::VersionConflict => "version_conflict",
            Reason::PayloadTooLarge => "payload_too_large",
            Reason::NulCharacter => "nul_character",
            Reason::NotChecked => "not_checked",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A [`Reason`] with what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The word.
    pub reason: Reason,
    /// What is wrong, in a sentence.
    pub message: String,
}

impl Rejection {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// For a row that does not hold what was signed.
    pub fn unsigned(message: impl Into<String>) -> Self {
        Self::new(Reason::InvalidSignature, message)
    }
}
