//! Handing events over to the sequencer, once.
//!
//! Events go out grouped by agent and stream, in the order in which they come (an agent's local order), within the
//! sequencer's limits. The sequencer keeps each event id once and answers a repeated one with its receipt, so
//! whatever was interrupted is simply sent again. Every answer is matched by event id, from receipts and rejections,
//! never by counting up. Receipts are checked and saved before anything else is sent; a later run skips what they
//! cover. A request that the sequencer fails on is split until the event that it fails on stands alone and is set
//! aside.

mod answer;
mod evidence;
mod http;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

use cli_common::{Cancel, Progress};
use ed25519_dalek::VerifyingKey;
use serde::Serialize;
use ves::{AgentId, Event, EventId, Hash32, SignatureCheck, StreamKey};

pub use answer::advice;
use answer::{Answer, read_answer};
pub use evidence::{Evidence, EvidenceError};
pub use http::{ApiKey, HttpTransport, ingest_url};

use crate::wire::WireEvent;

/// How many events and other things are listed in a report; all are counted.
pub const MAX_LISTED: usize = 10_000;
/// Events that wait to be sent take no more than about this.
const MAX_WAITING: usize = 64 << 20;
/// A sequencer that wants to be left alone for longer is asked again after this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);
/// The sequencer fails on one event after the other: then it is not the events.
const MAX_FAILING: u32 = 3;

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
        }
    }
}

/// An answer of the sequencer as HTTP gives it.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Vec<u8>,
}

/// How requests reach the sequencer.
pub trait Transport {
    /// Sends the body of an ingest request.
    ///
    /// # Errors
    /// In words: no answer came. Whether the request was carried out nobody knows.
    fn ingest(&self, body: &[u8]) -> Result<Reply, String>;
}

/// An event that was not taken, or of which something is to be said.
#[derive(Debug, Clone, Serialize)]
pub struct Noted {
    /// The event.
    pub event_id: EventId,
    /// Where it was read.
    pub place: String,
    /// What is to be said.
    pub what: String,
}

/// Events of one agent in one stream.
#[derive(Debug, Clone, Serialize)]
pub struct GroupCount {
    /// The agent.
    pub agent_id: AgentId,
    /// The stream.
    pub stream: StreamKey,
    /// Events to send.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Requests.
    pub requests: u64,
}

/// What came of a push.
#[derive(Debug, Default, Serialize)]
pub struct Pushed {
    /// Events that the sequencer accepted now.
    pub accepted: u64,
    /// Events that it had already, and gave its receipt of.
    pub replayed: u64,
    /// Events that were not sent, since a saved receipt covers them.
    pub receipted_before: u64,
    /// Rejections by reason.
    pub rejected: BTreeMap<String, u64>,
    /// The rejected events, with what the sequencer says.
    pub rejections: Vec<Noted>,
    /// Events that are too large, or that the sequencer fails on.
    pub set_aside: Vec<Noted>,
    /// How many.
    pub set_aside_count: u64,
    /// Events of which the answer says nothing.
    pub unanswered: Vec<Noted>,
    /// How many.
    pub unanswered_count: u64,
    /// Receipts that do not hold.
    pub bad_receipts: Vec<Noted>,
    /// How many.
    pub bad_receipts_count: u64,
    /// Receipts whose signature was not checked.
    pub unchecked_receipts: u64,
    /// Requests that were answered.
    pub requests: u64,
    /// Tries that were not.
    pub retries: u64,
    /// By agent and stream.
    pub groups: Vec<GroupCount>,
    /// Why it ended early; what was not sent is to be sent by another run.
    pub stopped: Option<String>,
}

impl Pushed {
    /// How many events were rejected.
    pub fn rejected_count(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// Whether every event is in the log, with a receipt that holds.
    pub fn is_complete(&self) -> bool {
        self.rejected.is_empty()
            && self.set_aside_count + self.unanswered_count + self.bad_receipts_count == 0
            && self.stopped.is_none()
    }
}

/// Why a push ends early.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The sequencer cannot be reached, refuses us, or fails on everything.
    #[error("{0}")]
    Stopped(String),
    /// The user stopped it.
    #[error("cancelled")]
    Cancelled,
    /// Receipts cannot be saved. Going on would lose evidence.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
}

type GroupKey = (AgentId, StreamKey);

struct Waiting {
    event_id: EventId,
    place: String,
    signing_hash: Hash32,
    json: String,
}

