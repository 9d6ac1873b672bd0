//! Guesses from agents' own order, for positions that nobody names rightly.
//!
//! The sequencer numbers each agent's events in the order in which the agent made them, and mostly several in a row.
//! So a position that nobody names has, for each agent, the next of its events without a place, or one a little later
//! if some were never sequenced. Named events stay the first choice. Like every guess, these are worth nothing until
//! a root comes out equal.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::time::Instant;

use crate::place::guesses::Choice;

/// One agent's events without a place, in the agent's own order.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    /// The events: local number and candidate, ascending.
    pub events: Vec<(i64, usize)>,
}

/// A missing position.
#[derive(Debug, Clone, Default)]
pub struct Slot {
    /// The events that are named for it, heaviest first.
    pub named: Vec<Choice>,
    /// For each agent the local numbers that may stand here, given what stands before and after in the log.
    pub bounds: Vec<(i64, i64)>,
}

/// Enumerates assignments of events to slots, likeliest first.
pub struct OrderSearch<'a> {
    slots: &'a [Slot],
    queues: &'a [Queue],
    /// Candidate → its queue, its place in it, its local number.
    place: HashMap<usize, (usize, u32, i64)>,
    heap: BinaryHeap<State>,
    /// What was chosen, each with the choice before it.
    chosen: Vec<Chosen>,
    /// How many named events are in no queue.
    unqueued: usize,
    /// When there is no more time.
    until: Option<Instant>,
    /// How many assignments were gone on with.
    steps: u64,
    /// Whether assignments were let go for want of room.
    pub dropped: bool,
    /// Whether there was no time for the rest.
    pub late: bool,
}

#[derive(Clone, Copy)]
struct Chosen {
    before: u32,
    candidate: usize,
}

/// Before the first choice.
const NONE: u32 = u32::MAX;

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct State {
    cost: Reverse<u32>,
    /// How many slots have their event. Of equal costs the longer goes first, so that the search gets to the end.
    depth: u32,
    /// The last choice. Of equal lengths the one that was made first goes first.
    last_chosen: Reverse<u32>,
    /// Where each queue goes on.
    cursors: Box<[u32]>,
    /// The queue that was drawn from last.
    last: Option<usize>,
}

impl<'a> OrderSearch<'a> {
    /// More assignments than this are never kept waiting.
    const MAX_WAITING: usize = 200_000;
    /// More choices than this are never remembered.
    const MAX_CHOSEN: usize = 8_000_000;
    /// So many of an agent's events in a row may never have been sequenced.
    const MAX_SKIP: usize = 3;
    /// What it costs to leave one out, to change the agent, and not to follow a name.
    const SKIP: u32 = 3;
    const SWITCH: u32 = 1;
    const UNNAMED: u32 = 4;
    /// After so many steps it looks at the time.
    const STEPS: u64 = 4096;

    /// Starts the search, which ends when there is no more time.
    pub fn new(slots: &'a [Slot], queues: &'a [Queue], until: Option<Instant>) -> Self {
        let place = queues.iter().enumerate().flat_map(|(agent, queue)| {
            let events = (0_u32..).zip(&queue.events);
            events.map(move |(index, (local, candidate))| (*candidate, (agent, index, *local)))
        });
        let place: HashMap<_, _> = place.collect();
        let named = slots
            .iter()
            .flat_map(|slot| &slot.named)
            .map(|choice| choice.candidate);
        let unqueued: BTreeSet<usize> = named.filter(|candidate| !place.contains_key(candidate)).collect();
        Self {
            slots,
            queues,
            place,
            heap: BinaryHeap::from([State {
                cost: Reverse(0),
                depth: 0,
                last_chosen: Reverse(NONE),
                cursors: vec![0; queues.len()].into(),
                last: None,
            }]),
            chosen: Vec::new(),
            unqueued: unqueued.len(),
            until,
            steps: 0,
            dropped: false,
            late: false,
        }
    }

