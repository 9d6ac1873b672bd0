//! Guesses from agents' own order, for positions that nobody names rightly.
//!
//! The sequencer numbers each agent's events in the order in which the agent made them, and mostly several in a row.
//! So a position that nobody names has, for each agent, the next of its events without a place, or one a little later
//! if some were never sequenced. Named events stay the first choice. Like every guess, these are worth nothing until
//! a root comes out equal.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::guesses::Choice;

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
    heap: BinaryHeap<State>,
    /// Whether assignments were let go for want of room.
    pub dropped: bool,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct State {
    cost: Reverse<u32>,
    /// Chosen so far. Of equal costs the longer goes first, so that the search gets to the end.
    picks: Vec<usize>,
    /// Where each queue goes on.
    cursors: Vec<usize>,
    /// The queue that was drawn from last.
    last: Option<usize>,
}

impl<'a> OrderSearch<'a> {
    /// More assignments than this are never kept waiting.
    const MAX_WAITING: usize = 100_000;
    /// So many of an agent's events in a row may never have been sequenced.
    const MAX_SKIP: usize = 3;
    /// What it costs to leave one out, to change the agent, and not to follow a name.
    const SKIP: u32 = 3;
    const SWITCH: u32 = 1;
    const UNNAMED: u32 = 4;

    /// Starts the search.
    pub fn new(slots: &'a [Slot], queues: &'a [Queue]) -> Self {
        let first = State {
            cost: Reverse(0),
            picks: Vec::new(),
            cursors: vec![0; queues.len()],
            last: None,
        };
        Self {
            slots,
            queues,
            heap: BinaryHeap::from([first]),
            dropped: false,
        }
    }

    /// The next assignment: for each slot its candidate. No candidate occurs twice in one.
    pub fn next(&mut self) -> Option<Vec<usize>> {
        while let Some(state) = self.heap.pop() {
            let Some(slot) = self.slots.get(state.picks.len()) else {
                return Some(state.picks);
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
            for (agent, queue) in self.queues.iter().enumerate() {
                let from = state.cursors[agent];
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

    /// Appends a candidate to an assignment, if its agent's order allows it.
    fn follow(&mut self, state: &State, slot: &Slot, candidate: usize, cost: u32) {
        if state.picks.contains(&candidate) {
            return;
        }
        let place = self.queues.iter().enumerate().find_map(|(agent, queue)| {
            let index = queue.events.iter().position(|(_, c)| *c == candidate)?;
            Some((agent, index, queue.events[index].0))
        });
        let mut cursors = state.cursors.clone();
        let mut cost = state.cost.0 + cost;
        let mut last = state.last;
        if let Some((agent, index, local)) = place {
            let (low, high) = slot.bounds.get(agent).copied().unwrap_or((i64::MIN, i64::MAX));
            if index < cursors[agent] || local < low || local > high {
                return;
            }
            cursors[agent] = index + 1;
            if last.is_some_and(|l| l != agent) {
                cost += Self::SWITCH;
            }
            last = Some(agent);
        }
        if self.heap.len() >= Self::MAX_WAITING {
            self.dropped = true;
            return;
        }
        let mut picks = state.picks.clone();
        picks.push(candidate);
        self.heap.push(State {
            cost: Reverse(cost),
            picks,
            cursors,
            last,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn runs_come_first_then_every_interleaving_in_order_and_none_twice() {
        let queues = [
            Queue {
                events: vec![(1, 10), (2, 11)],
            },
            Queue {
                events: vec![(1, 20), (2, 21)],
            },
        ];
        let slots = vec![
            Slot {
                named: vec![],
                bounds: vec![]
            };
            4
        ];
        let mut search = OrderSearch::new(&slots, &queues);
        let mut seen = BTreeSet::new();
        let first = search.next().unwrap();
        assert!(
            first == [10, 11, 20, 21] || first == [20, 21, 10, 11],
            "{first:?}"
        );
        seen.insert(first);
        while let Some(picks) = search.next() {
            let order = |of: usize| {
                picks
                    .iter()
                    .filter(|p| **p / 10 == of)
                    .copied()
                    .collect::<Vec<_>>()
            };
            assert_eq!((order(1), order(2)), (vec![10, 11], vec![20, 21]));
            assert!(seen.insert(picks));
        }
        assert_eq!(seen.len(), 6);
        assert!(!search.dropped);
    }

    #[test]
    fn names_are_followed_first_and_bounds_kept() {
        let queues = [Queue {
            events: vec![(5, 1), (6, 2), (7, 3)],
        }];
        let named = |candidate| vec![Choice { candidate, weight: 8 }];
        let slots = [
            Slot {
                named: vec![],
                bounds: vec![(6, i64::MAX)],
            },
            Slot {
                named: named(3),
                bounds: vec![(6, i64::MAX)],
            },
        ];
        let mut search = OrderSearch::new(&slots, &queues);
        assert_eq!(search.next(), Some(vec![2, 3]));
        assert_eq!(
            search.next(),
            None,
            "1 is below the bound, 3 before 2 is out of order"
        );
    }
}
