//! Placement: which event goes to which missing position, and how sure that is.
//!
//! A leaf binds position, content and signature, so a batch's root judges every guess about its
//! missing positions: if the recomputed root equals the anchored one, the guess was right, whoever
//! supplied the events. Claims and pointers only order the guesses. What no root decides is graded by
//! receipts, then by who agrees with whom. This module takes values and returns values.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::RangeInclusive;

use outbox_sync::OutboxStatus;
use ves::merkle::{self, leaf_hash};
use ves::{AgentId, BatchId, EventId, Hash32, SignatureCheck, StreamKey, Timestamp};

use crate::evidence::{HolderId, Holders, Saying, StreamEvidence};
use crate::grade::Grade;
use crate::guesses::{BestFirst, Choice};
use crate::orders::{OrderSearch, Queue, Slot};

/// A batch whose root is known, with at least one missing position.
#[derive(Debug, Clone)]
pub struct Target {
    /// The batch.
    pub batch_id: BatchId,
    /// Its positions.
    pub range: RangeInclusive<u64>,
    /// Its root.
    pub root: Hash32,
    /// `Proven` for an anchored root, `Committed` for one of the log's own commitments.
    pub grade: Grade,
    /// Leaves of the positions that the log has.
    pub present: BTreeMap<u64, Hash32>,
}

/// How much work the search may do.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Roots tried for one batch.
    pub tries: u64,
    /// Hashes computed for one batch; bounds the work on large batches.
    pub hashes: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            tries: 20_000,
            hashes: 20_000_000,
        }
    }
}

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
        /// The positions, as ranges.
        positions: Vec<RangeInclusive<u64>>,
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
    },
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
    /// The positions, both ends inclusive.
    pub range: RangeInclusive<u64>,
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
    /// How often each holder's word of each kind turned out wrong.
    pub refuted: BTreeMap<(HolderId, Saying), u64>,
}

/// Judges the missing positions of a stream.
///
/// `missing` are the stream's gaps, ascending and disjoint; `targets` the batches with a known root that
/// touch them. Work and memory grow with the evidence, not with the width of a gap: a false claim of
/// number 2^60 costs no more than a true one.
pub fn judge(
    stream: &StreamKey,
    missing: &[RangeInclusive<u64>],
    targets: &[Target],
    evidence: &StreamEvidence,
    holders: &Holders,
    budget: Budget,
) -> Judgement {
    let mut judge = Judge::new(stream, missing, evidence, holders);
    // Anchored roots first; within a grade, a batch solved takes its events out of the others' guesses.
    for grade in [Grade::Proven, Grade::Receipted, Grade::Committed] {
        if grade == Grade::Receipted {
            judge.place_receipted();
            continue;
        }
        judge.solve_all(targets.iter().filter(|t| t.grade == grade), budget);
    }
    judge.place_claimed();
    judge.finish()
}

/// For at most so many missing positions of a batch the agents' own order is tried.
const MAX_UNNAMED: u64 = 64;

/// The work on one target.
struct Attempt {
    root: Hash32,
    offset: u64,
    /// The batch's leaves; those of missing positions are replaced by each guess.
    leaves: Vec<Hash32>,
    tries: u64,
    max_tries: u64,
}

impl Attempt {
    fn new(judge: &Judge<'_>, target: &Target, budget: Budget) -> Self {
        let width = (target.range.end() - target.range.start()).saturating_add(1);
        let known = target.present.len() as u64 + judge.evidence.candidates.len() as u64;
        // A batch that all candidates together cannot fill has no root to try: a hostile one may be wider than memory.
        let leaves = if width > known {
            Vec::new()
        } else {
            let leaf = |position: u64| match (target.present.get(&position), judge.placed.get(&position)) {
                (Some(leaf), _) => *leaf,
                (None, Some(placement)) => judge.leaf(position, placement.candidate),
                (None, None) => Hash32::ZERO,
            };
            target.range.clone().map(leaf).collect()
        };
        let hashes_each = 2 * leaves.len() as u64;
        let max_tries = budget.tries.min(budget.hashes / hashes_each.max(1)).max(1);
        Self {
            root: target.root,
            offset: *target.range.start(),
            leaves,
            tries: 0,
            max_tries,
        }
    }

    fn spent(&self) -> bool {
        self.tries >= self.max_tries
    }
}

struct Judge<'a> {
    stream: &'a StreamKey,
    missing: &'a [RangeInclusive<u64>],
    evidence: &'a StreamEvidence,
    holders: &'a Holders,
    placed: BTreeMap<u64, Placement>,
    used: HashSet<EventId>,
    outcomes: BTreeMap<BatchId, Outcome>,
}

impl<'a> Judge<'a> {
    fn new(
        stream: &'a StreamKey,
        missing: &'a [RangeInclusive<u64>],
        evidence: &'a StreamEvidence,
        holders: &'a Holders,
    ) -> Self {
        Self {
            stream,
            missing,
            evidence,
            holders,
            placed: BTreeMap::new(),
            used: HashSet::new(),
            outcomes: BTreeMap::new(),
        }
    }

