//! Places by words: what no root decides is placed by signed receipts, then by what holders say, as far as they can be trusted.

use std::collections::{BTreeMap, BTreeSet};

use ves::span::Span;
use ves::{EventId, SignatureCheck};

use super::{Judge, Open, describe_signature};
use crate::grade::Grade;
use crate::place::trust::Trust;
use crate::witness::evidence::{HolderId, Saying};

impl Judge<'_> {
    /// Places what a signed receipt names, where the receipt's hash covers the candidate's content.
    pub(super) fn place_receipted(&mut self) {
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
    pub(super) fn place_claimed(&mut self) {
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
    pub(super) fn trust(&self) -> Trust {
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

    /// Says of a claimed position without an event why it has none.
    pub(super) fn describe_open(&self, position: u64, trust: &Trust) -> Open {
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
}
