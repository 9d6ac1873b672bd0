//! What can be said of one event of a log by itself: hashes, signature, receipt, leaf.

use ed25519_dalek::VerifyingKey;
use ves::merkle::leaf_hash;
use ves::{EventCheck, Hash32, KeyRegistry, SignatureCheck};

use crate::entry::LogEntry;

/// An entry, checked against nothing but itself and the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryCheck {
    /// The signing hash of the fields.
    pub signing_hash: Hash32,
    /// Whether the stored signing hash is that.
    pub signing_hash_matches: bool,
    /// The leaf of a commitment, which is made of what is stored.
    pub leaf: Hash32,
    /// The payload's hash.
    pub payload: EventCheck,
    /// The agent's signature over the signing hash of the fields, by the key as it was when the event was sequenced.
    pub signature: SignatureCheck,
    /// The receipt.
    pub receipt: ReceiptCheck,
}

/// What a receipt is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiptCheck {
    /// There is none.
    Missing,
    /// It promises something else than the log has; the text says what.
    Mismatch(String),
    /// It promises what the log has; the sequencer's signature is judged by itself.
    Matches(SignatureCheck),
}

impl EntryCheck {
    /// Checks an entry.
    pub fn of(entry: &LogEntry, keys: &KeyRegistry, sequencer_key: Option<&VerifyingKey>) -> Self {
        let event = &entry.event;
        let signing_hash = event.signing_hash();
        Self {
            signing_hash,
            signing_hash_matches: signing_hash == entry.event_signing_hash,
            // The commitment code hashes what is stored, so roots are recomputed from what is stored.
            leaf: leaf_hash(
                &event.stream,
                entry.sequence_number,
                &entry.event_signing_hash,
                &event.agent_signature,
            ),
            payload: event.check_payload(),
            // Over the recomputed hash: a stored one that is wrong must not carry a signature through.
            signature: keys.check(event, &signing_hash, entry.sequenced_at),
            receipt: ReceiptCheck::of(entry, sequencer_key),
        }
    }
}

impl ReceiptCheck {
    fn of(entry: &LogEntry, sequencer_key: Option<&VerifyingKey>) -> Self {
        let Some(receipt) = &entry.receipt else {
            return Self::Missing;
        };
        if receipt.event_id != entry.event.event_id {
            return Self::Mismatch(format!("the receipt is of event {}", receipt.event_id));
        }
        if receipt.sequence_number != entry.sequence_number {
            return Self::Mismatch(format!(
                "the receipt names number {}, the event has {}",
                receipt.sequence_number, entry.sequence_number
            ));
        }
        if receipt.sequenced_at != entry.sequenced_at {
            return Self::Mismatch(format!(
                "the receipt is of {}, the event of {}",
                receipt.sequenced_at, entry.sequenced_at
            ));
        }
        if !receipt.hash_matches(&entry.event.stream, &entry.event_signing_hash) {
            return Self::Mismatch("the receipt's hash is not the hash of what it promises".into());
        }
        Self::Matches(receipt.check_signature(sequencer_key))
    }
}