    /// The next assignment: for each slot its candidate. No candidate occurs twice in one.
    pub fn next(&mut self) -> Option<Vec<usize>> {
        let (slots, queues) = (self.slots, self.queues);
        while let Some(state) = self.heap.pop() {
            self.steps += 1;
            if self.steps.is_multiple_of(Self::STEPS)
                && self.until.is_some_and(|until| Instant::now() >= until)
            {
                self.late = true;
                return None;
            }
            let Some(slot) = slots.get(state.depth as usize) else {
                return Some(self.picks(state.last_chosen.0));
            };
            for (rank, choice) in slot.named.iter().enumerate() {
                let cost = if rank == 0 {
                    0
                } else {
                    slot.named[0].weight - choice.weight + 1
                };
                self.follow(&state, slot, choice.candidate, cost);
            }
            let unnamed = slot.named.first().map_or(0, |first| first.weight + Self::UNNAMED);
            for (agent, queue) in queues.iter().enumerate() {
                let from = state.cursors[agent] as usize;
                let candidates = queue
                    .events
                    .iter()
                    .enumerate()
                    .skip(from)
                    .take(Self::MAX_SKIP + 1);
                for (index, &(_, candidate)) in candidates {
                    if slot.named.iter().any(|c| c.candidate == candidate) {
                        continue;
                    }
                    let skipped = (index - from) as u32;
                    self.follow(&state, slot, candidate, unnamed + Self::SKIP * skipped);
                }
            }
        }
        None
    }

    /// The choices that led to one, first to last.
    fn picks(&self, mut last: u32) -> Vec<usize> {
        let mut picks = Vec::with_capacity(self.slots.len());
        while let Some(chosen) = self.chosen.get(last as usize) {
            picks.push(chosen.candidate);
            last = chosen.before;
        }
        picks.reverse();
        picks
    }

    fn was_chosen(&self, mut last: u32, candidate: usize) -> bool {
        while let Some(chosen) = self.chosen.get(last as usize) {
            if chosen.candidate == candidate {
                return true;
            }
            last = chosen.before;
        }
        false
    }

    /// Whether there may be enough events for the slots from one on.
    fn can_be_filled(&self, from: usize, cursors: &[u32]) -> bool {
        let queued = self.queues.iter().zip(cursors);
        let left: usize = queued
            .map(|(queue, cursor)| queue.events.len().saturating_sub(*cursor as usize))
            .sum();
        left + self.unqueued >= self.slots.len().saturating_sub(from)
    }

    /// Appends a candidate to an assignment, if its agent's order allows it and the rest can still be filled.
    fn follow(&mut self, state: &State, slot: &Slot, candidate: usize, cost: u32) {
        let mut cost = state.cost.0 + cost;
        let mut last = state.last;
        let place = self.place.get(&candidate).copied();
        match place {
            Some((agent, index, local)) => {
                // What was drawn from a queue, and all before it, is behind the cursor.
                let (low, high) = slot.bounds.get(agent).copied().unwrap_or((i64::MIN, i64::MAX));
                if index < state.cursors[agent] || local < low || local > high {
                    return;
                }
                if last.is_some_and(|l| l != agent) {
                    cost += Self::SWITCH;
                }
                last = Some(agent);
            }
            None if self.was_chosen(state.last_chosen.0, candidate) => return,
            None => {}
        }
        let mut cursors = state.cursors.clone();
        if let Some((agent, index, _)) = place {
            cursors[agent] = index + 1;
        }
        if !self.can_be_filled(state.depth as usize + 1, &cursors) {
            return;
        }
        if self.heap.len() >= Self::MAX_WAITING || self.chosen.len() >= Self::MAX_CHOSEN {
            self.dropped = true;
            return;
        }
        let number = self.chosen.len() as u32;
        self.chosen.push(Chosen {
            before: state.last_chosen.0,
            candidate,
        });
        self.heap.push(State {
            cost: Reverse(cost),
            depth: state.depth + 1,
            last_chosen: Reverse(number),
            cursors,
            last,
        });
    }
}

#[cfg(test)]
mod tests;
