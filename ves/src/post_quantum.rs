//! ML-DSA-65 (FIPS 204): keys, signatures, and the bundles that carry them.
//!
//! The signature is pure (not pre-hashed), its context is empty, and the message is the 32-byte hash that Ed25519 signs
//! too. A bundle is JSON, as the sequencer writes it: `{"ed25519_signature":[…],"ml_dsa_65_signature":[…]}`, each half an
//! array of bytes or `null`; a key's has `ed25519_public_key`, `ml_dsa_65_public_key`, `x25519_public_key` and
//! `ml_kem_768_public_key`. It is read as the sequencer reads it: members that it does not know are passed over, a member
//! twice, a number that is no byte and a missing or longer half make it worth nothing. However long a text is, no more
//! than a signature's bytes are kept of it.

mod plain;

use std::fmt;
use std::marker::PhantomData;
use std::sync::OnceLock;

use ml_dsa::signature::{Keypair, Signer as _, Verifier as _};
use ml_dsa::{KeyExport as _, MlDsa65};
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeSeq, Serializer};

use crate::digest::{Hash32, Preimage, SignatureBytes};
use crate::keep::Keep;

/// The length of an ML-DSA-65 public key in bytes.
pub const PUBLIC_KEY_BYTES: usize = 1952;

/// The length of an ML-DSA-65 signature in bytes.
pub const SIGNATURE_BYTES: usize = 3309;

/// An ML-DSA-65 signature as it is written.
pub type MlDsa65Signature = [u8; SIGNATURE_BYTES];

/// An array of bytes in a bundle: what it holds if it has exactly `N`, nothing if it has fewer or more.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Octets<const N: usize>(Option<Box<[u8; N]>>);

impl<'de, const N: usize> Deserialize<'de> for Octets<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes<const N: usize>(PhantomData<[u8; N]>);
        impl<'de, const N: usize> Visitor<'de> for Bytes<N> {
            type Value = Octets<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of bytes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
                let mut bytes = Box::new([0; N]);
                let mut count = 0_usize;
                // To the end, whatever its length: what comes after a half may be wrong in itself.
                while let Some(byte) = sequence.next_element::<u8>()? {
                    if let Some(place) = bytes.get_mut(count) {
                        *place = byte;
                    }
                    count = count.saturating_add(1);
                }
                Ok(Octets((count == N).then_some(bytes)))
            }
        }
        deserializer.deserialize_seq(Bytes(PhantomData))
    }
}

impl<const N: usize> Serialize for Octets<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: &[u8] = self.0.as_deref().map_or(&[], |bytes| bytes);
        let mut sequence = serializer.serialize_seq(Some(bytes.len()))?;
        for byte in bytes {
            sequence.serialize_element(byte)?;
        }
        sequence.end()
    }
}

fn half<const N: usize>(bytes: &[u8; N]) -> Option<Octets<N>> {
    Some(Octets(Some(Box::new(*bytes))))
}

/// `agent_signature_bundle` or `receipt_signature_bundle`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SignatureBundle {
    ed25519_signature: Option<Octets<64>>,
    ml_dsa_65_signature: Option<Octets<SIGNATURE_BYTES>>,
}

impl SignatureBundle {
    /// Reads a bundle; `None` if it is none.
    pub fn read(json: &[u8]) -> Option<Self> {
        plain::signatures(json).or_else(|| serde_json::from_slice(json).ok())
    }

    /// A bundle of these halves.
    pub fn new(ed25519: Option<&SignatureBytes>, ml_dsa_65: &MlDsa65Signature) -> Self {
        Self {
            ed25519_signature: ed25519.and_then(|signature| half(&signature.0)),
            ml_dsa_65_signature: half(ml_dsa_65),
        }
    }

    /// The Ed25519 half, if it is there with its 64 bytes.
    pub fn ed25519(&self) -> Option<SignatureBytes> {
        let bytes = self.ed25519_signature.as_ref()?.0.as_deref()?;
        Some(SignatureBytes(*bytes))
    }

    /// The ML-DSA-65 half, if it is there with its length.
    pub fn ml_dsa_65(&self) -> Option<&MlDsa65Signature> {
        self.ml_dsa_65_signature.as_ref()?.0.as_deref()
    }

    /// As the sequencer stores it.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("arrays of numbers")
    }
}

/// `public_key_bundle`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PublicKeyBundle {
    // Of another length the sequencer takes the whole bundle for none.
    ed25519_public_key: Option<[u8; 32]>,
    ml_dsa_65_public_key: Option<Octets<PUBLIC_KEY_BYTES>>,
    // Keys to encrypt for: nothing of them is needed here but that they are arrays of bytes.
    x25519_public_key: Option<Octets<32>>,
    ml_kem_768_public_key: Option<Octets<1184>>,
}

impl PublicKeyBundle {
    /// Reads a bundle; `None` if it is none.
    pub fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// A bundle of these keys.
    pub fn new(ed25519: Option<&Hash32>, ml_dsa_65: &[u8; PUBLIC_KEY_BYTES]) -> Self {
        Self {
            ed25519_public_key: ed25519.map(|key| key.0),
            ml_dsa_65_public_key: half(ml_dsa_65),
            x25519_public_key: None,
            ml_kem_768_public_key: None,
        }
    }

    /// The Ed25519 key.
    pub fn ed25519(&self) -> Option<Hash32> {
        self.ed25519_public_key.map(Hash32)
    }

    /// The ML-DSA-65 key, if it is there with its length.
    pub fn ml_dsa_65(&self) -> Option<&[u8; PUBLIC_KEY_BYTES]> {
        self.ml_dsa_65_public_key.as_ref()?.0.as_deref()
    }

