//! The sequencer's signing keys, which rotate: a receipt says by the version of which key it is signed, and a restored one
//! is signed by the key that was in force at its place.

use std::collections::BTreeMap;

use ves::signer::Signed;
use ves::{Hash32, Receipt, SequencerKeys, Signer};

/// So many versions are kept apart; a log with more is hostile.
const MAX_VERSIONS: usize = 1000;

/// The keys that the operator gives.
#[derive(Debug, Clone, Default)]
pub struct SigningKeys {
    by_version: BTreeMap<i32, Signer>,
    /// Given without its version: that of the receipts that it signed.
    plain: Option<Signer>,
}

impl SigningKeys {
    /// Adds a key under its version, or as the one whose version is to be found out. Says whether there was none.
    pub fn add(&mut self, version: Option<i32>, key: impl Into<Signer>) -> bool {
        let key = key.into();
        match version {
            Some(version) => self.by_version.insert(version, key).is_none(),
            None => self.plain.replace(key).is_none(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_version.is_empty() && self.plain.is_none()
    }

    /// Whether a key is given for a version.
    pub fn has(&self, version: i32) -> bool {
        self.by_version.contains_key(&version)
    }
}

impl<K: Into<Signer>> From<K> for SigningKeys {
    /// One key, whose version the log's receipts tell.
    fn from(key: K) -> Self {
        Self {
            by_version: BTreeMap::new(),
            plain: Some(key.into()),
        }
    }
}

/// Which key versions a stream's receipts name, and where.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyVersions {
    /// From which position on receipts name which version: one entry for each change.
    runs: Vec<(u64, i32)>,
    /// The first receipt with a signature, by version.
    signed: BTreeMap<i32, Receipt>,
}

/// Why the given keys cannot be used for a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrongKey {
    /// Where the receipt stands that another key signed.
    pub(crate) sequence: u64,
    /// What is wrong.
    pub(crate) what: String,
}

impl KeyVersions {
    /// Takes note of the receipt at the next position.
    pub(crate) fn note(&mut self, receipt: &Receipt) {
        let version = receipt.sequencer_key_version;
        if self.runs.last().is_none_or(|(_, last)| *last != version) {
            self.runs.push((receipt.sequence_number, version));
        }
        if receipt.is_signed() && self.signed.len() < MAX_VERSIONS {
            self.signed.entry(version).or_insert_with(|| receipt.clone());
        }
    }

    /// The version in force at a position: that of the nearest receipt before it, or else after it.
    fn at(&self, sequence: u64) -> Option<i32> {
        let before = self.runs.iter().rev().find(|(from, _)| *from <= sequence);
        before.or(self.runs.first()).map(|(_, version)| *version)
    }

    /// The keys to sign this stream's receipts with, once they have proved to be those of their versions.
    pub(crate) fn signers(self, keys: &SigningKeys, default: i32) -> Result<Signers, WrongKey> {
        // All of a hybrid's signatures: with one half of its key no more is signed than before.
        let signed_by =
            |key: &Signer, receipt: &Receipt| receipt.check_signature(&SequencerKeys::from(key)).is_valid();
        let name = |key: &Signer| key.name();
        for (version, key) in &keys.by_version {
            if let Some(receipt) = self.signed.get(version).filter(|r| !signed_by(key, r)) {
                return Err(WrongKey {
                    sequence: receipt.sequence_number,
                    what: format!(
                        "the given sequencer key {} did not sign the receipts that the stream has of version {version}",
                        name(key)
                    ),
                });
            }
        }
        let mut by_version = keys.by_version.clone();
        if let Some(key) = &keys.plain {
            let its: Vec<i32> = self
                .signed
                .iter()
                .filter(|(_, receipt)| signed_by(key, receipt))
                .map(|(version, _)| *version)
                .collect();
            if let (true, Some(first)) = (its.is_empty(), self.signed.values().next()) {
                return Err(WrongKey {
                    sequence: first.sequence_number,
                    what: format!(
                        "the given sequencer key {} did not sign the receipts that the stream has; if it is a newer or \
                         an older one, give it with its version (--sequencer-key VERSION=FILE)",
                        name(key)
                    ),
                });
            }
            // Nothing is signed yet: then there is one key.
            let its = if its.is_empty() {
                vec![self.at(u64::MAX).unwrap_or(default)]
            } else {
                its
            };
            for version in its {
                by_version.entry(version).or_insert_with(|| key.clone());
            }
        }
        Ok(Signers {
            versions: self,
            by_version,
            default,
            asked: !keys.is_empty(),
            unsigned: BTreeMap::new(),
        })
    }
}

/// Signs the receipts of one stream.
#[derive(Debug)]
pub(crate) struct Signers {
    versions: KeyVersions,
    by_version: BTreeMap<i32, Signer>,
    default: i32,
    /// Whether any key was given.
    asked: bool,
    /// How many receipts have no signature since the key of their version was not given.
    unsigned: BTreeMap<i32, u64>,
}

impl Signers {
    /// The version of the key for a position, and the signature of a receipt hash there if that key was given.
    pub(crate) fn sign(&mut self, sequence: u64, hash: &Hash32) -> (i32, Option<Signed>) {
        let version = self.versions.at(sequence).unwrap_or(self.default);
        let key = self.by_version.get(&version);
        if key.is_none() && self.asked {
            *self.unsigned.entry(version).or_default() += 1;
        }
        (version, key.map(|key| key.sign(hash)))
    }

