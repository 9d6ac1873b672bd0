//! One request, asked until each of its events is answered: what to make of each reply, and when to ask again.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use http_client::{Backoff, NoAnswer, Pauses, Reply};
use ves::{AgentId, EventId};

use super::answer::{Answer, Settled, is_page, read_answer, settle};
use super::journal::Passed;
use super::report::{MAX_LISTED, StopCause, note};
use super::standing::{InFlight, Wait};
use super::{GroupKey, Options, Push, PushError, Waiting};

/// How often an event that stands alone is tried while the sequencer fails on it.
const TRIES_ALONE: u32 = 4;
/// How often a request of several events is tried before it is split: one event can sink all of them.
const TRIES_TOGETHER: u32 = 2;
/// How often it is looked whether the user wants to stop.
const TICK: Duration = Duration::from_millis(50);
/// An answer that comes soon after the user wants to stop is still taken.
const GRACE: Duration = Duration::from_secs(1);

/// What came of a request.
pub(super) enum RequestOutcome {
    /// Every event has a receipt or a rejection.
    Settled,
    /// The sequencer does not take these events together; `failed` if it failed on them.
    Refused {
        batch: Vec<Waiting>,
        what: String,
        failed: bool,
    },
    /// Of these events no answer told that could be believed.
    Unsettled { batch: Vec<Waiting>, why: String },
}

/// What a reply means.
enum Reaction {
    Answered(Answer),
    /// The request is to be split.
    Refused(String),
    /// The request failed; one event can be the cause.
    Failed(String),
    /// It is to be asked again, perhaps after a time that was asked for.
    Again(String, Option<Duration>),
    /// Not an answer to this request, whoever sent it.
    Foreign(String),
    /// There is no use in going on.
    End(StopCause, String),
}

/// What to make of a reply. `heard` says whether a sequencer answered before at this address.
fn react(reply: Result<Reply, NoAnswer>, heard: bool) -> Reaction {
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => return Reaction::Again(error.what, None),
    };
    let page = is_page(reply.content_type.as_deref());
    let text = |reply: &Reply| status_text(reply.status, &reply.body);
    match reply.status {
        200 => match read_answer(&reply) {
            Ok(answer) => Reaction::Answered(answer),
            Err(what) => Reaction::Foreign(format!("the answer is not one of an ingest: {what}")),
        },
        400 | 413 | 422 if !page => Reaction::Refused(text(&reply)),
        500 if !page => Reaction::Failed(text(&reply)),
        408 | 425 | 429 | 500 | 502 | 503 | 504 => Reaction::Again(text(&reply), reply.retry_after),
        401 | 403 => Reaction::End(
            StopCause::KeyRefused,
            format!("the sequencer refuses the API key ({})", text(&reply)),
        ),
        413 => Reaction::Refused(text(&reply)),
        // What answered before as a sequencer is one; now something before it speaks.
        _ if heard => Reaction::Foreign(text(&reply)),
        _ => Reaction::End(
            StopCause::NotASequencer,
            format!("what answers is no sequencer ({})", text(&reply)),
        ),
    }
}

/// How often a request was tried.
struct Tries {
    made: u32,
    failed: u32,
    pauses: Backoff,
}

impl Tries {
    fn new(options: &Options) -> Self {
        Self {
            made: 0,
            failed: 0,
            pauses: Pauses {
                first: options.pause,
                longest: options.longest_pause,
            }
            .begin(),
        }
    }
}

/// How many failures show that the cause is among the events.
fn enough_failures(batch: &[Waiting]) -> u32 {
    match batch {
        // What explains itself is not tried for long.
        [one] if !one.holds_nul() => TRIES_ALONE,
        _ => TRIES_TOGETHER,
    }
}

/// An event, its place in its agent's order, and the number that it got.
pub(super) struct Numbered {
    pub rank: u64,
    pub event_id: EventId,
    pub place: String,
    pub number: u64,
    /// Whether a receipt of an earlier run gives it.
    pub covered: bool,
}

