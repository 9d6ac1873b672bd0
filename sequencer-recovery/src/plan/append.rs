//! Appending: events that wait in outboxes and were never sequenced get the numbers after the floor.
//!
//! The danger is an event that only looks as if it was never sequenced: its agent calls it pending because the answer
//! was lost, and the log that had it is the one that was cut. Appended, it would have two numbers. So three questions
//! are asked of each event that waits, in this order. Did it get a number, as far as anybody knows (`standing`)?
//! Would the sequencer accept it ([`crate::witness::flaw`], and what `Ingest` asks)? In which order (`in_order`)?
//! Documented in docs/append.md.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use event_log::{Entity, LogError, View};
use outbox_sync::OutboxStatus;
use ves::span::{Span, Spans};
use ves::{AgentId, CommandId, Event, EventId, KeyRegistry, SignatureCheck, StreamKey, Timestamp};

use crate::error::RecoveryError;
use crate::place::placement::{Judgement, describe_signature};
use crate::plan::planned::{JudgeKeys, LeftOut, LeftOutAs, PlannedAppend, PlannedEvent};
use crate::stream::examine::Examined;
use crate::witness::evidence::{Holders, StreamEvidence, WaitingRow};
use crate::witness::flaw::flaw;
use crate::witness::rejection::{Reason, Rejection};

/// What the operator decides about events that were never sequenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AppendOptions {
    /// At which time keys are judged.
    pub judge_keys: JudgeKeys,
    /// Whether events are appended too that may have been sequenced at a position that is lost.
    pub doubtful: bool,
}

/// What is appended to one stream, and what is not.
#[derive(Debug, Clone, Default)]
pub struct Appending {
    /// In the order of their numbers.
    pub events: Vec<PlannedAppend>,
    /// By outbox and row.
    pub left_out: Vec<LeftOut>,
}

/// What is known of the stream's open positions, for telling an event that was never sequenced from one whose number
/// is lost.
struct OpenPlaces<'a> {
    evidence: &'a StreamEvidence,
    /// The highest missing position of which no trustworthy word says whose it was.
    nobodys: Option<u64>,
    /// Where each event was placed, however sure that is.
    placed: HashMap<EventId, u64>,
    /// Positions that events are said to have, by event.
    named: HashMap<EventId, BTreeSet<u64>>,
    missing: &'a Spans,
    /// Each agent's events with a place, in its own order, with the highest place up to each.
    earlier: HashMap<AgentId, Vec<(i64, u64)>>,
}

impl<'a> OpenPlaces<'a> {
    fn new(evidence: &'a StreamEvidence, judgement: &Judgement, missing: &'a Spans) -> Self {
        let placed: HashMap<EventId, u64> = judgement
            .placements
            .iter()
            .map(|p| (evidence.candidates[p.candidate].event.event_id, p.position))
            .collect();
        let mut named: HashMap<EventId, BTreeSet<u64>> = HashMap::new();
        for (&position, claims) in &evidence.claims {
            for claim in claims {
                named.entry(claim.event_id).or_default().insert(position);
            }
        }
        for (&position, receipts) in &evidence.receipts {
            for held in receipts {
                named.entry(held.receipt.event_id).or_default().insert(position);
            }
        }
        let mut spoken_for = judgement.spoken_for.clone();
        spoken_for.extend(judgement.placements.iter().map(|p| p.position));
        let nobodys = missing
            .iter()
            .rev()
            .find_map(|span| highest_not_in(span, &spoken_for));
        let mut earlier: HashMap<AgentId, Vec<(i64, u64)>> = HashMap::new();
        for (agent, known) in &evidence.known_order {
            let places = earlier.entry(*agent).or_default();
            places.extend(known.iter().map(|(position, local)| (*local, *position)));
        }
        for placement in &judgement.placements {
            let candidate = &evidence.candidates[placement.candidate];
            if let Some(local) = candidate.local_seq {
                let agent = candidate.event.source_agent_id;
                earlier
                    .entry(agent)
                    .or_default()
                    .push((local, placement.position));
            }
        }
        for places in earlier.values_mut() {
            places.sort_unstable();
            let mut highest = 0;
            for (_, position) in places.iter_mut() {
                highest = highest.max(*position);
                *position = highest;
            }
        }
        Self {
            evidence,
            nobodys,
            placed,
            named,
            missing,
            earlier,
        }
    }

    fn is_missing(&self, position: u64) -> bool {
        self.missing.contains(position)
    }

