//! One look at the log: what is new is judged, what is remembered must still stand.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cli_common::{Cancel, DbTarget};
use event_log::{Place, StreamFilter, StreamHead, View};
use ves::span::Span;
use ves::{KeyRegistry, SequencerKeys, StreamKey};

use super::alarms::{Alarm, AlarmSource, Alarms, Changes, Scope};
use super::anchored::AnchoredStreams;
use super::jobs::JobOutcome;
use super::kept_log::KeptLog;
use super::memory::Memory;
use super::rewound::{changed, counter, rewound};
use super::scrub::{self, Pace};
use super::uncommitted::Uncommitted;
use crate::error::RecoveryError;
use crate::finding::{Code, Finding, Remedy};
use crate::gap::{self, Gap, GapKind};
use crate::log_identity::{Kinship, LogIdentity};
use crate::roots::leaf_at;
use crate::stream::raised::Raised;
use crate::stream::window::{Window, WindowInput, by_leaves, window};
use crate::watch_memory::Remembered;

/// So many new rows of a stream are judged in one look; the rest in the next one.
const MOST_NEW_ROWS: u64 = 20_000;
/// So many streams that have not grown are looked at again in one look: for new commitments, and for what is open of them.
const MOST_REVISITS: usize = 20;
/// So many places of a stream that something was wrong at are read again in one look.
const MOST_PLACES: usize = 4;
/// A range is read again as a whole, if it is no longer than this.
const MOST_AGAIN: u64 = 20_000;
/// Keys are read again after this, and whenever a signature does not hold.
const KEYS_EVERY: Duration = Duration::from_secs(600);

/// What to watch, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which streams.
    pub filter: StreamFilter,
    /// The sequencer's public keys.
    pub sequencer_keys: SequencerKeys,
    /// How often every stream is looked through for missing numbers.
    pub holes_every: Duration,
    /// In which time every event is read again; without one, all of them at the first look.
    pub scrub: Option<Duration>,
    /// And no faster than so many rows a second.
    pub scrub_rate: Option<f64>,
    /// Whether what is remembered is given up for what the log is now: a loss was decided, or it is another log.
    pub adopt: bool,
}

/// What a look came to.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// What changed.
    pub changes: Changes,
    /// Rows of events that were read.
    pub rows: u64,
    /// New rows among them.
    pub new_rows: u64,
    /// Where it was looked.
    pub place: Option<Place>,
    /// More new rows wait: look again at once.
    pub more: bool,
    /// How long it took.
    pub took: Duration,
}

/// What is counted from the beginning of the run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counted {
    /// Looks that succeeded.
    pub looks: u64,
    /// Looks that failed.
    pub failed: u64,
    /// Rows of events that were read.
    pub rows: u64,
    /// New rows among them.
    pub new_rows: u64,
    /// Rows that were read again by the pass over old ones.
    pub scrubbed: u64,
    /// Seconds that looks took.
    pub seconds: f64,
    /// Times that the memory could not be written down.
    pub unsaved: u64,
}

/// See [`super`].
pub struct Watch {
    options: Options,
    /// What is remembered.
    pub memory: Memory,
    /// Which problems are open.
    pub alarms: Alarms,
    /// What anchors say.
    pub anchored: AnchoredStreams,
    /// What was counted.
    pub counted: Counted,
    /// Each stream as the last look saw it.
    pub heads: BTreeMap<StreamKey, StreamHead>,
    /// Missing numbers, by stream.
    pub missing: BTreeMap<StreamKey, u64>,
    /// Whether what is remembered is written down.
    pub written: bool,
    keys: Option<(Duration, KeyRegistry)>,
    pace: Pace,
    holes_at: Option<Duration>,
    /// What changed in a look that failed later.
    untold: Changes,
    /// Where the round of revisits goes on.
    revisit: Option<StreamKey>,
    uncommitted: Uncommitted,
    adopt: bool,
}

/// A part of a stream that is read.
#[derive(Clone, Copy)]
struct Part {
    span: Span,
    /// Commitments that end behind this number are judged.
    committed: u64,
}

impl Part {
    /// Without any commitment: those are looked at when the rows are known.
    fn rows(span: Span) -> Self {
        Self {
            span,
            committed: u64::MAX,
        }
    }

    /// With every commitment that ends in it.
    fn whole(span: Span) -> Self {
        Self {
            span,
            committed: span.start() - 1,
        }
    }
}

