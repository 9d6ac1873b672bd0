//! Placement: which event goes to which missing position, and how sure that is.
//!
//! A leaf binds position, content and signature, so a batch's root judges every guess about its
//! missing positions: if the recomputed root equals the anchored one, the guess was right, whoever
//! supplied the events. Claims and pointers only order the guesses. What no root decides is graded by
//! receipts, then by who agrees with whom. This module takes values and returns values.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Instant;

use outbox_sync::OutboxStatus;
use ves::merkle::leaf_hash;
use ves::span::{Span, Spans};
use ves::{AgentId, BatchId, EventId, Hash32, SignatureCheck, StreamKey, Timestamp};

use crate::grade::Grade;
use crate::place::goal::{Attempt, Goal, OpenSlots};
use crate::place::guesses::{BestFirst, Choice};
use crate::place::orders::{self, OrderSearch, Queue};
pub use crate::place::solve::Budget;
use crate::place::solve::{self, Ended, Paths};
use crate::place::trust::Trust;
use crate::stream::checkpointed::Checkpointed;
use crate::stream::facts::{self, Facts, History, Known};
use crate::stream::target::Target;
use crate::stream::tree::TreeScan;
use crate::witness::evidence::{HolderId, Holders, Saying, StreamEvidence};

/// What became of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The root came out equal after this many tries.
    Solved {
        /// Roots computed.
        tries: u64,
    },
    /// For these positions nobody names an event that somebody holds whole.
    NoCandidate {
        /// The positions.
        positions: Spans,
        /// The search in the agents' own order was not finished, and why.
        limit: Option<Limit>,
    },
    /// Every combination of the named events was tried, and none gives the root.
    NoMatch {
        /// Roots computed.
        tries: u64,
    },
    /// The budget ran out before every combination was tried.
    BudgetSpent {
        /// Roots computed.
        tries: u64,
        /// What of it ran out.
        limit: Limit,
    },
}

/// What ends a search early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The number of combinations to try.
    Candidates,
    /// The time.
    Seconds,
}

/// An event at its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The position.
    pub position: u64,
    /// The event, as an index into the evidence's candidates.
    pub candidate: usize,
    /// How sure it is.
    pub grade: Grade,
    /// On what evidence, in words.
    pub basis: String,
    /// When the sequencer numbered it, if a witness knows.
    pub sequenced_at: Option<Timestamp>,
}

/// Missing positions for which no event can be named for sure, all for the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The positions.
    pub range: Span,
    /// `Contested` or `Lost`.
    pub grade: Grade,
    /// Why.
    pub reason: String,
    /// The events that are named for it.
    pub rivals: Vec<EventId>,
}

/// The judgement on all missing positions of a stream.
#[derive(Debug, Default, Clone)]
pub struct Judgement {
    /// Positions with their event, ascending. Every position and every event occurs once.
    pub placements: Vec<Placement>,
    /// The other missing positions, ascending.
    pub open: Vec<Open>,
    /// What became of each target, by batch.
    pub outcomes: Vec<(BatchId, Outcome)>,
    /// What became of each checkpoint that only its root was known of, by size.
    pub heads: Vec<(u64, Outcome)>,
    /// Missing positions without a placement for which a word that can be trusted names an event.
    pub spoken_for: BTreeSet<u64>,
}

/// What is asked about a stream.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The stream.
    pub stream: &'a StreamKey,
    /// Its missing positions.
    pub missing: &'a Spans,
    /// The batches with a known root that touch them.
    pub targets: &'a [Target],
    /// Where the events of its entities stand.
    pub history: &'a History,
    /// What checkpoints say of it.
    pub checkpointed: &'a Checkpointed,
    /// The tree over it, as far as the log has it, where checkpoints' roots are to be searched for.
    pub log_tree: Option<&'a TreeScan>,
}

/// Judges the missing positions of a stream.
///
/// Work and memory grow with the evidence, not with the width of a gap: a false claim of
/// number 2^60 costs no more than a true one.
pub fn judge(
    question: &Question<'_>,
    evidence: &StreamEvidence,
    holders: &Holders,
    budget: Budget,
) -> Judgement {
    let targets = question.targets;
    let mut judge = Judge::new(question, evidence, holders);
    let of_grade = |grade| targets.iter().filter(move |t| t.grade == grade);
    // Anchored roots first; within a grade, a batch solved takes its events out of the others' guesses.
    judge.solve_all(of_grade(Grade::Proven), budget);
    if judge.place_checkpointed(budget) {
        // What has its place by a checkpoint may be what a batch lacked.
        let solved = judge.solved_batches();
        judge.solve_all(
            of_grade(Grade::Proven).filter(|t| !solved.contains(&t.batch_id)),
            budget,
        );
    }
    judge.place_receipted();
    judge.solve_all(of_grade(Grade::Committed), budget);
    judge.place_claimed();
    judge.finish()
}