    /// The number after which an event that waits in these rows would have been sequenced, if it was, and who says so.
    fn after(&self, agent: AgentId, rows: &[&WaitingRow], holders: &Holders) -> (u64, String) {
        let mut best = (0, "nothing is known of its agent's earlier events".to_owned());
        let first = rows.iter().map(|row| row.local_seq).min().unwrap_or(i64::MAX);
        // Agents hand their events over in their own order, and the sequencer keeps it.
        let places = self.earlier.get(&agent).map_or(&[][..], Vec::as_slice);
        let before = places.partition_point(|(local, _)| *local < first);
        if let Some((_, position)) = before.checked_sub(1).and_then(|last| places.get(last)) {
            best = (
                *position,
                format!("an earlier event of its agent is at {position}"),
            );
        }
        // They begin with the oldest that waits: what was answered was sent before.
        for row in rows {
            if let Some(progress) = self.evidence.progress.get(&row.holder)
                && let Some(number) = progress.told()
                && progress
                    .answered_to
                    .is_none_or(|answered| answered < row.local_seq)
                && number > best.0
            {
                let name = holders.name(row.holder);
                best = (
                    number,
                    format!("{name} had answers up to {number}, and sends in order"),
                );
            }
        }
        best
    }
}

/// The highest number of a range that is not in the set. Costs no more than the set, however wide the range is.
fn highest_not_in(span: Span, set: &BTreeSet<u64>) -> Option<u64> {
    let mut candidate = span.end();
    for taken in set.range(span.positions()).rev() {
        if *taken < candidate {
            break;
        }
        candidate = taken.checked_sub(1).filter(|next| *next >= span.start())?;
    }
    Some(candidate)
}

/// Whether an event that waits was sequenced, as far as anybody knows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum WasSequenced {
    /// It was not.
    Never(String),
    /// It may have been.
    Doubtful {
        why: String,
        /// Whether the operator may decide that it was not.
        may_be_forced: bool,
    },
    /// It is named for a position that is missing: there it is placed, or listed among the rivals.
    Elsewhere,
}

fn standing(
    places: &OpenPlaces<'_>,
    holders: &Holders,
    event_id: EventId,
    agent: AgentId,
    all: &[WaitingRow],
    waiting: &[&WaitingRow],
) -> WasSequenced {
    if places.placed.contains_key(&event_id) {
        return WasSequenced::Elsewhere;
    }
    if let Some(positions) = places.named.get(&event_id) {
        if positions.iter().any(|position| places.is_missing(*position)) {
            return WasSequenced::Elsewhere;
        }
        let at = Spans::of_positions(positions.iter().copied());
        return WasSequenced::Doubtful {
            why: format!("it is said to be at {at}, where the log has another event"),
            may_be_forced: true,
        };
    }
    if let Some(other) = all
        .iter()
        .find(|row| !matches!(row.status, OutboxStatus::Pending | OutboxStatus::Failed))
    {
        let (name, status) = (holders.name(other.holder), other.status.as_str());
        return WasSequenced::Doubtful {
            why: format!("in {name} it does not wait: its state there is {status}"),
            may_be_forced: false,
        };
    }
    let (after, basis) = places.after(agent, waiting, holders);
    match places.nobodys {
        Some(position) if position > after => WasSequenced::Doubtful {
            why: format!(
                "{position} is missing and nobody knows whose it was: it may have been this event's ({basis})"
            ),
            may_be_forced: true,
        },
        Some(position) => WasSequenced::Never(format!(
            "no witness names a number for it; {basis}, and nothing is unaccounted for after {position}"
        )),
        None => WasSequenced::Never(
            "no witness names a number for it, and every number that was given out is accounted for".into(),
        ),
    }
}

/// Events of several agents in one order: each agent's in its own, and among agents by the time of making, then by
/// agent and id. The same evidence gives the same order.
fn in_order<T>(mut events: Vec<(AgentId, i64, Timestamp, EventId, T)>) -> Vec<T> {
    events.sort_by_key(|(agent, local, at, id, _)| (*agent, *local, *at, *id));
    let mut queues: BTreeMap<AgentId, std::collections::VecDeque<_>> = BTreeMap::new();
    for event in events {
        queues.entry(event.0).or_default().push_back(event);
    }
    let mut ordered = Vec::new();
    loop {
        let next = queues
            .iter()
            .filter_map(|(agent, queue)| queue.front().map(|e| (e.2, *agent, e.3)))
            .min();
        let Some((_, agent, _)) = next else {
            return ordered;
        };
        if let Some(event) = queues
            .get_mut(&agent)
            .and_then(std::collections::VecDeque::pop_front)
        {
            ordered.push(event.4);
        }
    }
}