impl Push<'_> {
    /// Asks until every event of a batch is answered, or until that is hopeless.
    pub(super) fn settle_batch(
        &mut self,
        key: &GroupKey,
        mut batch: Vec<Waiting>,
    ) -> Result<RequestOutcome, PushError> {
        let most = self.options.attempts.max(1);
        let mut tries = Tries::new(&self.options);
        let mut sent = false;
        loop {
            let reply = match self.try_once(key, &batch) {
                Ok(reply) => reply,
                Err(error) => return self.stop(&batch, sent, error),
            };
            tries.made += 1;
            let failure = reply.as_ref().err().map(|error| error.failure);
            let unreachable = failure.filter(|failure| failure.is_before_sending());
            let mut asked = None;
            let reaction = react(reply, self.heard);
            // What could not be sent, or was turned away at the door, is not in the log.
            sent |= unreachable.is_none() && !matches!(reaction, Reaction::End(..));
            let what = match reaction {
                Reaction::Answered(answer) => {
                    let before = batch.len();
                    let settled = self.take_answer(key, &mut batch, answer)?;
                    self.heard = true;
                    self.report.requests += 1;
                    if batch.is_empty() {
                        return Ok(RequestOutcome::Settled);
                    }
                    let flaws = settled.flaws_in_words();
                    self.refuse_answer(key, &flaws);
                    if batch.len() < before {
                        tries = Tries::new(&self.options);
                    } else if tries.made >= most {
                        self.note_bad_receipts(&batch, &settled);
                    }
                    flaws
                }
                Reaction::Refused(what) => {
                    self.report.requests += 1;
                    let failed = false;
                    return Ok(RequestOutcome::Refused { batch, what, failed });
                }
                Reaction::Failed(what) => {
                    tries.failed += 1;
                    if tries.failed >= enough_failures(&batch) || tries.made >= most {
                        self.report.requests += 1;
                        let failed = true;
                        return Ok(RequestOutcome::Refused { batch, what, failed });
                    }
                    what
                }
                Reaction::Again(what, pause) => {
                    asked = pause;
                    what
                }
                Reaction::Foreign(what) => {
                    self.refuse_answer(key, &what);
                    what
                }
                Reaction::End(cause, what) => return self.stop(&batch, sent, cause.because(what)),
            };
            if tries.made >= most {
                let why = format!("given up after attempt {}: {what}", tries.made);
                if let Some(failure) = unreachable {
                    let error = StopCause::Unreachable(failure).because(why);
                    return self.stop(&batch, sent, error);
                }
                return Ok(RequestOutcome::Unsettled { batch, why });
            }
            self.report.retries += 1;
            if let Err(error) = self.pause(&mut tries, asked, &what) {
                return self.stop(&batch, sent, error);
            }
        }
    }

    /// Ends the run. What was tried may be in the log; what was not is not.
    fn stop(&mut self, batch: &[Waiting], sent: bool, error: PushError) -> Result<RequestOutcome, PushError> {
        if sent || self.standing.now().in_flight.is_some() {
            self.note_unanswered(batch, "sent, and not answered when the run ended");
        } else {
            self.report.not_sent += batch.len() as u64;
            if let Some(evidence) = &mut self.evidence {
                evidence.withdraw();
            }
        }
        Err(error)
    }

    /// Waits before the next try: as long as the sequencer asks, or ever longer.
    fn pause(&self, tries: &mut Tries, asked: Option<Duration>, why: &str) -> Result<(), PushError> {
        let pause = tries.pauses.next_pause(asked);
        let until = (jiff::Timestamp::now() + pause).strftime("%H:%M:%SZ");
        let wait = match asked {
            Some(_) => Wait::begin(&format!(
                "until {until}, a pause that the sequencer asks for ({why})"
            )),
            None => Wait::begin(&format!("until {until}, before the next try ({why})")).own(),
        };
        self.sleep(pause, wait)
    }

    /// Sends a batch once. What is sent is noted first.
    fn try_once(&mut self, key: &GroupKey, batch: &[Waiting]) -> Result<Result<Reply, NoAnswer>, PushError> {
        self.wait_for_rate(batch.len())?;
        if let Some(evidence) = &mut self.evidence {
            let ids: Vec<EventId> = batch.iter().map(|w| w.event_id).collect();
            evidence.before_sending(*key, &ids)?;
        }
        let request = in_flight(key, batch);
        self.standing
            .change(|standing| standing.in_flight = request.clone());
        let words = request.map_or(String::new(), |request| request.to_string());
        let mut wait = Wait::begin(&format!("for the answer to a request of {words}"));
        let body = body(key.0, batch);
        let transport = Arc::clone(&self.transport);
        let (tell, hear) = sync_channel(1);
        // In a thread of its own: a server that never answers must not keep us from hearing the user.
        let spawned = std::thread::Builder::new().name("request".into()).spawn(move || {
            // Nobody listens any more if the user stopped the run.
            let _ = tell.send(transport.ingest(&body));
        });
        if let Err(error) = spawned {
            return Err(StopCause::System.because(format!("no thread for a request: {error}")));
        }
        let mut stopping: Option<Instant> = None;
        loop {
            match hear.recv_timeout(TICK) {
                Ok(reply) => {
                    self.standing.change(|standing| standing.in_flight = None);
                    return Ok(reply);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(StopCause::System.because("a request ended without a word".into()));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.cancel.is_cancelled() && stopping.get_or_insert_with(Instant::now).elapsed() >= GRACE {
                return Err(PushError::Cancelled);
            }
            wait.tell();
        }
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
            let wait = Wait::begin("for the rate (--rate)").own();
            self.sleep(self.not_before - now, wait)?;
        }
        let share = Duration::try_from_secs_f64(events as f64 / rate).unwrap_or(Duration::ZERO);
        self.not_before = self.not_before.max(now) + share;
        Ok(())
    }

    /// Sleeps, but hears it if the user wants to stop, and tells why it sleeps.
    fn sleep(&self, duration: Duration, mut wait: Wait) -> Result<(), PushError> {
        let end = Instant::now() + duration;
        loop {
            if self.cancel.is_cancelled() {
                return Err(PushError::Cancelled);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            wait.tell();
            std::thread::sleep(left.min(TICK));
        }
    }

    /// Takes what an answer settles out of the batch. What is gone past is noted, and receipts are saved, before all else.
    fn take_answer(
        &mut self,
        key: &GroupKey,
        batch: &mut Vec<Waiting>,
        answer: Answer,
    ) -> Result<Settled, PushError> {
        let accepted = answer.accepted;
        if let Some(head) = answer.head {
            self.track(key).head = Some(head);
            self.check_head(key);
        }
        let settled = settle(answer, batch, &key.1, &self.sequencer_keys);
        let mut is_settled = vec![false; batch.len()];
        for (at, receipt, _) in &settled.receipts {
            is_settled[*at] = true;
            self.track(key).numbers.push(Numbered {
                rank: batch[*at].rank,
                event_id: receipt.event_id,
                place: batch[*at].place.clone(),
                number: receipt.sequence_number,
                covered: false,
            });
        }
        self.save(key, batch, &settled)?;
        for (at, rejection) in &settled.rejections {
            is_settled[*at] = true;
            *self.report.rejected.entry(rejection.code()).or_default() += 1;
            let place = &batch[*at].place;
            note(
                &mut self.report.rejections,
                rejection.event_id,
                place,
                rejection.text(),
            );
        }
        // The sequencer counts what it accepted; the other receipts are of events that it had.
        let receipts = settled.receipts.len() as u64;
        let accepted = accepted.min(receipts);
        self.report.accepted += accepted;
        self.report.replayed += receipts - accepted;
        self.report.unchecked_receipts += settled.unchecked;
        let answered = receipts + settled.rejections.len() as u64;
        self.progress.advance(answered);
        let rejected = self.report.rejected_count();
        self.standing.change(|standing| {
            standing.accepted += accepted;
            standing.replayed += receipts - accepted;
            standing.rejected = rejected;
            standing.waiting = standing.waiting.saturating_sub(answered);
        });
        let mut flags = is_settled.into_iter();
        batch.retain(|_| !flags.next().unwrap_or(false));
        Ok(settled)
    }

    /// Notes what is gone past, and saves receipts, on disk.
    fn save(&mut self, key: &GroupKey, batch: &[Waiting], settled: &Settled) -> Result<(), PushError> {
        let ranks = settled.receipts.iter().map(|(at, ..)| batch[*at].rank);
        let track = self.track(key);
        track.receipted_to = ranks.fold(track.receipted_to, u64::max);
        let receipted_to = track.receipted_to;
        let Some(evidence) = &mut self.evidence else {
            return Ok(());
        };
        let passed = settled.rejections.iter().map(|(at, rejection)| Passed {
            event_id: rejection.event_id,
            why: format!("rejected: {}", rejection.text()),
            overtaken: batch[*at].rank < receipted_to,
        });
        evidence.note_passed(*key, passed.collect())?;
        if let Err(error) = evidence.save(&settled.receipts) {
            self.report.unsaved_receipts += settled.receipts.len() as u64;
            return Err(error.into());
        }
        Ok(())
    }

    /// Says that an answer is not believed.
    fn refuse_answer(&mut self, key: &GroupKey, what: &str) {
        let what = format!("agent {} in stream {}: {what}", key.0, key.1);
        tracing::warn!(
            "an answer is refused, and its events are asked for again: {}",
            what
        );
        self.report.refused_answers_count += 1;
        if self.report.refused_answers.len() < MAX_LISTED {
            self.report.refused_answers.push(what);
        }
    }

    /// Receipts in the last answer that do not hold.
    fn note_bad_receipts(&mut self, batch: &[Waiting], settled: &Settled) {
        for flaw in settled.flaws.iter().filter(|flaw| flaw.receipt) {
            self.report.bad_receipts_count += 1;
            let id = flaw.event_id.unwrap_or(EventId(uuid::Uuid::nil()));
            let place = batch.iter().find(|w| w.event_id == id);
            let place = place.map_or("", |w| &w.place);
            note(&mut self.report.bad_receipts, id, place, flaw.what.as_str());
        }
    }

    /// Events that were sent and not answered.
    pub(super) fn note_unanswered(&mut self, batch: &[Waiting], what: &str) {
        self.report.unanswered_count += batch.len() as u64;
        for waiting in batch {
            note(
                &mut self.report.unanswered,
                waiting.event_id,
                &waiting.place,
                what,
            );
        }
    }
}

/// A request in words.
pub(super) fn in_flight(key: &GroupKey, batch: &[Waiting]) -> Option<InFlight> {
    Some(InFlight {
        agent_id: key.0,
        stream: key.1,
        events: batch.len() as u64,
        first: batch.first()?.event_id,
        last: batch.last()?.event_id,
    })
}

/// What a request has around its events.
pub(super) const ENVELOPE: usize = 128;

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

fn status_text(status: u16, body: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
    let text = cli_common::redact_text(text.trim());
    if text.is_empty() {
        format!("HTTP {status}")
    } else {
        format!("HTTP {status}: {text}")
    }
}
