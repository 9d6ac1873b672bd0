//! Places by roots: every guess about what a batch lacks is judged by the root that is anchored or committed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use outbox_sync::OutboxStatus;
use ves::merkle::leaf_hash;
use ves::span::Spans;
use ves::{AgentId, Hash32};

use super::{Judge, Limit, TargetOutcome, describe_signature};
use crate::grade::Grade;
use crate::place::goal::{Attempt, Goal, OpenSlots};
use crate::place::guesses::{BestFirst, Choice};
use crate::place::orders::{self, OrderSearch, Queue};
use crate::place::solve::{self, Budget, Paths, SearchEnd};
use crate::stream::facts::{self, Facts, Occupied};
use crate::stream::target::Target;

/// For each guess that may be tried so many may be passed over without being tried, since they contradict facts.
const SKIPPED: u64 = 5;

impl Judge<'_> {
    /// For at most so many missing positions below a root the agents' own order is tried.
    pub(in crate::place) const MAX_UNNAMED: u64 = 64;

    /// Tries the roots until no one more comes out.
    pub(super) fn solve_all<'t>(&mut self, targets: impl Iterator<Item = &'t Target>, budget: Budget) {
        let mut open: Vec<(&Target, Option<u64>, Option<u64>)> = targets.map(|t| (t, None, None)).collect();
        // A solved batch takes its events out of the guesses for the others: then these are worth another try.
        let mut solved = 0_u64;
        loop {
            let before = open.len();
            open.retain_mut(|(target, tried, _)| {
                if tried.replace(solved) == Some(solved) || !self.solve_by_names(target, budget) {
                    return true;
                }
                solved += 1;
                false
            });
            if open.len() < before {
                continue;
            }
            // What nobody names rightly may follow from the agents' own order.
            let by_order = open.iter_mut().position(|(target, _, tried)| {
                tried.replace(solved) != Some(solved) && self.solve_by_orders(target, budget)
            });
            match by_order {
                Some(index) => {
                    open.remove(index);
                    solved += 1;
                }
                None => return,
            }
        }
    }

    fn solve_by_names(&mut self, target: &Target, budget: Budget) -> bool {
        let mut attempt = Attempt::new(Goal::of_batch(target), budget);
        let positions: Vec<u64> = self.named_positions(&attempt.goal).into_iter().collect();
        let outcome = if self.open_in(&attempt.goal) > positions.len() as u64 {
            TargetOutcome::NoCandidate {
                positions: self.nameless(target, &positions),
                limit: None,
            }
        } else {
            match self.try_names(&positions, &mut attempt, budget) {
                (Some(picked), _) => return self.solved(target, positions, picked, attempt.allowance.tried),
                (None, outcome) => outcome,
            }
        };
        self.outcomes.insert(target.batch_id, outcome);
        false
    }

    fn solve_by_orders(&mut self, target: &Target, budget: Budget) -> bool {
        let mut attempt = Attempt::new(Goal::of_batch(target), budget);
        if self.open_in(&attempt.goal) > Self::MAX_UNNAMED {
            return false;
        }
        let positions: Vec<u64> = target
            .range
            .positions()
            .filter(|p| !target.present.contains_key(p) && !self.placed.contains_key(p))
            .collect();
        let (found, ended) = self.try_orders(&positions, &mut attempt, budget);
        let tried = attempt.allowance.tried;
        let outcome = self.outcomes.get_mut(&target.batch_id);
        if let Some(TargetOutcome::NoMatch { tries } | TargetOutcome::BudgetSpent { tries, .. }) = outcome {
            *tries += tried;
        }
        if let Some(picked) = found {
            let tries = match self.outcomes.get(&target.batch_id) {
                Some(TargetOutcome::NoMatch { tries } | TargetOutcome::BudgetSpent { tries, .. }) => *tries,
                _ => tried,
            };
            return self.solved(target, positions, picked, tries);
        }
        if let Some(TargetOutcome::BudgetSpent { limit: spent, .. }) = ended {
            match self.outcomes.get_mut(&target.batch_id) {
                Some(TargetOutcome::NoCandidate { limit, .. }) => *limit = Some(spent),
                Some(outcome @ TargetOutcome::NoMatch { .. }) => {
                    if let TargetOutcome::NoMatch { tries } = *outcome {
                        *outcome = TargetOutcome::BudgetSpent { tries, limit: spent };
                    }
                }
                _ => {}
            }
        }
        false
    }

    /// How many positions of a batch have no event yet.
    pub(in crate::place) fn open_in(&self, goal: &Goal<'_>) -> u64 {
        let width = goal.range.count();
        let known = goal.present.len() + self.placed.range(goal.range.positions()).count();
        width - (known as u64).min(width)
    }

    /// The open positions' paths in the batch's tree. `None` if all candidates together cannot fill the batch: a
    /// hostile anchor may be wider than memory.
    fn paths(&self, goal: &Goal<'_>, positions: &[u64]) -> Option<Paths> {
        let width = goal.range.count();
        let known = goal.present.len() as u64 + self.evidence.candidates.len() as u64;
        if width > known {
            return None;
        }
        let leaf = |position: u64| {
            let present = goal.present.get(&position).copied();
            present
                .or_else(|| self.placed_leaf(position))
                .unwrap_or(Hash32::ZERO)
        };
        let leaves: Vec<Hash32> = goal.range.positions().map(leaf).collect();
        let start = goal.range.start();
        let open: Vec<usize> = positions.iter().map(|p| (p - start) as usize).collect();
        goal.paths(&leaves, &open)
    }

    /// Where each agent's events stand already, in the log and by what was placed.
    fn order(&self) -> BTreeMap<AgentId, BTreeMap<u64, i64>> {
        let mut known = self.evidence.known_order.clone();
        for placement in self.placed.values() {
            let candidate = &self.evidence.candidates[placement.candidate];
            if let Some(local) = candidate.local_seq {
                known
                    .entry(candidate.event.source_agent_id)
                    .or_default()
                    .insert(placement.position, local);
            }
        }
        known
    }

    fn facts(
        &self,
        goal: &Goal<'_>,
        positions: &[u64],
        candidates: impl Iterator<Item = usize>,
        order: &BTreeMap<AgentId, BTreeMap<u64, i64>>,
    ) -> Facts {
        let placed = self.placed.values().map(|p| (p.position, p.candidate)).collect();
        let known = Occupied {
            order,
            times: goal.times,
            history: self.history,
            placed: &placed,
            missing: self.missing,
        };
        Facts::new(positions, candidates, self.evidence, &known)
    }

    /// Tries the events that are named for the positions, likeliest first: at first those guesses that contradict no
    /// fact, then the others.
    pub(in crate::place) fn try_names(
        &self,
        positions: &[u64],
        attempt: &mut Attempt<'_>,
        budget: Budget,
    ) -> (Option<Vec<usize>>, TargetOutcome) {
        let choices: Vec<Vec<Choice>> = positions.iter().map(|p| self.choices(*p)).collect();
        let Some(paths) = self.paths(&attempt.goal, positions) else {
            let positions = Spans::from(attempt.goal.range);
            let limit = None;
            return (None, TargetOutcome::NoCandidate { positions, limit });
        };
        attempt.allow(budget, &paths);
        let all: BTreeSet<usize> = choices.iter().flatten().map(|c| c.candidate).collect();
        let facts = self.facts(&attempt.goal, positions, all.into_iter(), &self.order());
        let node = |position, candidate| attempt.goal.node(self.leaf(position, candidate));
        let mut slots = OpenSlots::new(&node, positions);
        let most_skipped = budget.tries.saturating_mul(SKIPPED);
        let mut put_back = 0;
        for fitting in [true, false] {
            if !fitting && put_back == 0 {
                break;
            }
            let mut guesses = BestFirst::new(&choices);
            let (mut skipped, mut cut_short) = (0, None);
            let ended = solve::search(
                &paths,
                &mut slots,
                &attempt.goal.root,
                &mut attempt.allowance,
                |slots| {
                    loop {
                        let guess = guesses.next()?;
                        let picked: Vec<usize> = guess
                            .iter()
                            .zip(&choices)
                            .map(|(&i, c)| c[i as usize].candidate)
                            .collect();
                        let once = facts.each_once(&picked);
                        if once && facts.allow(&picked) == fitting {
                            return Some(OpenSlots::guess(slots, &picked));
                        }
                        put_back += u64::from(once && fitting);
                        skipped += 1;
                        let late =
                            skipped % 4096 == 0 && budget.until.is_some_and(|until| Instant::now() >= until);
                        if skipped > most_skipped || late {
                            cut_short = Some(if late { Limit::Seconds } else { Limit::Candidates });
                            return None;
                        }
                    }
                },
            );
            let tries = attempt.allowance.tried;
            let limit = match ended {
                SearchEnd::Found(guess) => {
                    return (Some(slots.candidates(&guess)), TargetOutcome::Solved { tries });
                }
                SearchEnd::Exhausted if guesses.is_exhausted() => cut_short,
                SearchEnd::Exhausted => cut_short.or(Some(Limit::Candidates)),
                SearchEnd::Candidates => Some(Limit::Candidates),
                SearchEnd::Seconds => Some(Limit::Seconds),
            };
            if let Some(limit) = limit {
                return (None, TargetOutcome::BudgetSpent { tries, limit });
            }
        }
        let tries = attempt.allowance.tried;
        (None, TargetOutcome::NoMatch { tries })
    }

    /// Tries events in their agents' own order, where names are missing or wrong.
    pub(in crate::place) fn try_orders(
        &self,
        positions: &[u64],
        attempt: &mut Attempt<'_>,
        budget: Budget,
    ) -> (Option<Vec<usize>>, Option<TargetOutcome>) {
        let mut agents: BTreeMap<AgentId, Queue> = BTreeMap::new();
        for (index, candidate) in self.evidence.candidates.iter().enumerate() {
            let free = !self.used.contains(&candidate.event.event_id)
                && candidate.status != Some(OutboxStatus::Rejected);
            if let (true, Some(local)) = (free, candidate.local_seq) {
                agents
                    .entry(candidate.event.source_agent_id)
                    .or_default()
                    .events
                    .push((local, index));
            }
        }
        let (false, Some(paths)) = (agents.is_empty(), self.paths(&attempt.goal, positions)) else {
            return (None, None);
        };
        attempt.allow(budget, &paths);
        let order = self.order();
        let slots: Vec<orders::Slot> = positions
            .iter()
            .map(|&p| orders::Slot {
                named: self.choices(p),
                bounds: agents
                    .keys()
                    .map(|agent| facts::bounds(order.get(agent), p))
                    .collect(),
            })
            .collect();
        let queues: Vec<Queue> = agents
            .values()
            .map(|queue| {
                let mut events = queue.events.clone();
                events.sort_unstable();
                Queue { events }
            })
            .collect();
        let named = slots.iter().flat_map(|s| s.named.iter().map(|c| c.candidate));
        let queued = queues.iter().flat_map(|q| q.events.iter().map(|(_, c)| *c));
        let all: BTreeSet<usize> = named.chain(queued).collect();
        let facts = self.facts(&attempt.goal, positions, all.into_iter(), &order);
        let mut search = OrderSearch::new(&slots, &queues, budget.until);
        let node = |position, candidate| attempt.goal.node(self.leaf(position, candidate));
        let mut open = OpenSlots::new(&node, positions);
        let (mut skipped, mut cut_short) = (0_u64, false);
        let ended = solve::search(
            &paths,
            &mut open,
            &attempt.goal.root,
            &mut attempt.allowance,
            |slots| {
                loop {
                    let picked = search.next()?;
                    if facts.each_once(&picked) && facts.allow(&picked) {
                        return Some(OpenSlots::guess(slots, &picked));
                    }
                    skipped += 1;
                    if skipped > budget.tries.saturating_mul(SKIPPED) {
                        cut_short = true;
                        return None;
                    }
                }
            },
        );
        let tries = attempt.allowance.tried;
        let spent = |limit| (None, Some(TargetOutcome::BudgetSpent { tries, limit }));
        match ended {
            SearchEnd::Found(guess) => (Some(open.candidates(&guess)), None),
            SearchEnd::Exhausted if search.late => spent(Limit::Seconds),
            SearchEnd::Exhausted if search.dropped || cut_short => spent(Limit::Candidates),
            SearchEnd::Exhausted => (None, Some(TargetOutcome::NoMatch { tries })),
            SearchEnd::Candidates => spent(Limit::Candidates),
            SearchEnd::Seconds => spent(Limit::Seconds),
        }
    }

    fn solved(&mut self, target: &Target, positions: Vec<u64>, picked: Vec<usize>, tries: u64) -> bool {
        let basis = match target.grade {
            Grade::Proven => format!("anchored root of batch {}", target.batch_id),
            _ => format!("root of commitment {}", target.batch_id),
        };
        // What had its place by weaker evidence is proven by the root as well.
        let weaker: Vec<(u64, usize)> = self
            .placed
            .range(target.range.positions())
            .filter(|(_, placement)| placement.grade < target.grade)
            .map(|(position, placement)| (*position, placement.candidate))
            .collect();
        for (position, candidate) in weaker {
            let basis = self.bound_by_root(candidate, basis.clone());
            if let Some(placement) = self.placed.get_mut(&position) {
                (placement.grade, placement.basis) = (target.grade, basis);
            }
        }
        for (position, candidate) in positions.into_iter().zip(picked) {
            let basis = self.bound_by_root(candidate, basis.clone());
            self.put(position, candidate, target.grade, basis);
        }
        self.outcomes
            .insert(target.batch_id, TargetOutcome::Solved { tries });
        true
    }

    /// A basis, with what is to be said of the event's signature where a root binds it.
    pub(in crate::place) fn bound_by_root(&self, candidate: usize, mut basis: String) -> String {
        let signature = &self.evidence.candidates[candidate].signature;
        if !signature.is_valid() {
            basis.push_str("; signature bound by the root, NOT CHECKED: ");
            basis.push_str(describe_signature(signature));
        }
        basis
    }

    /// Its missing positions that have at least one choice.
    pub(in crate::place) fn named_positions(&self, goal: &Goal<'_>) -> BTreeSet<u64> {
        let claimed = self
            .evidence
            .claims
            .range(goal.range.positions())
            .map(|(p, _)| *p);
        let receipted = self
            .evidence
            .receipts
            .range(goal.range.positions())
            .map(|(p, _)| *p);
        claimed
            .chain(receipted)
            .filter(|p| !goal.present.contains_key(p) && !self.placed.contains_key(p))
            .filter(|p| !self.choices(*p).is_empty())
            .collect()
    }

    /// The target's missing positions without any choice.
    fn nameless(&self, target: &Target, named: &[u64]) -> Spans {
        let placed = self.placed.range(target.range.positions()).map(|(p, _)| p);
        let taken = target.present.keys().chain(placed).chain(named);
        Spans::of_positions(taken.copied()).complement(target.range)
    }

    pub(in crate::place) fn leaf(&self, position: u64, candidate: usize) -> Hash32 {
        let candidate = &self.evidence.candidates[candidate];
        leaf_hash(
            self.stream,
            position,
            &candidate.signing_hash,
            &candidate.event.agent_signature,
        )
    }
}

#[cfg(test)]
mod tests;