/// The sequencer's ingest as it will be when the first event is appended: what it compares an event with.
struct Ingest<'a> {
    stream: StreamKey,
    keys: &'a KeyRegistry,
    judge_keys: JudgeKeys,
    now: Timestamp,
    /// Commands that were accepted.
    accepted: HashSet<CommandId>,
    /// Commands that are remembered while no event carries them.
    orphans: HashSet<CommandId>,
    versions: BTreeMap<Entity, u64>,
    /// Entities whose version cannot be read, and why.
    unreadable: BTreeMap<Entity, String>,
    /// Positions stay open: events of an entity may be among them.
    open: bool,
}

/// What it says to an event.
enum Answer {
    Accepted,
    Rejected(Rejection),
    Doubtful(String),
}

impl Ingest<'_> {
    /// Asks what the sequencer asks, in its order, and notes what an accepted event changes.
    fn judge(&mut self, event: &Event) -> Answer {
        let reject = |reason, message: String| Answer::Rejected(Rejection::new(reason, message));
        debug_assert_eq!(event.stream, self.stream);
        if let Some(flaw) = flaw(event) {
            return Answer::Rejected(flaw);
        }
        if let Err(rejection) = check_key(event, self.keys, self.judge_keys, self.now) {
            return Answer::Rejected(rejection);
        }
        if let Some(command) = event.command_id {
            if self.orphans.contains(&command) {
                return Answer::Doubtful(format!(
                    "its command {command} is remembered as accepted and no event carries it: it may have been this one"
                ));
            }
            if self.accepted.contains(&command) {
                let message = format!("command {command} was accepted already");
                return reject(Reason::DuplicateCommandId, message);
            }
        }
        let entity = entity_of(event);
        if let Some(why) = self.unreadable.get(&entity) {
            return Answer::Doubtful(format!("the version of its entity cannot be read: {why}"));
        }
        let version = self.versions.entry(entity).or_insert(0);
        if let Some(expected) = event.base_version
            && u64::try_from(expected) != Ok(*version)
        {
            let open = if self.open {
                "; events of its entity may be among those that stay open"
            } else {
                ""
            };
            let message = format!("expected {expected}, actual {version}{open}");
            return reject(Reason::VersionConflict, message);
        }
        *version += 1;
        self.accepted.extend(event.command_id);
        Answer::Accepted
    }
}

/// The entity that an event is about.
pub(crate) fn entity_of(event: &Event) -> Entity {
    Entity {
        entity_type: event.entity_type.clone(),
        entity_id: event.entity_id.clone(),
    }
}

/// Whether an event's key may have signed it, judged as the operator chose.
pub(crate) fn check_key(
    event: &Event,
    keys: &KeyRegistry,
    judge_keys: JudgeKeys,
    now: Timestamp,
) -> Result<(), Rejection> {
    let at = match judge_keys {
        JudgeKeys::Now => now,
        JudgeKeys::CreatedAt => event.created_at.parse().unwrap_or(now),
    };
    let check = keys.check(event, &event.signing_hash(), at);
    let reason = match check {
        SignatureCheck::Valid => return Ok(()),
        SignatureCheck::Invalid => Reason::InvalidSignature,
        SignatureCheck::KeyUnknown | SignatureCheck::KeyNotValid(_) => Reason::AgentKeyInvalid,
        SignatureCheck::NotChecked(_) => Reason::NotChecked,
    };
    Err(Rejection::new(reason, describe_signature(&check)))
}

/// What appending one stream needs to know.
pub(crate) struct AppendInput<'a> {
    pub(crate) examined: &'a Examined,
    pub(crate) evidence: &'a StreamEvidence,
    pub(crate) judgement: &'a Judgement,
    pub(crate) holders: &'a Holders,
    pub(crate) keys: &'a KeyRegistry,
    /// Events that go back to their positions.
    pub(crate) placed: &'a [PlannedEvent],
    /// The last number before those that are given out here.
    pub(crate) counter: u64,
    pub(crate) now: Timestamp,
    pub(crate) options: AppendOptions,
}

/// An event that waits, its first row, and why it gets a number.
type Candidate<'a> = (&'a WaitingRow, &'a Event, String);

