//! The pass over the events: each checked by itself on any thread, then folded in order into the batches it is in.

mod compare;

use std::collections::BTreeMap;

use event_log::{Checker, EntryCheck, LogEntry, ReceiptCheck, RowError, StreamOutline};
use ves::merkle::RootBuilder;
use ves::{EventCheck, EventId, Hash32, Payload, SignatureCheck, StreamKey, Timestamp};

use crate::rules::CreatedAt;
use crate::verify::code;
use crate::verify::plan::{Plan, Unit};
use crate::verify::report::{Failure, Skipped, UnitKind, UnitReport, Verdict};
use crate::verify::source::Chunk;
use crate::verify::tail::Walks;

/// So many failures of one unit are listed; the rest is counted.
const MAX_FAILURES: usize = 50;
/// So many different things that were not checked are told apart in one unit.
const MAX_SKIPPED: usize = 40;
/// So many events are named for each of them.
const MAX_SEQUENCES: usize = 20;
/// So many rows without a place are listed.
const MAX_PROBLEMS: usize = 1000;

/// What is said of a batch that the input has in part.
const PARTIAL: &str = "the batch's other events: the input has only hashes that stand for them";

/// So many leaves of a unit wait until they are hashed together.
const LEAVES: usize = 1024;

/// What is known of one event before it meets its batch.
pub(super) struct Checked {
    stream: StreamKey,
    sequence: u64,
    leaf: Hash32,
    failures: Vec<Failure>,
    skipped: Vec<String>,
    /// The signature could not be judged since the key is not there.
    unjudged: bool,
    event_id: EventId,
    sequenced_at: Timestamp,
}

/// Checks the events of a chunk, each by itself.
pub(super) fn judge(chunk: Chunk, checker: &Checker) -> Vec<Result<Checked, RowError>> {
    fn all<T>(
        rows: Vec<Result<T, RowError>>,
        checker: &Checker,
        entry: fn(&T) -> &LogEntry,
        redacted: fn(&T) -> bool,
    ) -> Vec<Result<Checked, RowError>> {
        let mut checks = checker.check(&rows, entry).into_iter();
        let checked = |row: Result<T, RowError>| {
            row.map(|held| {
                let check = checks.next().expect("one check for each entry");
                Checked::of(entry(&held), redacted(&held), check)
            })
        };
        rows.into_iter().map(checked).collect()
    }
    match chunk {
        Chunk::Raw(rows) => all(rows.read(), checker, |entry| entry, |_| false),
        Chunk::Kept(rows) => all(rows.read(), checker, |entry| entry, |_| false),
        Chunk::Read(rows) => all(rows, checker, |held| &held.entry, |held| held.redacted),
    }
}

impl Checked {
    fn of(entry: &LogEntry, redacted: bool, check: EntryCheck) -> Self {
        let mut checked = Self {
            stream: entry.event.stream,
            sequence: entry.sequence_number,
            leaf: check.leaf,
            failures: Vec::new(),
            skipped: Vec::new(),
            unjudged: false,
            event_id: entry.event.event_id,
            sequenced_at: entry.sequenced_at,
        };
        checked.judge_hashes(entry, redacted, &check);
        checked.judge_created_at(entry);
        checked.judge_signature(entry, check.signature);
        checked.judge_receipt(entry, check.receipt);
        checked
    }

    fn fail(&mut self, entry: &LogEntry, code: &str, what: impl Into<String>) {
        let failure = Failure::new(code, what).at(entry.sequence_number, Some(entry.event.event_id));
        self.failures.push(failure);
    }

