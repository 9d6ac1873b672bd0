//! Receipts: the sequencer's signed promise that an event has a number.

use std::collections::BTreeMap;

use ed25519_dalek::{Signature, Signer, Verifier, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::digest::{Hash32, Preimage, SignatureBytes};
use crate::ed25519::{SignatureInput, verify_many};
use crate::id::{EventId, SequencerId, StreamKey};
use crate::kernel::Batch;
use crate::post_quantum::{MlDsa65Key, SignatureBundle};
use crate::sequencer_keys::{PreparedSequencerKeys, SequencerKeys};
use crate::signature::SignatureCheck;
use crate::time::Timestamp;

/// `receipt_hash` = SHA-256(`VES_RECEIPT_V1` ‖ tenant ‖ store ‖ event_id ‖ u64 sequence ‖
/// event_signing_hash).
pub fn receipt_hash(
    stream: &StreamKey,
    event_id: &EventId,
    sequence_number: u64,
    event_signing_hash: &Hash32,
) -> Hash32 {
    Preimage::new("VES_RECEIPT_V1")
        .bytes(stream.tenant_id.as_bytes())
        .bytes(stream.store_id.as_bytes())
        .bytes(event_id.as_bytes())
        .u64(sequence_number)
        .bytes(&event_signing_hash.0)
        .finish()
}

/// A row of `ves_sequencer_receipts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The event that was accepted.
    pub event_id: EventId,
    /// The sequencer that accepted it.
    pub sequencer_id: SequencerId,
    /// The number it was given.
    pub sequence_number: u64,
    /// When it was given.
    pub sequenced_at: Timestamp,
    /// See [`receipt_hash`].
    pub receipt_hash: Hash32,
    /// Ed25519 over the 32-byte receipt hash; sequencers without a signing key leave it out, and those that sign by
    /// ML-DSA-65 alone. A hybrid's is the half in the bundle once more.
    pub sequencer_signature: Option<SignatureBytes>,
    /// Which of the sequencer's keys signed.
    pub sequencer_key_version: i32,
    /// 0 or 1: Ed25519; 2: ML-DSA-65; 3: both.
    pub receipt_signature_scheme: i16,
    /// The signatures of schemes 2 and 3, as stored (JSON bytes).
    #[serde(
        default,
        with = "crate::stored_bytes",
        skip_serializing_if = "Option::is_none"
    )]
    pub receipt_signature_bundle: Option<Vec<u8>>,
}

impl Receipt {
    /// Whether the stored hash is the hash of what the receipt is said to promise.
    pub fn hash_matches(&self, stream: &StreamKey, event_signing_hash: &Hash32) -> bool {
        self.receipt_hash == receipt_hash(stream, &self.event_id, self.sequence_number, event_signing_hash)
    }

    /// Checks the sequencer's signature over the stored hash with the key of the version that the receipt names. A valid
    /// signature over a hash that does not match proves nothing about the event: check [`Receipt::hash_matches`] too.
    pub fn check_signature(&self, keys: &SequencerKeys) -> SignatureCheck {
        match self.signatures(keys) {
            Err(verdict) => verdict,
            Ok(signatures) => {
                let ed25519 = signatures.ed25519.as_ref();
                let holds = ed25519.is_none_or(|(signature, key)| {
                    let signature = Signature::from_bytes(&signature.0);
                    key.verify(&self.receipt_hash.0, &signature).is_ok()
                });
                verdict(holds && signatures.ml_dsa_holds(&self.receipt_hash))
            }
        }
    }

    /// Whether it carries a signature of any kind.
    pub fn is_signed(&self) -> bool {
        self.sequencer_signature.is_some() || self.receipt_signature_bundle.is_some()
    }

