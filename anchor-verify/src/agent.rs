//! The agent's signature in a proof of one event, and the keys that it is expected to be made with.

use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};
use ves::post_quantum::{MlDsa65Key, MlDsa65Signature, PUBLIC_KEY_BYTES, SIGNATURE_BYTES, SignatureBundle};
use ves::{Event, Hash32, SignatureBytes, key};

use crate::verify::code;
use crate::verify::report::Failure;

/// The public key of an agent: Ed25519, ML-DSA-65, or both of a hybrid.
#[derive(Debug, Clone, Default)]
pub struct AgentKey {
    ed25519: Option<VerifyingKey>,
    ml_dsa_65: Option<MlDsa65Key>,
}

impl AgentKey {
    /// A key of these parts, told apart by their length: 32 bytes of Ed25519, 1952 of ML-DSA-65.
    ///
    /// # Errors
    /// What is neither, and two of one kind.
    pub fn of(parts: &[Vec<u8>]) -> Result<Self, String> {
        let mut key = Self::default();
        for part in parts {
            let twice = if let Ok(bytes) = <[u8; 32]>::try_from(part.as_slice()) {
                let ed25519 = VerifyingKey::from_bytes(&bytes);
                let ed25519 = ed25519.map_err(|error| format!("not an Ed25519 public key: {error}"))?;
                key.ed25519.replace(ed25519).is_some()
            } else if let Ok(bytes) = <[u8; PUBLIC_KEY_BYTES]>::try_from(part.as_slice()) {
                key.ml_dsa_65.replace(MlDsa65Key::new(&bytes)).is_some()
            } else {
                return Err(format!(
                    "a public key has 32 or {PUBLIC_KEY_BYTES} bytes, not {}",
                    part.len()
                ));
            };
            if twice {
                return Err("two keys of one kind: a hybrid has one of each".into());
            }
        }
        Ok(key)
    }

    /// True if neither part is known.
    pub fn is_empty(&self) -> bool {
        self.ed25519.is_none() && self.ml_dsa_65.is_none()
    }
}

/// The signatures of an event of scheme 2 or 3, which stand beside its leaf and in no hash. In hex, where the log has
/// arrays of numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvenBundle {
    /// The Ed25519 half; of scheme 2 there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ed25519_signature: Option<SignatureBytes>,
    /// The ML-DSA-65 half.
    ml_dsa_65_signature: MlDsa65Hex,
}

/// An ML-DSA-65 signature, in hex.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MlDsa65Hex(Box<MlDsa65Signature>);

impl Serialize for MlDsa65Hex {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0.as_slice()))
    }
}

impl<'de> Deserialize<'de> for MlDsa65Hex {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = Box::new([0; SIGNATURE_BYTES]);
        hex::decode_to_slice(&text, bytes.as_mut_slice())
            .map_err(|error| serde::de::Error::custom(format!("ml_dsa_65_signature: {error}")))?;
        Ok(Self(bytes))
    }
}

impl ProvenBundle {
    /// That of an event; `None` if it has none, or none that can be read.
    pub(crate) fn of_event(event: &Event) -> Option<Self> {
        if event.agent_signature_scheme.is_ed25519() {
            return None;
        }
        Self::from_stored(event.agent_signature_bundle.as_deref()?)
    }

    /// From the bytes of the column `agent_signature_bundle`.
    pub(crate) fn from_stored(json: &[u8]) -> Option<Self> {
        let bundle = SignatureBundle::read(json)?;
        Some(Self {
            ed25519_signature: bundle.ed25519(),
            ml_dsa_65_signature: MlDsa65Hex(Box::new(*bundle.ml_dsa_65()?)),
        })
    }
}

/// What there is of an agent's signature.
pub(crate) struct AgentSignature<'a> {
    /// What it is over.
    pub signing_hash: &'a Hash32,
    /// What the leaf binds.
    pub in_leaf: &'a SignatureBytes,
    /// What stands beside the leaf.
    pub bundle: Option<&'a ProvenBundle>,
}

/// What does not hold of an agent's signature, and what was not checked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct AgentCheck {
    pub failures: Vec<Failure>,
    pub not_checked: Vec<String>,
}

