//! Facts that narrow guesses: each event once, every agent's events in the agent's own order, times that do not run
//! backwards, and entity versions that fit.
//!
//! A guess that contradicts them is put back, not thrown away: times and local numbers are witnesses' words, so the
//! root has the last word about such guesses, too, if there is work left for them.

use std::collections::{BTreeMap, HashMap};

use ves::span::{Span, Spans};
use ves::{AgentId, EventId, Timestamp};

use crate::witness::evidence::{Candidate, StreamEvidence};

/// Where the events of some entities stand in the log.
#[derive(Debug, Clone, Default)]
pub struct EntityHistory {
    of: HashMap<String, HashMap<String, Line>>,
}

/// One entity's events.
#[derive(Debug, Clone)]
struct Line {
    /// Their positions, ascending.
    positions: Vec<u64>,
    /// The versions that its events in the log say they build on are the numbers of events before them.
    counts: bool,
}

impl EntityHistory {
    /// Of the entities for which some event that the log lacks says on which version it builds.
    pub fn wanted(evidence: &StreamEvidence) -> Self {
        let mut history = Self::default();
        for candidate in evidence
            .candidates
            .iter()
            .filter(|c| c.event.base_version.is_some())
        {
            let event = &candidate.event;
            history
                .of
                .entry(event.entity_type.clone())
                .or_default()
                .entry(event.entity_id.clone())
                .or_insert(Line {
                    positions: Vec::new(),
                    counts: true,
                });
        }
        history
    }

    /// Notes an event of the log; they come in order. `whole` if the log has every position before it.
    pub fn note(&mut self, event: &ves::Event, position: u64, whole: bool) {
        let lines = self.of.get_mut(&event.entity_type);
        if let Some(line) = lines.and_then(|lines| lines.get_mut(&event.entity_id)) {
            if let Some(base) = event.base_version {
                let count = line.positions.len() as i64;
                // The older log counts, too: then a version says nothing about this one's order.
                line.counts &= if whole { base == count } else { base >= count };
            }
            line.positions.push(position);
        }
    }

    /// The same, as if the log ended before a position.
    pub fn before(&self, end: u64) -> Self {
        let mut history = self.clone();
        for line in history.of.values_mut().flat_map(HashMap::values_mut) {
            line.positions
                .truncate(line.positions.partition_point(|p| *p < end));
        }
        history
    }

    /// How many events of an event's entity the log has; 0 for an entity that was not asked for.
    pub fn count(&self, event: &ves::Event) -> u64 {
        let lines = self.of.get(&event.entity_type);
        lines
            .and_then(|lines| lines.get(&event.entity_id))
            .map_or(0, |line| line.positions.len() as u64)
    }

    fn line(&self, candidate: &Candidate) -> Option<&Line> {
        let event = &candidate.event;
        self.of
            .get(&event.entity_type)?
            .get(&event.entity_id)
            .filter(|line| line.counts)
    }
}

/// What is known about the events that could stand at a batch's open positions.
pub struct Facts {
    /// For each open position.
    slots: Vec<SlotFacts>,
    events: HashMap<usize, EventFacts>,
    agents: usize,
    entities: usize,
    /// How many positions before the batch have no event yet: that many more may count for a version.
    unknown: u64,
}

struct SlotFacts {
    /// For each agent the local numbers that may stand here.
    bounds: Vec<(i64, i64)>,
    /// The times between which the event was numbered.
    times: (Timestamp, Timestamp),
    /// For each entity how many of its events stand before.
    counts: Vec<u64>,
}

struct EventFacts {
    event_id: EventId,
    order: Option<(usize, i64)>,
    time: Option<Timestamp>,
    entity: Option<usize>,
    base: Option<u64>,
}

/// What stands where already, for [`Facts::new`].
pub struct Occupied<'a> {
    /// Where agents' events stand, with their number in the agent's own order.
    pub order: &'a BTreeMap<AgentId, BTreeMap<u64, i64>>,
    /// When the events around the open positions were numbered.
    pub times: &'a BTreeMap<u64, Timestamp>,
    /// The log's events by entity.
    pub history: &'a EntityHistory,
    /// Events that have their place by evidence.
    pub placed: &'a BTreeMap<u64, usize>,
    /// Missing positions of the stream.
    pub missing: &'a Spans,
}