    /// The signatures and what to check them with; an error if that says enough: they cannot be checked, or need not be.
    fn signatures<'a>(&self, keys: &'a SequencerKeys) -> Result<Signatures<'a>, SignatureCheck> {
        let not_checked = |why: String| SignatureCheck::NotChecked(why);
        let version = self.sequencer_key_version;
        let not_given = |kind: &str| {
            not_checked(if keys.is_empty() {
                "the sequencer's public key was not given".into()
            } else {
                format!("version {version} of the sequencer's {kind} was not given")
            })
        };
        match self.receipt_signature_scheme {
            0 | 1 => {
                let signature = self.sequencer_signature;
                let signature = signature.ok_or_else(|| not_checked("the receipt is not signed".into()))?;
                let key = keys.of(version).ok_or_else(|| not_given("public key"))?;
                Ok(Signatures {
                    ed25519: Some((signature, key)),
                    ml_dsa_65: None,
                })
            }
            scheme @ (2 | 3) => {
                if !self.is_signed() {
                    return Err(not_checked("the receipt is not signed".into()));
                }
                let bundle = self.receipt_signature_bundle.as_deref();
                let bundle = bundle
                    .and_then(SignatureBundle::read)
                    .ok_or(SignatureCheck::Invalid)?;
                bundle.ml_dsa_65().ok_or(SignatureCheck::Invalid)?;
                let ed25519 = match scheme {
                    3 => {
                        let half = bundle.ed25519().ok_or(SignatureCheck::Invalid)?;
                        // The sequencer writes the half into the column too, for readers that know no bundles.
                        if self.sequencer_signature.is_some_and(|column| column != half) {
                            return Err(SignatureCheck::Invalid);
                        }
                        let key = keys.of(version).ok_or_else(|| not_given("Ed25519 public key"))?;
                        Some((half, key))
                    }
                    _ => None,
                };
                let key = keys.ml_dsa_65_of(version);
                let key = key.ok_or_else(|| not_given("ML-DSA-65 public key"))?;
                Ok(Signatures {
                    ed25519,
                    ml_dsa_65: Some((bundle, key)),
                })
            }
            other => Err(not_checked(format!(
                "receipt signature scheme {other} is not known"
            ))),
        }
    }
}

/// A receipt's signatures beside their keys: all of them must hold.
struct Signatures<'a> {
    ed25519: Option<(SignatureBytes, &'a VerifyingKey)>,
    ml_dsa_65: Option<(SignatureBundle, &'a MlDsa65Key)>,
}

impl Signatures<'_> {
    fn ml_dsa_holds(&self, receipt_hash: &Hash32) -> bool {
        self.ml_dsa_65.as_ref().is_none_or(|(bundle, key)| {
            let signature = bundle.ml_dsa_65();
            signature.is_some_and(|signature| key.verify(receipt_hash, signature))
        })
    }
}

fn verdict(holds: bool) -> SignatureCheck {
    if holds {
        SignatureCheck::Valid
    } else {
        SignatureCheck::Invalid
    }
}

/// A receipt with what it must promise.
#[derive(Debug, Clone, Copy)]
pub struct Promise<'a> {
    /// The receipt.
    pub receipt: &'a Receipt,
    /// The stream of its event.
    pub stream: &'a StreamKey,
    /// The signing hash that the log stores for its event.
    pub event_signing_hash: &'a Hash32,
}

