//! Handing events over to the sequencer, once, each agent's in their order.
//!
//! Events go out grouped by agent and stream, in the order in which they come (an agent's local order), within the
//! sequencer's limits. The sequencer keeps each event id once and answers a repeated one with its receipt, so
//! whatever was interrupted is simply sent again. Every answer is matched by event id, from receipts and rejections,
//! never by counting up. Until each event of a request is answered, nothing later of its agent and stream goes out: an
//! answer that is incomplete or not of this request is refused, and the request sent again; if that does not help, what
//! is left of that agent and stream is held back. What is about to be sent is noted before ([`Evidence`]), receipts are
//! checked and saved before anything else is sent; a later run skips what they cover and asks again for what was never
//! answered. A request that the sequencer fails on is split until the event that it fails on stands alone and is set
//! aside.

mod answer;
mod evidence;
mod http;
mod journal;
mod report;
mod request;
mod standing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cli_common::{Cancel, Progress};
use ves::{AgentId, Event, EventId, Hash32, SequencerKeys, StreamKey};

use answer::Sent;
pub use answer::{Understood, advice, understand};
pub use evidence::Evidence;
pub use http::{ApiKey, HttpTransport, ingest_url};
use journal::Passed;
use report::note;
pub use report::{GroupCount, HeldBack, MAX_LISTED, Noted, PushError, Pushed, StopCause};
use request::{ENVELOPE, Numbered, RequestOutcome};
pub use standing::{InFlight, PushStanding, SharedStanding};

use crate::wire::WireEvent;

/// Events that wait to be sent take no more than about this.
const MAX_WAITING: usize = 64 << 20;
/// The sequencer fails on one event after the other: then it is not the events.
const MAX_FAILING: u32 = 3;
/// Requests of one agent after the other cannot be settled: then it is not the agents.
const MAX_UNSETTLED: u32 = 3;

/// How to push.
#[derive(Debug, Clone)]
pub struct Options {
    /// Events in a request at most. The sequencer takes 1000.
    pub max_events: usize,
    /// Bytes in a request at most. The sequencer takes 10 MiB.
    pub max_bytes: usize,
    /// Bytes in a payload at most. The sequencer takes 1 MiB.
    pub max_payload: usize,
    /// How often a request is tried.
    pub attempts: u32,
    /// The first pause between two tries; it doubles.
    pub pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// Events in a second at most.
    pub rate: Option<f64>,
    /// Send nothing, only say what would be sent.
    pub dry_run: bool,
    /// Send also what earlier runs went past and later events of the same agent have overtaken.
    pub send_overtaken: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_events: 1000,
            // Some room for what a proxy may add.
            max_bytes: (10 << 20) - (64 << 10),
            max_payload: 1 << 20,
            attempts: 6,
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(60),
            rate: None,
            dry_run: false,
            send_overtaken: false,
        }
    }
}

type GroupKey = (AgentId, StreamKey);

struct Waiting {
    event_id: EventId,
    /// Its place among all events of this run: of one agent and stream, the agent's own order.
    rank: u64,
    place: String,
    signing_hash: Hash32,
    json: String,
}

impl Waiting {
    /// Whether it holds a NUL character, which the sequencer's database cannot.
    fn holds_nul(&self) -> bool {
        self.json.contains("\\u0000")
    }
}

impl Sent for Waiting {
    fn event_id(&self) -> EventId {
        self.event_id
    }

    fn signing_hash(&self) -> &Hash32 {
        &self.signing_hash
    }
}

#[derive(Default)]
struct Group {
    waiting: Vec<Waiting>,
    ids: BTreeSet<EventId>,
    bytes: usize,
}

/// What is known of the events of one agent and stream so far.
struct Track {
    count: GroupCount,
    /// The highest rank that has a receipt of this run.
    receipted_to: u64,
    /// Numbers of events since the last look at their order.
    numbers: Vec<Numbered>,
    /// The highest number that an event of this run got.
    sent_to: u64,
    /// The highest number in receipts of earlier runs.
    covered_to: u64,
    /// The highest number in saved receipts, wherever their events are.
    highest_saved: u64,
    /// The head of the stream, as the last answer gives it.
    head: Option<u64>,
    /// Whether it was said that the log was rewound.
    rewound: bool,
    /// Once a request could not be settled.
    held: Option<HeldBack>,
}