    /// What to tell of receipts whose key was not given.
    pub(crate) fn unsigned(&self) -> impl Iterator<Item = String> {
        self.unsigned.iter().map(|(version, count)| {
            format!(
                "{count} restored receipt(s) belong to version {version} of the sequencer's key, which was not given: they \
                 have no signature (give --sequencer-key {version}=FILE)"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use ves::{EventId, SequencerId, Timestamp};

    use super::*;

    fn sign_receipt_hash(key: &SigningKey, hash: &Hash32) -> Signed {
        Signer::from(key.clone()).sign(hash)
    }

    fn key(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    fn receipt(sequence: u64, version: i32, signer: Option<&SigningKey>) -> Receipt {
        let hash = Hash32([sequence as u8; 32]);
        Receipt {
            event_id: EventId(uuid::Uuid::from_u128(sequence.into())),
            sequencer_id: SequencerId(uuid::Uuid::from_u128(1)),
            sequence_number: sequence,
            sequenced_at: Timestamp(0),
            receipt_hash: hash,
            sequencer_signature: signer.map(|key| ves::receipt::sign_receipt_hash(key, &hash)),
            sequencer_key_version: version,
            receipt_signature_scheme: 1,
            receipt_signature_bundle: None,
        }
    }

    fn rotated() -> KeyVersions {
        let mut versions = KeyVersions::default();
        for sequence in 1..=10 {
            versions.note(&receipt(sequence, 0, Some(&key(1))));
        }
        for sequence in 15..=20 {
            versions.note(&receipt(sequence, 1, Some(&key(2))));
        }
        versions
    }

    #[test]
    fn each_place_is_signed_by_the_key_in_force_there() {
        let mut keys = SigningKeys::default();
        assert!(keys.add(Some(0), key(1)) && keys.add(Some(1), key(2)));
        let mut signers = rotated().signers(&keys, 7).unwrap();
        let hash = Hash32([9; 32]);
        for (sequence, version, signer) in [(5, 0, 1), (12, 0, 1), (17, 1, 2), (30, 1, 2)] {
            let expected = sign_receipt_hash(&key(signer), &hash);
            assert_eq!(
                signers.sign(sequence, &hash),
                (version, Some(expected)),
                "{sequence}"
            );
        }
        assert_eq!(signers.unsigned().count(), 0);
    }

    #[test]
    fn a_key_that_is_not_given_leaves_its_places_unsigned_and_is_told() {
        let mut signers = rotated().signers(&key(2).into(), 7).unwrap();
        let hash = Hash32([9; 32]);
        assert_eq!(signers.sign(12, &hash), (0, None));
        assert_eq!(
            signers.sign(30, &hash),
            (1, Some(sign_receipt_hash(&key(2), &hash)))
        );
        let told: Vec<String> = signers.unsigned().collect();
        assert!(told.len() == 1 && told[0].contains("version 0"), "{told:?}");
    }

    #[test]
    fn a_key_that_signed_nothing_of_its_version_is_refused() {
        let mut keys = SigningKeys::default();
        keys.add(Some(0), key(2));
        assert_eq!(rotated().signers(&keys, 0).unwrap_err().sequence, 1);
        assert!(
            rotated()
                .signers(&key(3).into(), 0)
                .unwrap_err()
                .what
                .contains("VERSION=FILE")
        );
        // A version that the stream does not know yet cannot be contradicted.
        let mut keys = SigningKeys::default();
        keys.add(Some(2), key(3));
        assert!(rotated().signers(&keys, 0).is_ok());
    }

    #[test]
    fn a_hybrid_signs_with_both_halves_and_one_of_them_is_not_the_key() {
        let hybrid = Signer::of(Some(key(1)), Some(&[2; 32])).unwrap();
        let mut signed = receipt(1, 0, None);
        let made = hybrid.sign(&signed.receipt_hash);
        signed.sequencer_signature = made.ed25519;
        signed.receipt_signature_scheme = made.scheme.0;
        signed.receipt_signature_bundle = made.bundle;
        let mut versions = KeyVersions::default();
        versions.note(&signed);
        assert!(versions.clone().signers(&key(1).into(), 0).is_err());
        let other = Signer::of(Some(key(1)), Some(&[3; 32])).unwrap();
        assert!(versions.clone().signers(&other.into(), 0).is_err());
        let mut signers = versions.signers(&hybrid.clone().into(), 0).unwrap();
        let hash = Hash32([9; 32]);
        assert_eq!(signers.sign(5, &hash), (0, Some(hybrid.sign(&hash))));
    }

    #[test]
    fn a_stream_without_receipts_takes_the_default() {
        let mut signers = KeyVersions::default().signers(&key(1).into(), 3).unwrap();
        let (version, signature) = signers.sign(1, &Hash32([1; 32]));
        assert_eq!((version, signature.is_some()), (3, true));
        let mut none = KeyVersions::default()
            .signers(&SigningKeys::default(), 3)
            .unwrap();
        assert_eq!(none.sign(1, &Hash32([1; 32])), (3, None));
        assert_eq!(none.unsigned().count(), 0);
    }
}