/// What one look needs throughout.
struct At<'a> {
    now: Duration,
    /// The time of the host: RFC 3339, UTC.
    clock: &'a str,
    cancel: &'a Cancel,
}

impl Watch {
    /// Goes on from what is remembered.
    pub fn new(options: Options, memory: Memory, alarms: Vec<Alarm>, anchored: AnchoredStreams) -> Self {
        Self {
            pace: Pace::new(options.scrub, options.scrub_rate),
            adopt: options.adopt,
            options,
            memory,
            alarms: Alarms::of(alarms),
            anchored,
            counted: Counted::default(),
            heads: BTreeMap::new(),
            missing: BTreeMap::new(),
            written: true,
            keys: None,
            holes_at: None,
            untold: Changes::default(),
            revisit: None,
            uncommitted: Uncommitted::default(),
        }
    }

    /// Looks once. `now` is any clock that does not go backwards, `clock` the time of the host for people.
    ///
    /// # Errors
    /// The log cannot be read, or not to the end: what was judged until then stands, and is told by the next look. That what is remembered cannot be written down is no error
    /// of the look, see [`Watch::save`].
    pub async fn look(
        &mut self,
        log: &mut KeptLog,
        now: Duration,
        clock: &str,
        cancel: &Cancel,
    ) -> Result<Look, RecoveryError> {
        let begun = Instant::now();
        let at = At { now, clock, cancel };
        let mut look = Look {
            changes: std::mem::take(&mut self.untold),
            ..Look::default()
        };
        let looked = match log.view().await {
            Ok(mut view) => match self.look_at(&mut view, log.target(), &at, &mut look).await {
                Ok(()) => {
                    log.rest(view).await;
                    Ok(())
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        if let Err(error) = looked {
            // What was settled before the log went away is told by the next look.
            self.untold = look.changes;
            return Err(error);
        }
        look.took = begun.elapsed();
        let counted = &mut self.counted;
        counted.looks += 1;
        counted.rows += look.rows;
        counted.new_rows += look.new_rows;
        counted.seconds += look.took.as_secs_f64();
        Ok(look)
    }

    async fn look_at(
        &mut self,
        view: &mut View,
        target: &DbTarget,
        at: &At<'_>,
        look: &mut Look,
    ) -> Result<(), RecoveryError> {
        let identity = LogIdentity::at(view.place(), target)?;
        let moved = match &self.memory.log {
            Some(known) => known.kinship(&identity),
            None => Kinship::Same,
        };
        if moved == Kinship::Other && !self.adopt {
            let known = self
                .memory
                .log
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            let message = format!(
                "what is remembered is of {known}, and this is {identity}: nothing was compared; if it is the production \
                 now, start again with --adopt"
            );
            let finding = Finding::new(Code::HistoryRewound, message);
            let changes = self
                .alarms
                .settle(&Scope::all(AlarmSource::Log), vec![finding], at.clock);
            look.changes.extend(changes);
            return Ok(());
        }
        if moved == Kinship::OtherTimeline {
            tracing::warn!("the log is on another timeline than at the last look: {identity}");
        }
        let heads = view.heads(&self.options.filter).await?;
        let unreadable = heads.unreadable.iter();
        let unreadable = unreadable.map(|e| Finding::new(Code::EventUnreadable, e.to_string()));
        let settled = self
            .alarms
            .settle(&Scope::all(AlarmSource::Log), unreadable.collect(), at.clock);
        look.changes.extend(settled);
        look.place = Some(view.place().clone());
        self.heads = heads.rows.into_iter().map(|head| (head.stream, head)).collect();
        if self.adopt {
            self.give_up(moved);
        }
        // Another timeline: whatever has not grown may be another, too.
        let all = moved == Kinship::OtherTimeline || self.adopt;
        let mut rewound_anywhere = false;
        let streams: Vec<StreamKey> = self.streams();
        for stream in &streams {
            at.cancel.check()?;
            rewound_anywhere |= self.one(view, stream, all, at, look).await?;
        }
        self.revisit(view, at, look).await?;
        if self
            .holes_at
            .is_none_or(|last| at.now >= last + self.options.holes_every)
        {
            self.holes(view, &self.options.filter.clone(), at, look).await?;
            self.holes_at = Some(at.now);
        }
        self.scrub(view, at, look).await?;
        if !rewound_anywhere {
            self.memory.log = Some(identity);
        }
        self.adopt = false;
        Ok(())
    }

    /// Every stream that is remembered or there.
    fn streams(&self) -> Vec<StreamKey> {
        let remembered = self.memory.streams.keys().copied();
        let mut all: Vec<StreamKey> = remembered
            .chain(self.anchored.streams())
            .filter(|stream| self.options.filter.admits(stream))
            .chain(self.heads.keys().copied())
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// What is remembered is forgotten where the log is less: the operator said that this is right.
    fn give_up(&mut self, moved: Kinship) {
        for stream in self.streams() {
            let is = self.heads.get(&stream);
            let of = self.memory.stream(&stream);
            let is_less = rewound(&stream, of, is).is_some();
            if is_less || moved != Kinship::Same {
                *of = Remembered::default();
            }
        }
    }

    /// One stream: beside what is remembered, then what is new of it. Says whether it was rewound.
    async fn one(
        &mut self,
        view: &mut View,
        stream: &StreamKey,
        all: bool,
        at: &At<'_>,
        look: &mut Look,
    ) -> Result<bool, RecoveryError> {
        let head = self.heads.get(stream).copied();
        // Others may have spoken of a stream that no look has seen yet.
        let seen = |was: &Remembered| !was.seen_at.is_empty();
        let mut was = self.memory.streams.get(stream).cloned().filter(seen);
        let mut found: Vec<Finding> = Vec::new();
        if let Some(head) = &head {
            let ahead = head.counter > head.last;
            let raised = ahead && Raised::of(view, stream, head.counter).await?.is_some();
            found.extend(counter(head, raised));
        }
        let back = was.as_ref().and_then(|was| rewound(stream, was, head.as_ref()));
        let last = head.and_then(|head| head.last).unwrap_or(0);
        let mut other = None;
        // What has grown is compared on the way; what has not is asked for where there is reason to doubt it.
        let in_doubt = all || self.alarms.open().any(|alarm| is_changed(alarm, stream));
        let known = was.as_ref().filter(|was| was.checked > 0 && last >= was.checked);
        if let Some(known) = known.filter(|_| in_doubt) {
            other = changed(stream, known, leaf_at(view, stream, known.checked).await?);
            look.rows += 1;
        }
        if self.adopt && other.take().is_some() {
            self.memory.streams.remove(stream);
            was = None;
        }
        let mut is_rewound = back.is_some() || other.is_some();
        found.extend(back);
        if !is_rewound && was.as_ref().is_none_or(|was| last > was.checked) && last > 0 {
            other = self.new_rows(view, stream, was.as_ref(), at, look).await?;
            is_rewound |= other.is_some();
        }
        found.extend(other);
        if is_rewound {
            self.uncommitted.forget(stream);
        }
        if !is_rewound && let Some(head) = &head {
            let clock = at.clock.to_owned();
            let of = self.memory.stream(stream);
            of.head = last;
            of.counter = head.counter.unwrap_or(0);
            of.heard_of(of.head.max(of.counter), "the log");
            of.seen_at = clock;
        }
        let changes = self
            .alarms
            .settle(&Scope::stream(AlarmSource::Heads, *stream), found, at.clock);
        look.changes.extend(changes);
        let beyond = self.anchored.tail(stream, last).into_iter().collect();
        let changes = self.alarms.settle(
            &Scope::stream(AlarmSource::AnchoredTail, *stream),
            beyond,
            at.clock,
        );
        look.changes.extend(changes);
        Ok(is_rewound)
    }

    /// Judges what is behind the last row that was judged; gives what speaks against that one.
    async fn new_rows(
        &mut self,
        view: &mut View,
        stream: &StreamKey,
        was: Option<&Remembered>,
        at: &At<'_>,
        look: &mut Look,
    ) -> Result<Option<Finding>, RecoveryError> {
        let last = self.heads.get(stream).and_then(|head| head.last).unwrap_or(0);
        let Some(was) = was else {
            // Seen for the first time: what is there already is for the pass over old rows.
            let leaf = leaf_at(view, stream, last).await?;
            let newest = view.commitments_from(stream, u64::MAX, 1).await?.rows;
            let of = self.memory.stream(stream);
            (of.checked, of.leaf) = (last, leaf);
            of.committed = newest.last().map_or(0, |c| c.sequence_end);
            look.rows += 1;
            return Ok(None);
        };
        let from = was.checked.max(1);
        let to = last.min(was.checked.saturating_add(MOST_NEW_ROWS));
        let Some(span) = Span::new(from, to) else {
            return Ok(None);
        };
        let read = self.window(view, stream, Part::rows(span), at, look).await?;
        if was.checked > 0
            && let Some(other) = changed(stream, was, read.first_leaf)
        {
            return Ok(Some(other));
        }
        look.new_rows += (to - was.checked).min(read.rows);
        look.more |= read.span.end() < last;
        if read.has_holes {
            self.holes(view, &StreamFilter::from(stream), at, look).await?;
        }
        let of = self.memory.stream(stream);
        of.checked = read.span.end();
        of.leaf = read.last_leaf;
        let mut leaves = read.leaves;
        let leaves = leaves.split_off(&of.committed.saturating_add(1));
        self.uncommitted.keep(stream, leaves);
        self.new_commitments(view, stream, at, look).await?;
        Ok(None)
    }

    /// Reads a part of a stream and settles what is wrong in it; with newer keys, if those that are known do not do.
    async fn window(
        &mut self,
        view: &mut View,
        stream: &StreamKey,
        part: Part,
        at: &At<'_>,
        look: &mut Look,
    ) -> Result<Window, RecoveryError> {
        let mut read = self.read(view, stream, part, at).await?;
        look.rows += read.rows;
        let fresh = self.keys.as_ref().is_some_and(|(read_at, _)| *read_at == at.now);
        if read.doubts_keys && !fresh {
            self.keys = None;
            read = self.read(view, stream, part, at).await?;
            look.rows += read.rows;
        }
        let scope = Scope {
            span: Some(read.span),
            ..Scope::stream(AlarmSource::Rows, *stream)
        };
        let found = std::mem::take(&mut read.findings);
        look.changes.extend(self.alarms.settle(&scope, found, at.clock));
        Ok(read)
    }

    async fn read(
        &mut self,
        view: &mut View,
        stream: &StreamKey,
        part: Part,
        at: &At<'_>,
    ) -> Result<Window, RecoveryError> {
        let due = |read_at: &Duration| at.now >= *read_at + KEYS_EVERY;
        if self.keys.as_ref().is_none_or(|(read_at, _)| due(read_at)) {
            let keys = view.log_keys(self.options.filter.tenant).await?.registry();
            self.keys = Some((at.now, keys));
        }
        let none = KeyRegistry::default();
        let input = WindowInput {
            keys: self.keys.as_ref().map_or(&none, |(_, keys)| keys),
            sequencer_keys: &self.options.sequencer_keys,
            anchored: self.anchored.of(stream),
            chain_id: self.anchored.chain_id,
            cancel: at.cancel,
        };
        window(view, stream, part.span, part.committed, &input).await
    }

    /// Streams that have not grown, a few at a time: commitments that came later, anchors, and what is open of them.
    async fn revisit(&mut self, view: &mut View, at: &At<'_>, look: &mut Look) -> Result<(), RecoveryError> {
        let after = self.revisit.take();
        let known = self.memory.streams.keys().copied();
        let mut round: Vec<StreamKey> = known.filter(|s| self.options.filter.admits(s)).collect();
        let begin = after.map_or(0, |after| round.partition_point(|stream| *stream <= after));
        round.rotate_left(begin);
        let mut visited = 0;
        for stream in round {
            at.cancel.check()?;
            let open = self.open_spans(&stream);
            let due = self.anchored.due(&stream, &self.memory.streams[&stream]);
            let of = &self.memory.streams[&stream];
            let uncommitted = of.checked > of.committed;
            if open.is_empty() && due.is_none() && !uncommitted {
                continue;
            }
            self.revisit = Some(stream);
            if uncommitted {
                self.new_commitments(view, &stream, at, look).await?;
            }
            for span in open.into_iter().chain(due) {
                self.window(view, &stream, Part::whole(span), at, look).await?;
            }
            if let Some(due) = due {
                let of = self.memory.stream(&stream);
                of.anchored = of.anchored.max(due.end());
                of.heard_of(due.end(), "an anchor");
            }
            visited += 1;
            if visited >= MOST_REVISITS {
                break;
            }
        }
        Ok(())
    }

    /// Where rows of a stream have something wrong that may have been put right: a few of those places, others at each look.
    fn open_spans(&self, stream: &StreamKey) -> Vec<Span> {
        let of_rows =
            |alarm: &&Alarm| alarm.source == AlarmSource::Rows && alarm.finding.stream == Some(*stream);
        let spans = self.alarms.open().filter(of_rows).filter_map(|alarm| {
            let span = Span::new(alarm.finding.from?, alarm.finding.to?)?;
            (span.count() <= MOST_AGAIN).then_some(span)
        });
        let mut spans: Vec<Span> = spans.collect();
        if !spans.is_empty() {
            let turn = self.counted.looks as usize % spans.len();
            spans.rotate_left(turn);
        }
        spans.truncate(MOST_PLACES);
        spans
    }

    /// Commitments of rows that were judged. Where a batch is not right by the leaves that its rows had then, they are read again.
    async fn new_commitments(
        &mut self,
        view: &mut View,
        stream: &StreamKey,
        at: &At<'_>,
        look: &mut Look,
    ) -> Result<(), RecoveryError> {
        let (committed, checked) = {
            let of = &self.memory.streams[stream];
            (of.committed, of.checked)
        };
        let uncommitted = &self.uncommitted;
        let root = |range| uncommitted.root(stream, range);
        let found = by_leaves(view, stream, committed, checked, root).await?;
        look.more |= found.more;
        let mut to = found.committed;
        if let Some(end) = found.to_be_read {
            let part = Part {
                span: Span::at(end),
                committed: to,
            };
            let read = self.window(view, stream, part, at, look).await?;
            to = to.max(read.committed.unwrap_or(end));
        }
        if to > committed {
            self.memory.stream(stream).committed = to;
            self.uncommitted.committed(stream, to);
        }
        Ok(())
    }

    /// Which numbers are missing.
    async fn holes(
        &mut self,
        view: &mut View,
        filter: &StreamFilter,
        at: &At<'_>,
        look: &mut Look,
    ) -> Result<(), RecoveryError> {
        let present = view.presence(filter).await?;
        for of in present.rows {
            let head = of.ranges.last().map_or(0, |range| *range.end());
            let gaps = gap::gaps(&of.ranges, head);
            self.missing.insert(of.stream, gaps.iter().map(Gap::count).sum());
            let found = gaps.iter().map(|gap| missing(&of.stream, gap)).collect();
            let scope = Scope::stream(AlarmSource::Holes, of.stream);
            look.changes.extend(self.alarms.settle(&scope, found, at.clock));
        }
        Ok(())
    }

    async fn scrub(&mut self, view: &mut View, at: &At<'_>, look: &mut Look) -> Result<(), RecoveryError> {
        let filter = self.options.filter;
        let (_, total) = self.scrubbed();
        let mut rows = self.pace.rows(at.now, total);
        while let Some((stream, span)) = scrub::next(&self.memory, &filter, rows) {
            at.cancel.check()?;
            let read = self.window(view, &stream, Part::whole(span), at, look).await?;
            if read.has_holes {
                self.holes(view, &StreamFilter::from(&stream), at, look).await?;
            }
            let spent = read.span.count();
            self.pace.spend(spent);
            self.counted.scrubbed += read.rows;
            scrub::done(&mut self.memory, &filter, (stream, read.span), at.clock);
            rows = rows.saturating_sub(spent);
            if self.memory.scrub.stream.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Takes what a thread of its own found.
    pub fn take(&mut self, outcome: JobOutcome, clock: &str) -> Changes {
        for (stream, number, who) in &outcome.heard {
            self.memory.stream(stream).heard_of(*number, who);
        }
        let Some(found) = outcome.found else {
            return Changes::default();
        };
        if let Some(anchored) = outcome.anchored {
            self.anchored = anchored;
        }
        self.alarms.settle(&Scope::all(outcome.source), found, clock)
    }

    /// How much of the pass over old rows is done: events behind it, of all that are watched.
    pub fn scrubbed(&self) -> (u64, u64) {
        scrub::progress(&self.memory, &self.options.filter)
    }

    /// Writes down what is remembered.
    ///
    /// # Errors
    /// The disk fails, or is full: it is still in memory, and written by the next save that works.
    pub fn save(&mut self) -> Result<(), RecoveryError> {
        let saved = self.memory.save(self.alarms.open());
        self.written = saved.is_ok();
        if saved.is_err() {
            self.counted.unsaved += 1;
        }
        saved
    }
}

fn is_changed(alarm: &Alarm, stream: &StreamKey) -> bool {
    alarm.finding.code == Code::HistoryRewound && alarm.finding.stream == Some(*stream)
}

fn missing(stream: &StreamKey, gap: &Gap) -> Finding {
    let code = match gap.kind {
        GapKind::Leading => Code::GapLeading,
        GapKind::Interior => Code::GapInterior,
        GapKind::Tail => Code::GapTail,
    };
    let message = format!("{} event(s) are missing", gap.count());
    let finding = Finding::new(code, message).stream(*stream);
    finding.range(gap.from, gap.to).remedy(Remedy::Plan)
}
