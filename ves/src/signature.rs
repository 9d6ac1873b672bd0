//! What is said of a signature: how it was made, and what came of checking it.

use serde::{Deserialize, Serialize};

/// `agent_signature_scheme`. All schemes sign the same event signing hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SignatureScheme(pub i16);

impl SignatureScheme {
    /// Ed25519 as older rows record it (0); newer ones record 1.
    pub const ED25519: Self = Self(0);

    /// True for 0 and 1. 2 is ML-DSA-65 and 3 is both; those are recognised and not checked here.
    pub fn is_ed25519(self) -> bool {
        self.0 == 0 || self.0 == 1
    }
}

/// The outcome of checking a signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "reason", rename_all = "snake_case")]
pub enum SignatureCheck {
    /// The signature holds and its key was valid at that time.
    Valid,
    /// The signature does not hold.
    Invalid,
    /// The key registry has no such key, so nothing can be said.
    KeyUnknown,
    /// The signature holds, but its key was not valid at that time; the text says why.
    KeyNotValid(String),
    /// It was not checked; the text says why. Never a pass.
    NotChecked(String),
}

impl SignatureCheck {
    /// True for [`SignatureCheck::Valid`] alone.
    pub fn is_valid(&self) -> bool {
        matches!(self, SignatureCheck::Valid)
    }
}