    fn judge_hashes(&mut self, entry: &LogEntry, redacted: bool, check: &EntryCheck) {
        if !check.signing_hash_matches {
            let what = format!(
                "the stored signing hash is {}, the fields hash to {}",
                entry.event_signing_hash, check.signing_hash
            );
            self.fail(entry, code::SIGNING_HASH, what);
        }
        if redacted {
            self.skipped.push("payload hash: the payload was left out".into());
        } else if let EventCheck::Mismatch(what) = &check.payload {
            self.fail(entry, code::PAYLOAD_HASH, what);
        } else if matches!(entry.event.payload, Payload::Encrypted(_)) {
            self.skipped
                .push("plaintext hash of an encrypted payload: it takes the recipients' keys".into());
        }
    }

    fn judge_created_at(&mut self, entry: &LogEntry) {
        let created_at = CreatedAt::of(entry);
        if created_at == CreatedAt::Unknown {
            self.skipped
                .push("created_at: the text that was signed is no time that is known".into());
        }
        if let Some((code, what)) = created_at.wrong(entry) {
            self.fail(entry, code.as_str(), what);
        }
    }

    fn judge_signature(&mut self, entry: &LogEntry, signature: SignatureCheck) {
        let event = &entry.event;
        let by = format!("key {} of agent {}", event.agent_key_id, event.source_agent_id);
        match signature {
            SignatureCheck::Valid => {}
            SignatureCheck::Invalid => {
                self.fail(
                    entry,
                    code::SIGNATURE,
                    format!("the signature by {by} does not hold"),
                );
            }
            SignatureCheck::KeyNotValid(why) => self.fail(entry, code::KEY, format!("{by}: {why}")),
            SignatureCheck::KeyUnknown => {
                self.unjudged = true;
                self.skipped
                    .push(format!("agent signature: {by} is not among the keys"));
            }
            SignatureCheck::NotChecked(why) => self.skipped.push(format!("agent signature: {why}")),
        }
    }

    fn judge_receipt(&mut self, entry: &LogEntry, receipt: ReceiptCheck) {
        match receipt {
            ReceiptCheck::Missing => self.skipped.push("receipt: there is none".into()),
            ReceiptCheck::Mismatch(what) => self.fail(entry, code::RECEIPT, what),
            ReceiptCheck::Matches(SignatureCheck::Valid) => {}
            ReceiptCheck::Matches(SignatureCheck::NotChecked(why)) => {
                self.skipped.push(format!("receipt signature: {why}"));
            }
            ReceiptCheck::Matches(_) => self.fail(
                entry,
                code::RECEIPT_SIGNATURE,
                "the sequencer's signature over the receipt does not hold",
            ),
        }
    }
}

/// A unit as far as the pass has come.
struct Progressing {
    unit: Unit,
    roots: RootBuilder,
    /// The last leaves, which are not in `roots` yet.
    leaves: Vec<Hash32>,
    /// The next number that is not accounted for.
    next: u64,
    events: u64,
    missing: u64,
    unreadable: bool,
    unjudged: bool,
    failure_count: u64,
    failures: Vec<Failure>,
    skipped: BTreeMap<String, (u64, Vec<u64>)>,
    /// When the last event was sequenced.
    last_sequenced: Option<Timestamp>,
}

impl Progressing {
    fn new(unit: Unit) -> Self {
        Self {
            next: unit.held.0,
            unit,
            roots: RootBuilder::default(),
            leaves: Vec::new(),
            events: 0,
            missing: 0,
            unreadable: false,
            unjudged: false,
            failure_count: 0,
            failures: Vec::new(),
            skipped: BTreeMap::new(),
            last_sequenced: None,
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.failure_count += 1;
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(failure);
        }
    }

    fn skip(&mut self, what: &str, sequence: Option<u64>) {
        // Reasons come out of hostile input: that there are too many is one more.
        let what = if self.skipped.len() < MAX_SKIPPED || self.skipped.contains_key(what) {
            what
        } else {
            "for more reasons than are listed"
        };
        if let Some((count, sequences)) = self.skipped.get_mut(what) {
            *count += 1;
            sequences.extend(sequence.filter(|_| sequences.len() < MAX_SEQUENCES));
        } else {
            let sequences = sequence.into_iter().collect();
            self.skipped.insert(what.to_owned(), (1, sequences));
        }
    }

