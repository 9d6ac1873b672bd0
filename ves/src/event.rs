//! Events: the fields that an agent signs, and what can be checked of them without anything else.

use serde::{Deserialize, Serialize};

use crate::digest::{Hash32, Preimage, SignatureBytes};
use crate::id::{AgentId, CommandId, EventId, StreamKey};
use crate::payload;
use crate::signature::SignatureScheme;

/// A payload as stored: JSON text, in the open or as the envelope of a ciphertext.
///
/// The text is kept as it came (PostgreSQL's jsonb rendering, or an outbox's own); hashes do not
/// depend on the rendering, since they go through the canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// `payload_kind` 0: the payload itself.
    Plain(String),
    /// `payload_kind` 1: the encrypted envelope (`payload_encrypted`).
    Encrypted(String),
}

impl Payload {
    /// The number that enters the signing hash: 0 plaintext, 1 encrypted.
    pub fn kind(&self) -> u32 {
        match self {
            Payload::Plain(_) => 0,
            Payload::Encrypted(_) => 1,
        }
    }

    /// The JSON text of either kind.
    pub fn json(&self) -> &str {
        match self {
            Payload::Plain(json) | Payload::Encrypted(json) => json,
        }
    }
}

/// An event as its agent made it, before the sequencer gave it a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The event.
    pub event_id: EventId,
    /// The stream that it belongs to.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// Protocol version, 1 today.
    pub ves_version: u32,
    /// The agent that signed.
    pub source_agent_id: AgentId,
    /// Which of the agent's keys signed.
    pub agent_key_id: u32,
    /// What the event is about; at most 128 characters in the sequencer.
    pub entity_type: String,
    /// Which one; at most 512 characters.
    pub entity_id: String,
    /// What happened; at most 256 characters.
    pub event_type: String,
    /// The creation time **exactly as it was signed** (column `created_at_str`). Another rendering of
    /// the same instant hashes differently.
    pub created_at: String,
    /// The payload.
    pub payload: Payload,
    /// See [`payload::plain_hash`].
    pub payload_plain_hash: Hash32,
    /// See [`payload::cipher_hash`]; zero for plaintext events.
    pub payload_cipher_hash: Hash32,
    /// The agent's signature over the signing hash.
    pub agent_signature: SignatureBytes,
    /// How the agent signed. Enters no hash.
    #[serde(default)]
    pub agent_signature_scheme: SignatureScheme,
    /// Signatures of post-quantum schemes, as stored (JSON bytes). Enters no hash.
    #[serde(
        default,
        with = "crate::stored_bytes",
        skip_serializing_if = "Option::is_none"
    )]
    pub agent_signature_bundle: Option<Vec<u8>>,
    /// The client's idempotency key. Not signed.
    pub command_id: Option<CommandId>,
    /// The entity version that the client saw. Not signed.
    pub base_version: Option<i64>,
}

impl Event {
    /// `event_signing_hash`: SHA-256(`VES_EVENTSIG_V1` ‖ u32 ves_version ‖ tenant ‖ store ‖ event_id ‖
    /// source_agent ‖ u32 agent_key_id ‖ ENC_STR(entity_type) ‖ ENC_STR(entity_id) ‖
    /// ENC_STR(event_type) ‖ ENC_STR(created_at) ‖ u32 payload_kind ‖ payload_plain_hash ‖
    /// payload_cipher_hash), from the *stored* payload hashes.
    pub fn signing_hash(&self) -> Hash32 {
        Preimage::new("VES_EVENTSIG_V1")
            .u32(self.ves_version)
            .bytes(self.stream.tenant_id.as_bytes())
            .bytes(self.stream.store_id.as_bytes())
            .bytes(self.event_id.as_bytes())
            .bytes(self.source_agent_id.as_bytes())
            .u32(self.agent_key_id)
            .enc_str(&self.entity_type)
            .enc_str(&self.entity_id)
            .enc_str(&self.event_type)
            .enc_str(&self.created_at)
            .u32(self.payload.kind())
            .bytes(&self.payload_plain_hash.0)
            .bytes(&self.payload_cipher_hash.0)
            .finish()
    }

    /// Appends the preimage of [`Event::signing_hash`], for callers who hash many events together.
    pub(crate) fn append_signing_preimage(&self, out: &mut Vec<u8>) {
        let text = |out: &mut Vec<u8>, text: &str| {
            out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        };
        out.extend_from_slice(b"VES_EVENTSIG_V1");
        out.extend_from_slice(&self.ves_version.to_be_bytes());
        out.extend_from_slice(self.stream.tenant_id.as_bytes());
        out.extend_from_slice(self.stream.store_id.as_bytes());
        out.extend_from_slice(self.event_id.as_bytes());
        out.extend_from_slice(self.source_agent_id.as_bytes());
        out.extend_from_slice(&self.agent_key_id.to_be_bytes());
        text(out, &self.entity_type);
        text(out, &self.entity_id);
        text(out, &self.event_type);
        text(out, &self.created_at);
        out.extend_from_slice(&self.payload.kind().to_be_bytes());
        out.extend_from_slice(&self.payload_plain_hash.0);
        out.extend_from_slice(&self.payload_cipher_hash.0);
    }

    /// Recomputes the payload hash that can be recomputed: the plain hash of a plaintext payload, the
    /// cipher hash of an encrypted one.
    pub fn check_payload(&self) -> EventCheck {
        match &self.payload {
            Payload::Plain(json) => {
                if self.payload_cipher_hash != payload::NO_CIPHER_HASH {
                    return EventCheck::Mismatch(
                        "payload_cipher_hash of a plaintext event is not zero".into(),
                    );
                }
                match payload::plain_hash(json) {
                    Ok(hash) if hash == self.payload_plain_hash => EventCheck::Matches,
                    Ok(hash) => EventCheck::Mismatch(format!(
                        "payload_plain_hash is {}, the payload hashes to {hash}",
                        self.payload_plain_hash
                    )),
                    Err(error) => EventCheck::Mismatch(error.to_string()),
                }
            }
            Payload::Encrypted(json) => match payload::cipher_hash(self, json) {
                Ok(hash) if hash == self.payload_cipher_hash => EventCheck::Matches,
                Ok(hash) => EventCheck::Mismatch(format!(
                    "payload_cipher_hash is {}, the ciphertext hashes to {hash}",
                    self.payload_cipher_hash
                )),
                Err(error) => EventCheck::Mismatch(error.to_string()),
            },
        }
    }
}

/// The outcome of recomputing a stored hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventCheck {
    /// The stored value is the recomputed one.
    Matches,
    /// It is not, or cannot be recomputed from what is there; the text says which and how.
    Mismatch(String),
}

impl EventCheck {
    /// True for [`EventCheck::Matches`].
    pub fn is_match(&self) -> bool {
        matches!(self, EventCheck::Matches)
    }
}