#[derive(Default)]
struct Group {
    waiting: Vec<Waiting>,
    ids: BTreeSet<EventId>,
    bytes: usize,
}

/// A push under way: give it events with [`Push::add`], then [`Push::finish`].
pub struct Push<'a> {
    transport: &'a dyn Transport,
    options: Options,
    evidence: Option<Evidence>,
    sequencer_key: Option<VerifyingKey>,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
    groups: BTreeMap<GroupKey, Group>,
    counts: BTreeMap<GroupKey, GroupCount>,
    waiting_bytes: usize,
    not_before: Instant,
    failing: u32,
    /// What came of it so far.
    pub report: Pushed,
}

enum Outcome {
    Answered(Answer),
    Refused(String, bool),
}

impl<'a> Push<'a> {
    /// A push that saves receipts as evidence (a dry run may go without).
    pub fn new(
        transport: &'a dyn Transport,
        options: Options,
        evidence: Option<Evidence>,
        sequencer_key: Option<VerifyingKey>,
        progress: &'a dyn Progress,
        cancel: &'a Cancel,
    ) -> Self {
        Self {
            transport,
            options,
            evidence,
            sequencer_key,
            progress,
            cancel,
            groups: BTreeMap::new(),
            counts: BTreeMap::new(),
            waiting_bytes: 0,
            not_before: Instant::now(),
            failing: 0,
            report: Pushed::default(),
        }
    }