/// A push under way: give it events with [`Push::add`], then [`Push::finish`].
pub struct Push<'a> {
    transport: Arc<HttpTransport>,
    options: Options,
    evidence: Option<Evidence>,
    sequencer_keys: SequencerKeys,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
    groups: BTreeMap<GroupKey, Group>,
    tracks: BTreeMap<GroupKey, Track>,
    waiting_bytes: usize,
    ranks: u64,
    not_before: Instant,
    /// Whether a sequencer answered at this address.
    heard: bool,
    failing: u32,
    unsettled: u32,
    standing: SharedStanding,
    /// What came of it so far.
    pub report: Pushed,
}

impl<'a> Push<'a> {
    /// A push that saves receipts as evidence (a dry run may go without).
    pub fn new(
        transport: Arc<HttpTransport>,
        options: Options,
        evidence: Option<Evidence>,
        sequencer_keys: SequencerKeys,
        progress: &'a dyn Progress,
        cancel: &'a Cancel,
    ) -> Self {
        Self {
            transport,
            options,
            evidence,
            sequencer_keys,
            progress,
            cancel,
            groups: BTreeMap::new(),
            tracks: BTreeMap::new(),
            waiting_bytes: 0,
            ranks: 0,
            not_before: Instant::now(),
            heard: false,
            failing: 0,
            unsettled: 0,
            standing: SharedStanding::default(),
            report: Pushed::default(),
        }
    }

    /// Where it stands, to be asked at any moment.
    pub fn standing(&self) -> SharedStanding {
        self.standing.clone()
    }

    /// Whether an earlier run sent this event and heard no answer: then it is to be asked for again, whatever its outbox
    /// says of it.
    pub fn asks_again(&self, id: &EventId) -> bool {
        self.evidence
            .as_ref()
            .is_some_and(|evidence| evidence.is_open(id))
    }

    /// The next event, in its agent's order; `place` says where it was read.
    ///
    /// # Errors
    /// The push cannot go on. What was not sent can be pushed again.
    pub fn add(&mut self, event: &Event, place: String) -> Result<(), PushError> {
        let key = (event.source_agent_id, event.stream);
        let signing_hash = event.signing_hash();
        self.ranks += 1;
        let rank = self.ranks;
        if let Some(evidence) = &self.evidence {
            if let Some(number) = evidence.covers(event, &signing_hash) {
                let numbered = Numbered {
                    rank,
                    event_id: event.event_id,
                    place,
                    number,
                    covered: true,
                };
                self.receipted_before(key, numbered);
                return Ok(());
            }
            if let Some(passed) = evidence.passed(&event.event_id)
                && passed.overtaken
                && !self.options.send_overtaken
            {
                let why = passed.why.clone();
                self.overtaken(event.event_id, &place, &why);
                return Ok(());
            }
        }
        if let Some(held) = &mut self.track(&key).held {
            held.held_back += 1;
            self.progress.advance(1);
            return Ok(());
        }
        let waiting = match self.prepare(event, &place) {
            Ok(json) => Waiting {
                event_id: event.event_id,
                rank,
                place,
                signing_hash,
                json,
            },
            Err(what) => {
                self.set_aside(event.event_id, &place, what);
                return Ok(());
            }
        };
        self.enqueue(key, waiting)
    }

    fn enqueue(&mut self, key: GroupKey, waiting: Waiting) -> Result<(), PushError> {
        let size = waiting.json.len() + 1;
        let most = self.most_events();
        let full = self.groups.get(&key).is_some_and(|group| {
            group.waiting.len() >= most
                || group.bytes + size > self.options.max_bytes - ENVELOPE
                || group.ids.contains(&waiting.event_id)
        });
        if full && let Err(error) = self.flush(key) {
            self.report.not_sent += 1;
            return Err(error);
        }
        if let Some(held) = &mut self.track(&key).held {
            held.held_back += 1;
            self.progress.advance(1);
            return Ok(());
        }
        let group = self.groups.entry(key).or_default();
        group.bytes += size;
        group.ids.insert(waiting.event_id);
        group.waiting.push(waiting);
        self.waiting_bytes += size;
        self.standing.change(|standing| standing.waiting += 1);
        if self.waiting_bytes > MAX_WAITING {
            let largest = self
                .groups
                .iter()
                .max_by_key(|(_, group)| group.bytes)
                .map(|(key, _)| *key);
            if let Some(key) = largest {
                self.flush(key)?;
            }
        }
        Ok(())
    }

    /// Sends what still waits.
    ///
    /// # Errors
    /// As [`Push::add`].
    pub fn finish(&mut self) -> Result<(), PushError> {
        let keys: Vec<GroupKey> = self.groups.keys().copied().collect();
        for key in keys {
            self.flush(key)?;
        }
        Ok(())
    }