/// [`Receipt::hash_matches`] of many receipts, in their order, in a fraction of the time.
pub fn hashes_match(promises: &[Promise<'_>]) -> Vec<bool> {
    let mut batch = Batch::default();
    for promise in promises {
        let receipt = promise.receipt;
        let message = batch.start();
        message.extend_from_slice(b"VES_RECEIPT_V1");
        message.extend_from_slice(promise.stream.tenant_id.as_bytes());
        message.extend_from_slice(promise.stream.store_id.as_bytes());
        message.extend_from_slice(receipt.event_id.as_bytes());
        message.extend_from_slice(&receipt.sequence_number.to_be_bytes());
        message.extend_from_slice(&promise.event_signing_hash.0);
        batch.finish();
    }
    let hashes = batch.hash().iter();
    hashes
        .zip(promises)
        .map(|(hash, promise)| *hash == promise.receipt.receipt_hash)
        .collect()
}

/// [`Receipt::check_signature`] of many receipts, with the same verdicts in their order, in a fraction of the time.
/// For several threads, pass each a chunk of some hundreds.
pub fn check_signatures(receipts: &[&Receipt], keys: &PreparedSequencerKeys) -> Vec<SignatureCheck> {
    let found: Vec<_> = receipts
        .iter()
        .map(|receipt| receipt.signatures(keys.keys()))
        .collect();
    let mut uses: BTreeMap<i32, usize> = BTreeMap::new();
    let with_ed25519 = |found: &Result<Signatures<'_>, _>| found.as_ref().is_ok_and(|s| s.ed25519.is_some());
    for (receipt, _) in receipts
        .iter()
        .zip(&found)
        .filter(|(_, found)| with_ed25519(found))
    {
        *uses.entry(receipt.sequencer_key_version).or_default() += 1;
    }
    let prepared: BTreeMap<i32, _> = uses
        .into_iter()
        .filter_map(|(version, uses)| Some((version, keys.prepared(version, uses)?)))
        .collect();
    let claim = |receipt: &&'_ Receipt| prepared.get(&receipt.sequencer_key_version);
    let claims: Vec<SignatureInput<'_>> = receipts
        .iter()
        .zip(&found)
        .filter_map(|(receipt, found)| {
            let (signature, _) = found.as_ref().ok()?.ed25519.as_ref()?;
            Some(SignatureInput {
                key: claim(receipt)?,
                message: &receipt.receipt_hash.0,
                signature,
            })
        })
        .collect();
    let mut verified = verify_many(&claims).into_iter();
    receipts
        .iter()
        .zip(&found)
        .map(|(receipt, found)| match found {
            Ok(signatures) if signatures.ed25519.is_some() && claim(receipt).is_some() => {
                let holds = verified.next() == Some(true);
                verdict(holds && signatures.ml_dsa_holds(&receipt.receipt_hash))
            }
            Ok(_) => receipt.check_signature(keys.keys()),
            Err(verdict) => verdict.clone(),
        })
        .collect()
}

/// Signs a receipt hash with the sequencer's key.
pub fn sign_receipt_hash(key: &ed25519_dalek::SigningKey, receipt_hash: &Hash32) -> SignatureBytes {
    SignatureBytes(key.sign(&receipt_hash.0).to_bytes())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn many_are_judged_like_one_by_one_before_and_after_the_key_is_prepared() {
        let signer = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let stream = StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(2).into());
        let honest = |n: u64| {
            let event_id = EventId(Uuid::from_u128(n.into()));
            let receipt_hash = receipt_hash(&stream, &event_id, n, &Hash32([n as u8; 32]));
            Receipt {
                event_id,
                sequencer_id: SequencerId(Uuid::from_u128(9)),
                sequence_number: n,
                sequenced_at: Timestamp(0),
                receipt_hash,
                sequencer_signature: Some(sign_receipt_hash(&signer, &receipt_hash)),
                sequencer_key_version: 0,
                receipt_signature_scheme: 1,
                receipt_signature_bundle: None,
            }
        };
        let receipts: Vec<Receipt> = (0..200)
            .map(|n| {
                let mut receipt = honest(n);
                match n % 7 {
                    1 => receipt.sequencer_signature = None,
                    2 => receipt.receipt_signature_scheme = 2,
                    3 => receipt.receipt_hash.0[5] ^= 1,
                    4 => receipt.sequence_number += 1,
                    5 => receipt.sequencer_signature = Some(SignatureBytes([0xff; 64])),
                    // Another key's, and one that nobody gave.
                    6 => receipt.sequencer_key_version = 1 + (n % 2) as i32,
                    _ => {}
                }
                receipt
            })
            .collect();
        let hashes: Vec<Hash32> = (0..200).map(|n| Hash32([n as u8; 32])).collect();
        let promises: Vec<Promise<'_>> = receipts
            .iter()
            .zip(&hashes)
            .map(|(receipt, event_signing_hash)| Promise {
                receipt,
                stream: &stream,
                event_signing_hash,
            })
            .collect();
        let one_by_one: Vec<bool> = promises
            .iter()
            .map(|p| p.receipt.hash_matches(p.stream, p.event_signing_hash))
            .collect();
        assert_eq!(hashes_match(&promises), one_by_one);
        assert!(one_by_one.contains(&true) && one_by_one.contains(&false));
        let rotated = ed25519_dalek::SigningKey::from_bytes(&[8; 32]).verifying_key();
        let keys: SequencerKeys = [(Some(0), signer.verifying_key()), (Some(1), rotated)]
            .into_iter()
            .collect();
        let (keys, none) = (PreparedSequencerKeys::new(keys), PreparedSequencerKeys::default());
        let all: Vec<&Receipt> = receipts.iter().collect();
        let mut prepared = Vec::new();
        for some in all.chunks(5) {
            for keys in [&keys, &none] {
                let one_by_one: Vec<_> = some.iter().map(|r| r.check_signature(keys.keys())).collect();
                assert_eq!(check_signatures(some, keys), one_by_one);
            }
            prepared.push(keys.prepared(0, 0).is_some());
        }
        assert!(!prepared[0] && prepared[prepared.len() - 1]);
    }
}
