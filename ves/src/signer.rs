//! Signing, by Ed25519, by ML-DSA-65 or by both: what a tombstone's agent and the sequencer do.

use ed25519_dalek::Signer as _;

use crate::digest::{Hash32, SignatureBytes};
use crate::post_quantum::{MlDsa65Signer, PublicKeyBundle, SignatureBundle};
use crate::signature::SignatureScheme;

/// A signing key, of one algorithm or of both.
#[derive(Debug, Clone)]
pub enum Signer {
    /// `key_algorithm` 1, scheme 1.
    Ed25519(ed25519_dalek::SigningKey),
    /// `key_algorithm` 3, scheme 2.
    MlDsa65(MlDsa65Signer),
    /// `key_algorithm` 5, scheme 3.
    Hybrid(ed25519_dalek::SigningKey, MlDsa65Signer),
}

/// A signature with all that is stored of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// How it was signed.
    pub scheme: SignatureScheme,
    /// The Ed25519 signature, if there is one.
    pub ed25519: Option<SignatureBytes>,
    /// The bundle as the sequencer stores it; `None` for Ed25519 alone.
    pub bundle: Option<Vec<u8>>,
}

impl Signer {
    /// A key of these parts; `None` if there is none.
    pub fn of(ed25519: Option<ed25519_dalek::SigningKey>, ml_dsa_65_seed: Option<&[u8; 32]>) -> Option<Self> {
        let ml_dsa = ml_dsa_65_seed.map(MlDsa65Signer::from_seed);
        Some(match (ed25519, ml_dsa) {
            (Some(ed25519), None) => Self::Ed25519(ed25519),
            (None, Some(ml_dsa)) => Self::MlDsa65(ml_dsa),
            (Some(ed25519), Some(ml_dsa)) => Self::Hybrid(ed25519, ml_dsa),
            (None, None) => return None,
        })
    }

    /// The Ed25519 part.
    pub fn ed25519(&self) -> Option<&ed25519_dalek::SigningKey> {
        match self {
            Self::Ed25519(key) | Self::Hybrid(key, _) => Some(key),
            Self::MlDsa65(_) => None,
        }
    }

    /// The ML-DSA-65 part.
    pub fn ml_dsa_65(&self) -> Option<&MlDsa65Signer> {
        match self {
            Self::MlDsa65(key) | Self::Hybrid(_, key) => Some(key),
            Self::Ed25519(_) => None,
        }
    }

    /// `key_algorithm` of the registry: 1, 3 or 5.
    pub fn algorithm(&self) -> i16 {
        match self {
            Self::Ed25519(_) => 1,
            Self::MlDsa65(_) => 3,
            Self::Hybrid(..) => 5,
        }
    }

    /// `public_key` of the registry: the Ed25519 key, or zeros.
    pub fn public_key(&self) -> Hash32 {
        self.ed25519()
            .map_or(Hash32::ZERO, |key| Hash32(key.verifying_key().to_bytes()))
    }

    /// `public_key_bundle` of the registry; `None` for Ed25519 alone.
    pub fn public_key_bundle(&self) -> Option<Vec<u8>> {
        let ml_dsa = self.ml_dsa_65()?.public_key();
        let ed25519 = self.ed25519().map(|_| self.public_key());
        Some(PublicKeyBundle::new(ed25519.as_ref(), ml_dsa.encoded()).to_json())
    }

    /// What names the key in a line of text: the Ed25519 public key, or of one that has none the fingerprint of the
    /// other.
    pub fn name(&self) -> Hash32 {
        match self {
            Self::Ed25519(_) | Self::Hybrid(..) => self.public_key(),
            Self::MlDsa65(key) => key.public_key().fingerprint(),
        }
    }

    /// Signs a 32-byte hash.
    pub fn sign(&self, hash: &Hash32) -> Signed {
        let ed25519 = self
            .ed25519()
            .map(|key| SignatureBytes(key.sign(&hash.0).to_bytes()));
        let ml_dsa = self.ml_dsa_65().map(|key| key.sign(hash));
        Signed {
            scheme: match self {
                Self::Ed25519(_) => SignatureScheme(1),
                Self::MlDsa65(_) => SignatureScheme::ML_DSA_65,
                Self::Hybrid(..) => SignatureScheme::HYBRID,
            },
            ed25519,
            bundle: ml_dsa.map(|ml_dsa| SignatureBundle::new(ed25519.as_ref(), &ml_dsa).to_json()),
        }
    }
}

impl From<ed25519_dalek::SigningKey> for Signer {
    fn from(key: ed25519_dalek::SigningKey) -> Self {
        Self::Ed25519(key)
    }
}