    /// Events that an earlier run or this one sent and that no answer told of: how many, and the first by id.
    pub fn still_open(&self) -> (u64, Option<EventId>) {
        let open = self.evidence.iter().flat_map(Evidence::open_events);
        let ids: BTreeSet<EventId> = open.map(|(id, _)| *id).collect();
        (ids.len() as u64, ids.first().copied())
    }

    /// What came of it, also if it ended early.
    pub fn into_report(mut self) -> Pushed {
        let waiting: usize = self.groups.values().map(|group| group.waiting.len()).sum();
        self.report.not_sent += waiting as u64;
        for track in self.tracks.into_values() {
            if track.count.events > 0 {
                self.report.groups.push(track.count);
            }
            self.report.held.extend(track.held);
        }
        if let Some(evidence) = &mut self.evidence {
            evidence.close();
        }
        self.report
    }

    fn track(&mut self, key: &GroupKey) -> &mut Track {
        self.tracks.entry(*key).or_insert_with(|| Track {
            count: GroupCount {
                agent_id: key.0,
                stream: key.1,
                events: 0,
                bytes: 0,
                requests: 0,
            },
            receipted_to: 0,
            numbers: Vec::new(),
            sent_to: 0,
            covered_to: 0,
            highest_saved: 0,
            head: None,
            rewound: false,
            held: None,
        })
    }

    fn receipted_before(&mut self, key: GroupKey, numbered: Numbered) {
        self.report.receipted_before += 1;
        self.standing.change(|standing| standing.receipted_before += 1);
        self.progress.advance(1);
        let waits = self.groups.contains_key(&key);
        let track = self.track(&key);
        track.highest_saved = track.highest_saved.max(numbered.number);
        track.numbers.push(numbered);
        // What waits comes before these; but not everything is kept for that.
        if !waits || track.numbers.len() > MAX_LISTED {
            self.check_order(&key);
        }
        self.check_head(&key);
    }

    /// A saved receipt above the log's head is of a log that was rewound since: what it covers may be lost.
    fn check_head(&mut self, key: &GroupKey) {
        let track = self.track(key);
        let covered_to = track.highest_saved;
        if let Some(head) = track.head.filter(|head| *head < covered_to)
            && !track.rewound
        {
            track.rewound = true;
            self.report.rewound.push(format!(
                "agent {} in stream {}: a saved receipt gives number {covered_to}, and the log's head is {head}: the log \
                 was rewound since, and what those receipts cover may be lost. Run `outbox-sync reconcile` with --db, and \
                 push with a new file of receipts",
                key.0, key.1
            ));
        }
    }

    /// An event that was gone past and overtaken.
    fn overtaken(&mut self, id: EventId, place: &str, why: &str) {
        self.report.overtaken_count += 1;
        let what = format!("{why}; later events of its agent were sent since");
        note(&mut self.report.overtaken, id, place, what);
        self.progress.advance(1);
    }

    fn out_of_order(&mut self, id: EventId, place: &str, number: u64, before: u64) {
        self.report.out_of_order_count += 1;
        let what = format!("its number is {number}, and an event before it has {before}");
        note(&mut self.report.out_of_order, id, place, what);
    }

    /// Whether numbers rise in the agent's order: of what was sent against all before it, and of what an earlier run sent
    /// against what this one sent before it. (What earlier runs did among themselves they have told.)
    fn check_order(&mut self, key: &GroupKey) {
        let mut numbers = std::mem::take(&mut self.track(key).numbers);
        if self.options.send_overtaken {
            // Whoever asked for it knows.
            return;
        }
        numbers.sort_by_key(|numbered| numbered.rank);
        for numbered in numbers {
            let track = self.track(key);
            let before = if numbered.covered {
                track.covered_to = track.covered_to.max(numbered.number);
                track.sent_to
            } else {
                let before = track.sent_to.max(track.covered_to);
                track.sent_to = track.sent_to.max(numbered.number);
                before
            };
            if numbered.number < before {
                self.out_of_order(numbered.event_id, &numbered.place, numbered.number, before);
            }
        }
    }

    /// With a rate limit, no more than a second's events go at once.
    fn most_events(&self) -> usize {
        let by_rate = self
            .options
            .rate
            .map_or(usize::MAX, |rate| rate.max(1.0) as usize);
        self.options.max_events.min(by_rate).max(1)
    }

    /// Its JSON; an error in words if no request can hold it.
    fn prepare(&self, event: &Event, place: &str) -> Result<String, String> {
        let payload = event.payload.json().len();
        if payload > self.options.max_payload {
            return Err(format!(
                "its payload has {payload} bytes, the sequencer takes {}",
                self.options.max_payload
            ));
        }
        let wire = WireEvent::new(event)?;
        let json = serde_json::to_string(&wire).map_err(|e| format!("{place}: {e}"))?;
        if json.len() + ENVELOPE > self.options.max_bytes {
            return Err(format!(
                "it has {} bytes, more than a request can hold",
                json.len()
            ));
        }
        Ok(json)
    }

