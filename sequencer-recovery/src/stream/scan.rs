//! One pass over a stream: every event verified, every batch's root recomputed, the fingerprint taken.
//!
//! Rows arrive in chunks, which are verified on all threads while the next ones are read, then folded in order. Memory
//! holds some chunks and the leaves of the batches in progress, whatever the size of the log.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use anchor_verify::rules::{AnchoredAt, CreatedAt, Wrong};
use cli_common::{Cancel, Progress};
use event_log::{
    Checker, Commitment, EntryCheck, LogEntry, Pipeline, RawEntries, ReceiptCheck, RowError, StreamState,
    View,
};
use serde::Serialize;
use ves::merkle;
use ves::span::{Span, Spans};
use ves::{AgentId, EventCheck, Hash32, KeyRegistry, SequencerKeys, SignatureCheck, StreamKey, Timestamp};

use crate::error::RecoveryError;
use crate::stream::checkpointed::Checkpointed;
use crate::stream::facts::History;
use crate::stream::fingerprint::FingerprintBuilder;
use crate::stream::tombstone_event;
use crate::stream::tree::{TreeFold, TreeScan};
use crate::witness::evidence::DamagedRow;

/// Where something is wrong: how often, and the first places.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Places {
    /// How often.
    pub count: u64,
    /// The first positions, at most [`Places::LISTED`].
    pub positions: Vec<u64>,
    /// What was wrong at the first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
}

impl Places {
    /// How many positions are listed.
    pub const LISTED: usize = 1000;

    /// Notes one more.
    pub fn add(&mut self, position: u64, what: impl FnOnce() -> String) {
        self.count += 1;
        if self.positions.len() < Self::LISTED {
            self.positions.push(position);
        }
        if self.example.is_none() {
            self.example = Some(what());
        }
    }

    /// The listed positions as text, with how many more there are.
    pub fn describe(&self) -> String {
        let listed = Spans::of_positions(self.positions.iter().copied());
        match self.count - self.positions.len() as u64 {
            0 => listed.to_string(),
            more => format!("{listed} and {more} more"),
        }
    }
}

/// So many rows that cannot be read are told one by one.
pub const UNREADABLE_ROWS: usize = 200;

/// What the pass found, by what was checked.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// Events read.
    pub events: u64,
    /// Rows that cannot be read as events.
    pub unreadable: Places,
    /// The first of them, each with its place and why.
    pub unreadable_rows: Vec<(u64, String)>,
    /// The first payloads that no parser of the sequencer's reads, and why.
    pub unreadable_payloads: Vec<(u64, String)>,
    /// Numbers that come a second time: only the first of their rows is looked at.
    pub repeated: Places,
    /// The last number that was looked at.
    last: Option<u64>,
    /// Stored signing hash ≠ recomputed.
    pub signing_hash: Places,
    /// Stored payload hash ≠ recomputed.
    pub payload_hash: Places,
    /// The column `created_at` ≠ the moment of the text that was signed.
    pub created_at: Places,
    /// Texts that are no time that is known here.
    pub created_at_unknown: u64,
    /// Said to be sequenced after an anchor of their batch.
    pub sequenced_at: Places,
    /// Signatures that do not hold.
    pub signature: Places,
    /// Signatures whose key is unknown or was not valid.
    pub key: Places,
    /// Where events name a key that is not registered, by key.
    pub unknown_keys: BTreeMap<(AgentId, u32), Places>,
    /// Tombstones.
    pub tombstones: Places,
    /// Signatures that hold.
    pub signatures_valid: u64,
    /// Signatures not checked, by reason.
    pub signatures_not_checked: BTreeMap<String, u64>,
    /// Events without a receipt.
    pub receipt_missing: Places,
    /// The highest number that a receipt gives.
    pub last_receipt: Option<u64>,
    /// Positions of all events without a receipt that verify themselves.
    pub receipts_to_make: Spans,
    /// Receipts that name another number, time or hash.
    pub receipt_mismatch: Places,
    /// Receipt signatures that do not hold.
    pub receipt_signature: Places,
    /// Receipts with the right hash.
    pub receipts_matching: u64,
    /// Receipt signatures that hold.
    pub receipt_signatures_valid: u64,
    /// Receipt signatures not checked, by reason.
    pub receipt_signatures_not_checked: BTreeMap<String, u64>,
    /// Encrypted events: the plaintext's hash cannot be checked without the key.
    pub encrypted: u64,
    /// The agents that made the events, tombstones apart, with the last number of each.
    pub agents: BTreeMap<AgentId, u64>,
}

/// A range whose root is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRange {
    /// First position.
    pub start: u64,
    /// Last position (inclusive).
    pub end: u64,
    /// The root that it should have.
    pub root: Hash32,
    /// When it was anchored at the latest, as far as that is known.
    pub anchored_at: Option<AnchoredAt>,
}

