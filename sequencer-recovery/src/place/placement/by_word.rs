//! Places by words: what no root decides is placed by signed receipts, then by what holders say, as far as they can be trusted.

use std::collections::{BTreeMap, BTreeSet};

use outbox_sync::words::{Contents, NamedEvents, Spoken, Unsure};
use ves::EventId;
use ves::span::Span;

use super::{Judge, Open, describe_signature};
use crate::grade::Grade;
use crate::place::trust::Trust;
use crate::witness::evidence::{Claim, HolderId, Saying, StreamEvidence};

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
        let (trust, positions_of) = (self.trust(), self.positions_of());
        let mut found: Vec<(u64, EventId, Grade, String)> = Vec::new();
        for &position in self.evidence.claims.keys() {
            if !self.is_missing(position) || self.placed.contains_key(&position) {
                continue;
            }
            let spoken = self.spoken(position, &trust, &positions_of);
            if let Spoken::One { event_id, holders } = &spoken {
                let basis = format!("claimed by {}", self.holders.names(holders));
                found.push((position, *event_id, spoken.grade(self.holders).into(), basis));
            }
        }
        for (position, event_id, grade, basis) in found {
            if let [candidate] = *self.evidence.candidates_of(event_id) {
                self.put(position, candidate, grade, basis);
            }
        }
    }

    /// Where events without a place are claimed to have been, among positions still missing.
    pub(super) fn positions_of(&self) -> BTreeMap<EventId, BTreeSet<u64>> {
        let mut positions_of: BTreeMap<EventId, BTreeSet<u64>> = BTreeMap::new();
        for &position in self.evidence.claims.keys() {
            if self.is_missing(position) && !self.placed.contains_key(&position) {
                for claim in self.live_claims(position) {
                    positions_of.entry(claim.event_id).or_default().insert(position);
                }
            }
        }
        positions_of
    }

    /// Claims to a position of events that have no place yet.
    fn live_claims(&self, position: u64) -> impl Iterator<Item = &Claim> {
        let claims = self.evidence.claims.get(&position).into_iter().flatten();
        claims.filter(|claim| !self.used.contains(&claim.event_id))
    }

    /// What is said of a position by words alone.
    fn spoken(
        &self,
        position: u64,
        trust: &Trust,
        positions_of: &BTreeMap<EventId, BTreeSet<u64>>,
    ) -> Spoken {
        let named = ByWord {
            evidence: self.evidence,
            position,
            trust,
            positions_of,
        };
        Spoken::of(self.live_claims(position), &named)
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
    pub(super) fn describe_open(
        &self,
        position: u64,
        trust: &Trust,
        positions_of: &BTreeMap<EventId, BTreeSet<u64>>,
    ) -> Open {
        let spoken = self.spoken(position, trust, positions_of);
        let (rivals, reason) = match &spoken {
            Spoken::Nobody => (
                Vec::new(),
                "every event named for it belongs elsewhere".to_owned(),
            ),
            Spoken::Rivals(rivals) => (
                rivals.clone(),
                format!("{} events are claimed to be here", rivals.len()),
            ),
            Spoken::Unsure(event_id, why) => (
                vec![*event_id],
                self.describe_unsure(position, *event_id, *why, trust),
            ),
            // It had rivals when words were heard.
            Spoken::One { event_id, .. } => (
                vec![*event_id],
                format!("event {event_id} is claimed to be here, as were others that are claimed elsewhere"),
            ),
        };
        let grade = match spoken {
            Spoken::One { .. } => Grade::Contested,
            spoken => spoken.grade(self.holders).into(),
        };
        Open {
            range: Span::at(position),
            grade,
            reason,
            rivals,
        }
    }

    fn describe_unsure(&self, position: u64, event_id: EventId, why: Unsure, trust: &Trust) -> String {
        match why {
            Unsure::NotHeld => {
                format!("event {event_id} is named for it, and nobody holds a copy that verifies")
            }
            Unsure::Contents => format!("holders have different contents of event {event_id}"),
            Unsure::Elsewhere => format!("event {event_id} is claimed to be at several positions"),
            Unsure::Signature => {
                let candidate = self.evidence.candidates_of(event_id).first();
                let check = candidate.map(|candidate| &self.evidence.candidates[*candidate].signature);
                format!(
                    "event {event_id} is named for it, but its signature is NOT CHECKED: {}",
                    check.map_or("", describe_signature)
                )
            }
            Unsure::Doubted => {
                let mut claims = self.live_claims(position);
                let doubt = claims.find_map(|claim| Some((claim.holder, trust.doubt(position, claim)?)));
                doubt.map_or_else(String::new, |(holder, doubt)| {
                    let holder = self.holders.name(holder);
                    format!("only {holder} claims event {event_id} for it, {doubt}")
                })
            }
        }
    }
}

/// What the evidence says of events that are named for a position.
struct ByWord<'a> {
    evidence: &'a StreamEvidence,
    position: u64,
    trust: &'a Trust,
    /// For which missing positions events are named that have no place yet.
    positions_of: &'a BTreeMap<EventId, BTreeSet<u64>>,
}

impl NamedEvents for ByWord<'_> {
    fn contents(&self, event_id: EventId) -> Contents {
        match *self.evidence.candidates_of(event_id) {
            [] => Contents::None,
            [candidate] => Contents::One {
                signed: self.evidence.candidates[candidate].signature.is_valid(),
            },
            _ => Contents::Several,
        }
    }

    fn is_named_elsewhere(&self, event_id: EventId) -> bool {
        let positions = self.positions_of.get(&event_id);
        positions.is_some_and(|positions| positions.iter().any(|other| *other != self.position))
    }

    fn is_doubted(&self, claim: &Claim) -> bool {
        self.trust.doubt(self.position, claim).is_some()
    }
}

#[cfg(test)]
mod tests;