impl AgentSignature<'_> {
    /// Whether it holds by the key that is expected.
    pub(crate) fn check(&self, key: &AgentKey) -> AgentCheck {
        let mut check = AgentCheck::default();
        if self.bundle.is_some() && key.ml_dsa_65.is_none() {
            let what = "fields that nothing binds: agent_signature_bundle";
            check.not_checked.push(what.into());
        }
        if key.is_empty() {
            check.not("the agent's public key was not given");
            return check;
        }
        match self.bundle {
            Some(bundle) => self.check_bundle(bundle, key, &mut check),
            None => self.check_leaf(key, &mut check),
        }
        check
    }

    /// By schemes 0 and 1; or a proof of an earlier release, which carries no bundle.
    fn check_leaf(&self, key: &AgentKey, check: &mut AgentCheck) {
        if let Some(ed25519) = &key.ed25519 {
            if *self.in_leaf == SignatureBytes::ZERO {
                check.not("the leaf has zeros in its place, as of an event signed by ML-DSA-65 alone");
            } else {
                check.holds(key::verify(ed25519, self.signing_hash, self.in_leaf), "signature");
            }
        }
        if key.ml_dsa_65.is_some() {
            check.not("the proof carries none by ML-DSA-65");
        }
    }

    /// By schemes 2 and 3: of a hybrid both halves must hold.
    fn check_bundle(&self, bundle: &ProvenBundle, key: &AgentKey, check: &mut AgentCheck) {
        match (&key.ed25519, &bundle.ed25519_signature) {
            (Some(ed25519), Some(signature)) => {
                check.holds(
                    key::verify(ed25519, self.signing_hash, signature),
                    "Ed25519 signature",
                );
            }
            // A hybrid key signs by both of its parts.
            (Some(_), None) if key.ml_dsa_65.is_some() => check.holds(false, "Ed25519 signature"),
            (Some(_), None) | (None, None) => {}
            (None, Some(_)) => check.not("its Ed25519 half: the agent's Ed25519 key was not given"),
        }
        match &key.ml_dsa_65 {
            Some(ml_dsa) => {
                let holds = ml_dsa.verify(self.signing_hash, &bundle.ml_dsa_65_signature.0);
                check.holds(holds, "ML-DSA-65 signature");
            }
            None => check.not("its ML-DSA-65 half: the agent's ML-DSA-65 key was not given"),
        }
    }
}

impl AgentCheck {
    fn not(&mut self, why: &str) {
        self.not_checked.push(format!("agent signature: {why}"));
    }

    fn holds(&mut self, holds: bool, what: &str) {
        if !holds {
            let what = format!("the agent's {what} does not hold by the given key");
            self.failures.push(Failure::new(code::SIGNATURE, what));
        }
    }
}

#[cfg(test)]
mod tests {
    use ves::Signer;
    use ves::post_quantum::MlDsa65Signer;

    use super::*;

    const HASH: Hash32 = Hash32([7; 32]);

    fn signer(scheme: i16) -> Signer {
        let ed25519 = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
        let seed = Some(&[2; 32]);
        let signer = match scheme {
            1 => Signer::of(Some(ed25519), None),
            2 => Signer::of(None, seed),
            _ => Signer::of(Some(ed25519), seed),
        };
        signer.unwrap()
    }

    /// The parts of the key that all of these sign with.
    fn key(ed25519: bool, ml_dsa: bool) -> AgentKey {
        let mut parts = Vec::new();
        if ed25519 {
            parts.push(signer(1).public_key().0.to_vec());
        }
        if ml_dsa {
            let public = MlDsa65Signer::from_seed(&[2; 32]).public_key();
            parts.push(public.encoded().to_vec());
        }
        AgentKey::of(&parts).unwrap()
    }