    /// Notes that there is nothing from the last number up to this one, but for rows that cannot be read.
    fn missing_before(&mut self, sequence: u64, held: &StreamOutline, notes: &Notes) {
        let mut from = self.next;
        for unreadable in notes.between(&held.stream, from, sequence) {
            self.missing(from, unreadable, held);
            from = unreadable + 1;
        }
        self.missing(from, sequence, held);
    }

    /// Notes that there is nothing from here to before there.
    fn missing(&mut self, from: u64, until: u64, held: &StreamOutline) {
        if from >= until {
            return;
        }
        let to = until - 1;
        let count = until - from;
        self.missing = self.missing.saturating_add(count);
        if self.unit.refused.is_some() {
            return;
        }
        let code = if held.first.is_none_or(|first| to < first) {
            code::GAP_LEADING
        } else if held.last.is_some_and(|last| from > last) {
            code::GAP_TAIL
        } else {
            code::GAP_INTERIOR
        };
        let what = if from == to {
            format!("event {from} is missing")
        } else {
            format!("{count} events are missing, {from} to {to}")
        };
        self.fail(Failure::new(code, what).at(from, None));
    }

    fn leaf(&mut self, leaf: Hash32) {
        // No root is asked for where there is no batch.
        if let Some(partial) = &mut self.unit.partial {
            partial.push(leaf);
        } else if self.unit.kind == UnitKind::Batch {
            self.leaves.push(leaf);
            if self.leaves.len() >= LEAVES {
                self.roots.extend(&self.leaves);
                self.leaves.clear();
            }
        }
    }

    fn event(&mut self, checked: &Checked, held: &StreamOutline, notes: &Notes) {
        self.missing_before(checked.sequence, held, notes);
        self.next = checked.sequence.saturating_add(1);
        self.events += 1;
        self.leaf(checked.leaf);
        self.unjudged |= checked.unjudged;
        self.judge_time(checked);
        for failure in &checked.failures {
            self.fail(failure.clone());
        }
        for what in &checked.skipped {
            self.skip(what, Some(checked.sequence));
        }
    }

    /// Bounds when the event was sequenced, which no hash binds: not after its batch was anchored.
    fn judge_time(&mut self, checked: &Checked) {
        let at = checked.sequenced_at;
        let anchored = self.unit.anchoring.at;
        if let Some((code, what)) = anchored.and_then(|anchored| anchored.sequenced_later(at)) {
            let failure = Failure::new(code.as_str(), what);
            self.fail(failure.at(checked.sequence, Some(checked.event_id)));
        }
        if self.last_sequenced.is_some_and(|last| at < last) {
            self.skip(
                "sequenced_at: it is said to be sequenced before the number before it",
                Some(checked.sequence),
            );
        }
        self.last_sequenced = Some(at);
    }

    /// Compares the root with all that is known of it.
    fn finish(mut self, plan: &Plan, notes: &Notes) -> UnitReport {
        let held = &plan.outline.streams[self.unit.stream];
        if !self.unit.passed_over {
            self.missing_before(self.unit.held.1.saturating_add(1), held, notes);
        }
        for (sequence, what) in notes.of(&held.stream, self.unit.start, self.unit.end) {
            self.unreadable = true;
            self.fail(Failure::new(code::UNREADABLE, what).at(sequence, None));
        }
        let root = self.root();
        self.judge_commitments(root, held);
        self.judge_anchors(root, plan);
        let notes = std::mem::take(&mut self.unit.notes);
        for what in notes.into_iter().chain(self.unit.refused.clone()) {
            self.skip(&what, None);
        }
        let verdict = self.verdict(root);
        self.report(verdict, root, held)
    }

