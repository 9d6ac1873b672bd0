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
#[derive(Debug, Default)]
pub struct Judgement {
    /// Positions with their event, ascending. Every position and every event occurs once.
    pub placements: Vec<Placement>,
    /// The other missing positions, ascending.
    pub open: Vec<Open>,
    /// What became of each target, by batch.
    pub outcomes: Vec<(BatchId, Outcome)>,
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
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;
    use ves::{AgentId, Event, Payload, SignatureBytes, SignatureScheme};

    use super::*;
    use crate::evidence::{Candidate, Claim};

    fn stream() -> StreamKey {
        StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(2).into())
    }

    fn candidate(n: u64, signature: SignatureCheck) -> Candidate {
        let event = Event {
            event_id: EventId(Uuid::from_u128(1000 + u128::from(n))),
            stream: stream(),
            ves_version: 1,
            source_agent_id: AgentId(Uuid::from_u128(4)),
            agent_key_id: 1,
            entity_type: "order".into(),
            entity_id: n.to_string(),
            event_type: "order.created".into(),
            created_at: "2026-01-01T00:00:00Z".into(),
            payload: Payload::Plain("1".into()),
            payload_plain_hash: Hash32::ZERO,
            payload_cipher_hash: Hash32::ZERO,
            agent_signature: SignatureBytes([n as u8; 64]),
            agent_signature_scheme: SignatureScheme::ED25519,
            agent_signature_bundle: None,
            command_id: None,
            base_version: None,
        };
        let signing_hash = event.signing_hash();
        Candidate {
            event,
            signing_hash,
            signature,
            holders: vec![],
            status: None,
            local_seq: None,
        }
    }

    /// Event n is truly at position n.
    struct Case {
        evidence: StreamEvidence,
        holders: Holders,
    }

    impl Case {
        fn new(held: impl IntoIterator<Item = u64>) -> Self {
            let mut evidence = StreamEvidence::default();
            for n in held {
                evidence.add_candidate(candidate(n, SignatureCheck::Valid));
            }
            let mut holders = Holders::default();
            holders.add("alpha".into(), "agent alpha".into());
            holders.add("bravo".into(), "agent bravo".into());
            holders.add("copy of alpha".into(), "agent alpha".into());
            Self { evidence, holders }
        }

        fn claim(&mut self, holder: usize, position: u64, n: u64, saying: Saying) {
            let event_id = EventId(Uuid::from_u128(1000 + u128::from(n)));
            self.evidence.add_claim(
                position,
                Claim {
                    event_id,
                    holder: HolderId(holder),
                    saying,
                    sequenced_at: None,
                },
            );
        }

        fn target(&self, range: RangeInclusive<u64>, present: impl IntoIterator<Item = u64>) -> Target {
            let leaf = |n: u64| {
                let c = candidate(n, SignatureCheck::Valid);
                leaf_hash(&stream(), n, &c.signing_hash, &c.event.agent_signature)
            };
            let leaves: Vec<Hash32> = range.clone().map(leaf).collect();
            Target {
                batch_id: BatchId(Uuid::from_u128(u128::from(*range.start()))),
                range,
                root: merkle::root(&leaves).unwrap(),
                grade: Grade::Proven,
                present: present.into_iter().map(|n| (n, leaf(n))).collect(),
            }
        }

        fn judge(&self, missing: RangeInclusive<u64>, targets: &[Target]) -> Judgement {
            judge(
                &stream(),
                &[missing],
                targets,
                &self.evidence,
                &self.holders,
                Budget::default(),
            )
        }
    }

    #[test]
    fn a_root_decides_between_rivals_and_overrules_the_majority() {
        let mut case = Case::new(3..=6);
        for n in 3..=6 {
            case.claim(0, n, n, Saying::Outbox);
        }
        // Bravo counted on: everything one too high, with a stronger word at 4.
        case.claim(1, 4, 3, Saying::Pulled);
        case.claim(1, 5, 4, Saying::Pulled);
        let target = case.target(1..=6, 1..=2);
        let judgement = case.judge(3..=6, &[target]);
        let placed: Vec<(u64, String)> = judgement
            .placements
            .iter()
            .map(|p| {
                (
                    p.position,
                    case.evidence.candidates[p.candidate].event.entity_id.clone(),
                )
            })
            .collect();
        assert_eq!(placed, (3..=6).map(|n| (n, n.to_string())).collect::<Vec<_>>());
        assert!(judgement.placements.iter().all(|p| p.grade == Grade::Proven));
        assert!(judgement.open.is_empty());
        assert!(matches!(judgement.outcomes[0].1, Outcome::Solved { .. }));
    }

    #[test]
    fn without_a_root_rivals_stay_contested_and_copies_do_not_corroborate() {
        let mut case = Case::new(3..=8);
        case.claim(0, 3, 3, Saying::Outbox);
        case.claim(1, 3, 4, Saying::Outbox);
        case.claim(0, 5, 5, Saying::Outbox);
        case.claim(2, 5, 5, Saying::Outbox);
        case.claim(0, 6, 6, Saying::Outbox);
        case.claim(1, 6, 6, Saying::Pulled);
        case.claim(0, 7, 7, Saying::Outbox);
        case.claim(1, 8, 7, Saying::Outbox);
        let judgement = case.judge(3..=9, &[]);
        let graded: Vec<(u64, Grade)> = judgement
            .placements
            .iter()
            .map(|p| (p.position, p.grade))
            .collect();
        assert_eq!(graded, [(5, Grade::Claimed), (6, Grade::Corroborated)]);
        let open: Vec<(u64, Grade, usize)> = judgement
            .open
            .iter()
            .map(|o| (*o.range.start(), o.grade, o.rivals.len()))
            .collect();
        assert_eq!(
            open,
            [
                (3, Grade::Contested, 2),
                (4, Grade::Lost, 0),
                (7, Grade::Contested, 1),
                (8, Grade::Contested, 1),
                (9, Grade::Lost, 0)
            ]
        );
    }

    #[test]
    fn who_was_wrong_elsewhere_is_not_believed_alone() {
        let mut case = Case::new(3..=9);
        (3..=6).for_each(|n| case.claim(0, n, n, Saying::Outbox));
        // Bravo's word on 6 is refuted by the root, so its word on 7 counts for nothing; with alpha's it does.
        case.claim(1, 5, 6, Saying::Outbox);
        case.claim(1, 7, 7, Saying::Outbox);
        case.claim(1, 8, 8, Saying::Outbox);
        case.claim(0, 8, 8, Saying::Outbox);
        // What it pulled from the sequencer is another kind of word.
        case.claim(1, 9, 9, Saying::Pulled);
        let target = case.target(1..=6, 1..=2);
        let judgement = case.judge(3..=9, &[target]);
        let graded: Vec<(u64, Grade)> = judgement
            .placements
            .iter()
            .skip(4)
            .map(|p| (p.position, p.grade))
            .collect();
        assert_eq!(graded, [(8, Grade::Corroborated), (9, Grade::Claimed)]);
        assert_eq!(judgement.open.len(), 1);
        assert!(
            judgement.open[0].reason.contains("was wrong about 1 other"),
            "{}",
            judgement.open[0].reason
        );
    }

    #[test]
    fn an_event_proven_elsewhere_is_no_rival() {
        let mut case = Case::new(3..=7);
        (3..=6).for_each(|n| case.claim(0, n, n, Saying::Outbox));
        case.claim(0, 7, 7, Saying::Outbox);
        case.claim(1, 7, 6, Saying::Outbox);
        let target = case.target(1..=6, 1..=2);
        let judgement = case.judge(3..=7, &[target]);
        let last = judgement.placements.last().unwrap();
        assert_eq!((last.position, last.grade), (7, Grade::Claimed));
    }

    #[test]
    fn an_unregistered_key_is_enough_under_a_root_and_not_for_a_claim() {
        let mut case = Case::new([]);
        case.evidence
            .add_candidate(candidate(3, SignatureCheck::KeyUnknown));
        case.evidence
            .add_candidate(candidate(4, SignatureCheck::KeyUnknown));
        case.claim(0, 3, 3, Saying::Pulled);
        case.claim(0, 4, 4, Saying::Pulled);
        let target = case.target(1..=3, 1..=2);
        let judgement = case.judge(3..=4, &[target]);
        assert_eq!(judgement.placements.len(), 1);
        assert!(
            judgement.placements[0].basis.contains("NOT CHECKED"),
            "{}",
            judgement.placements[0].basis
        );
        assert_eq!(*judgement.open[0].range.start(), 4);
        assert!(
            judgement.open[0].reason.contains("NOT CHECKED"),
            "{}",
            judgement.open[0].reason
        );
    }

    #[test]
    fn a_batch_with_a_position_that_nobody_names_is_told_so() {
        let mut case = Case::new([3, 4, 6]);
        [3, 4, 6]
            .into_iter()
            .for_each(|n| case.claim(0, n, n, Saying::Outbox));
        let target = case.target(1..=6, 1..=2);
        let judgement = case.judge(3..=6, std::slice::from_ref(&target));
        assert_eq!(
            judgement.outcomes,
            [(
                target.batch_id,
                Outcome::NoCandidate {
                    positions: vec![5..=5]
                }
            )]
        );
        assert!(judgement.placements.iter().all(|p| p.grade == Grade::Claimed));
    }

    #[test]
    fn a_wrong_guess_is_never_placed_and_the_budget_is_told() {
        let mut case = Case::new(3..=30);
        // Everybody shifted by one: no combination of the named events is right.
        (3..=29).for_each(|n| case.claim(0, n, n + 1, Saying::Pulled));
        let target = case.target(1..=29, 1..=2);
        let judgement = case.judge(3..=29, std::slice::from_ref(&target));
        assert_eq!(
            judgement.outcomes,
            [(target.batch_id, Outcome::NoMatch { tries: 1 })]
        );
        assert!(judgement.placements.iter().all(|p| p.grade == Grade::Claimed));

        let mut case = Case::new(3..=60);
        (3..=29).for_each(|n| case.claim(0, n, n + 1, Saying::Pulled));
        (3..=29).for_each(|n| case.claim(1, n, n + 30, Saying::Pulled));
        let target = case.target(1..=29, 1..=2);
        let judgement = case.judge(3..=29, std::slice::from_ref(&target));
        assert!(matches!(
            judgement.outcomes[0].1,
            Outcome::BudgetSpent { tries: 20_000 }
        ));
    }

    #[test]
    fn agents_own_order_fills_what_nobody_names() {
        let mut case = Case::new([]);
        // Agents 4 and 5 made 3..=5 and 6..=8; nobody knows a number, and 4's event 90 was never sequenced.
        for (n, agent, local) in [
            (3, 4, 1),
            (4, 4, 2),
            (90, 4, 3),
            (5, 4, 4),
            (6, 5, 1),
            (7, 5, 2),
            (8, 5, 3),
        ] {
            let mut c = candidate(n, SignatureCheck::Valid);
            c.event.source_agent_id = AgentId(Uuid::from_u128(agent));
            c.local_seq = Some(local);
            c.status = Some(OutboxStatus::Pending);
            case.evidence.add_candidate(c);
        }
        let target = case.target(1..=8, 1..=2);
        let judgement = case.judge(3..=8, std::slice::from_ref(&target));
        let placed: Vec<String> = judgement
            .placements
            .iter()
            .map(|p| case.evidence.candidates[p.candidate].event.entity_id.clone())
            .collect();
        assert_eq!(placed, ["3", "4", "5", "6", "7", "8"]);
        assert!(judgement.placements.iter().all(|p| p.grade == Grade::Proven));
    }

    #[test]
    fn an_absurd_claim_costs_nothing() {
        let mut case = Case::new([3]);
        case.claim(0, u64::MAX / 2, 3, Saying::Outbox);
        let target = Target {
            range: 1..=u64::MAX / 2,
            ..case.target(1..=3, 1..=2)
        };
        let judgement = case.judge(3..=u64::MAX / 2, &[target]);
        assert_eq!(judgement.placements.len(), 1);
        assert_eq!(judgement.open.len(), 1);
    }

    proptest! {
        /// Whatever is claimed, what is called proven is true, no event is placed twice, and every
        /// missing position is either placed or open.
        #[test]
        fn proven_means_true(claims in prop::collection::vec((0usize..3, 3u64..12, 3u64..12, 0u8..3), 0..60)) {
            let mut case = Case::new(3..=11);
            for (holder, position, n, saying) in claims {
                let saying = [Saying::Outbox, Saying::Pointer, Saying::Pulled][saying as usize];
                case.claim(holder, position, n, saying);
            }
            let targets = [case.target(1..=6, 1..=2), case.target(7..=10, [])];
            let judgement = case.judge(3..=11, &targets);
            let mut seen = BTreeSet::new();
            let mut covered: BTreeSet<u64> = BTreeSet::new();
            for p in &judgement.placements {
                let id = &case.evidence.candidates[p.candidate].event.entity_id;
                prop_assert!(seen.insert(id.clone()));
                prop_assert!(covered.insert(p.position));
                if p.grade == Grade::Proven {
                    prop_assert_eq!(id, &p.position.to_string());
                }
            }
            for position in judgement.open.iter().flat_map(|o| o.range.clone()) {
                prop_assert!(covered.insert(position));
            }
            prop_assert_eq!(covered.len(), 9);
        }
    }
}
