//! The pass over the events: each checked by itself on any thread, then folded in order into the batches it is in.

mod compare;

use std::collections::BTreeMap;

use event_log::{LogEntry, RowError, StreamOutline};
use ves::merkle::RootBuilder;
use ves::{EventId, Hash32, StreamKey, Timestamp};

use crate::pass::JudgedEvents;
use crate::rules::{EventVerdict, Unchecked};
use crate::sweep::{Reach, Sweep};
use crate::verify::code;
use crate::verify::plan::{Plan, Unit};
use crate::verify::report::{Failure, Skipped, UnitKind, UnitReport, Verdict};
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

/// An event, as far as its batch needs it.
pub(super) struct Event {
    stream: StreamKey,
    sequence: u64,
    event_id: EventId,
    sequenced_at: Timestamp,
}

impl Event {
    pub(super) fn of(entry: LogEntry) -> Self {
        let LogEntry {
            event,
            sequence_number,
            sequenced_at,
            ..
        } = entry;
        Self {
            stream: event.stream,
            sequence: sequence_number,
            event_id: event.event_id,
            sequenced_at,
        }
    }
}

/// A unit as far as the pass has come.
struct Progressing {
    stream: StreamKey,
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
    fn new(unit: Unit, plan: &Plan) -> Self {
        Self {
            stream: plan.outline.streams[unit.stream].stream,
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

    fn event(&mut self, event: &Event, verdict: &EventVerdict, held: &StreamOutline, notes: &Notes) {
        self.missing_before(event.sequence, held, notes);
        self.next = event.sequence.saturating_add(1);
        self.events += 1;
        self.leaf(verdict.leaf);
        self.judge_time(event);
        for fault in &verdict.faults {
            let failure = Failure::new(fault.code().as_str(), fault.to_string());
            self.fail(failure.at(event.sequence, Some(event.event_id)));
        }
        for unchecked in &verdict.unchecked {
            self.unjudged |= matches!(unchecked, Unchecked::Key(_));
            self.skip(&unchecked.words(), Some(event.sequence));
        }
    }

    /// Bounds when the event was sequenced, which no hash binds: not after its batch was anchored.
    fn judge_time(&mut self, event: &Event) {
        let at = event.sequenced_at;
        let anchored = self.unit.anchoring.at;
        if let Some((code, what)) = anchored.and_then(|anchored| anchored.sequenced_later(at)) {
            let failure = Failure::new(code.as_str(), what);
            self.fail(failure.at(event.sequence, Some(event.event_id)));
        }
        if self.last_sequenced.is_some_and(|last| at < last) {
            self.skip(
                "sequenced_at: it is said to be sequenced before the number before it",
                Some(event.sequence),
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

impl Reach for Progressing {
    type Place = (StreamKey, u64);

    fn reach(&self) -> (Self::Place, Self::Place) {
        ((self.stream, self.unit.start), (self.stream, self.unit.end))
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
    units: Sweep<Progressing>,
    /// Units whose events are not looked at.
    passed_over: Vec<Progressing>,
    done: Vec<UnitReport>,
    notes: Notes,
    problems: Vec<Failure>,
    more_problems: u64,
    /// The trees of the streams that checkpoints bind.
    pub walks: Walks<'a>,
}

impl<'a> Fold<'a> {
    pub fn new(plan: &'a Plan, units: Vec<Unit>) -> Self {
        let units = units.into_iter().map(|unit| Progressing::new(unit, plan));
        let (passed_over, units) = units.partition(|begun| begun.unit.passed_over);
        Self {
            plan,
            units: Sweep::new(units),
            passed_over,
            done: Vec::new(),
            notes: Notes::default(),
            problems: Vec::new(),
            more_problems: 0,
            walks: Walks::new(),
        }
    }

    /// Takes the next rows.
    pub fn rows(&mut self, rows: JudgedEvents<Event>) {
        for row in rows {
            match row {
                Ok((event, verdict)) => self.event(&event, &verdict),
                Err(row) => self.unreadable(&row),
            }
        }
    }

    fn event(&mut self, event: &Event, verdict: &EventVerdict) {
        let Self {
            plan, done, notes, ..
        } = self;
        let here = (event.stream, event.sequence);
        let mut end = |unit: Progressing| done.push(unit.finish(plan, notes));
        self.units.advance(&here, &mut end);
        if !self.walks.is_empty()
            && let Some(walk) = self.walks.get_mut(&event.stream)
        {
            walk.leaf(event.sequence, verdict.leaf);
        }
        for active in self.units.active() {
            if event.sequence < active.next {
                // A table without its constraint may give a number twice.
                let what = format!("number {} is there twice", event.sequence);
                active.unreadable = true;
                active.fail(Failure::new(code::UNREADABLE, what).at(event.sequence, None));
                continue;
            }
            let held = &self.plan.outline.streams[active.unit.stream];
            active.event(event, verdict, held, &self.notes);
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
        let notes = std::mem::take(&mut self.notes);
        let units = std::mem::take(&mut self.units).finish();
        let rest = units.chain(std::mem::take(&mut self.passed_over));
        self.done.extend(rest.map(|unit| unit.finish(plan, &notes)));
        // A row whose place is in no unit at all; one in another shard's unit is that shard's.
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
