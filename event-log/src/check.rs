//! What can be said of one event of a log by itself: hashes, signature, receipt, leaf.

use ed25519_dalek::VerifyingKey;
use rayon::prelude::*;
use ves::kernel::{self, LeafInput};
use ves::verify::verify_events;
use ves::{EventCheck, Hash32, KeyRegistry, SignatureCheck};

use crate::entry::LogEntry;
use crate::error::RowError;

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
        let mut checks = Self::of_group(&[entry], keys, sequencer_key);
        checks.pop().expect("one check for each entry")
    }

    /// Checks entries side by side, on one core; the checks come in their order.
    fn of_group(
        entries: &[&LogEntry],
        keys: &KeyRegistry,
        sequencer_key: Option<&VerifyingKey>,
    ) -> Vec<Self> {
        let events: Vec<_> = entries.iter().map(|e| (&e.event, e.sequenced_at)).collect();
        let verdicts = verify_events(&events, keys);
        // The commitment code hashes what is stored, so roots are recomputed from what is stored.
        let inputs: Vec<LeafInput> = entries
            .iter()
            .map(|e| LeafInput {
                sequence_number: e.sequence_number,
                event_signing_hash: e.event_signing_hash,
                agent_signature: e.event.agent_signature,
            })
            .collect();
        let mut leaves = vec![Hash32::ZERO; inputs.len()];
        let mut from = 0;
        for run in entries.chunk_by(|a, b| a.event.stream == b.event.stream) {
            let to = from + run.len();
            kernel::leaf_hashes(&run[0].event.stream, &inputs[from..to], &mut leaves[from..to]);
            from = to;
        }
        let results = entries.iter().zip(verdicts).zip(leaves);
        results
            .map(|((entry, verdict), leaf)| Self {
                signing_hash_matches: verdict.signing_hash == entry.event_signing_hash,
                signing_hash: verdict.signing_hash,
                leaf,
                payload: verdict.payload,
                signature: verdict.signature,
                receipt: ReceiptCheck::of(entry, sequencer_key),
            })
            .collect()
    }
}

/// Rows are checked in groups of this many, each on one core: enough for hashes to run side by side.
const GROUP: usize = 256;

/// Checks rows on all cores; the order stays. `entry` finds the entry in what a row holds.
pub fn check_entries<T: Send + Sync>(
    mut rows: Vec<Result<T, RowError>>,
    entry: impl Fn(&T) -> &LogEntry + Sync,
    keys: &KeyRegistry,
    sequencer_key: Option<&VerifyingKey>,
) -> Vec<Result<(T, EntryCheck), RowError>> {
    let mut groups = Vec::with_capacity(rows.len() / GROUP + 1);
    while rows.len() > GROUP {
        let rest = rows.split_off(GROUP);
        groups.push(std::mem::replace(&mut rows, rest));
    }
    groups.push(rows);
    let check_group = |group: Vec<Result<T, RowError>>| {
        let entries: Vec<&LogEntry> = group.iter().flatten().map(&entry).collect();
        let checks = EntryCheck::of_group(&entries, keys, sequencer_key);
        let mut checks = checks.into_iter();
        let with_check = |row: Result<T, RowError>| {
            row.map(|held| (held, checks.next().expect("one check for each entry")))
        };
        group.into_iter().map(with_check).collect::<Vec<_>>()
    };
    groups.into_par_iter().flat_map_iter(check_group).collect()
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