/// What the pass made of a range.
#[derive(Debug, Clone)]
pub struct BatchScan {
    /// Positions that the log has, those not counted that cannot be read.
    pub present: u64,
    /// The root, if all positions are there.
    pub root: Option<Hash32>,
    /// The leaves by position, if not all are there or their root is not what it should be.
    pub leaves: BTreeMap<u64, Hash32>,
    /// When the events of those leaves were numbered.
    pub times: BTreeMap<u64, Timestamp>,
}

/// The outcome of the pass.
#[derive(Debug, Clone)]
pub struct Scan {
    /// See [`crate::stream::fingerprint`].
    pub fingerprint: Hash32,
    /// What was found.
    pub tally: Tally,
    /// One entry for each range asked for.
    pub batches: Vec<BatchScan>,
    /// Where the events of the entities asked for stand.
    pub history: History,
    /// The tree over the stream, as far as checkpoints ask for it.
    pub tree: TreeScan,
}

impl Scan {
    /// Notes rows that the pass did not meet, since they do not say that they are of this stream.
    pub(super) fn note_damaged(&mut self, rows: &BTreeMap<u64, DamagedRow>) {
        let tally = &mut self.tally;
        for (position, row) in rows {
            tally.unreadable.add(*position, || row.what.clone());
            if tally.unreadable_rows.len() < UNREADABLE_ROWS {
                tally.unreadable_rows.push((*position, row.what.clone()));
            }
        }
        tally.unreadable.positions.sort_unstable();
        tally.unreadable_rows.sort();
    }

    /// How many positions of a range have a row that cannot be read.
    pub(crate) fn unreadable_in(&self, start: u64, end: u64) -> u64 {
        let positions = &self.tally.unreadable.positions;
        let mut inside: Vec<u64> = positions
            .iter()
            .copied()
            .filter(|p| (start..=end).contains(p))
            .collect();
        inside.dedup();
        inside.len() as u64
    }
}

/// What the pass needs to know besides the stream.
pub struct ScanInput<'a> {
    /// The agents' keys.
    pub keys: &'a KeyRegistry,
    /// The sequencer's public keys, as far as they were given.
    pub sequencer_keys: &'a SequencerKeys,
    /// The stream's commitments, ordered by start.
    pub commitments: &'a [Commitment],
    /// The ranges whose roots are wanted.
    pub ranges: &'a [BatchRange],
    /// The entities whose events are to be noted.
    pub history: History,
    /// What checkpoints say.
    pub checkpointed: &'a Checkpointed,
}

/// An event as it was verified, or what its row is instead.
type Verified = Result<(LogEntry, EntryCheck, CreatedAt), RowError>;

/// A pass over a stream whose rows are read. The last of them are still being verified, on other threads: whoever reads on
/// before [`Pass::finish`] does not wait for them.
pub(super) struct Pass<'a> {
    fold: Fold<'a>,
    /// None of a stream without events.
    pipeline: Option<Pipeline<RawEntries, Vec<Verified>>>,
    progress: &'a dyn Progress,
}

impl<'a> Pass<'a> {
    /// Reads a whole stream once.
    ///
    /// # Errors
    /// What the database says; [`RecoveryError::Cancelled`].
    pub(super) async fn read(
        view: &mut View,
        state: &StreamState,
        input: &ScanInput<'a>,
        progress: &'a dyn Progress,
        cancel: &Cancel,
    ) -> Result<Self, RecoveryError> {
        let mut fold = Fold {
            stream: state.stream,
            fingerprint: FingerprintBuilder::new(&state.stream, state.counter, input.commitments),
            tally: Tally::default(),
            batches: Batches::new(input.ranges),
            history: input.history.clone(),
            tree: TreeFold::new(input.checkpointed),
        };
        let (Some(first), Some(last)) = (state.first, state.last) else {
            cancel.check()?;
            return Ok(Self {
                fold,
                pipeline: None,
                progress,
            });
        };
        let mut pipeline = verifying(Checker::new(input.keys.clone(), input.sequencer_keys.clone()));
        view.for_each_raw_chunk(&state.stream, first..=last, &mut |chunk| {
            if cancel.is_cancelled() {
                return ControlFlow::Break(());
            }
            pipeline.push(chunk, &mut |rows| fold.rows(rows, progress));
            ControlFlow::Continue(())
        })
        .await?;
        cancel.check()?;
        Ok(Self {
            fold,
            pipeline: Some(pipeline),
            progress,
        })
    }

    /// Waits until all is verified.
    pub(super) fn finish(self) -> Scan {
        let Self {
            mut fold,
            pipeline,
            progress,
        } = self;
        if let Some(pipeline) = pipeline {
            pipeline.finish(&mut |rows| fold.rows(rows, progress));
        }
        fold.finish()
    }
}