/// Decides which of the events that wait get a number, and which.
///
/// # Errors
/// What the log's database says.
pub(crate) async fn appending(view: &mut View, input: &AppendInput<'_>) -> Result<Appending, RecoveryError> {
    let missing = input.examined.missing_spans();
    let places = OpenPlaces::new(input.evidence, input.judgement, &missing);
    let mut found = Appending::default();
    let mut candidates = Vec::new();
    for (event_id, rows) in &input.evidence.waiting {
        let waits = |row: &&WaitingRow| matches!(row.status, OutboxStatus::Pending | OutboxStatus::Failed);
        let waiting: Vec<&WaitingRow> = rows.iter().filter(waits).collect();
        let Some(first) = waiting.iter().min_by_key(|row| (row.local_seq, row.holder)) else {
            continue;
        };
        match input.candidate(*event_id, rows, &waiting, &places) {
            None => {}
            Some(Ok((event, basis))) => {
                let made = event.created_at.parse().unwrap_or(Timestamp(i64::MAX));
                let agent = event.source_agent_id;
                candidates.push((agent, first.local_seq, made, *event_id, (*first, event, basis)));
            }
            Some(Err(why)) => found
                .left_out
                .push(input.left_out(*event_id, first, first.agent, why)),
        }
    }
    input.number(view, in_order(candidates), &mut found).await?;
    found
        .left_out
        .sort_by(|a, b| (&a.outbox, a.local_seq, a.event_id).cmp(&(&b.outbox, b.local_seq, b.event_id)));
    Ok(found)
}

/// Why an event that waits is not appended.
struct Why {
    left_out: LeftOutAs,
    reason: Option<Reason>,
    message: String,
}

impl Why {
    fn doubtful(message: String) -> Self {
        Self {
            left_out: LeftOutAs::Doubtful,
            reason: None,
            message,
        }
    }

    fn rejected(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            left_out: LeftOutAs::Rejected,
            reason: Some(reason),
            message: message.into(),
        }
    }
}

impl<'a> AppendInput<'a> {
    fn left_out(&self, event_id: EventId, row: &WaitingRow, agent: Option<AgentId>, why: Why) -> LeftOut {
        LeftOut {
            event_id,
            source_agent_id: agent,
            outbox: self.holders.name(row.holder).to_owned(),
            local_seq: row.local_seq,
            left_out: why.left_out,
            reason: why.reason,
            message: why.message,
        }
    }

    /// The event that waits in these rows, with the reason for which it may get a number; or why it is left out. `None` if
    /// it stands elsewhere, or nothing is to be said of it.
    fn candidate(
        &self,
        event_id: EventId,
        rows: &[WaitingRow],
        waiting: &[&WaitingRow],
        places: &OpenPlaces<'_>,
    ) -> Option<Result<(&'a Event, String), Why>> {
        let candidate = match self.evidence.candidates_of(event_id) {
            [candidate] => &self.evidence.candidates[*candidate],
            [] => {
                let named = places.named.get(&event_id);
                if named.is_some_and(|at| at.iter().any(|position| places.is_missing(*position))) {
                    return None;
                }
                let flaw = waiting.iter().find_map(|row| row.flaw.as_ref())?;
                return Some(Err(Why::rejected(flaw.reason, flaw.message.clone())));
            }
            _ => {
                let message = "holders have different contents under this id";
                return Some(Err(Why::rejected(Reason::DuplicateEventId, message)));
            }
        };
        let event = &candidate.event;
        let agent = event.source_agent_id;
        let basis = match standing(places, self.holders, event_id, agent, rows, waiting) {
            WasSequenced::Elsewhere => return None,
            WasSequenced::Never(basis) => basis,
            WasSequenced::Doubtful {
                why,
                may_be_forced: true,
            } if self.options.doubtful => format!("appended although doubtful: {why}"),
            WasSequenced::Doubtful { why, .. } => return Some(Err(Why::doubtful(why))),
        };
        // Numbers above the counter that somebody claims are given out again: that is what such a floor means.
        let last = places.missing.last();
        if let Some(last) = last.filter(|last| *last > self.counter) {
            return Some(Err(Why::doubtful(format!(
                "numbers up to {last} are claimed and the floor is {}: it would get one that was promised to another",
                self.counter
            ))));
        }
        Some(Ok((event, basis)))
    }

    /// Gives numbers to those of the candidates that the sequencer would accept, in this order.
    async fn number(
        &self,
        view: &mut View,
        candidates: Vec<Candidate<'a>>,
        found: &mut Appending,
    ) -> Result<(), RecoveryError> {
        let mut ingest = ingest(view, self, candidates.iter().map(|(_, event, _)| *event)).await?;
        let mut number = self.counter;
        for (row, event, basis) in candidates {
            let why = match ingest.judge(event) {
                Answer::Accepted => {
                    number += 1;
                    found.events.push(PlannedAppend {
                        sequence: number,
                        basis,
                        judge_keys: self.options.judge_keys,
                        event: event.clone(),
                    });
                    continue;
                }
                Answer::Rejected(rejection) => Why::rejected(rejection.reason, rejection.message),
                Answer::Doubtful(why) => Why::doubtful(why),
            };
            let agent = Some(event.source_agent_id);
            found
                .left_out
                .push(self.left_out(event.event_id, row, agent, why));
        }
        Ok(())
    }
}

