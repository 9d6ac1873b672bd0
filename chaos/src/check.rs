//! What must hold after every repair, judged by what the program itself knows: every event that every agent made, in
//! its order, and every receipt that an agent has in writing.

use std::collections::{BTreeMap, BTreeSet};

use ves::{AgentId, EventId, StreamKey};

use crate::log::Log;

/// What the agents know.
#[derive(Debug, Clone, Default)]
pub struct AgentsKnowledge {
    /// Each agent's events in its own order.
    pub made: BTreeMap<AgentId, (StreamKey, Vec<EventId>)>,
    /// Every receipt in writing.
    pub heard: Vec<(StreamKey, EventId, u64)>,
    /// The last number of each stream that is anchored.
    pub anchored: BTreeMap<StreamKey, u64>,
}

/// Collects what does not hold.
#[derive(Debug, Default)]
pub struct Violations(pub Vec<String>);

impl Violations {
    /// Notes it, if it does not hold.
    pub fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        // The first ones tell enough.
        if !holds && self.0.len() < 20 {
            self.0.push(what());
        }
    }

    /// The verdict as an outcome.
    ///
    /// # Errors
    /// Something does not hold.
    pub fn end(self, when: &str) -> Result<(), String> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(format!("{when}:\n  {}", self.0.join("\n  ")))
    }
}

impl AgentsKnowledge {
    /// No number was promised to two events, nor two numbers to one.
    pub fn promises_agree(&self, verdict: &mut Violations) {
        let mut by_number: BTreeMap<(StreamKey, u64), EventId> = BTreeMap::new();
        let mut by_event: BTreeMap<EventId, u64> = BTreeMap::new();
        for (stream, id, number) in &self.heard {
            let other = *by_number.entry((*stream, *number)).or_insert(*id);
            verdict.expect(other == *id, || {
                format!("{stream} {number} was given to {other} and to {id}")
            });
            let other = *by_event.entry(*id).or_insert(*number);
            verdict.expect(other == *number, || {
                format!("{id} was given {other} and {number}")
            });
        }
    }

    /// What agents have in writing is in the log, at its number.
    pub fn promises_kept(&self, log: &Log, verdict: &mut Violations) {
        let places = log.places();
        for (stream, id, number) in &self.heard {
            let place = places.get(id);
            verdict.expect(place == Some(&(*stream, *number)), || {
                format!("{id} was promised {number} in {stream}, and stands at {place:?}")
            });
        }
    }

    /// No counter is below a number that anybody has in writing, or that is anchored, or that the log has.
    pub fn counters_hold(&self, log: &Log, verdict: &mut Violations) {
        let mut floors = self.anchored.clone();
        for (stream, _, number) in &self.heard {
            let floor = floors.entry(*stream).or_default();
            *floor = (*floor).max(*number);
        }
        for (stream, events) in &log.events {
            let floor = floors.entry(*stream).or_default();
            *floor = (*floor).max(events.last_key_value().map_or(0, |(n, _)| *n));
        }
        for (stream, floor) in floors {
            let counter = log.counters.get(&stream).copied().unwrap_or(0);
            verdict.expect(counter >= floor, || {
                format!("the counter of {stream} is {counter}, and {floor} was promised")
            });
        }
    }

    /// Nothing is in the log that nobody made, nothing in a foreign stream, nothing twice, and each has its receipt.
    pub fn nothing_foreign(&self, log: &Log, verdict: &mut Violations) {
        let mut seen = BTreeSet::new();
        let own: BTreeMap<EventId, (AgentId, StreamKey)> = self
            .made
            .iter()
            .flat_map(|(agent, (stream, ids))| ids.iter().map(|id| (*id, (*agent, *stream))))
            .collect();
        for (stream, events) in &log.events {
            for (number, placed) in events {
                let id = placed.event_id;
                verdict.expect(own.get(&id) == Some(&(placed.agent, *stream)), || {
                    format!("{stream} {number}: nobody made {id} here")
                });
                verdict.expect(seen.insert(id), || {
                    format!("{id} stands twice, once at {stream} {number}")
                });
            }
        }
        verdict.expect(log.doubled.is_empty(), || {
            format!("numbers twice: {:?}", log.doubled)
        });
        verdict.expect(log.bad_receipts.is_empty(), || {
            format!(
                "receipts that are missing or say other numbers: {:?}",
                log.bad_receipts
            )
        });
    }

    /// Each agent's events have numbers in the agent's own order.
    pub fn order_kept(&self, log: &Log, verdict: &mut Violations) {
        let places = log.places();
        for (agent, (stream, ids)) in &self.made {
            let mut last = (0, None);
            for (n, id) in ids.iter().enumerate() {
                let Some((_, number)) = places.get(id) else {
                    continue;
                };
                verdict.expect(*number > last.0, || {
                    format!(
                        "{stream}: agent {agent}'s event {n} stands at {number}, after its event {:?} at {}",
                        last.1, last.0
                    )
                });
                last = (*number, Some(n));
            }
        }
    }

    /// Every event that was made is in the log.
    pub fn all_arrived(&self, log: &Log, verdict: &mut Violations) {
        let places = log.places();
        for (agent, (stream, ids)) in &self.made {
            let missing = ids.iter().filter(|id| !places.contains_key(id)).count();
            verdict.expect(missing == 0, || {
                format!(
                    "{stream}: {missing} of {} events of agent {agent} are not in the log",
                    ids.len()
                )
            });
        }
    }

    /// Numbers up to the counter that have no event: nobody may have one of them in writing. Returns how many.
    pub fn vacant(&self, log: &Log, verdict: &mut Violations) -> u64 {
        let heard: BTreeSet<(StreamKey, u64)> = self.heard.iter().map(|(s, _, n)| (*s, *n)).collect();
        let mut vacant = 0;
        for (stream, counter) in &log.counters {
            let none = BTreeMap::new();
            let events = log.events.get(stream).unwrap_or(&none);
            for number in (1..=*counter).filter(|n| !events.contains_key(n)) {
                vacant += 1;
                verdict.expect(!heard.contains(&(*stream, number)), || {
                    format!("{stream} {number} is vacant, and somebody has it in writing")
                });
            }
        }
        vacant
    }
}

/// A repair with the sequencer stopped: what was there is there, what came back stands where it stood.
pub fn repaired(before_cut: &Log, cut: &Log, now: &Log, verdict: &mut Violations) -> u64 {
    let truth = before_cut.places();
    for (stream, events) in &cut.events {
        for (number, placed) in events {
            let there = now.events.get(stream).and_then(|events| events.get(number));
            verdict.expect(there == Some(placed), || {
                format!("{stream} {number}: was {placed:?}, is {there:?}")
            });
        }
    }
    let mut restored = 0;
    for (stream, events) in &now.events {
        for (number, placed) in events {
            let was = truth.get(&placed.event_id);
            verdict.expect(was == Some(&(*stream, *number)), || {
                format!(
                    "{} stands at {stream} {number}, and stood at {was:?}",
                    placed.event_id
                )
            });
            let here = cut
                .events
                .get(stream)
                .is_some_and(|events| events.contains_key(number));
            restored += u64::from(!here);
        }
    }
    restored
}
