//! What can be said of one event of a log by itself: hashes, signature, receipt, leaf.

use ves::kernel::{self, LeafInput};
use ves::receipt::{self, Promise};
use ves::verify::verify_events;
use ves::{EventCheck, Hash32, KeyRegistry, PreparedSequencerKeys, Receipt, SequencerKeys, SignatureCheck};

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
    pub fn of(entry: &LogEntry, keys: &KeyRegistry, sequencer_keys: &SequencerKeys) -> Self {
        let sequencer_keys = PreparedSequencerKeys::new(sequencer_keys.clone());
        let mut checks = Self::of_group(&[entry], keys, &sequencer_keys);
        checks.pop().expect("one check for each entry")
    }

    /// Checks entries side by side, on one core; the checks come in their order.
    fn of_group(
        entries: &[&LogEntry],
        keys: &KeyRegistry,
        sequencer_keys: &PreparedSequencerKeys,
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
        let receipts = ReceiptCheck::of_group(entries, sequencer_keys);
        let results = entries.iter().zip(verdicts).zip(leaves).zip(receipts);
        results
            .map(|(((entry, verdict), leaf), receipt)| Self {
                signing_hash_matches: verdict.signing_hash == entry.event_signing_hash,
                signing_hash: verdict.signing_hash,
                leaf,
                payload: verdict.payload,
                signature: verdict.signature,
                receipt,
            })
            .collect()
    }
}

/// Rows are checked in groups of this many: enough for hashes to run side by side, few enough to stay in the caches.
const GROUP: usize = 256;

/// Checks rows with the keys that it holds. For several threads, see [`Pipeline`](crate::Pipeline).
#[derive(Debug)]
pub struct Checker {
    keys: KeyRegistry,
    sequencer_keys: PreparedSequencerKeys,
}

impl Checker {
    /// A checker with these keys; without the sequencer's, no receipt's signature is checked.
    pub fn new(keys: KeyRegistry, sequencer_keys: SequencerKeys) -> Self {
        Self {
            keys,
            sequencer_keys: PreparedSequencerKeys::new(sequencer_keys),
        }
    }

    /// Checks rows on this thread: a check for each row that could be read, in their order. `entry` finds the entry in
    /// what a row holds.
    pub fn check<T>(&self, rows: &[Result<T, RowError>], entry: impl Fn(&T) -> &LogEntry) -> Vec<EntryCheck> {
        let mut checks = Vec::with_capacity(rows.len());
        for group in rows.chunks(GROUP) {
            let entries: Vec<&LogEntry> = group.iter().flatten().map(&entry).collect();
            checks.extend(EntryCheck::of_group(&entries, &self.keys, &self.sequencer_keys));
        }
        checks
    }
}

impl ReceiptCheck {
    /// What the receipts of entries are worth; those that can be are checked side by side.
    fn of_group(entries: &[&LogEntry], sequencer_keys: &PreparedSequencerKeys) -> Vec<Self> {
        let promises: Vec<Promise<'_>> = entries
            .iter()
            .filter_map(|entry| {
                Some(Promise {
                    receipt: entry.receipt.as_ref()?,
                    stream: &entry.event.stream,
                    event_signing_hash: &entry.event_signing_hash,
                })
            })
            .collect();
        let mut hashes = receipt::hashes_match(&promises).into_iter();
        let checks: Vec<Option<Self>> = entries
            .iter()
            .map(|entry| {
                let Some(receipt) = &entry.receipt else {
                    return Some(Self::Missing);
                };
                let hash_matches = hashes.next() == Some(true);
                Self::contradiction(entry, receipt)
                    .or_else(|| {
                        let what = "the receipt's hash is not the hash of what it promises";
                        (!hash_matches).then(|| what.to_owned())
                    })
                    .map(Self::Mismatch)
            })
            .collect();
        let matching: Vec<&Receipt> = entries
            .iter()
            .zip(&checks)
            .filter_map(|(entry, check)| entry.receipt.as_ref().filter(|_| check.is_none()))
            .collect();
        let mut signatures = receipt::check_signatures(&matching, sequencer_keys).into_iter();
        checks
            .into_iter()
            .map(|check| {
                check.unwrap_or_else(|| {
                    Self::Matches(signatures.next().expect("one for each receipt that matches"))
                })
            })
            .collect()
    }

    /// What a receipt says otherwise than the log, its hash aside.
    fn contradiction(entry: &LogEntry, receipt: &Receipt) -> Option<String> {
        if receipt.event_id != entry.event.event_id {
            return Some(format!("the receipt is of event {}", receipt.event_id));
        }
        if receipt.sequence_number != entry.sequence_number {
            return Some(format!(
                "the receipt names number {}, the event has {}",
                receipt.sequence_number, entry.sequence_number
            ));
        }
        if receipt.sequenced_at != entry.sequenced_at {
            return Some(format!(
                "the receipt is of {}, the event of {}",
                receipt.sequenced_at, entry.sequenced_at
            ));
        }
        None
    }
}
