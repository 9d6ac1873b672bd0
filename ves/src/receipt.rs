//! Receipts: the sequencer's signed promise that an event has a number.

use ed25519_dalek::{Signature, Signer, Verifier, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::digest::{Hash32, Preimage, SignatureBytes};
use crate::id::{EventId, SequencerId, StreamKey};
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
        let Some(signature) = &self.sequencer_signature else {
            return SignatureCheck::NotChecked("the receipt is not signed".into());
        };
        if self.receipt_signature_scheme > 1 {
            return SignatureCheck::NotChecked(format!(
                "receipt signature scheme {} is post-quantum",
                self.receipt_signature_scheme
            ));
        }
        let Some(key) = sequencer_key else {
            return SignatureCheck::NotChecked("the sequencer's public key was not given".into());
        };
        match key.verify(&self.receipt_hash.0, &Signature::from_bytes(&signature.0)) {
            Ok(()) => SignatureCheck::Valid,
            Err(_) => SignatureCheck::Invalid,
        }
    }
}

/// Signs a receipt hash with the sequencer's key.
pub fn sign_receipt_hash(key: &ed25519_dalek::SigningKey, receipt_hash: &Hash32) -> SignatureBytes {
    SignatureBytes(key.sign(&receipt_hash.0).to_bytes())
}
