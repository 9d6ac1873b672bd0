//! What is said of a signature: how it was made, and what came of checking it.

use serde::{Deserialize, Serialize};

/// `agent_signature_scheme`. All schemes sign the same event signing hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SignatureScheme(pub i16);

impl SignatureScheme {
    /// Ed25519 as older rows record it (0); newer ones record 1.
    pub const ED25519: Self = Self(0);
    /// ML-DSA-65: the bundle's half of it is the signature, and the leaf commits to an Ed25519 signature of zeros.
    pub const ML_DSA_65: Self = Self(2);
    /// Ed25519 and ML-DSA-65: both halves of the bundle must hold.
    pub const HYBRID: Self = Self(3);

    /// True for 0 and 1.
    pub fn is_ed25519(self) -> bool {
        self.0 == 0 || self.0 == 1
    }

    /// True for 0 to 3; of others it is not known what is signed how.
    pub fn is_known(self) -> bool {
        (0..=3).contains(&self.0)
    }
}

/// The outcome of checking a signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "reason", rename_all = "snake_case")]
pub enum SignatureCheck {
    /// The signature holds and its key was valid at that time.
    Valid,
    /// The signature does not hold: also where a half of a hybrid is missing or does not hold, or where its scheme is not
    /// that of its key (a key with an ML-DSA-65 part signs by that scheme alone).
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