    fn is_missing(&self, position: u64) -> bool {
        let after = self.missing.partition_point(|range| *range.end() < position);
        self.missing
            .get(after)
            .is_some_and(|range| range.contains(&position))
    }

    fn put(&mut self, position: u64, candidate: usize, grade: Grade, basis: String) {
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
    fn choices(&self, position: u64) -> Vec<Choice> {
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
        let mut open: Vec<&Target> = targets.collect();
        loop {
            let before = open.len();
            open.retain(|target| !self.solve(target, budget));
            // A solved batch takes its events out of the guesses for the others: go round again.
            if open.is_empty() || open.len() == before {
                return;
            }
        }
    }

    fn solve(&mut self, target: &Target, budget: Budget) -> bool {
        let width = (target.range.end() - target.range.start()).saturating_add(1);
        let known = target.present.len() + self.placed.range(target.range.clone()).count();
        let named = self.named_positions(target);
        let mut attempt = Attempt::new(self, target, budget);
        let missing = width - (known as u64).min(width);
        let outcome = if missing > named.len() as u64 {
            Outcome::NoCandidate {
                positions: self.nameless(target, &named),
            }
        } else {
            let positions: Vec<u64> = named.into_iter().collect();
            match self.try_names(&positions, &mut attempt) {
                Ok(picked) => return self.solved(target, positions, picked, attempt.tries),
                Err(outcome) => outcome,
            }
        };
        // What nobody names rightly may follow from the agents' own order.
        if missing <= MAX_UNNAMED {
            let positions: Vec<u64> = target
                .range
                .clone()
                .filter(|p| !target.present.contains_key(p) && !self.placed.contains_key(p))
                .collect();
            if let Some(picked) = self.try_orders(&positions, &mut attempt) {
                return self.solved(target, positions, picked, attempt.tries);
            }
        }
        let outcome = match outcome {
            Outcome::NoCandidate { positions } => Outcome::NoCandidate { positions },
            _ if attempt.spent() => Outcome::BudgetSpent { tries: attempt.tries },
            Outcome::NoMatch { .. } => Outcome::NoMatch { tries: attempt.tries },
            other => other,
        };
        self.outcomes.insert(target.batch_id, outcome);
        false
    }

    /// Tries the events that are named for the positions, likeliest first.
    fn try_names(&self, positions: &[u64], attempt: &mut Attempt) -> Result<Vec<usize>, Outcome> {
        let choices: Vec<Vec<Choice>> = positions.iter().map(|p| self.choices(*p)).collect();
        let mut guesses = BestFirst::new(&choices);
        while let Some(guess) = guesses.next() {
            let picked: Vec<usize> = guess
                .iter()
                .zip(&choices)
                .map(|(&i, c)| c[i as usize].candidate)
                .collect();
            let ids: BTreeSet<EventId> = picked.iter().map(|&c| self.event_of(c)).collect();
            if ids.len() < picked.len() {
                guesses.skipped += 1;
                if guesses.skipped > 50 * attempt.max_tries {
                    break;
                }
                continue;
            }
            if self.root_is_equal(positions, &picked, attempt) {
                return Ok(picked);
            }
            if attempt.spent() {
                return Err(Outcome::BudgetSpent { tries: attempt.tries });
            }
        }
        Err(if guesses.is_exhausted() {
            Outcome::NoMatch { tries: attempt.tries }
        } else {
            Outcome::BudgetSpent { tries: attempt.tries }
        })
    }

    /// Tries events in their agents' own order, where names are missing or wrong.
    fn try_orders(&self, positions: &[u64], attempt: &mut Attempt) -> Option<Vec<usize>> {
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
        if agents.is_empty() {
            return None;
        }
        // Where each agent's events stand already, in the log and by what was placed.
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
        let (known, nothing) = (&known, &BTreeMap::new());
        let bounds = |position: u64| {
            agents.keys().map(move |agent| {
                let known = known.get(agent).unwrap_or(nothing);
                let low = known
                    .range(..position)
                    .next_back()
                    .map_or(i64::MIN, |(_, local)| *local);
                let high = known
                    .range(position..)
                    .next()
                    .map_or(i64::MAX, |(_, local)| *local);
                (low, high)
            })
        };
        let slots: Vec<Slot> = positions
            .iter()
            .map(|&p| Slot {
                named: self.choices(p),
                bounds: bounds(p).collect(),
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
        let mut search = OrderSearch::new(&slots, &queues);
        attempt.max_tries = attempt.max_tries.saturating_mul(2);
        while !attempt.spent() {
            let picked = search.next()?;
            let ids: BTreeSet<EventId> = picked.iter().map(|&c| self.event_of(c)).collect();
            if ids.len() == picked.len() && self.root_is_equal(positions, &picked, attempt) {
                return Some(picked);
            }
        }
        None
    }

    fn root_is_equal(&self, positions: &[u64], picked: &[usize], attempt: &mut Attempt) -> bool {
        attempt.tries += 1;
        for (position, candidate) in positions.iter().zip(picked) {
            attempt.leaves[(position - attempt.offset) as usize] = self.leaf(*position, *candidate);
        }
        merkle::root(&attempt.leaves) == Some(attempt.root)
    }

    fn solved(&mut self, target: &Target, positions: Vec<u64>, picked: Vec<usize>, tries: u64) -> bool {
        for (position, candidate) in positions.into_iter().zip(picked) {
            let mut basis = match target.grade {
                Grade::Proven => format!("anchored root of batch {}", target.batch_id),
                _ => format!("root of commitment {}", target.batch_id),
            };
            let signature = &self.evidence.candidates[candidate].signature;
            if !signature.is_valid() {
                basis.push_str("; signature bound by the root, NOT CHECKED: ");
                basis.push_str(describe_signature(signature));
            }
            self.put(position, candidate, target.grade, basis);
        }
        self.outcomes.insert(target.batch_id, Outcome::Solved { tries });
        true
    }

    /// The target's missing positions that have at least one choice.
    fn named_positions(&self, target: &Target) -> BTreeSet<u64> {
        let claimed = self.evidence.claims.range(target.range.clone()).map(|(p, _)| *p);
        let receipted = self
            .evidence
            .receipts
            .range(target.range.clone())
            .map(|(p, _)| *p);
        claimed
            .chain(receipted)
            .filter(|p| !target.present.contains_key(p) && !self.placed.contains_key(p))
            .filter(|p| !self.choices(*p).is_empty())
            .collect()
    }

    /// The target's missing positions without any choice, as ranges.
    fn nameless(&self, target: &Target, named: &BTreeSet<u64>) -> Vec<RangeInclusive<u64>> {
        let taken: BTreeSet<u64> = target
            .present
            .keys()
            .chain(self.placed.range(target.range.clone()).map(|(p, _)| p))
            .chain(named)
            .copied()
            .collect();
        complement(&target.range, taken)
    }

    fn leaf(&self, position: u64, candidate: usize) -> Hash32 {
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
    /// else are corroborated or claimed; everything else stays open.
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
        let refuted = self.refuted();
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
            // Who was wrong elsewhere is not believed alone.
            if live.iter().all(|c| refuted.contains_key(&(c.holder, c.saying))) {
                continue;
            }
            let who: BTreeSet<_> = live.iter().map(|c| c.holder).collect();
            let grade = if self.holders.independent(who.iter().copied()) > 1 {
                Grade::Corroborated
            } else {
                Grade::Claimed
            };
            let names: Vec<&str> = who.iter().map(|h| self.holders.name(*h)).collect();
            found.push((
                position,
                candidate,
                grade,
                format!("claimed by {}", names.join(", ")),
            ));
        }
        for (position, candidate, grade, basis) in found {
            self.put(position, candidate, grade, basis);
        }
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
    fn describe_open(&self, position: u64, refuted: &BTreeMap<(HolderId, Saying), u64>) -> Open {
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
                        let wrong = claims
                            .iter()
                            .filter(|c| c.event_id == event_id)
                            .map(|c| (c.holder, refuted.get(&(c.holder, c.saying)).copied().unwrap_or(0)))
                            .min_by_key(|(_, wrong)| *wrong);
                        let reason = match wrong {
                            Some((holder, wrong)) if wrong > 0 => format!(
                                "only {} claims event {event_id} for it, and was wrong about {wrong} other(s)",
                                self.holders.name(holder)
                            ),
                            _ => format!("event {event_id} is claimed to be at several positions"),
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
            range: position..=position,
            grade,
            reason,
            rivals,
        }
    }

    fn finish(self) -> Judgement {
        let mut open = Vec::new();
        let refuted = self.refuted();
        for gap in self.missing {
            let claimed: BTreeSet<u64> = self.evidence.claims.range(gap.clone()).map(|(p, _)| *p).collect();
            let known = claimed
                .iter()
                .copied()
                .chain(self.placed.range(gap.clone()).map(|(p, _)| *p));
            for range in complement(gap, known.collect()) {
                let reason = "no witness names an event for it".to_owned();
                open.push(Open {
                    range,
                    grade: Grade::Lost,
                    reason,
                    rivals: Vec::new(),
                });
            }
            let unplaced = claimed.into_iter().filter(|p| !self.placed.contains_key(p));
            open.extend(unplaced.map(|p| self.describe_open(p, &refuted)));
        }
        open.sort_by_key(|o| *o.range.start());
        Judgement {
            open,
            refuted,
            outcomes: self.outcomes.into_iter().collect(),
            placements: self.placed.into_values().collect(),
        }
    }
}

/// The parts of `range` that are not among the ascending positions `taken`.
fn complement(range: &RangeInclusive<u64>, taken: BTreeSet<u64>) -> Vec<RangeInclusive<u64>> {
    let mut parts = Vec::new();
    let mut next = *range.start();
    for position in taken {
        if position > next {
            parts.push(next..=position - 1);
        }
        next = position.saturating_add(1);
    }
    if next <= *range.end() {
        parts.push(next..=*range.end());
    }
    parts
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
