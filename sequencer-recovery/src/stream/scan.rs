//! One pass over a stream: every event verified, every batch's root recomputed, the fingerprint taken.
//!
//! Rows arrive in chunks, which are verified on all threads while the next ones are read, then folded in order. Memory
//! holds some chunks and the leaves of the batches in progress, whatever the size of the log.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use anchor_verify::pass::{JudgedEvents, judge};
use anchor_verify::rules::{AnchoredAt, EventFault, EventVerdict, KeyName, Unchecked, Wrong};
use anchor_verify::sweep::{Reach, Sweep};
use anchor_verify::verify::source::Chunk;
use cli_common::finding::Code;
use cli_common::{Cancel, Progress};
use event_log::{Checker, Commitment, LogEntry, Pipeline, RawEntries, RowError, StreamState, View};
use serde::Serialize;
use ves::merkle;
use ves::span::{Span, Spans};
use ves::{AgentId, Hash32, KeyRegistry, SequencerKeys, StreamKey, Timestamp};

use crate::error::RecoveryError;
use crate::stream::checkpointed::Checkpointed;
use crate::stream::facts::EntityHistory;
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
    /// What is wrong with events and their receipts, by the rule that is broken.
    pub wrong: BTreeMap<Code, Places>,
    /// Texts that are no time that is known here.
    pub created_at_unknown: u64,
    /// Events that are said to be sequenced before the one before them.
    pub sequenced_before: u64,
    /// When the last event is said to be sequenced.
    last_sequenced: Option<Timestamp>,
    /// Where events name a key that is not registered, by key.
    pub unknown_keys: BTreeMap<KeyName, Places>,
    /// Tombstones.
    pub tombstones: Places,
    /// Signatures that hold.
    pub signatures_valid: u64,
    /// Signatures not checked, by reason.
    pub signatures_not_checked: BTreeMap<String, u64>,
    /// The highest number that a receipt gives.
    pub last_receipt: Option<u64>,
    /// Positions of all events without a receipt that verify themselves.
    pub receipts_to_make: Spans,
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
    pub history: EntityHistory,
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
    pub history: EntityHistory,
    /// What checkpoints say.
    pub checkpointed: &'a Checkpointed,
}

/// A pass over a stream whose rows are read. The last of them are still being verified, on other threads: whoever reads on
/// before [`Pass::finish`] does not wait for them.
pub(super) struct Pass<'a> {
    fold: Fold<'a>,
    /// None of a stream without events.
    pipeline: Option<Pipeline<RawEntries, JudgedEvents<LogEntry>>>,
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
        let checker = Checker::new(input.keys.clone(), input.sequencer_keys.clone());
        let mut pipeline = Pipeline::new(move |rows| judge(Chunk::Raw(rows), &checker, |entry| entry));
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

/// A leaf at its position, and when its event was numbered.
type Leaf = (u64, Hash32, Timestamp);

/// A range whose root is wanted, as far as the pass has come.
struct Following<'a> {
    /// Its place among those asked for.
    index: usize,
    range: &'a BatchRange,
    leaves: Vec<Leaf>,
}

impl Reach for Following<'_> {
    type Place = u64;

    fn reach(&self) -> (u64, u64) {
        (self.range.start, self.range.end)
    }
}

/// The ranges whose roots are wanted, followed along the stream.
struct Batches<'a> {
    following: Sweep<Following<'a>>,
    done: BTreeMap<usize, BatchScan>,
}

impl<'a> Batches<'a> {
    fn new(ranges: &'a [BatchRange]) -> Self {
        let following = |(index, range)| Following {
            index,
            range,
            leaves: Vec::new(),
        };
        Self {
            following: Sweep::new(ranges.iter().enumerate().map(following).collect()),
            done: BTreeMap::new(),
        }
    }

    /// Takes the next leaf; says so if a range that it is in was anchored before.
    fn leaf(&mut self, position: u64, leaf: Hash32, at: Timestamp) -> Option<Wrong> {
        // Leaves of whole batches are not kept longer than until the pass is behind them.
        let mut end = |ended: Following<'_>| {
            self.done.insert(ended.index, ended.scan());
        };
        self.following.advance(&position, &mut end);
        let mut wrong = None;
        for following in self.following.active() {
            following.leaves.push((position, leaf, at));
            wrong = wrong.or_else(|| following.range.anchored_at?.sequenced_later(at));
        }
        wrong
    }

    fn finish(mut self) -> Vec<BatchScan> {
        for rest in self.following.finish() {
            self.done.insert(rest.index, rest.scan());
        }
        self.done.into_values().collect()
    }
}

impl Following<'_> {
    fn scan(&self) -> BatchScan {
        BatchScan::of(self.range, &self.leaves)
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
    history: EntityHistory,
    tree: TreeFold<'a>,
}

