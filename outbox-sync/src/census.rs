//! A census over a fleet: of each number that a log lacks, who holds its event and how sure that is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use event_log::StreamState;
use serde::Serialize;
use ves::{AgentId, EventId, StreamKey};

use crate::export::Class;
use crate::holdings::Holdings;
use crate::words::{Claim, Contents, NamedEvents, Saying, Spoken, WordGrade};

/// Consecutive numbers of which the same is to be said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingRange {
    /// The first number.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// How sure it is which events were there.
    pub grade: WordGrade,
    /// Whether somebody holds the events whole.
    pub held: bool,
    /// The files that name or hold them: of many the first hundred.
    pub holders: Vec<String>,
    /// How many more files do.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_holders: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// So many holders of a range are named.
const NAMED_HOLDERS: usize = 100;

/// A stream of the census.
#[derive(Debug, Clone, Serialize)]
pub struct StreamCensus {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// The highest number of the log.
    pub head: Option<u64>,
    /// The highest number that anybody knows of, and that is counted up to.
    pub known_to: u64,
    /// On whose word it is known.
    pub known_by: String,
    /// How many numbers are missing.
    pub missing: u64,
    /// How many of them by grade.
    pub by_grade: BTreeMap<WordGrade, u64>,
    /// How many of them are nowhere: nobody holds an event for them.
    pub nowhere: u64,
    /// What is to be said of them, in order.
    pub ranges: Vec<MissingRange>,
    /// Events held that nobody gives a place among the missing numbers: lost with a number that only the roots
    /// can tell, or never accepted.
    pub unplaced: u64,
    /// Events held that never had a number, as far as anybody says.
    pub never_sequenced: u64,
}

/// An agent that the log knows, and that was not heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unheard {
    /// The agent.
    pub agent_id: AgentId,
    /// How many of its missing events others hold.
    pub held_by_others: u64,
}

/// A file that holds events which the log lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// The file.
    pub path: String,
    /// The agent whose outbox it is.
    pub agent_id: Option<AgentId>,
    /// How many of them; those that were never numbered too.
    pub held: u64,
    /// How many of these nobody else holds: they go with this file.
    pub held_alone: u64,
}

/// The whole census.
#[derive(Debug, Clone, Serialize)]
pub struct Census {
    /// By stream.
    pub streams: Vec<StreamCensus>,
    /// The files that hold what the log lacks: first who holds most that nobody else does, then who holds most.
    pub holders: Vec<Holder>,
    /// Agents with a key in the log whose outbox was not among those read.
    pub unheard: Vec<Unheard>,
}

/// Far more missing numbers than any recovery loses: a single hostile claim must not make the census endless.
const MAX_MISSING: u64 = 10_000_000;

/// Takes the census. `streams` is what the log says of itself, `receipts` the highest number of each stream's receipts,
/// `agents` who has a key there.
pub fn take(
    holdings: &Holdings,
    streams: &[StreamState],
    receipts: &BTreeMap<StreamKey, u64>,
    agents: &BTreeSet<AgentId>,
) -> Census {
    let mut states: BTreeMap<StreamKey, Option<&StreamState>> =
        streams.iter().map(|state| (state.stream, Some(state))).collect();
    let mut of_agents: BTreeMap<AgentId, u64> = BTreeMap::new();
    let mut held: BTreeMap<StreamKey, Vec<EventId>> = BTreeMap::new();
    for (id, event) in &holdings.events {
        states.entry(event.stream).or_default();
        if let Some(agent) = event.agent {
            *of_agents.entry(agent).or_default() += 1;
        }
        if event.best.is_some() {
            held.entry(event.stream).or_default().push(*id);
        }
    }
    let unheard = agents.difference(&holdings.agents).map(|agent| Unheard {
        agent_id: *agent,
        held_by_others: of_agents.get(agent).copied().unwrap_or(0),
    });
    let of = |(stream, state): (&StreamKey, &Option<&StreamState>)| {
        let held = held.get(stream).map_or(&[][..], Vec::as_slice);
        of_stream(holdings, *stream, *state, (receipts.get(stream).copied(), held))
    };
    Census {
        streams: states.iter().map(of).collect(),
        unheard: unheard.collect(),
        holders: holders(holdings),
    }
}

/// Who holds what, the most needed first.
fn holders(holdings: &Holdings) -> Vec<Holder> {
    let mut all: Vec<Holder> = holdings
        .heard
        .iter()
        .map(|heard| Holder {
            path: heard.path.clone(),
            agent_id: heard.agent_id,
            held: 0,
            held_alone: 0,
        })
        .collect();
    for event in holdings.events.values() {
        for file in &event.holders {
            all[*file].held += 1;
            all[*file].held_alone += u64::from(event.holders.len() == 1);
        }
    }
    all.retain(|holder| holder.held > 0);
    all.sort_by(|a, b| {
        let rank = |holder: &Holder| Reverse((holder.held_alone, holder.held));
        (rank(a), &a.path).cmp(&(rank(b), &b.path))
    });
    all
}