    /// Takes an event. It is sent with others of its agent and stream, behind those that were given before it.
    ///
    /// # Errors
    /// The push ends early; what was given is to be given again to another one.
    pub fn add(&mut self, event: &Event, place: String) -> Result<(), PushError> {
        let signing_hash = event.signing_hash();
        let covered = self
            .evidence
            .as_ref()
            .is_some_and(|evidence| evidence.covers(event, &signing_hash));
        if covered {
            self.report.receipted_before += 1;
            self.progress.advance(1);
            return Ok(());
        }
        let waiting = match self.prepare(event, &place) {
            Ok(json) => Waiting {
                event_id: event.event_id,
                place,
                signing_hash,
                json,
            },
            Err(what) => {
                self.set_aside(event.event_id, place, what);
                return Ok(());
            }
        };
        let key = (event.source_agent_id, event.stream);
        let size = waiting.json.len() + 1;
        let most = self.most_events();
        let full = self.groups.get(&key).is_some_and(|group| {
            group.waiting.len() >= most
                || group.bytes + size > self.options.max_bytes - ENVELOPE
                || group.ids.contains(&waiting.event_id)
        });
        if full {
            self.flush(key)?;
        }
        let group = self.groups.entry(key).or_default();
        group.bytes += size;
        group.ids.insert(waiting.event_id);
        group.waiting.push(waiting);
        self.waiting_bytes += size;
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

    /// Sends what still waits, and says what came of it all.
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

    /// What came of it, also if it ended early.
    pub fn into_report(mut self) -> Pushed {
        self.report.groups = self.counts.into_values().collect();
        self.report
    }

    /// With a rate limit, no more than a second's events go at once.
    fn most_events(&self) -> usize {
        let by_rate = self
            .options
            .rate
            .map_or(usize::MAX, |rate| rate.max(1.0) as usize);
        self.options.max_events.min(by_rate).max(1)
    }

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

    fn set_aside(&mut self, event_id: EventId, place: String, what: String) {
        self.report.set_aside_count += 1;
        note(&mut self.report.set_aside, event_id, place, what);
        self.progress.advance(1);
    }

    fn flush(&mut self, key: GroupKey) -> Result<(), PushError> {
        let Some(group) = self.groups.remove(&key) else {
            return Ok(());
        };
        self.waiting_bytes -= group.bytes.min(self.waiting_bytes);
        let count = self.counts.entry(key).or_insert(GroupCount {
            agent_id: key.0,
            stream: key.1,
            events: 0,
            bytes: 0,
            requests: 0,
        });
        count.events += group.waiting.len() as u64;
        count.bytes += group.bytes as u64;
        count.requests += 1;
        if self.options.dry_run {
            self.progress.advance(group.waiting.len() as u64);
            return Ok(());
        }
        // The halves of a batch that is split are sent in order: first in, last on the stack.
        let mut stack = vec![group.waiting];
        while let Some(mut batch) = stack.pop() {
            match self.send(&key, &batch)? {
                Outcome::Answered(answer) => {
                    self.failing = 0;
                    self.take_answer(&key, &batch, answer)?;
                }
                Outcome::Refused(..) if batch.len() > 1 => {
                    let second = batch.split_off(batch.len() / 2);
                    stack.push(second);
                    stack.push(batch);
                }
                Outcome::Refused(mut what, failed) => {
                    let Some(one) = batch.pop() else { continue };
                    // A failure that explains itself says nothing about the sequencer.
                    let explained = one.json.contains("\\u0000");
                    if failed && explained {
                        what.push_str(
                            "; it holds a NUL character (\\u0000), which the sequencer's database cannot",
                        );
                    }
                    self.set_aside(one.event_id, one.place, what.clone());
                    if !failed || explained {
                        continue;
                    }
                    self.failing += 1;
                    if self.failing >= MAX_FAILING {
                        return Err(PushError::Stopped(format!(
                            "the sequencer fails on one event of agent {} in stream {} after the other ({what}): it is \
                             not the events; its counter may be behind (sequencer-recovery counters)",
                            key.0, key.1
                        )));
                    }
                }
            }
        }
        Ok(())
    }

    /// Sends a batch, and again while that may help.
    fn send(&mut self, key: &GroupKey, batch: &[Waiting]) -> Result<Outcome, PushError> {
        let body = body(key.0, batch);
        let mut pause = self.options.pause;
        for attempt in 1..=self.options.attempts.max(1) {
            self.wait_for_rate(batch.len())?;
            let last = attempt == self.options.attempts.max(1);
            let (what, retry_after) = match self.transport.ingest(&body) {
                Err(error) => (error, None),
                Ok(reply) => match reply.status {
                    200 => {
                        self.report.requests += 1;
                        return match read_answer(&reply.body) {
                            Ok(answer) => Ok(Outcome::Answered(answer)),
                            Err(what) => Err(PushError::Stopped(format!(
                                "the answer is not one of an ingest: {what}; run it again, events that were taken are \
                                 answered with their receipts"
                            ))),
                        };
                    }
                    status @ (400 | 413 | 422) => {
                        self.report.requests += 1;
                        return Ok(Outcome::Refused(status_text(status, &reply.body), false));
                    }
                    // One event can sink its batch, so it is not tried as often as an outage.
                    500 if attempt >= 2 || last => {
                        self.report.requests += 1;
                        return Ok(Outcome::Refused(status_text(500, &reply.body), true));
                    }
                    status @ (408 | 425 | 429 | 500 | 502 | 503 | 504) => {
                        (status_text(status, &reply.body), reply.retry_after)
                    }
                    status @ (401 | 403) => {
                        return Err(PushError::Stopped(format!(
                            "the sequencer refuses the API key ({})",
                            status_text(status, &reply.body)
                        )));
                    }
                    status => {
                        return Err(PushError::Stopped(format!(
                            "{}: is this the URL of a sequencer?",
                            status_text(status, &reply.body)
                        )));
                    }
                },
            };
            if last {
                return Err(PushError::Stopped(format!(
                    "given up after attempt {attempt}: {what}"
                )));
            }
            self.report.retries += 1;
            let asked = retry_after.map(|asked| asked.min(MAX_RETRY_AFTER));
            self.sleep(asked.unwrap_or_else(|| jittered(pause)))?;
            pause = (pause * 2).min(self.options.longest_pause);
        }
        Err(PushError::Stopped("no try was made".into()))
    }

    fn wait_for_rate(&mut self, events: usize) -> Result<(), PushError> {
        if self.cancel.is_cancelled() {
            return Err(PushError::Cancelled);
        }
        let Some(rate) = self.options.rate.filter(|rate| *rate > 0.0) else {
            return Ok(());
        };
        let now = Instant::now();
        if self.not_before > now {
            self.sleep(self.not_before - now)?;
        }
        let share = Duration::try_from_secs_f64(events as f64 / rate).unwrap_or(Duration::ZERO);
        self.not_before = self.not_before.max(now) + share;
        Ok(())
    }

    /// Sleeps, but hears it if the user wants to stop.
    fn sleep(&self, duration: Duration) -> Result<(), PushError> {
        let end = Instant::now() + duration;
        loop {
            if self.cancel.is_cancelled() {
                return Err(PushError::Cancelled);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
    }

    /// Matches an answer with the events that were sent, by their ids. Receipts are saved first.
    fn take_answer(&mut self, key: &GroupKey, batch: &[Waiting], answer: Answer) -> Result<(), PushError> {
        let sent: HashMap<EventId, &Waiting> = batch.iter().map(|w| (w.event_id, w)).collect();
        let mut answered = BTreeSet::new();
        let mut lines = Vec::new();
        let mut held = Vec::new();
        for (receipt, line) in answer.receipts {
            lines.push(line);
            let Some(waiting) = sent.get(&receipt.event_id) else {
                self.bad_receipt(
                    receipt.event_id,
                    String::new(),
                    "a receipt of an event that was not sent".into(),
                );
                continue;
            };
            answered.insert(receipt.event_id);
            let place = waiting.place.clone();
            if !receipt.hash_matches(&key.1, &waiting.signing_hash) {
                self.bad_receipt(
                    receipt.event_id,
                    place,
                    "its receipt's hash is not of this event and number".into(),
                );
                continue;
            }
            match receipt.check_signature(self.sequencer_key.as_ref()) {
                SignatureCheck::Valid => {}
                SignatureCheck::NotChecked(_) => self.report.unchecked_receipts += 1,
                _ => {
                    self.bad_receipt(
                        receipt.event_id,
                        place,
                        "the sequencer's signature on its receipt does not hold".into(),
                    );
                    continue;
                }
            }
            held.push(receipt);
        }
        for what in answer.unreadable {
            self.bad_receipt(EventId(uuid::Uuid::nil()), String::new(), what);
        }
        if let Some(evidence) = &mut self.evidence {
            evidence.save(&lines, &held)?;
        }
        // The sequencer counts what it accepted; the other receipts are of events that it had.
        let accepted = answer.accepted.min(answered.len() as u64);
        self.report.accepted += accepted;
        self.report.replayed += answered.len() as u64 - accepted;
        for rejection in answer.rejections {
            let Some(waiting) = sent.get(&rejection.event_id) else {
                continue;
            };
            if !answered.insert(rejection.event_id) {
                continue;
            }
            let (code, _) = rejection
                .reason
                .split_once(':')
                .unwrap_or((&rejection.reason, ""));
            let code: String = code.trim().chars().take(64).collect();
            *self.report.rejected.entry(code).or_default() += 1;
            let what = if rejection.message.is_empty() || rejection.reason.contains(&rejection.message) {
                rejection.reason
            } else {
                format!("{}: {}", rejection.reason, rejection.message)
            };
            note(
                &mut self.report.rejections,
                rejection.event_id,
                waiting.place.clone(),
                what,
            );
        }
        for waiting in batch {
            if !answered.contains(&waiting.event_id) {
                self.report.unanswered_count += 1;
                let what = "the answer has neither a receipt nor a rejection of it".to_owned();
                note(
                    &mut self.report.unanswered,
                    waiting.event_id,
                    waiting.place.clone(),
                    what,
                );
            }
        }
        self.progress.advance(batch.len() as u64);
        Ok(())
    }

    fn bad_receipt(&mut self, event_id: EventId, place: String, what: String) {
        self.report.bad_receipts_count += 1;
        note(&mut self.report.bad_receipts, event_id, place, what);
    }
}

/// What a request has around its events.
const ENVELOPE: usize = 128;

fn body(agent: AgentId, batch: &[Waiting]) -> Vec<u8> {
    let size: usize = batch.iter().map(|w| w.json.len() + 1).sum();
    let mut body = Vec::with_capacity(size + ENVELOPE);
    body.extend_from_slice(format!("{{\"agentId\":\"{agent}\",\"events\":[").as_bytes());
    for (number, waiting) in batch.iter().enumerate() {
        if number > 0 {
            body.push(b',');
        }
        body.extend_from_slice(waiting.json.as_bytes());
    }
    body.extend_from_slice(b"]}");
    body
}

fn note(list: &mut Vec<Noted>, event_id: EventId, place: String, what: String) {
    if list.len() < MAX_LISTED {
        list.push(Noted {
            event_id,
            place,
            what,
        });
    }
}

fn status_text(status: u16, body: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
    let text = cli_common::redact_text(text.trim());
    if text.is_empty() {
        format!("HTTP {status}")
    } else {
        format!("HTTP {status}: {text}")
    }
}

/// Between half of it and all of it, so that many agents do not come back at one moment.
fn jittered(pause: Duration) -> Duration {
    let random = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    let half = pause / 2;
    half + half.mul_f64((random % 1024) as f64 / 1024.0)
}
