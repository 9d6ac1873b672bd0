//! What a search is to reach: the root over a range of positions of which some are open. It is a batch's, or that of the
//! tree over the whole stream, which a checkpoint signs.

use std::collections::{BTreeMap, HashMap};

use ves::log_tree::{self, CompactRange, TreeHead};
use ves::span::Span;
use ves::{Hash32, Timestamp};

use crate::place::solve::{Allowance, Budget, Choices, Paths, Slot};
use crate::stream::target::Target;

/// See the module.
pub(super) struct Goal<'t> {
    /// The positions.
    pub(super) range: Span,
    /// The root.
    pub(super) root: Hash32,
    /// Leaves of those positions that the log has.
    pub(super) present: &'t BTreeMap<u64, Hash32>,
    /// When the events of those positions were numbered.
    pub(super) times: &'t BTreeMap<u64, Timestamp>,
    /// What stands before the range in the tree over the stream, if it is that.
    before: Option<&'t CompactRange>,
}

impl<'t> Goal<'t> {
    /// A batch.
    pub(super) fn of_batch(target: &'t Target) -> Self {
        Self {
            range: target.range,
            root: target.root,
            present: &target.present,
            times: &target.times,
            before: None,
        }
    }

    /// The head of the tree over the stream, of which the part `before` is known. `None` if that is all of it.
    pub(super) fn of_log(
        head: TreeHead,
        before: &'t CompactRange,
        present: &'t BTreeMap<u64, Hash32>,
        times: &'t BTreeMap<u64, Timestamp>,
    ) -> Option<Self> {
        Some(Self {
            range: Span::new(before.size() + 1, head.size)?,
            root: head.root,
            present,
            times,
            before: Some(before),
        })
    }

    /// What stands in the tree for a leaf.
    pub(super) fn node(&self, leaf: Hash32) -> Hash32 {
        match self.before {
            None => leaf,
            Some(_) => log_tree::record_hash(&leaf.0),
        }
    }

    /// The paths above the open ones of its leaves.
    pub(super) fn paths(&self, leaves: &[Hash32], open: &[usize]) -> Option<Paths> {
        match self.before {
            None => Paths::of_batch(leaves, open),
            Some(before) => {
                let records = leaves.iter().map(|leaf| self.node(*leaf)).collect();
                Paths::of_log(before, records, open)
            }
        }
    }
}

/// The work on one goal.
pub(super) struct Attempt<'t> {
    pub(super) goal: Goal<'t>,
    pub(super) allowance: Allowance,
}

impl<'t> Attempt<'t> {
    pub(super) fn new(goal: Goal<'t>, budget: Budget) -> Self {
        Self {
            goal,
            allowance: Allowance {
                tried: 0,
                tries: 0,
                until: budget.until,
            },
        }
    }

    /// Allows what the budget gives for one search.
    pub(super) fn allow(&mut self, budget: Budget, paths: &Paths) {
        self.allowance.tries = budget.tries.min(budget.hashes / paths.cost()).max(1);
    }
}

/// The open positions of a goal, with the leaves of their candidates as far as guesses named them.
pub(super) struct OpenSlots<'j> {
    /// What stands in the tree for a candidate at a position.
    node: &'j dyn Fn(u64, usize) -> Hash32,
    positions: Vec<u64>,
    slots: Vec<Slot>,
    numbers: Vec<HashMap<usize, u32>>,
}

impl<'j> OpenSlots<'j> {
    pub(super) fn new(node: &'j dyn Fn(u64, usize) -> Hash32, positions: &[u64]) -> Self {
        Self {
            node,
            positions: positions.to_vec(),
            slots: vec![Slot::default(); positions.len()],
            numbers: vec![HashMap::new(); positions.len()],
        }
    }

    /// A guess of candidates, in the choices' numbers.
    pub(super) fn guess(slots: &mut dyn Choices, picks: &[usize]) -> Vec<u32> {
        picks
            .iter()
            .enumerate()
            .map(|(slot, candidate)| slots.choice(slot, *candidate))
            .collect()
    }

    pub(super) fn candidates(&self, guess: &[u32]) -> Vec<usize> {
        let named = |(slot, choice): (usize, &u32)| {
            let numbers = &self.numbers[slot];
            numbers
                .iter()
                .find_map(|(candidate, n)| (n == choice).then_some(*candidate))
        };
        guess.iter().enumerate().filter_map(named).collect()
    }
}

impl Choices for OpenSlots<'_> {
    fn slots(&self) -> &[Slot] {
        &self.slots
    }

    fn choice(&mut self, slot: usize, candidate: usize) -> u32 {
        let leaves = &mut self.slots[slot].leaves;
        *self.numbers[slot].entry(candidate).or_insert_with(|| {
            leaves.push((self.node)(self.positions[slot], candidate));
            leaves.len() as u32 - 1
        })
    }
}