/// For each guess that may be tried so many may be passed over without being tried, since they contradict facts.
const SKIPPED: u64 = 5;

/// What was found so far.
pub(super) struct Judge<'a> {
    stream: &'a StreamKey,
    missing: &'a Spans,
    history: &'a History,
    checkpointed: &'a Checkpointed,
    log_tree: Option<&'a TreeScan>,
    heads: Vec<(u64, Outcome)>,
    evidence: &'a StreamEvidence,
    holders: &'a Holders,
    placed: BTreeMap<u64, Placement>,
    used: HashSet<EventId>,
    outcomes: BTreeMap<BatchId, Outcome>,
}

impl<'a> Judge<'a> {
    fn new(question: &Question<'a>, evidence: &'a StreamEvidence, holders: &'a Holders) -> Self {
        Self {
            stream: question.stream,
            missing: question.missing,
            history: question.history,
            checkpointed: question.checkpointed,
            log_tree: question.log_tree,
            heads: Vec::new(),
            evidence,
            holders,
            placed: BTreeMap::new(),
            used: HashSet::new(),
            outcomes: BTreeMap::new(),
        }
    }

    /// For at most so many missing positions below a root the agents' own order is tried.
    pub(super) const MAX_UNNAMED: u64 = 64;

    pub(super) fn checkpointed(&self) -> &'a Checkpointed {
        self.checkpointed
    }

    pub(super) fn log_tree(&self) -> Option<&'a TreeScan> {
        self.log_tree
    }

    pub(super) fn missing(&self) -> &'a Spans {
        self.missing
    }

    pub(super) fn placed_count(&self) -> usize {
        self.placed.len()
    }

    pub(super) fn is_placed(&self, position: u64) -> bool {
        self.placed.contains_key(&position)
    }

    pub(super) fn is_used(&self, candidate: usize) -> bool {
        self.used.contains(&self.event_of(candidate))
    }

    /// The candidates whose event has no place yet.
    pub(super) fn free_candidates(&self) -> Vec<usize> {
        let all = 0..self.evidence.candidates.len();
        all.filter(|candidate| !self.is_used(*candidate)).collect()
    }

    pub(super) fn placed_leaf(&self, position: u64) -> Option<Hash32> {
        let placement = self.placed.get(&position)?;
        Some(self.leaf(position, placement.candidate))
    }

    pub(super) fn note_head(&mut self, size: u64, outcome: Outcome) {
        self.heads.push((size, outcome));
    }

    fn solved_batches(&self) -> HashSet<BatchId> {
        let solved =
            |(id, outcome): (&BatchId, &Outcome)| matches!(outcome, Outcome::Solved { .. }).then_some(*id);
        self.outcomes.iter().filter_map(solved).collect()
    }

    fn is_missing(&self, position: u64) -> bool {
        self.missing.contains(position)
    }

    pub(super) fn put(&mut self, position: u64, candidate: usize, grade: Grade, basis: String) {
        let event_id = self.evidence.candidates[candidate].event.event_id;
        debug_assert!(self.is_missing(position) && !self.placed.contains_key(&position));
        let first_use = self.used.insert(event_id);
        debug_assert!(first_use, "an event has one place");
        let sequenced_at = self.sequenced_at(position, event_id);
        self.placed.insert(
            position,
            Placement {
                position,
                candidate,
                grade,
                basis,
                sequenced_at,
            },
        );
    }

    /// The time of numbering that a witness of this very placement knows; a receipt before a pulled row.
    fn sequenced_at(&self, position: u64, event_id: EventId) -> Option<Timestamp> {
        let receipts = self.evidence.receipts.get(&position).into_iter().flatten();
        let from_receipt = receipts
            .filter(|r| r.receipt.event_id == event_id)
            .map(|r| r.receipt.sequenced_at)
            .min();
        let claims = self.evidence.claims.get(&position).into_iter().flatten();
        from_receipt.or_else(|| {
            claims
                .filter(|c| c.event_id == event_id)
                .filter_map(|c| c.sequenced_at.map(|t| (c.saying, t)))
                .max()
                .map(|(_, t)| t)
        })
    }

    /// The events named for a position that somebody holds whole and that have no place yet,
    /// heaviest first.
    pub(super) fn choices(&self, position: u64) -> Vec<Choice> {
        let mut weights: BTreeMap<usize, u32> = BTreeMap::new();
        for claim in self.evidence.claims.get(&position).into_iter().flatten() {
            if self.used.contains(&claim.event_id) {
                continue;
            }
            for &candidate in self.evidence.candidates_of(claim.event_id) {
                *weights.entry(candidate).or_default() += claim.saying.weight();
            }
        }
        for held in self.evidence.receipts.get(&position).into_iter().flatten() {
            for &candidate in self.evidence.candidates_of(held.receipt.event_id) {
                if !self.used.contains(&held.receipt.event_id) {
                    *weights.entry(candidate).or_default() += 100;
                }
            }
        }
        let mut choices: Vec<Choice> = weights
            .into_iter()
            .map(|(candidate, weight)| Choice { candidate, weight })
            .collect();
        choices.sort_by_key(|c| (std::cmp::Reverse(c.weight), c.candidate));
        choices
    }

    fn solve_all<'t>(&mut self, targets: impl Iterator<Item = &'t Target>, budget: Budget) {
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
            Outcome::NoCandidate {
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
        if let Some(Outcome::NoMatch { tries } | Outcome::BudgetSpent { tries, .. }) = outcome {
            *tries += tried;
        }
        if let Some(picked) = found {
            let tries = match self.outcomes.get(&target.batch_id) {
                Some(Outcome::NoMatch { tries } | Outcome::BudgetSpent { tries, .. }) => *tries,
                _ => tried,
            };
            return self.solved(target, positions, picked, tries);
        }
        if let Some(Outcome::BudgetSpent { limit: spent, .. }) = ended {
            match self.outcomes.get_mut(&target.batch_id) {
                Some(Outcome::NoCandidate { limit, .. }) => *limit = Some(spent),
                Some(outcome @ Outcome::NoMatch { .. }) => {
                    if let Outcome::NoMatch { tries } = *outcome {
                        *outcome = Outcome::BudgetSpent { tries, limit: spent };
                    }
                }
                _ => {}
            }
        }
        false
    }

    /// How many positions of a batch have no event yet.
    pub(super) fn open_in(&self, goal: &Goal<'_>) -> u64 {
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
        let known = Known {
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
    pub(super) fn try_names(
        &self,
        positions: &[u64],
        attempt: &mut Attempt<'_>,
        budget: Budget,
    ) -> (Option<Vec<usize>>, Outcome) {
        let choices: Vec<Vec<Choice>> = positions.iter().map(|p| self.choices(*p)).collect();
        let Some(paths) = self.paths(&attempt.goal, positions) else {
            let positions = Spans::from(attempt.goal.range);
            let limit = None;
            return (None, Outcome::NoCandidate { positions, limit });
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
            let (mut skipped, mut cut_short) = (0, false);
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
                            cut_short = true;
                            return None;
                        }
                    }
                },
            );
            let tries = attempt.allowance.tried;
            match ended {
                Ended::Found(guess) => {
                    return (Some(slots.candidates(&guess)), Outcome::Solved { tries });
                }
                Ended::Exhausted if cut_short || !guesses.is_exhausted() => {
                    let limit = Limit::Candidates;
                    return (None, Outcome::BudgetSpent { tries, limit });
                }
                Ended::Exhausted => {}
                Ended::Candidates => {
                    let limit = Limit::Candidates;
                    return (None, Outcome::BudgetSpent { tries, limit });
                }
                Ended::Seconds => {
                    let limit = Limit::Seconds;
                    return (None, Outcome::BudgetSpent { tries, limit });
                }
            }
        }
        let tries = attempt.allowance.tried;
        (None, Outcome::NoMatch { tries })
    }

    /// Tries events in their agents' own order, where names are missing or wrong.
    pub(super) fn try_orders(
        &self,
        positions: &[u64],
        attempt: &mut Attempt<'_>,
        budget: Budget,
    ) -> (Option<Vec<usize>>, Option<Outcome>) {
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
        let mut search = OrderSearch::new(&slots, &queues);
        let node = |position, candidate| attempt.goal.node(self.leaf(position, candidate));
        let mut open = OpenSlots::new(&node, positions);
        let mut skipped = 0_u64;
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
                        return None;
                    }
                }
            },
        );
        let tries = attempt.allowance.tried;
        let spent = |limit| (None, Some(Outcome::BudgetSpent { tries, limit }));
        match ended {
            Ended::Found(guess) => (Some(open.candidates(&guess)), None),
            Ended::Exhausted if search.dropped => spent(Limit::Candidates),
            Ended::Exhausted => (None, Some(Outcome::NoMatch { tries })),
            Ended::Candidates => spent(Limit::Candidates),
            Ended::Seconds => spent(Limit::Seconds),
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
        self.outcomes.insert(target.batch_id, Outcome::Solved { tries });
        true
    }

    /// A basis, with what is to be said of the event's signature where a root binds it.
    pub(super) fn bound_by_root(&self, candidate: usize, mut basis: String) -> String {
        let signature = &self.evidence.candidates[candidate].signature;
        if !signature.is_valid() {
            basis.push_str("; signature bound by the root, NOT CHECKED: ");
            basis.push_str(describe_signature(signature));
        }
        basis
    }

    /// Its missing positions that have at least one choice.
    pub(super) fn named_positions(&self, goal: &Goal<'_>) -> BTreeSet<u64> {
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

    pub(super) fn leaf(&self, position: u64, candidate: usize) -> Hash32 {
        let candidate = &self.evidence.candidates[candidate];
        leaf_hash(
            self.stream,
            position,
            &candidate.signing_hash,
            &candidate.event.agent_signature,
        )
    }

    /// Places what a signed receipt names, where the receipt's hash covers the candidate's content.
    fn place_receipted(&mut self) {
        for (&position, receipts) in &self.evidence.receipts {
            if self.placed.contains_key(&position) || !self.is_missing(position) {
                continue;
            }
            let mut named: Vec<(usize, &str)> = Vec::new();
            for held in receipts {
                for &candidate in self.evidence.candidates_of(held.receipt.event_id) {
                    let c = &self.evidence.candidates[candidate];
                    let usable = c.signature.is_valid() && !self.used.contains(&c.event.event_id);
                    if usable
                        && held.receipt.hash_matches(self.stream, &c.signing_hash)
                        && !named.iter().any(|(known, _)| *known == candidate)
                    {
                        named.push((candidate, &held.place));
                    }
                }
            }
            // Two signed receipts for one position would be the sequencer contradicting itself.
            if let [(candidate, place)] = named[..] {
                self.put(
                    position,
                    candidate,
                    Grade::Receipted,
                    format!("signed receipt, {place}"),
                );
            }
        }
    }

    /// Grades what is left by who says what: an event and a position that name each other and nothing
    /// else are corroborated or claimed, if a word for it can be trusted; everything else stays open.
    fn place_claimed(&mut self) {
        let evidence = self.evidence;
        // Where else an event without a place is claimed to have been, among positions still missing.
        let mut positions_of: BTreeMap<EventId, BTreeSet<u64>> = BTreeMap::new();
        for (&position, claims) in &evidence.claims {
            if self.is_missing(position) && !self.placed.contains_key(&position) {
                for claim in claims.iter().filter(|c| !self.used.contains(&c.event_id)) {
                    positions_of.entry(claim.event_id).or_default().insert(position);
                }
            }
        }
        let trust = self.trust();
        let mut found: Vec<(u64, usize, Grade, String)> = Vec::new();
        for (&position, claims) in &evidence.claims {
            if !self.is_missing(position) || self.placed.contains_key(&position) {
                continue;
            }
            let live: Vec<_> = claims
                .iter()
                .filter(|c| !self.used.contains(&c.event_id))
                .collect();
            let events: BTreeSet<EventId> = live.iter().map(|c| c.event_id).collect();
            let [event_id] = events.iter().copied().collect::<Vec<_>>()[..] else {
                continue;
            };
            if positions_of[&event_id].len() > 1 {
                continue;
            }
            let [candidate] = *evidence.candidates_of(event_id) else {
                continue;
            };
            if !evidence.candidates[candidate].signature.is_valid() {
                continue;
            }
            if live.iter().all(|c| trust.doubt(position, c).is_some()) {
                continue;
            }
            let who: BTreeSet<_> = live.iter().map(|c| c.holder).collect();
            let grade = if self.holders.independent(who.iter().copied()) > 1 {
                Grade::Corroborated
            } else {
                Grade::Claimed
            };
            let basis = format!("claimed by {}", self.holders.names(&who));
            found.push((position, candidate, grade, basis));
        }
        for (position, candidate, grade, basis) in found {
            self.put(position, candidate, grade, basis);
        }
    }

    /// Which words can be trusted, by what is placed so far.
    fn trust(&self) -> Trust {
        let there = |event_id: EventId, position: u64| {
            self.placed
                .get(&position)
                .is_some_and(|p| self.event_of(p.candidate) == event_id)
        };
        Trust::new(self.evidence, self.history, self.refuted(), &there)
    }

    /// How often each holder's word of each kind turned out wrong: about events that the log has or that have their
    /// place by now, and about positions that others fill.
    fn refuted(&self) -> BTreeMap<(HolderId, Saying), u64> {
        let mut refuted = self.evidence.contradicted_claims.clone();
        for (&position, claims) in &self.evidence.claims {
            for claim in claims {
                let there = self.placed.get(&position).map(|p| self.event_of(p.candidate));
                let wrong = match there {
                    Some(event_id) => event_id != claim.event_id,
                    None => self.used.contains(&claim.event_id) || !self.is_missing(position),
                };
                if wrong {
                    *refuted.entry((claim.holder, claim.saying)).or_default() += 1;
                }
            }
        }
        refuted
    }

    fn event_of(&self, candidate: usize) -> EventId {
        self.evidence.candidates[candidate].event.event_id
    }

    /// Says of a claimed position without an event why it has none.
    fn describe_open(&self, position: u64, trust: &Trust) -> Open {
        let claims = self.evidence.claims.get(&position).map_or(&[][..], Vec::as_slice);
        let rivals: BTreeSet<EventId> = claims
            .iter()
            .filter(|c| !self.used.contains(&c.event_id))
            .map(|c| c.event_id)
            .collect();
        let rivals: Vec<EventId> = rivals.into_iter().collect();
        let (grade, reason) = match rivals[..] {
            [] => (
                Grade::Lost,
                "every event named for it belongs elsewhere".to_owned(),
            ),
            [event_id] => match self.evidence.candidates_of(event_id) {
                [] => (
                    Grade::Lost,
                    format!("event {event_id} is named for it, and nobody holds a copy that verifies"),
                ),
                &[candidate] => match &self.evidence.candidates[candidate].signature {
                    SignatureCheck::Valid => {
                        let doubts = claims
                            .iter()
                            .filter(|c| c.event_id == event_id)
                            .map(|c| trust.doubt(position, c).map(|doubt| (c.holder, doubt)));
                        // If one word could be trusted, something else is in the way.
                        let doubts: Option<Vec<_>> = doubts.collect();
                        let reason = match doubts.and_then(|d| d.into_iter().next()) {
                            Some((holder, doubt)) => format!(
                                "only {} claims event {event_id} for it, {doubt}",
                                self.holders.name(holder)
                            ),
                            None => format!("event {event_id} is claimed to be at several positions"),
                        };
                        (Grade::Contested, reason)
                    }
                    unchecked => (
                        Grade::Contested,
                        format!(
                            "event {event_id} is named for it, but its signature is NOT CHECKED: {}",
                            describe_signature(unchecked)
                        ),
                    ),
                },
                _ => (
                    Grade::Contested,
                    format!("holders have different contents of event {event_id}"),
                ),
            },
            _ => (
                Grade::Contested,
                format!("{} events are claimed to be here", rivals.len()),
            ),
        };
        Open {
            range: Span::at(position),
            grade,
            reason,
            rivals,
        }
    }

    fn finish(self) -> Judgement {
        let (mut open, mut spoken_for) = (Vec::new(), BTreeSet::new());
        let trust = self.trust();
        for gap in self.missing.iter() {
            let claims = self.evidence.claims.range(gap.positions());
            let claimed: BTreeSet<u64> = claims.map(|(p, _)| *p).collect();
            let placed = self.placed.range(gap.positions()).map(|(p, _)| p);
            let known = Spans::of_positions(claimed.iter().chain(placed).copied());
            for range in known.complement(gap).iter() {
                let reason = "no witness names an event for it".to_owned();
                open.push(Open {
                    range,
                    grade: Grade::Lost,
                    reason,
                    rivals: Vec::new(),
                });
            }
            let unplaced = claimed.into_iter().filter(|p| !self.placed.contains_key(p));
            for position in unplaced {
                open.push(self.describe_open(position, &trust));
                let mut claims = self.evidence.claims.get(&position).into_iter().flatten();
                if claims.any(|c| !self.used.contains(&c.event_id) && trust.doubt(position, c).is_none()) {
                    spoken_for.insert(position);
                }
            }
        }
        open.sort_by_key(|o| o.range);
        Judgement {
            open,
            spoken_for,
            outcomes: self.outcomes.into_iter().collect(),
            heads: self.heads,
            placements: self.placed.into_values().collect(),
        }
    }
}

/// A signature's verdict in words, for sentences.
pub fn describe_signature(check: &SignatureCheck) -> &str {
    match check {
        SignatureCheck::Valid => "valid",
        SignatureCheck::Invalid => "it does not hold",
        SignatureCheck::KeyUnknown => "its key is not registered",
        SignatureCheck::KeyNotValid(why) | SignatureCheck::NotChecked(why) => why,
    }
}

#[cfg(test)]
mod tests;