fn of_stream(
    holdings: &Holdings,
    stream: StreamKey,
    state: Option<&StreamState>,
    (last_receipt, held): (Option<u64>, &[EventId]),
) -> StreamCensus {
    let none = Vec::new();
    let present = holdings.present.get(&stream).unwrap_or(&none);
    let head = state.and_then(|s| s.last);
    let claims: Vec<(u64, &Vec<Claim>)> = holdings
        .claims
        .range((stream, 0)..=(stream, u64::MAX))
        .map(|((_, number), claims)| (*number, claims))
        .collect();
    let (known_to, known_by) = known_to(state, last_receipt, &claims, holdings);
    let mut census = StreamCensus {
        stream,
        head,
        known_to,
        known_by,
        missing: 0,
        by_grade: BTreeMap::new(),
        nowhere: 0,
        ranges: Vec::new(),
        unplaced: 0,
        never_sequenced: 0,
    };
    let mut placed = BTreeSet::new();
    let by_number: BTreeMap<u64, &Vec<Claim>> = claims.into_iter().collect();
    let missing = holes(present, known_to);
    let events = Events::named_in(&missing, &by_number, holdings);
    let mut last_who = BTreeSet::new();
    for number in missing.into_iter().flatten() {
        let claims = by_number.get(&number).map_or(&[][..], |c| c.as_slice());
        let (mut range, who) = judge(number, claims, &events, &mut placed);
        census.missing += 1;
        *census.by_grade.entry(range.grade).or_default() += 1;
        census.nowhere += u64::from(!range.held);
        match census.ranges.last_mut() {
            Some(last)
                if last.last + 1 == number
                    && (last.grade, last.held, &last_who) == (range.grade, range.held, &who) =>
            {
                last.last = number;
            }
            _ => {
                let named = who.iter().take(NAMED_HOLDERS);
                range.holders = named.map(|file| holdings.heard[*file].path.clone()).collect();
                range.more_holders = (who.len() - range.holders.len()) as u64;
                census.ranges.push(range);
                last_who = who;
            }
        }
    }
    for id in held {
        match holdings.class(id) {
            Some(Class::Missing | Class::Doubtful) if !placed.contains(id) => census.unplaced += 1,
            Some(Class::NeverSequenced) => census.never_sequenced += 1,
            _ => {}
        }
    }
    census
}

/// The numbers up to a known one that the log does not have.
fn holes(present: &[RangeInclusive<u64>], known_to: u64) -> Vec<RangeInclusive<u64>> {
    let mut next = 1;
    let mut holes = Vec::new();
    for range in present {
        if *range.start() > next {
            holes.push(next..=*range.start() - 1);
        }
        next = next.max(range.end().saturating_add(1));
    }
    if known_to >= next {
        holes.push(next..=known_to.min(next.saturating_add(MAX_MISSING)));
    }
    holes
}

/// The events that a log lacks, as outboxes know them.
struct Events<'a> {
    holdings: &'a Holdings,
    /// For how many missing numbers each of them is named.
    numbers: BTreeMap<EventId, u64>,
}

impl<'a> Events<'a> {
    fn named_in(
        missing: &[RangeInclusive<u64>],
        claims: &BTreeMap<u64, &Vec<Claim>>,
        holdings: &'a Holdings,
    ) -> Self {
        let mut numbers = BTreeMap::new();
        for claims in missing.iter().flat_map(|range| claims.range(range.clone())) {
            let named: BTreeSet<EventId> = claims.1.iter().map(|claim| claim.event_id).collect();
            for event_id in named {
                *numbers.entry(event_id).or_default() += 1;
            }
        }
        Self { holdings, numbers }
    }
}

impl NamedEvents for Events<'_> {
    fn contents(&self, event_id: EventId) -> Contents {
        let event = self.holdings.events.get(&event_id);
        event.map_or(Contents::None, |event| event.contents)
    }

    fn is_named_elsewhere(&self, event_id: EventId) -> bool {
        self.numbers.get(&event_id).is_some_and(|numbers| *numbers > 1)
    }

    /// What the log says of a holder's other words is for a plan to weigh.
    fn is_doubted(&self, _: &Claim) -> bool {
        false
    }
}

/// What is to be said of one number. With it come the files that name or hold its events.
fn judge(
    number: u64,
    claims: &[Claim],
    events: &Events<'_>,
    placed: &mut BTreeSet<EventId>,
) -> (MissingRange, BTreeSet<usize>) {
    let holdings = events.holdings;
    let mut held = false;
    let mut who: BTreeSet<usize> = claims.iter().map(|claim| claim.holder.0).collect();
    for claim in claims {
        let Some(event) = holdings.events.get(&claim.event_id) else {
            continue;
        };
        held |= event.contents != Contents::None;
        placed.insert(claim.event_id);
        who.extend(event.holders.iter().copied());
    }
    let range = MissingRange {
        first: number,
        last: number,
        grade: Spoken::of(claims, events).grade(&holdings.holders),
        held,
        holders: Vec::new(),
        more_holders: 0,
    };
    (range, who)
}

/// The highest number that anybody says was given out. An agent's own word may be wrong; who said it is named.
fn known_to(
    state: Option<&StreamState>,
    last_receipt: Option<u64>,
    claims: &[(u64, &Vec<Claim>)],
    holdings: &Holdings,
) -> (u64, String) {
    let mut best = (0, "nobody".to_owned());
    let mut offer = |number: Option<u64>, who: String| {
        if let Some(number) = number.filter(|n| *n > best.0) {
            best = (number, who);
        }
    };
    if let Some(state) = state {
        offer(state.last, "the log's events".into());
        offer(last_receipt, "the log's receipts".into());
        offer(state.last_committed, "the log's commitments".into());
        offer(state.counter, "the log's counter".into());
    }
    for (number, claims) in claims {
        if let Some(claim) = claims.iter().max_by_key(|c| c.saying) {
            let words = match claim.saying {
                Saying::Outbox => "its own word",
                Saying::Pointer => "an unsigned pulled row",
                Saying::Pulled | Saying::Log => "a pulled row",
            };
            offer(
                Some(*number),
                format!("{} ({words})", holdings.holders.name(claim.holder)),
            );
        }
    }
    best
}
