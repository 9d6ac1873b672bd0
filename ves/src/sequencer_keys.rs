//! The sequencer's public keys. Keys rotate: a receipt names the version of the key that signed it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use ed25519_dalek::VerifyingKey;

use crate::ed25519::{PreparedKey, worth_preparing_from};
use crate::post_quantum::{MlDsa65Key, PUBLIC_KEY_BYTES};
use crate::signer::Signer;

/// The keys of one version: one kind or both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct KeyPair {
    ed25519: Option<VerifyingKey>,
    ml_dsa_65: Option<Arc<MlDsa65Key>>,
}

/// The sequencer's public keys, by version, as far as somebody gave them. A version may have an Ed25519 key, an ML-DSA-65
/// key, or both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SequencerKeys {
    by_version: BTreeMap<i32, KeyPair>,
    /// Given without a version: the keys of every version that has none of its own.
    plain: KeyPair,
}

impl SequencerKeys {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_version.is_empty() && self.plain == KeyPair::default()
    }

    /// Adds a key as it is written, by its length: 32 bytes of Ed25519, or [`PUBLIC_KEY_BYTES`] of ML-DSA-65. `None` for
    /// the key of all versions that have none of their own. Of two of one kind and version the last counts.
    ///
    /// # Errors
    /// It is neither.
    pub fn add(&mut self, version: Option<i32>, key: &[u8]) -> Result<(), String> {
        let pair = match version {
            Some(version) => self.by_version.entry(version).or_default(),
            None => &mut self.plain,
        };
        if let Ok(bytes) = <&[u8; PUBLIC_KEY_BYTES]>::try_from(key) {
            pair.ml_dsa_65 = Some(Arc::new(MlDsa65Key::new(bytes)));
        } else {
            let key = VerifyingKey::try_from(key).map_err(|_| "not a public key of the sequencer")?;
            pair.ed25519 = Some(key);
        }
        Ok(())
    }

    /// Keys as they are written: see [`SequencerKeys::add`].
    ///
    /// # Errors
    /// As there.
    pub fn read(keys: impl IntoIterator<Item = (Option<i32>, Vec<u8>)>) -> Result<Self, String> {
        let mut all = Self::default();
        for (version, key) in keys {
            all.add(version, &key)?;
        }
        Ok(all)
    }

    /// The Ed25519 key of a version, if it was given.
    pub fn of(&self, version: i32) -> Option<&VerifyingKey> {
        let own = self
            .by_version
            .get(&version)
            .and_then(|pair| pair.ed25519.as_ref());
        own.or(self.plain.ed25519.as_ref())
    }

    /// The ML-DSA-65 key of a version, if it was given.
    pub fn ml_dsa_65_of(&self, version: i32) -> Option<&MlDsa65Key> {
        let own = self
            .by_version
            .get(&version)
            .and_then(|pair| pair.ml_dsa_65.as_deref());
        own.or(self.plain.ml_dsa_65.as_deref())
    }

    /// The Ed25519 key that was given without a version.
    pub fn plain(&self) -> Option<&VerifyingKey> {
        self.plain.ed25519.as_ref()
    }

    /// The ML-DSA-65 key that was given without a version.
    pub fn plain_ml_dsa_65(&self) -> Option<&MlDsa65Key> {
        self.plain.ml_dsa_65.as_deref()
    }

    /// The Ed25519 keys that were given with their versions, in the order of these.
    pub fn versions(&self) -> impl Iterator<Item = (i32, &VerifyingKey)> {
        let pairs = self.by_version.iter();
        pairs.filter_map(|(version, pair)| Some((*version, pair.ed25519.as_ref()?)))
    }

    /// The ML-DSA-65 keys that were given with their versions, in the order of these.
    pub fn ml_dsa_65_versions(&self) -> impl Iterator<Item = (i32, &MlDsa65Key)> {
        let pairs = self.by_version.iter();
        pairs.filter_map(|(version, pair)| Some((*version, pair.ml_dsa_65.as_deref()?)))
    }
}

impl From<VerifyingKey> for SequencerKeys {
    /// One key for all versions.
    fn from(key: VerifyingKey) -> Self {
        [(None, key)].into_iter().collect()
    }
}

impl From<&VerifyingKey> for SequencerKeys {
    fn from(key: &VerifyingKey) -> Self {
        (*key).into()
    }
}

impl From<&Signer> for SequencerKeys {
    /// The public keys of a signing key, for all versions.
    fn from(signer: &Signer) -> Self {
        Self {
            by_version: BTreeMap::new(),
            plain: KeyPair {
                ed25519: signer.ed25519().map(ed25519_dalek::SigningKey::verifying_key),
                ml_dsa_65: signer.ml_dsa_65().map(|key| Arc::new(key.public_key())),
            },
        }
    }
}

impl FromIterator<(Option<i32>, VerifyingKey)> for SequencerKeys {
    /// Ed25519 keys with their versions; `None` for the key of all others. Of two of one version the last counts.
    fn from_iter<I: IntoIterator<Item = (Option<i32>, VerifyingKey)>>(keys: I) -> Self {
        let mut all = Self::default();
        for (version, key) in keys {
            let pair = match version {
                Some(version) => all.by_version.entry(version).or_default(),
                None => &mut all.plain,
            };
            pair.ed25519 = Some(key);
        }
        all
    }
}

/// The sequencer's public keys for many receipts: each prepared once it has proved to be used often (see
/// [`crate::ed25519`]).
#[derive(Debug, Default)]
pub struct PreparedSequencerKeys {
    keys: SequencerKeys,
    by_version: BTreeMap<i32, Used>,
    plain: Used,
}

/// How often a key was used, and what was prepared for it.
#[derive(Debug, Default)]
struct Used {
    times: AtomicUsize,
    prepared: OnceLock<PreparedKey>,
}

impl PreparedSequencerKeys {
    /// Keys that were not used yet.
    pub fn new(keys: SequencerKeys) -> Self {
        Self {
            by_version: keys
                .versions()
                .map(|(version, _)| (version, Used::default()))
                .collect(),
            plain: Used::default(),
            keys,
        }
    }

    /// The keys as they were given.
    pub fn keys(&self) -> &SequencerKeys {
        &self.keys
    }

    /// The prepared key of a version, about to be used so often; `None` if that does not pay yet, or there is no key.
    pub(crate) fn prepared(&self, version: i32, uses: usize) -> Option<&PreparedKey> {
        let key = self.keys.of(version)?;
        let used = self.by_version.get(&version).unwrap_or(&self.plain);
        let before = used.times.fetch_add(uses, Ordering::Relaxed);
        (before + uses >= worth_preparing_from()).then(|| used.prepared.get_or_init(|| PreparedKey::new(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> VerifyingKey {
        ed25519_dalek::SigningKey::from_bytes(&[n; 32]).verifying_key()
    }

    #[test]
    fn a_version_has_its_own_key_or_the_plain_one() {
        let keys: SequencerKeys = [(Some(1), key(1)), (None, key(9))].into_iter().collect();
        assert_eq!((keys.of(1), keys.of(0)), (Some(&key(1)), Some(&key(9))));
        let keys: SequencerKeys = [(Some(1), key(1))].into_iter().collect();
        assert_eq!((keys.of(1), keys.of(0)), (Some(&key(1)), None));
        assert!(SequencerKeys::default().is_empty() && !keys.is_empty());
    }
}