    /// As the sequencer stores it.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("arrays of numbers")
    }
}

/// The most bytes of a `public_key_bundle` that are read of a row; one that the sequencer writes has some 7,200.
pub const MAX_PUBLIC_KEY_BUNDLE: usize = 64 << 10;

/// A `public_key_bundle` as people write it, turned into the sequencer's JSON: hex of those bytes, as in a log export, or
/// an object with keys in hex, as in a registration with the sequencer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenKeyBundle(pub Vec<u8>);

impl<'de> Deserialize<'de> for WrittenKeyBundle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Written {
            Hex(String),
            Keys {
                #[serde(alias = "ed25519PublicKey")]
                ed25519_public_key: Option<Hash32>,
                #[serde(alias = "mlDsa65PublicKey")]
                ml_dsa_65_public_key: String,
            },
        }
        let bytes = |text: &str| hex::decode(text.strip_prefix("0x").unwrap_or(text));
        match Written::deserialize(deserializer)? {
            Written::Hex(text) => Ok(Self(bytes(&text).map_err(serde::de::Error::custom)?)),
            Written::Keys {
                ed25519_public_key,
                ml_dsa_65_public_key,
            } => {
                let key = bytes(&ml_dsa_65_public_key).ok();
                let key = key.and_then(|key| <[u8; PUBLIC_KEY_BYTES]>::try_from(key).ok());
                let key = key.ok_or_else(|| {
                    serde::de::Error::custom("ml_dsa_65_public_key is not the hex digits of 1952 bytes")
                })?;
                Ok(Self(
                    PublicKeyBundle::new(ed25519_public_key.as_ref(), &key).to_json(),
                ))
            }
        }
    }
}

type Expanded = ml_dsa::VerifyingKey<MlDsa65>;

/// An ML-DSA-65 public key. Its matrix is expanded at the first check and kept, as long as its owner keeps more:
/// expanding takes about as long as a check.
pub struct MlDsa65Key {
    encoded: Box<[u8; PUBLIC_KEY_BYTES]>,
    /// `None` inside if its owner keeps enough others.
    expanded: OnceLock<Option<Box<Expanded>>>,
}

impl MlDsa65Key {
    /// A key as it is written. Every text of that length is one.
    pub fn new(encoded: &[u8; PUBLIC_KEY_BYTES]) -> Self {
        Self {
            encoded: Box::new(*encoded),
            expanded: OnceLock::new(),
        }
    }

    /// As it is written.
    pub fn encoded(&self) -> &[u8; PUBLIC_KEY_BYTES] {
        &self.encoded
    }

    /// The SHA-256 of the key as it is written, to tell keys apart in a line of text.
    pub fn fingerprint(&self) -> Hash32 {
        Preimage::new("").bytes(self.encoded.as_slice()).finish()
    }

    /// Whether a signature over a 32-byte hash holds, as FIPS 204's ML-DSA.Verify with an empty context says.
    pub fn verify(&self, message: &Hash32, signature: &MlDsa65Signature) -> bool {
        self.verify_keeping(message, signature, None)
    }

    /// As [`MlDsa65Key::verify`], with the expanded key kept only where there is room.
    pub(crate) fn verify_keeping(
        &self,
        message: &Hash32,
        signature: &MlDsa65Signature,
        keep: Option<&Keep>,
    ) -> bool {
        let Ok(signature) = ml_dsa::Signature::<MlDsa65>::try_from(signature.as_slice()) else {
            return false;
        };
        let kept = self.expanded.get_or_init(|| {
            keep.is_none_or(Keep::take)
                .then(|| Box::new(expand(&self.encoded)))
        });
        match kept {
            Some(key) => key.verify(&message.0, &signature).is_ok(),
            None => expand(&self.encoded).verify(&message.0, &signature).is_ok(),
        }
    }
}

fn expand(encoded: &[u8; PUBLIC_KEY_BYTES]) -> Expanded {
    Expanded::decode(&(*encoded).into())
}

impl Clone for MlDsa65Key {
    fn clone(&self) -> Self {
        Self::new(&self.encoded)
    }
}

impl PartialEq for MlDsa65Key {
    fn eq(&self, other: &Self) -> bool {
        self.encoded == other.encoded
    }
}

impl Eq for MlDsa65Key {}

impl fmt::Debug for MlDsa65Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MlDsa65Key").field(&self.fingerprint()).finish()
    }
}

/// An ML-DSA-65 signing key, made of its 32-byte seed as in FIPS 204. Signing is deterministic, as the sequencer's is.
#[derive(Clone)]
pub struct MlDsa65Signer {
    key: std::sync::Arc<ml_dsa::SigningKey<MlDsa65>>,
}

impl MlDsa65Signer {
    /// The key of a seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self {
            key: std::sync::Arc::new(ml_dsa::SigningKey::from_seed(&(*seed).into())),
        }
    }

    /// Its public key.
    pub fn public_key(&self) -> MlDsa65Key {
        let encoded: [u8; PUBLIC_KEY_BYTES] = self.key.verifying_key().to_bytes().into();
        MlDsa65Key::new(&encoded)
    }

    /// Signs a 32-byte hash.
    pub fn sign(&self, message: &Hash32) -> Box<MlDsa65Signature> {
        let signature: ml_dsa::Signature<MlDsa65> = self.key.sign(&message.0);
        Box::new(signature.encode().into())
    }
}

impl fmt::Debug for MlDsa65Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MlDsa65Signer").field(&self.public_key()).finish()
    }
}

#[cfg(test)]
mod tests;