impl Facts {
    /// Gathers what is known about these candidates at these positions (ascending).
    pub fn new(
        positions: &[u64],
        candidates: impl Iterator<Item = usize>,
        evidence: &StreamEvidence,
        known: &Occupied<'_>,
    ) -> Self {
        let mut times: HashMap<EventId, Timestamp> = HashMap::new();
        for claim in evidence.claims.values().flatten() {
            if let Some(at) = claim.sequenced_at {
                times.insert(claim.event_id, at);
            }
        }
        let mut agents: BTreeMap<AgentId, usize> = BTreeMap::new();
        let mut entities: HashMap<(&str, &str), usize> = HashMap::new();
        let mut lines: Vec<(&Line, &Candidate)> = Vec::new();
        let mut events = HashMap::new();
        for index in candidates {
            let candidate = &evidence.candidates[index];
            let event = &candidate.event;
            let order = candidate.local_seq.map(|local| {
                let next = agents.len();
                (*agents.entry(event.source_agent_id).or_insert(next), local)
            });
            let entity = known.history.line(candidate).map(|line| {
                let next = entities.len();
                let entity = *entities
                    .entry((&event.entity_type, &event.entity_id))
                    .or_insert(next);
                if entity == next {
                    lines.push((line, candidate));
                }
                entity
            });
            let facts = EventFacts {
                event_id: event.event_id,
                order,
                time: times.get(&event.event_id).copied(),
                entity,
                base: entity.and(event.base_version).and_then(|v| u64::try_from(v).ok()),
            };
            events.insert(index, facts);
        }
        let first = positions.first().copied().unwrap_or(0);
        let slots = positions
            .iter()
            .map(|&position| SlotFacts {
                bounds: agents
                    .iter()
                    .map(|(agent, index)| (*index, bounds(known.order.get(agent), position)))
                    .collect::<BTreeMap<_, _>>()
                    .into_values()
                    .collect(),
                times: (
                    known
                        .times
                        .range(..position)
                        .next_back()
                        .map_or(Timestamp(i64::MIN), |(_, t)| *t),
                    known
                        .times
                        .range(position..)
                        .next()
                        .map_or(Timestamp(i64::MAX), |(_, t)| *t),
                ),
                counts: lines
                    .iter()
                    .map(|(line, of)| {
                        let same = |c: &usize| {
                            let event = &evidence.candidates[*c].event;
                            (&event.entity_type, &event.entity_id)
                                == (&of.event.entity_type, &of.event.entity_id)
                        };
                        let placed = known.placed.range(..position).filter(|(_, c)| same(c)).count();
                        (line.positions.partition_point(|p| *p < position) + placed) as u64
                    })
                    .collect(),
            })
            .collect();
        let before = Span::up_to(first.saturating_sub(1));
        let missing = before.map_or(0, |before| known.missing.within(before).count());
        let placed = known.placed.range(..first).count() as u64;
        Self {
            slots,
            events,
            agents: agents.len(),
            entities: entities.len(),
            unknown: missing.saturating_sub(placed),
        }
    }

    /// Whether each event occurs once.
    pub fn each_once(&self, picks: &[usize]) -> bool {
        let mut seen = std::collections::HashSet::with_capacity(picks.len());
        picks
            .iter()
            .all(|c| self.events.get(c).is_none_or(|facts| seen.insert(facts.event_id)))
    }

    /// Whether a guess (the candidate for each open position) contradicts nothing.
    pub fn allow(&self, picks: &[usize]) -> bool {
        let mut last_local = vec![i64::MIN; self.agents];
        let mut last_time = Timestamp(i64::MIN);
        let mut more = vec![0_u64; self.entities];
        for (slot, pick) in self.slots.iter().zip(picks) {
            let Some(event) = self.events.get(pick) else {
                continue;
            };
            if let Some((agent, local)) = event.order {
                let (low, high) = slot.bounds[agent];
                if local <= last_local[agent] || local < low || local > high {
                    return false;
                }
                last_local[agent] = local;
            }
            if let Some(time) = event.time {
                if time < last_time || time < slot.times.0 || time > slot.times.1 {
                    return false;
                }
                last_time = time;
            }
            if let Some(entity) = event.entity {
                let least = slot.counts[entity].saturating_add(more[entity]);
                if let Some(base) = event.base
                    && (base < least || base > least.saturating_add(self.unknown))
                {
                    return false;
                }
                more[entity] += 1;
            }
        }
        true
    }
}

/// The local numbers of an agent's events around a position.
pub fn bounds(known: Option<&BTreeMap<u64, i64>>, position: u64) -> (i64, i64) {
    let Some(known) = known else {
        return (i64::MIN, i64::MAX);
    };
    let low = known
        .range(..position)
        .next_back()
        .map_or(i64::MIN, |(_, local)| *local);
    let high = known
        .range(position..)
        .next()
        .map_or(i64::MAX, |(_, local)| *local);
    (low, high)
}