/// Verifies chunks of rows on all threads.
fn verifying(checker: Checker) -> Pipeline<RawEntries, Vec<Verified>> {
    Pipeline::new(move |rows: RawEntries| {
        let rows = rows.read();
        let mut checks = checker.check(&rows, |entry| entry).into_iter();
        let mut checked = |entry: LogEntry| {
            let check = checks.next().expect("one check for each entry");
            let created_at = CreatedAt::of(&entry);
            (entry, check, created_at)
        };
        rows.into_iter().map(|row| row.map(&mut checked)).collect()
    })
}

/// A leaf at its position, and when its event was numbered.
type Leaf = (u64, Hash32, Timestamp);

/// The ranges whose roots are wanted, followed along the stream. Ranges may overlap.
struct Batches<'a> {
    ranges: &'a [BatchRange],
    /// Indexes by start, those not begun yet last to first.
    waiting: Vec<usize>,
    active: Vec<(usize, Vec<Leaf>)>,
    done: Vec<Option<BatchScan>>,
}

impl<'a> Batches<'a> {
    fn new(ranges: &'a [BatchRange]) -> Self {
        let mut waiting: Vec<usize> = (0..ranges.len()).collect();
        waiting.sort_by_key(|&i| std::cmp::Reverse(ranges[i].start));
        Self {
            ranges,
            waiting,
            active: Vec::new(),
            done: vec![None; ranges.len()],
        }
    }

    /// Takes the next leaf; says so if a range that it is in was anchored before.
    fn leaf(&mut self, position: u64, leaf: Hash32, at: Timestamp) -> Option<Wrong> {
        while let Some(&next) = self.waiting.last()
            && self.ranges[next].start <= position
        {
            self.waiting.pop();
            self.active.push((next, Vec::new()));
        }
        let Self {
            ranges, active, done, ..
        } = self;
        let mut wrong = None;
        active.retain_mut(|(index, leaves)| {
            let range = &ranges[*index];
            if position <= range.end {
                leaves.push((position, leaf, at));
                wrong = wrong.take().or_else(|| range.anchored_at?.sequenced_later(at));
            }
            // Done as soon as the stream has passed: leaves of whole batches are not kept.
            let passed = position >= range.end;
            if passed {
                done[*index] = Some(BatchScan::of(range, leaves));
            }
            !passed
        });
        wrong
    }

    fn finish(mut self) -> Vec<BatchScan> {
        for (index, leaves) in std::mem::take(&mut self.active) {
            self.done[index] = Some(BatchScan::of(&self.ranges[index], &leaves));
        }
        let ranges = self.ranges;
        self.done
            .into_iter()
            .zip(ranges)
            .map(|(d, r)| d.unwrap_or_else(|| BatchScan::of(r, &[])))
            .collect()
    }
}

impl BatchScan {
    fn of(range: &BatchRange, leaves: &[Leaf]) -> Self {
        let present = leaves.len() as u64;
        let width = range.end.checked_sub(range.start).and_then(|n| n.checked_add(1));
        let root = (width == Some(present))
            .then(|| {
                let leaves: Vec<Hash32> = leaves.iter().map(|(_, leaf, _)| *leaf).collect();
                merkle::root(&leaves)
            })
            .flatten();
        let kept = if root == Some(range.root) { &[] } else { leaves };
        Self {
            present,
            root,
            leaves: kept.iter().map(|(p, leaf, _)| (*p, *leaf)).collect(),
            times: kept.iter().map(|(p, _, at)| (*p, *at)).collect(),
        }
    }
}

struct Fold<'a> {
    stream: StreamKey,
    fingerprint: FingerprintBuilder,
    tally: Tally,
    batches: Batches<'a>,
    history: History,
    tree: TreeFold<'a>,
}