async fn ingest<'a>(
    view: &mut View,
    input: &AppendInput<'a>,
    events: impl Iterator<Item = &'a Event> + Clone,
) -> Result<Ingest<'a>, RecoveryError> {
    let stream = input.examined.state.stream;
    let commands: Vec<CommandId> = events.clone().filter_map(|e| e.command_id).collect();
    let mut accepted: HashSet<CommandId> = view
        .remembered_commands(&stream, &commands)
        .await?
        .into_iter()
        .collect();
    let of_placed: HashSet<CommandId> = input.placed.iter().filter_map(|e| e.event.command_id).collect();
    let books = &input.examined.bookkeeping;
    let orphans = books
        .forget
        .iter()
        .copied()
        .filter(|command| !of_placed.contains(command))
        .collect();
    accepted.extend(of_placed);
    accepted.extend(books.remember.iter().map(|(command, _)| *command));
    let mut placed: BTreeMap<Entity, u64> = BTreeMap::new();
    for event in input.placed {
        *placed.entry(entity_of(&event.event)).or_default() += 1;
    }
    // A row that cannot be read says nothing of an entity that can be named, or its version is asked for below.
    let drift = view.version_drift(&stream).await?.rows.into_iter();
    let drift: BTreeMap<Entity, u64> = drift.map(|drift| (drift.entity, drift.events)).collect();
    let entities: BTreeSet<Entity> = events.map(entity_of).collect();
    let mut versions = BTreeMap::new();
    let mut unreadable = BTreeMap::new();
    for entity in entities {
        let stored = match view.entity_version(&stream, &entity).await {
            Err(LogError::Row(row)) => {
                unreadable.insert(entity, row.what);
                continue;
            }
            stored => stored?,
        };
        let stored = stored
            .and_then(|version| u64::try_from(version).ok())
            .unwrap_or(0);
        let events = drift.get(&entity).copied().unwrap_or(stored);
        // As the repair leaves it: raised to the number of its events, never lowered.
        let version = stored.max(events + placed.get(&entity).copied().unwrap_or(0));
        versions.insert(entity, version);
    }
    Ok(Ingest {
        stream,
        keys: input.keys,
        judge_keys: input.options.judge_keys,
        now: input.now,
        accepted,
        orphans,
        versions,
        unreadable,
        open: input.placed.len() as u64 != input.examined.missing(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    proptest! {
        /// The highest number of a range that is not taken, as a search from above finds it.
        #[test]
        fn the_highest_free_number_is_found(
            start in 1u64..30, width in 0u64..30, taken in prop::collection::btree_set(1u64..60, 0..40)
        ) {
            let span = Span::new(start, start + width).unwrap();
            let expected = span.positions().rev().find(|n| !taken.contains(n));
            prop_assert_eq!(highest_not_in(span, &taken), expected);
        }

        /// Each agent's events come in its own order, and the order does not depend on how they were found.
        #[test]
        fn every_agents_order_is_kept(
            events in prop::collection::vec((0u128..3, 0i64..20, 0i64..5), 0..30), turn in 0usize..30
        ) {
            let keyed = |(n, (agent, local, at)): (usize, &(u128, i64, i64))| {
                let id = EventId(Uuid::from_u128(n as u128));
                let agent = AgentId(Uuid::from_u128(*agent));
                (agent, *local, Timestamp(*at), id, (agent, *local, id))
            };
            let found: Vec<_> = events.iter().enumerate().map(keyed).collect();
            let mut turned = found.clone();
            turned.rotate_left(turn.min(found.len()));
            let ordered = in_order(found);
            prop_assert_eq!(ordered.len(), events.len());
            for agent in 0..3 {
                let agent = AgentId(Uuid::from_u128(agent));
                let locals: Vec<i64> = ordered.iter().filter(|e| e.0 == agent).map(|e| e.1).collect();
                prop_assert!(locals.is_sorted());
            }
            prop_assert_eq!(in_order(turned), ordered);
        }
    }

    #[test]
    fn a_wide_range_costs_no_more_than_what_is_taken() {
        let taken = BTreeSet::from([u64::MAX, u64::MAX - 1, 5]);
        assert_eq!(highest_not_in(Span::ALL, &taken), Some(u64::MAX - 2));
        assert_eq!(highest_not_in(Span::new(5, 5).unwrap(), &taken), None);
        assert_eq!(
            highest_not_in(Span::new(1, 1).unwrap(), &BTreeSet::from([1])),
            None
        );
    }
}