    /// The root of a batch of which everything is there.
    fn root(&mut self) -> Option<Hash32> {
        let whole = self.missing == 0
            && !self.unreadable
            && self.events == self.unit.held_width()
            && self.unit.refused.is_none();
        self.roots.extend(&self.leaves);
        let root = match self.unit.partial.take() {
            Some(partial) => {
                self.skip(PARTIAL, None);
                // That the events are all there is seen above.
                partial.finish().ok()
            }
            None => self.roots.root(),
        };
        root.filter(|_| whole && self.unit.kind == UnitKind::Batch)
    }

    fn verdict(&self, root: Option<Hash32>) -> Verdict {
        let mut matching = (self.unit.anchored.iter())
            .filter(|anchored| Some(anchored.events_root) == root)
            .peekable();
        if self.failure_count > 0 {
            Verdict::Failed
        } else if self.unit.refused.is_some() || self.unit.kind == UnitKind::Unbatched || self.unjudged {
            Verdict::NotChecked
        } else if matching.peek().is_some() {
            match matching.any(|anchored| anchored.trusted && !anchored.contested) {
                true => Verdict::Proven,
                false => Verdict::MatchesAnchors,
            }
        } else if root.is_some() && !self.unit.commitments.is_empty() {
            Verdict::MatchesDatabase
        } else {
            Verdict::NotChecked
        }
    }

    fn report(self, verdict: Verdict, root: Option<Hash32>, held: &StreamOutline) -> UnitReport {
        let unit = self.unit;
        let committed = unit.commitments.iter().map(|at| held.commitments[*at].batch_id);
        let mut batch_ids: Vec<_> = committed
            .chain(unit.anchored.iter().map(|a| a.batch_id))
            .collect();
        batch_ids.sort_unstable();
        batch_ids.dedup();
        let anchors = unit.anchored.into_iter().flat_map(|a| a.refs);
        let skipped = self.skipped.into_iter();
        UnitReport {
            unit: unit.index,
            kind: unit.kind,
            stream: held.stream,
            sequence_start: unit.start,
            sequence_end: unit.end,
            part: (unit.held != (unit.start, unit.end)).then_some(unit.held),
            verdict,
            batch_ids,
            committed: !unit.commitments.is_empty(),
            events: self.events,
            missing: self.missing,
            root,
            anchors: anchors.chain(unit.failed_anchors).collect(),
            failure_count: self.failure_count,
            failures: self.failures,
            not_checked: skipped
                .map(|(what, (count, sequences))| Skipped {
                    what,
                    count,
                    sequences,
                })
                .collect(),
        }
    }
}

/// Rows that cannot be read and say where they would be. Where they stand says little: they must not move the pass.
#[derive(Default)]
struct Notes(BTreeMap<(StreamKey, u64), String>);

impl Notes {
    /// The numbers from here to before there.
    fn between(&self, stream: &StreamKey, from: u64, until: u64) -> Vec<u64> {
        if from >= until {
            return Vec::new();
        }
        let range = self.0.range((*stream, from)..(*stream, until));
        range.map(|((_, sequence), _)| *sequence).collect()
    }

    /// What is noted in a range, both ends included.
    fn of(&self, stream: &StreamKey, start: u64, end: u64) -> Vec<(u64, String)> {
        let range = self.0.range((*stream, start)..=(*stream, end));
        range
            .map(|((_, sequence), what)| (*sequence, what.clone()))
            .collect()
    }
}

/// Where the pass is.
pub(super) struct Fold<'a> {
    plan: &'a Plan,
    /// Units not begun yet, the next one last.
    waiting: Vec<Unit>,
    active: Vec<Progressing>,
    done: Vec<UnitReport>,
    notes: Notes,
    problems: Vec<Failure>,
    more_problems: u64,
    /// The trees of the streams that checkpoints bind.
    pub walks: Walks<'a>,
}

