//! Placing by checkpoints: each event whose leaf a signed root confirms has its own proof; where only roots are known, one
//! equal root proves all places below it at once.

use std::collections::BTreeMap;

use rayon::prelude::*;
use ves::log_tree::CompactRange;
use ves::{Hash32, Timestamp};

use crate::grade::Grade;
use crate::place::goal::{Attempt, Goal};
use crate::place::placement::{Budget, Judge, TargetOutcome};
use crate::stream::checkpointed::basis;

impl Judge<'_> {
    /// Puts events where checkpoints say they stand. Says whether any got a place.
    pub(super) fn place_checkpointed(&mut self, budget: Budget) -> bool {
        let before = self.placed_count();
        self.place_by_leaves(budget);
        self.solve_heads(budget);
        self.placed_count() > before
    }

    /// Compares candidates with the leaves that are known: first those that are named for a position, then all.
    fn place_by_leaves(&mut self, budget: Budget) {
        let known = self.checkpointed().leaves().intersection(self.missing());
        let mut left: Vec<(u64, Hash32)> = Vec::new();
        for position in known.positions() {
            let Some(leaf) = self
                .checkpointed()
                .leaf(position)
                .filter(|_| !self.is_placed(position))
            else {
                continue;
            };
            let named = self.choices(position);
            let found = named.into_iter().map(|choice| choice.candidate);
            let found = found
                .into_iter()
                .find(|candidate| self.leaf(position, *candidate) == leaf);
            match found {
                Some(candidate) => self.put_checkpointed(position, candidate),
                None => left.push((position, leaf)),
            }
        }
        let free = self.free_candidates();
        // Beyond that, what nobody names rightly is left to the search by roots and to weaker evidence.
        let affordable = usize::try_from(budget.hashes).unwrap_or(usize::MAX) / free.len().max(1);
        left.truncate(affordable);
        let found: Vec<(u64, usize)> = left
            .par_iter()
            .filter_map(|(position, leaf)| {
                let fits = |candidate: &&usize| self.leaf(*position, **candidate) == *leaf;
                free.iter().find(fits).map(|candidate| (*position, *candidate))
            })
            .collect();
        for (position, candidate) in found {
            if !self.is_used(candidate) {
                self.put_checkpointed(position, candidate);
            }
        }
    }

    fn put_checkpointed(&mut self, position: u64, candidate: usize) {
        let basis = self.bound_by_root(candidate, self.checkpointed().basis(position));
        self.put(position, candidate, Grade::Checkpointed, basis);
    }

    /// Tries the heads that no leaves lead to, smallest first. One that is reached is where the next begins.
    fn solve_heads(&mut self, budget: Budget) {
        let Some(log) = self.log_tree() else { return };
        // Where leaves lead to a head, they have said already what its root could say.
        let leaves = self.checkpointed().leaves();
        let by_root = |size: u64| size > log.prefix.size() && !leaves.contains(size);
        if !self
            .checkpointed()
            .heads()
            .any(|held| by_root(held.checkpoint.size))
        {
            return;
        }
        let mut trees = self.checkpointed().known_trees().into_iter().peekable();
        let mut base = log.prefix.clone();
        // From where the search got stuck on, no larger head can be reached either.
        let mut stuck = false;
        let heads: Vec<_> = self.checkpointed().heads().cloned().collect();
        for held in heads {
            let head = held.checkpoint.head();
            // The tree at the head itself says nothing of what is in it.
            while let Some(tree) = trees.next_if(|tree| tree.size() < head.size) {
                if tree.size() > base.size() {
                    (base, stuck) = (tree, false);
                }
            }
            if head.size <= base.size() || stuck {
                continue;
            }
            match self.solve_head(&base, &held, budget) {
                Some(next) => base = next,
                None => stuck = true,
            }
        }
    }

    /// Looks for the events between a known tree and a signed head; gives the tree at the head.
    fn solve_head(
        &mut self,
        base: &CompactRange,
        held: &checkpoints::history::CountedCheckpoint,
        budget: Budget,
    ) -> Option<CompactRange> {
        let log = self.log_tree()?;
        let head = held.checkpoint.head();
        let behind = log.behind.range(base.size() + 1..=head.size);
        let present: BTreeMap<u64, Hash32> = behind.clone().map(|(p, (leaf, _))| (*p, *leaf)).collect();
        let times: BTreeMap<u64, Timestamp> = behind.map(|(p, (_, at))| (*p, *at)).collect();
        let goal = Goal::of_log(head, base, &present, &times)?;
        let range = goal.range;
        let positions: Vec<u64> = self.named_positions(&goal).into_iter().collect();
        let open = self.open_in(&goal);
        let mut attempt = Attempt::new(goal, budget);
        let mut found = None;
        if open <= positions.len() as u64 {
            found = match self.try_names(&positions, &mut attempt, budget) {
                (Some(picked), _) => Some((positions, picked)),
                (None, _) => None,
            };
        }
        if found.is_none() && open <= Self::MAX_UNNAMED {
            let open = range.positions();
            let open = open.filter(|p| !present.contains_key(p) && !self.is_placed(*p));
            let positions: Vec<u64> = open.collect();
            let (picked, _) = self.try_orders(&positions, &mut attempt, budget);
            found = picked.map(|picked| (positions, picked));
        }
        let tries = attempt.allowance.tried;
        let outcome = match &found {
            Some(_) => TargetOutcome::Solved { tries },
            None => TargetOutcome::NoMatch { tries },
        };
        self.note_head(head.size, outcome);
        let (positions, picked) = found?;
        for (position, candidate) in positions.into_iter().zip(picked) {
            let basis = self.bound_by_root(candidate, basis(held));
            self.put(position, candidate, Grade::Checkpointed, basis);
        }
        let leaves: Option<Vec<Hash32>> = range
            .positions()
            .map(|p| present.get(&p).copied().or_else(|| self.placed_leaf(p)))
            .collect();
        let mut reached = base.clone();
        reached.extend(&leaves?);
        Some(reached)
    }
}

#[cfg(test)]
mod tests;