impl Fold<'_> {
    fn rows(&mut self, rows: JudgedEvents<LogEntry>, progress: &dyn Progress) {
        progress.advance(rows.len() as u64);
        for row in rows {
            match row {
                Ok((entry, verdict)) => self.event(&entry, &verdict),
                Err(row) => self.unreadable(&row),
            }
        }
    }

    fn unreadable(&mut self, row: &RowError) {
        let position = row.sequence.unwrap_or(0);
        self.tally.unreadable.add(position, || row.to_string());
        if self.tally.unreadable_rows.len() < UNREADABLE_ROWS {
            let what = format!("{}: {}", row.table, row.what);
            self.tally.unreadable_rows.push((position, what));
        }
    }

    fn event(&mut self, entry: &LogEntry, verdict: &EventVerdict) {
        debug_assert_eq!(entry.event.stream, self.stream);
        let position = entry.sequence_number;
        self.fingerprint
            .event(&entry.leaf_input(), entry.receipt.as_ref());
        if self.tally.last.replace(position) == Some(position) {
            let event = entry.event.event_id;
            self.tally.repeated.add(position, || format!("event {event}"));
            return;
        }
        if let Some((code, what)) = self.batches.leaf(position, verdict.leaf, entry.sequenced_at) {
            self.tally.add_wrong(code, position, || what);
        }
        self.tree.leaf(position, verdict.leaf, entry.sequenced_at);
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
        if tombstone_event::is_tombstone(&entry.event, position) {
            tally
                .tombstones
                .add(position, || format!("by agent {}", entry.event.source_agent_id));
        }
        let before = tally.last_sequenced.replace(entry.sequenced_at);
        tally.sequenced_before += u64::from(before > Some(entry.sequenced_at));
        tally.verdict(entry, verdict);
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
    /// How many events or receipts break a rule.
    pub fn count(&self, code: Code) -> u64 {
        self.wrong.get(&code).map_or(0, |places| places.count)
    }

    fn add_wrong(&mut self, code: Code, position: u64, what: impl FnOnce() -> String) {
        self.wrong.entry(code).or_default().add(position, what);
    }

    fn verdict(&mut self, entry: &LogEntry, verdict: &EventVerdict) {
        self.signatures_valid += u64::from(verdict.signature_holds());
        self.receipts_matching += u64::from(verdict.receipt_matches());
        self.receipt_signatures_valid += u64::from(verdict.receipt_signature_holds());
        let position = entry.sequence_number;
        for fault in &verdict.faults {
            if let EventFault::Payload(why) = fault
                && self.unreadable_payloads.len() < UNREADABLE_ROWS
            {
                self.unreadable_payloads.push((position, why.clone()));
            }
            self.add_wrong(fault.code(), position, || example(fault, entry));
        }
        for unchecked in &verdict.unchecked {
            self.unchecked(entry, unchecked);
        }
        if verdict.unchecked.contains(&Unchecked::Receipt) && verdict.hashes_match() {
            self.receipts_to_make.extend(Span::new(position, position));
        }
    }

    fn unchecked(&mut self, entry: &LogEntry, unchecked: &Unchecked) {
        let position = entry.sequence_number;
        match unchecked {
            // A log's payloads are there.
            Unchecked::Payload => {}
            Unchecked::Plaintext => self.encrypted += 1,
            Unchecked::CreatedAt => self.created_at_unknown += 1,
            Unchecked::Key(name) => {
                let places = self.unknown_keys.entry(*name).or_default();
                places.add(position, String::new);
                self.add_wrong(Code::EventKey, position, || format!("{name} is not registered"));
            }
            Unchecked::Signature(why) => {
                *self.signatures_not_checked.entry(why.clone()).or_default() += 1;
            }
            Unchecked::Receipt => {
                let event = entry.event.event_id;
                self.add_wrong(Code::ReceiptMissing, position, || format!("event {event}"));
            }
            Unchecked::ReceiptSignature(why) => {
                *self
                    .receipt_signatures_not_checked
                    .entry(why.clone())
                    .or_default() += 1;
            }
        }
    }
}

/// What is wrong at the first place of several, behind a sentence that says of what kind it is.
fn example(fault: &EventFault, entry: &LogEntry) -> String {
    match fault {
        EventFault::SigningHash { stored, computed } => {
            format!("stored {stored}, the fields hash to {computed}")
        }
        EventFault::Signature(by) => format!("by {by}"),
        EventFault::KeyNotValid(_, why) => why.clone(),
        EventFault::ReceiptSignature => format!("event {}", entry.event.event_id),
        fault => fault.to_string(),
    }
}