impl<'a> Fold<'a> {
    pub fn new(plan: &'a Plan, mut units: Vec<Unit>) -> Self {
        units.reverse();
        Self {
            plan,
            waiting: units,
            active: Vec::new(),
            done: Vec::new(),
            notes: Notes::default(),
            problems: Vec::new(),
            more_problems: 0,
            walks: Walks::new(),
        }
    }

    /// Takes the next rows.
    pub fn rows(&mut self, rows: Vec<Result<Checked, RowError>>) {
        for row in rows {
            match row {
                Ok(checked) => self.event(&checked),
                Err(row) => self.unreadable(&row),
            }
        }
    }

    /// Begins and ends units, so that those that hold this place are active.
    fn advance(&mut self, stream: &StreamKey, sequence: u64) {
        let plan = self.plan;
        let place = |unit: &Unit| (plan.outline.streams[unit.stream].stream, unit.start);
        let here = (*stream, sequence);
        let mut at = 0;
        while at < self.active.len() {
            let unit = &self.active[at].unit;
            if (place(unit).0, unit.end) < here {
                let done = self.active.remove(at);
                self.done.push(done.finish(plan, &self.notes));
            } else {
                at += 1;
            }
        }
        while let Some(unit) = self.waiting.pop_if(|unit| place(unit) <= here) {
            let begun = Progressing::new(unit);
            if begun.unit.passed_over || (place(&begun.unit).0, begun.unit.end) < here {
                self.done.push(begun.finish(plan, &self.notes));
            } else {
                self.active.push(begun);
            }
        }
    }

    fn event(&mut self, checked: &Checked) {
        self.advance(&checked.stream, checked.sequence);
        if !self.walks.is_empty()
            && let Some(walk) = self.walks.get_mut(&checked.stream)
        {
            walk.leaf(checked.sequence, checked.leaf);
        }
        for active in &mut self.active {
            let held = &self.plan.outline.streams[active.unit.stream];
            if held.stream != checked.stream || checked.sequence < active.unit.start {
                continue;
            }
            if checked.sequence < active.next {
                // A table without its constraint may give a number twice.
                let what = format!("number {} is there twice", checked.sequence);
                active.unreadable = true;
                active.fail(Failure::new(code::UNREADABLE, what).at(checked.sequence, None));
                continue;
            }
            active.event(checked, held, &self.notes);
        }
    }

    fn unreadable(&mut self, row: &RowError) {
        match row.stream.zip(row.sequence) {
            Some(place) if self.notes.0.len() < MAX_PROBLEMS => {
                self.notes.0.insert(place, row.to_string());
            }
            _ => self.problem(row.to_string()),
        }
    }

    fn problem(&mut self, what: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Failure::new(code::UNREADABLE, what));
        } else {
            self.more_problems += 1;
        }
    }

    /// The reports of all units, in the order of the plan, and what has no place in them.
    pub fn finish(mut self) -> (Vec<UnitReport>, Vec<Failure>) {
        let plan = self.plan;
        let rest = std::mem::take(&mut self.waiting)
            .into_iter()
            .map(Progressing::new);
        for unit in std::mem::take(&mut self.active).into_iter().chain(rest) {
            self.done.push(unit.finish(plan, &self.notes));
        }
        // A row whose place is in no unit at all; one in another shard's unit is that shard's.
        let notes = std::mem::take(&mut self.notes);
        for ((stream, sequence), what) in notes.0 {
            let holds = |unit: &Unit| {
                plan.outline.streams[unit.stream].stream == stream
                    && (unit.start..=unit.end).contains(&sequence)
            };
            if !plan.units.iter().any(holds) {
                self.problem(what);
            }
        }
        self.done.sort_by_key(|unit| unit.unit);
        if self.more_problems > 0 {
            let what = format!("{} more rows cannot be read", self.more_problems);
            self.problems.push(Failure::new(code::UNREADABLE, what));
        }
        (self.done, self.problems)
    }
}