    fn set_aside(&mut self, event_id: EventId, place: &str, what: String) {
        self.report.set_aside_count += 1;
        note(&mut self.report.set_aside, event_id, place, what);
        self.progress.advance(1);
    }

    fn flush(&mut self, key: GroupKey) -> Result<(), PushError> {
        let Some(group) = self.groups.remove(&key) else {
            return Ok(());
        };
        self.waiting_bytes -= group.bytes.min(self.waiting_bytes);
        let events = group.waiting.len() as u64;
        let track = self.track(&key);
        if let Some(held) = &mut track.held {
            held.held_back += events;
            self.progress.advance(events);
            return Ok(());
        }
        track.count.events += events;
        track.count.bytes += group.bytes as u64;
        track.count.requests += 1;
        if self.options.dry_run {
            self.progress.advance(events);
            return Ok(());
        }
        let sent = self.send_in_order(key, group.waiting);
        self.check_order(&key);
        sent
    }

    /// Sends events of one agent and stream; those that a request cannot take together, in smaller ones.
    fn send_in_order(&mut self, key: GroupKey, batch: Vec<Waiting>) -> Result<(), PushError> {
        // The halves of a batch that is split are sent in order: first in, last on the stack.
        let mut stack = vec![batch];
        while let Some(batch) = stack.pop() {
            let done = self.settle_batch(&key, batch);
            let after: usize = stack.iter().map(Vec::len).sum();
            let done = done.inspect_err(|_| self.report.not_sent += after as u64)?;
            match done {
                RequestOutcome::Settled => {
                    self.failing = 0;
                    self.unsettled = 0;
                }
                RequestOutcome::Refused { mut batch, .. } if batch.len() > 1 => {
                    let second = batch.split_off(batch.len() / 2);
                    stack.push(second);
                    stack.push(batch);
                }
                RequestOutcome::Refused { batch, what, failed } => {
                    for one in batch {
                        self.refused(&key, &one, what.clone(), failed)
                            .inspect_err(|_| self.report.not_sent += after as u64)?;
                    }
                }
                RequestOutcome::Unsettled { batch, why } => {
                    return self.hold(&key, &batch, &why, after as u64);
                }
            }
        }
        Ok(())
    }

    /// An event that stands alone and that the sequencer does not take, or fails on.
    fn refused(
        &mut self,
        key: &GroupKey,
        one: &Waiting,
        mut what: String,
        failed: bool,
    ) -> Result<(), PushError> {
        // A failure that explains itself says nothing about the sequencer.
        let explained = one.holds_nul();
        if failed && explained {
            what.push_str("; it holds a NUL character (\\u0000), which the sequencer's database cannot");
        }
        let overtaken = one.rank < self.track(key).receipted_to;
        if let Some(evidence) = &mut self.evidence {
            let passed = Passed {
                event_id: one.event_id,
                why: format!("set aside: {what}"),
                overtaken,
            };
            evidence.note_passed(*key, vec![passed])?;
        }
        self.standing
            .change(|standing| standing.waiting = standing.waiting.saturating_sub(1));
        self.set_aside(one.event_id, &one.place, what.clone());
        if !failed || explained {
            return Ok(());
        }
        self.failing += 1;
        if self.failing >= MAX_FAILING {
            let what = format!(
                "the sequencer fails on one event of agent {} in stream {} after the other ({what}): it is not the events",
                key.0, key.1
            );
            return Err(StopCause::Fails.because(what));
        }
        Ok(())
    }

    /// Sends nothing more of an agent and stream in this run: these events were not answered, and `after` of the same
    /// batch and all later ones must not be numbered before them. Others go on.
    fn hold(&mut self, key: &GroupKey, batch: &[Waiting], why: &str, after: u64) -> Result<(), PushError> {
        self.note_unanswered(batch, why);
        self.progress.advance(batch.len() as u64 + after);
        let Some(request) = request::in_flight(key, batch) else {
            return Ok(());
        };
        let held = HeldBack {
            agent_id: key.0,
            stream: key.1,
            unanswered: request.events,
            first: request.first,
            last: request.last,
            held_back: after,
            why: why.to_owned(),
        };
        self.track(key).held = Some(held);
        self.unsettled += 1;
        if self.unsettled >= MAX_UNSETTLED {
            let what = format!(
                "the requests of one agent after the other cannot be settled: it is not the agents ({why})"
            );
            return Err(StopCause::Unsettled.because(what));
        }
        Ok(())
    }
}