    /// Failures and lines not checked, of an event signed by a scheme.
    fn check(
        scheme: i16,
        key: &AgentKey,
        change: impl FnOnce(&mut SignatureBytes, &mut Option<ProvenBundle>),
    ) -> (usize, usize) {
        let signed = signer(scheme).sign(&HASH);
        let mut in_leaf = signed.ed25519.unwrap_or(SignatureBytes::ZERO);
        let mut bundle = signed.bundle.and_then(|json| ProvenBundle::from_stored(&json));
        change(&mut in_leaf, &mut bundle);
        let signature = AgentSignature {
            signing_hash: &HASH,
            in_leaf: &in_leaf,
            bundle: bundle.as_ref(),
        };
        let check = signature.check(key);
        (check.failures.len(), check.not_checked.len())
    }

    #[test]
    fn each_scheme_with_each_key() {
        let keys = [(false, false), (true, false), (false, true), (true, true)];
        let found = [1, 2, 3]
            .map(|scheme| keys.map(|(ed25519, ml_dsa)| check(scheme, &key(ed25519, ml_dsa), |_, _| {})));
        // Failures, and what was not checked: without a key, with one of Ed25519, of ML-DSA-65, of both.
        assert_eq!(found[0], [(0, 1), (0, 0), (0, 1), (0, 1)]);
        assert_eq!(found[1], [(0, 2), (0, 2), (0, 0), (1, 0)]);
        assert_eq!(found[2], [(0, 2), (0, 2), (0, 1), (0, 0)]);
    }

    #[test]
    fn a_half_that_does_not_hold_fails() {
        let both = key(true, true);
        let alter =
            |bundle: &mut Option<ProvenBundle>| bundle.as_mut().unwrap().ml_dsa_65_signature.0[9] ^= 1;
        assert_eq!(check(2, &key(false, true), |_, bundle| alter(bundle)), (1, 0));
        assert_eq!(check(3, &both, |_, bundle| alter(bundle)), (1, 0));
        let other = |bundle: &mut Option<ProvenBundle>| {
            bundle.as_mut().unwrap().ed25519_signature = Some(SignatureBytes([1; 64]));
        };
        assert_eq!(check(3, &both, |_, bundle| other(bundle)), (1, 0));
        assert_eq!(
            check(3, &both, |_, bundle| bundle.as_mut().unwrap().ed25519_signature =
                None),
            (1, 0)
        );
        // What the leaf binds of a hybrid is not what is checked.
        assert_eq!(check(3, &both, |leaf, _| *leaf = SignatureBytes::ZERO), (0, 0));
        assert_eq!(check(1, &key(true, false), |leaf, _| leaf.0[0] ^= 1), (1, 0));
    }

    /// As of a proof that an earlier release made.
    #[test]
    fn without_its_bundle_an_event_is_not_checked_by_ml_dsa() {
        assert_eq!(check(2, &key(false, true), |_, bundle| *bundle = None), (0, 1));
        assert_eq!(check(2, &key(true, false), |_, bundle| *bundle = None), (0, 1));
        assert_eq!(check(3, &key(true, true), |_, bundle| *bundle = None), (0, 1));
    }

    #[test]
    fn a_bundle_is_written_in_hex_and_read_again() {
        for scheme in [2, 3] {
            let json = signer(scheme).sign(&HASH).bundle.unwrap();
            let bundle = ProvenBundle::from_stored(&json).unwrap();
            let text = serde_json::to_string(&bundle).unwrap();
            assert!(text.len() < 7000, "{text}");
            assert_eq!(serde_json::from_str::<ProvenBundle>(&text).unwrap(), bundle);
            for wrong in [
                text.replace("ml_dsa_65_signature\":\"", "ml_dsa_65_signature\":\"00"),
                text.replace('a', "g"),
            ] {
                assert!(serde_json::from_str::<ProvenBundle>(&wrong).is_err());
            }
        }
        assert_eq!(ProvenBundle::from_stored(b"{}"), None);
    }

    #[test]
    fn keys_are_told_apart_by_their_length() {
        let (short, long) = (signer(1).public_key().0.to_vec(), vec![0; PUBLIC_KEY_BYTES]);
        assert!(AgentKey::of(&[]).unwrap().is_empty());
        for wrong in [
            vec![vec![0; 31]],
            vec![short.clone(), short],
            vec![long.clone(), long],
            vec![vec![2; 32]],
        ] {
            assert!(AgentKey::of(&wrong).is_err());
        }
    }
}
