//! Receipts: the sequencer's signed promise that an event has a number.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use ed25519_dalek::{Signature, Signer, Verifier, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::digest::{Hash32, Preimage, SignatureBytes};
use crate::ed25519::{Claim, PreparedKey, verify_many, worth_preparing_from};
use crate::id::{EventId, SequencerId, StreamKey};
use crate::kernel::Batch;
use crate::key::SignatureCheck;
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
    /// Ed25519 over the 32-byte receipt hash; sequencers without a signing key leave it out.
    pub sequencer_signature: Option<SignatureBytes>,
    /// Which of the sequencer's keys signed.
    pub sequencer_key_version: i32,
    /// 0 or 1: Ed25519; 2 and 3 are post-quantum and not checked here.
    pub receipt_signature_scheme: i16,
    /// The post-quantum bundle as stored (JSON bytes), kept but not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt_signature_bundle: Option<Vec<u8>>,
}

impl Receipt {
    /// Whether the stored hash is the hash of what the receipt is said to promise.
    pub fn hash_matches(&self, stream: &StreamKey, event_signing_hash: &Hash32) -> bool {
        self.receipt_hash == receipt_hash(stream, &self.event_id, self.sequence_number, event_signing_hash)
    }

    /// Checks the sequencer's signature over the stored hash. A valid signature over a hash that does
    /// not match proves nothing about the event: check [`Receipt::hash_matches`] too.
    pub fn check_signature(&self, sequencer_key: Option<&VerifyingKey>) -> SignatureCheck {
        match self.checkable_signature(sequencer_key) {
            Err(verdict) => verdict,
            Ok((signature, key)) => {
                let holds = key.verify(&self.receipt_hash.0, &Signature::from_bytes(&signature.0));
                verdict(holds.is_ok())
            }
        }
    }

    /// The signature and what to check it with; an error if it cannot be checked.
    fn checkable_signature<K>(&self, key: Option<K>) -> Result<(&SignatureBytes, K), SignatureCheck> {
        let Some(signature) = &self.sequencer_signature else {
            return Err(SignatureCheck::NotChecked("the receipt is not signed".into()));
        };
        if self.receipt_signature_scheme > 1 {
            return Err(SignatureCheck::NotChecked(format!(
                "receipt signature scheme {} is post-quantum",
                self.receipt_signature_scheme
            )));
        }
        let Some(key) = key else {
            return Err(SignatureCheck::NotChecked(
                "the sequencer's public key was not given".into(),
            ));
        };
        Ok((signature, key))
    }
}

fn verdict(holds: bool) -> SignatureCheck {
    if holds {
        SignatureCheck::Valid
    } else {
        SignatureCheck::Invalid
    }
}

/// The sequencer's public key for many receipts: prepared once it has proved to be used often (see
/// [`crate::ed25519`]).
#[derive(Debug)]
pub struct SequencerKey {
    key: VerifyingKey,
    uses: AtomicUsize,
    prepared: OnceLock<PreparedKey>,
}

impl SequencerKey {
    /// A key that was not used yet.
    pub fn new(key: &VerifyingKey) -> Self {
        Self {
            key: *key,
            uses: AtomicUsize::new(0),
            prepared: OnceLock::new(),
        }
    }

    fn prepared(&self, uses: usize) -> Option<&PreparedKey> {
        let before = self.uses.fetch_add(uses, Ordering::Relaxed);
        (before + uses >= worth_preparing_from())
            .then(|| self.prepared.get_or_init(|| PreparedKey::new(&self.key)))
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
pub fn check_signatures(receipts: &[&Receipt], sequencer_key: Option<&SequencerKey>) -> Vec<SignatureCheck> {
    let found: Vec<_> = receipts
        .iter()
        .map(|receipt| receipt.checkable_signature(sequencer_key))
        .collect();
    let uses = found.iter().flatten().count();
    let Some(prepared) = sequencer_key.and_then(|key| key.prepared(uses)) else {
        let key = sequencer_key.map(|key| &key.key);
        return receipts
            .iter()
            .map(|receipt| receipt.check_signature(key))
            .collect();
    };
    let claims: Vec<Claim<'_>> = receipts
        .iter()
        .zip(&found)
        .filter_map(|(receipt, found)| {
            let (signature, _) = found.as_ref().ok()?;
            Some(Claim {
                key: prepared,
                message: &receipt.receipt_hash.0,
                signature,
            })
        })
        .collect();
    let mut verified = verify_many(&claims).into_iter();
    found
        .into_iter()
        .map(|found| match found {
            Ok(_) => verdict(verified.next() == Some(true)),
            Err(verdict) => verdict,
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
        let key = SequencerKey::new(&signer.verifying_key());
        let all: Vec<&Receipt> = receipts.iter().collect();
        let mut prepared = Vec::new();
        for some in all.chunks(5) {
            for (many, key) in [
                (check_signatures(some, Some(&key)), Some(&key.key)),
                (check_signatures(some, None), None),
            ] {
                let one_by_one: Vec<_> = some.iter().map(|r| r.check_signature(key)).collect();
                assert_eq!(many, one_by_one);
            }
            prepared.push(key.prepared.get().is_some());
        }
        assert!(!prepared[0] && prepared[prepared.len() - 1]);
    }
}
