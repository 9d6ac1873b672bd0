//! The sequencer's public keys. Keys rotate: a receipt names the version of the key that signed it.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use ed25519_dalek::VerifyingKey;

use crate::ed25519::{PreparedKey, worth_preparing_from};

/// The sequencer's public keys, by version, as far as somebody gave them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SequencerKeys {
    by_version: BTreeMap<i32, VerifyingKey>,
    /// Given without a version: the key of every version that has none of its own.
    plain: Option<VerifyingKey>,
}

impl SequencerKeys {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_version.is_empty() && self.plain.is_none()
    }

    /// The key of a version, if it was given.
    pub fn of(&self, version: i32) -> Option<&VerifyingKey> {
        self.by_version.get(&version).or(self.plain.as_ref())
    }

    /// The key that was given without a version.
    pub fn plain(&self) -> Option<&VerifyingKey> {
        self.plain.as_ref()
    }

    /// The keys that were given with their versions, in the order of these.
    pub fn versions(&self) -> impl Iterator<Item = (i32, &VerifyingKey)> {
        self.by_version.iter().map(|(version, key)| (*version, key))
    }
}

impl From<VerifyingKey> for SequencerKeys {
    /// One key for all versions.
    fn from(key: VerifyingKey) -> Self {
        Self {
            by_version: BTreeMap::new(),
            plain: Some(key),
        }
    }
}

impl From<&VerifyingKey> for SequencerKeys {
    fn from(key: &VerifyingKey) -> Self {
        (*key).into()
    }
}

impl FromIterator<(Option<i32>, VerifyingKey)> for SequencerKeys {
    /// Keys with their versions; `None` for the key of all others. Of two of one version the last counts.
    fn from_iter<I: IntoIterator<Item = (Option<i32>, VerifyingKey)>>(keys: I) -> Self {
        let mut all = Self::default();
        for (version, key) in keys {
            match version {
                Some(version) => drop(all.by_version.insert(version, key)),
                None => all.plain = Some(key),
            }
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
