//! Placement: which event goes to which missing position, and how sure that is.
//!
//! A leaf binds position, content and signature, so a batch's root judges every guess about its
//! missing positions: if the recomputed root equals the anchored one, the guess was right, whoever
//! supplied the events. Claims and pointers only order the guesses. What no root decides is graded by
//! receipts, then by who agrees with whom. This module takes values and returns values.

mod by_root;
mod by_word;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ves::span::{Span, Spans};
use ves::{BatchId, EventId, Hash32, SignatureCheck, StreamKey, Timestamp};

use crate::grade::Grade;
use crate::place::guesses::Choice;
pub use crate::place::solve::Budget;
use crate::stream::checkpointed::Checkpointed;
use crate::stream::facts::EntityHistory;
use crate::stream::target::Target;
use crate::stream::tree::TreeScan;
use crate::witness::evidence::{Holders, Saying, StreamEvidence};

/// What became of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetOutcome {
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
    pub outcomes: Vec<(BatchId, TargetOutcome)>,
    /// What became of each checkpoint that only its root was known of, by size.
    pub heads: Vec<(u64, TargetOutcome)>,
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
    pub history: &'a EntityHistory,
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

/// What was found so far.
pub(super) struct Judge<'a> {
    stream: &'a StreamKey,
    missing: &'a Spans,
    history: &'a EntityHistory,
    checkpointed: &'a Checkpointed,
    log_tree: Option<&'a TreeScan>,
    heads: Vec<(u64, TargetOutcome)>,
    evidence: &'a StreamEvidence,
    holders: &'a Holders,
    placed: BTreeMap<u64, Placement>,
    used: HashSet<EventId>,
    outcomes: BTreeMap<BatchId, TargetOutcome>,
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

    pub(super) fn note_head(&mut self, size: u64, outcome: TargetOutcome) {
        self.heads.push((size, outcome));
    }

    fn solved_batches(&self) -> HashSet<BatchId> {
        let solved = |(id, outcome): (&BatchId, &TargetOutcome)| {
            matches!(outcome, TargetOutcome::Solved { .. }).then_some(*id)
        };
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
                *weights.entry(candidate).or_default() += weight(claim.saying);
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

    fn event_of(&self, candidate: usize) -> EventId {
        self.evidence.candidates[candidate].event.event_id
    }

    fn finish(self) -> Judgement {
        let (mut open, mut spoken_for) = (Vec::new(), BTreeSet::new());
        let trust = self.trust();
        let positions_of = self.positions_of();
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
                open.push(self.describe_open(position, &trust, &positions_of));
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

/// How much a claim of this kind counts when guesses are ordered. Only the order of guesses depends on it; what is accepted
/// does not.
fn weight(saying: Saying) -> u32 {
    match saying {
        Saying::Outbox => 2,
        Saying::Pointer => 5,
        Saying::Pulled => 8,
        Saying::Log => 20,
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
pub(super) mod tests;