impl Fold<'_> {
    fn rows(&mut self, rows: Vec<Verified>, progress: &dyn Progress) {
        progress.advance(rows.len() as u64);
        for row in rows {
            self.row(row);
        }
    }

    fn row(&mut self, row: Verified) {
        let (entry, checked, created_at) = match row {
            Ok(row) => row,
            Err(error) => {
                let position = error.sequence.unwrap_or(0);
                self.tally.unreadable.add(position, || error.to_string());
                if self.tally.unreadable_rows.len() < UNREADABLE_ROWS {
                    let what = format!("{}: {}", error.table, error.what);
                    self.tally.unreadable_rows.push((position, what));
                }
                return;
            }
        };
        debug_assert_eq!(entry.event.stream, self.stream);
        let position = entry.sequence_number;
        self.fingerprint.entry(&entry);
        if self.tally.last.replace(position) == Some(position) {
            let event = entry.event.event_id;
            self.tally.repeated.add(position, || format!("event {event}"));
            return;
        }
        if let Some((_, what)) = self.batches.leaf(position, checked.leaf, entry.sequenced_at) {
            self.tally.sequenced_at.add(position, || what);
        }
        self.tree.leaf(position, checked.leaf, entry.sequenced_at);
        let whole = self.tally.events + 1 == position;
        self.history.note(&entry.event, position, whole);
        let tally = &mut self.tally;
        tally.events += 1;
        // Who fills lost places has no outbox.
        if !tombstone_event::is_tombstone(&entry.event, position) {
            tally.agents.insert(entry.event.source_agent_id, position);
        }
        let numbered = entry.receipt.as_ref().map(|receipt| receipt.sequence_number);
        tally.last_receipt = tally.last_receipt.max(numbered);
        if matches!(entry.event.payload, ves::Payload::Encrypted(_)) {
            tally.encrypted += 1;
        }
        if tombstone_event::is_tombstone(&entry.event, position) {
            tally
                .tombstones
                .add(position, || format!("by agent {}", entry.event.source_agent_id));
        }
        let sound = checked.signing_hash_matches && checked.payload.is_match();
        tally.hashes(&entry, &checked);
        tally.created_at(&entry, created_at);
        tally.signature(&entry, checked.signature);
        tally.receipt(&entry, checked.receipt, sound);
    }

    fn finish(self) -> Scan {
        Scan {
            fingerprint: self.fingerprint.finish(),
            tally: self.tally,
            batches: self.batches.finish(),
            history: self.history,
            tree: self.tree.finish(),
        }
    }
}

impl Tally {
    fn hashes(&mut self, entry: &LogEntry, checked: &EntryCheck) {
        let position = entry.sequence_number;
        if !checked.signing_hash_matches {
            self.signing_hash.add(position, || {
                format!(
                    "stored {}, the fields hash to {}",
                    entry.event_signing_hash, checked.signing_hash
                )
            });
        }
        if let EventCheck::Mismatch(what) = &checked.payload {
            let (ves::Payload::Plain(json) | ves::Payload::Encrypted(json)) = &entry.event.payload;
            match ves::jcs::canonicalize(json) {
                // Too deep, say: no hash of it can be wrong.
                Err(error) if self.unreadable_payloads.len() < UNREADABLE_ROWS => {
                    self.unreadable_payloads.push((position, error.to_string()));
                }
                _ => self.payload_hash.add(position, || what.clone()),
            }
        }
    }

    fn created_at(&mut self, entry: &LogEntry, created_at: CreatedAt) {
        self.created_at_unknown += u64::from(created_at == CreatedAt::Unknown);
        if let Some((_, what)) = created_at.wrong(entry) {
            self.created_at.add(entry.sequence_number, || what);
        }
    }

    fn signature(&mut self, entry: &LogEntry, signature: SignatureCheck) {
        let position = entry.sequence_number;
        match signature {
            SignatureCheck::Valid => self.signatures_valid += 1,
            SignatureCheck::Invalid => self.signature.add(position, || {
                format!(
                    "by key {} of agent {}",
                    entry.event.agent_key_id, entry.event.source_agent_id
                )
            }),
            SignatureCheck::KeyUnknown => {
                let name = (entry.event.source_agent_id, entry.event.agent_key_id);
                self.unknown_keys
                    .entry(name)
                    .or_default()
                    .add(position, String::new);
                self.key.add(position, || {
                    format!(
                        "key {} of agent {} is not registered",
                        entry.event.agent_key_id, entry.event.source_agent_id
                    )
                });
            }
            SignatureCheck::KeyNotValid(why) => self.key.add(position, || why),
            SignatureCheck::NotChecked(why) => *self.signatures_not_checked.entry(why).or_default() += 1,
        }
    }

    /// `sound`: the event's hashes are right, so that a receipt can be made for it.
    fn receipt(&mut self, entry: &LogEntry, receipt: ReceiptCheck, sound: bool) {
        let position = entry.sequence_number;
        match receipt {
            ReceiptCheck::Missing => {
                if sound {
                    self.receipts_to_make.extend(Span::new(position, position));
                }
                self.receipt_missing
                    .add(position, || format!("event {}", entry.event.event_id));
            }
            ReceiptCheck::Mismatch(what) => self.receipt_mismatch.add(position, || what),
            ReceiptCheck::Matches(signature) => {
                self.receipts_matching += 1;
                match signature {
                    SignatureCheck::Valid => self.receipt_signatures_valid += 1,
                    SignatureCheck::NotChecked(why) => {
                        *self.receipt_signatures_not_checked.entry(why).or_default() += 1;
                    }
                    _ => self
                        .receipt_signature
                        .add(position, || format!("event {}", entry.event.event_id)),
                }
            }
        }
    }
}
