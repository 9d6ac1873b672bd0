//! Evidence: what the witnesses say of one stream's missing positions, kept as they said it.
//!
//! Nothing is decided here. Contradictions stand side by side; [`crate::place::placement`] judges them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use outbox_sync::OutboxStatus;
use serde::Serialize;
use ves::{AgentId, CommandId, Event, EventId, Hash32, Receipt, SignatureCheck};

use crate::floor::Witness;
use crate::grade::Grade;
use crate::witness::rejection::Rejection;
pub use outbox_sync::words::{Claim, HolderId, Holders, Saying};

/// An event that a witness holds whole and the log lacks. Its payload and signing hash verify.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The event.
    pub event: Event,
    /// Its recomputed signing hash.
    pub signing_hash: Hash32,
    /// Its signature, checked with the log's keys. Never [`SignatureCheck::Invalid`].
    pub signature: SignatureCheck,
    /// Who holds it, in order, each once.
    pub holders: Vec<HolderId>,
    /// The state that the agent's outbox gives it (`pending`, `synced`, …), if an outbox holds it.
    pub status: Option<OutboxStatus>,
    /// Its place in that outbox, which is the agent's own order.
    pub local_seq: Option<i64>,
}

/// A witness's row that is not used, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedRow {
    /// The event, if the row names one.
    pub event_id: Option<EventId>,
    /// File, table and row.
    pub place: String,
    /// Why.
    pub reason: String,
}

/// A receipt that a witness saved.
#[derive(Debug, Clone)]
pub struct HeldReceipt {
    /// The receipt.
    pub receipt: Receipt,
    /// File and line.
    pub place: String,
}

/// What one holder's own bookkeeping says about its pushes, so far as it tells whether the numbers that it noted can be
/// trusted ([`crate::place::placement`]).
#[derive(Debug, Default, Clone)]
pub struct Pushes {
    /// The engine that wrote it may have counted on from the first number of an answer, instead of reading the number
    /// of each event. Engines of the first two shapes of outboxes do.
    pub counts_on: bool,
    /// Rows of events that the log has where the holder says.
    pub confirmed: u64,
    /// The longest time between the making of the first and the last event of a push all of whose rows are confirmed,
    /// in microseconds.
    pub longest: i64,
    /// For each push the last of its rows that the log confirms, by its local number.
    pub confirmed_to: BTreeMap<u32, i64>,
    /// Rows of events that the log lacks, in the holder's order.
    pub rows: Vec<PushedRow>,
    /// Where one of its pushes begins at or before a number that it noted for an earlier one: a number that was still
    /// free then was no event's yet, so what is noted in the earlier push is wrong at its end.
    pub overlaps: u64,
}

/// A row of an outbox with a number.
#[derive(Debug, Clone)]
pub struct PushedRow {
    /// The agent's own order.
    pub local_seq: i64,
    /// The event.
    pub event_id: EventId,
    /// The number that the holder noted.
    pub claim: u64,
    /// The push: rows of one answer with consecutive numbers.
    pub push: u32,
    /// The time between the making of the push's first event and this one, in microseconds.
    pub since_first: i64,
}

/// A row of the log that does not say all of where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedRow {
    /// The event.
    pub event_id: EventId,
    /// What cannot be read, and why.
    pub what: String,
}

/// What the witnesses say of one stream.
#[derive(Debug, Default, Clone)]
pub struct StreamEvidence {
    /// Events that the log lacks. Two contents of one event id are two candidates.
    pub candidates: Vec<Candidate>,
    by_event: HashMap<EventId, Vec<usize>>,
    /// Claims by position, of events that the log lacks.
    pub claims: BTreeMap<u64, Vec<Claim>>,
    /// Where events of an agent stand in the log, with their number in the agent's own order.
    pub known_order: BTreeMap<AgentId, BTreeMap<u64, i64>>,
    /// Receipts with a matching hash and a valid signature, by position.
    pub receipts: BTreeMap<u64, Vec<HeldReceipt>>,
    /// Rows of agents' own outboxes whose events the log lacks, by event.
    pub waiting: BTreeMap<EventId, Vec<WaitingRow>>,
    /// How far each outbox got with the sequencer.
    pub progress: BTreeMap<HolderId, Progress>,
    /// Rows of the log that do not say all of where they stand, by the number that they do say: that they are of this stream
    /// is known by the event, which a witness holds as it was signed. They are there, and nothing else belongs at those
    /// numbers.
    pub damaged: BTreeMap<u64, DamagedRow>,
    /// Who knows which highest number.
    pub witnesses: Vec<Witness>,
    /// Where each of them is, without its number.
    by_word: HashMap<(Grade, String, String), usize>,
    /// How many rows are not used.
    pub refused: u64,
    /// Claims of events that the log has, at the log's own position.
    pub confirmed_claims: u64,
    /// Claims of events that the log has, at another position than the log's: how often each holder was wrong in
    /// each kind of word.
    pub contradicted_claims: BTreeMap<(HolderId, Saying), u64>,
    /// Those claims: of events that the log has, the other positions that they are said to have.
    pub elsewhere: BTreeMap<EventId, Vec<(u64, Claim)>>,
    /// Candidates that the log has at a position where they may not belong. That they stand there is no evidence.
    pub standing: BTreeMap<u64, usize>,
    /// What each holder noted about its own pushes.
    pub pushes: BTreeMap<HolderId, Pushes>,
    /// Commands of candidates that the log remembers: whoever sends such a one again is refused.
    pub remembered: BTreeSet<CommandId>,
}

/// Room for one: there is mostly one of each, and a list takes room for four at once.
fn room_for_one<T>() -> Vec<T> {
    Vec::with_capacity(1)
}

impl StreamEvidence {
    /// Adds a candidate, or joins it to the equal one that another holder gave.
    pub fn add_candidate(&mut self, candidate: Candidate) {
        let same = self
            .by_event
            .entry(candidate.event.event_id)
            .or_insert_with(room_for_one);
        for &index in same.iter() {
            let known = &mut self.candidates[index];
            if known.signing_hash == candidate.signing_hash
                && known.event.agent_signature == candidate.event.agent_signature
            {
                // command_id and base_version are not signed. The agent's own outbox is their source.
                if known.status.is_none() && candidate.status.is_some() {
                    known.event = candidate.event;
                    known.status = candidate.status;
                    known.local_seq = candidate.local_seq;
                }
                for holder in candidate.holders {
                    // They are in order, and mostly come so.
                    if let Err(at) = known.holders.binary_search(&holder) {
                        known.holders.insert(at, holder);
                    }
                }
                return;
            }
        }
        same.push(self.candidates.len());
        self.candidates.push(candidate);
    }

    /// Notes that an event which the log has is said to be at another position.
    pub fn contradict(&mut self, position: u64, claim: Claim) {
        *self
            .contradicted_claims
            .entry((claim.holder, claim.saying))
            .or_default() += 1;
        self.elsewhere
            .entry(claim.event_id)
            .or_default()
            .push((position, claim));
    }

    /// Adds a claim.
    pub fn add_claim(&mut self, position: u64, claim: Claim) {
        let claims = self.claims.entry(position).or_insert_with(room_for_one);
        // In the holders' order, in which they are read: with ten thousand holders of one event nobody may look through
        // all of their claims for each.
        let end = claims.partition_point(|other| other.holder <= claim.holder);
        let before = claims[..end].iter().rev();
        let mut own = before.take_while(|other| other.holder == claim.holder);
        if !own.any(|other| *other == claim) {
            claims.insert(end, claim);
        }
    }

    /// Adds a receipt that was checked, at the position that it names.
    pub fn add_receipt(&mut self, held: HeldReceipt) {
        let position = held.receipt.sequence_number;
        self.receipts
            .entry(position)
            .or_insert_with(room_for_one)
            .push(held);
    }

    /// The candidates with this event id.
    pub fn candidates_of(&self, event_id: EventId) -> &[usize] {
        self.by_event.get(&event_id).map_or(&[], Vec::as_slice)
    }

    /// Remembers the highest number that one witness knows.
    pub fn add_witness(&mut self, witness: Witness) {
        if witness.sequence == 0 {
            return;
        }
        let word = (witness.grade, witness.who.clone(), witness.identity.clone());
        match self.by_word.get(&word) {
            Some(&at) => {
                let known = &mut self.witnesses[at];
                known.sequence = known.sequence.max(witness.sequence);
            }
            None => {
                self.by_word.insert(word, self.witnesses.len());
                self.witnesses.push(witness);
            }
        }
    }
}

/// A row of an agent's own outbox whose event the log lacks.
#[derive(Debug, Clone)]
pub struct WaitingRow {
    /// The outbox.
    pub holder: HolderId,
    /// The row's place in the agent's own order.
    pub local_seq: i64,
    /// What the agent believes of it.
    pub status: OutboxStatus,
    /// Who made the event, if the row says so.
    pub agent: Option<AgentId>,
    /// What is wrong with the row.
    pub flaw: Option<Rejection>,
}

/// How far an outbox got with the sequencer in one stream.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    /// The last number that the sequencer told it about events of its own (`last_pushed_sequence`).
    pub last_pushed: Option<u64>,
    /// The last row, in the agent's order, that the sequencer has answered for.
    pub answered_to: Option<i64>,
    /// The highest number that it noted for an event of its own.
    pub highest_noted: Option<u64>,
    /// Its engine may have counted numbers up, instead of reading them.
    pub counts_on: bool,
}

impl Progress {
    /// The last number that the sequencer told, if that is what `last_pushed` is: an engine that counts up notes its
    /// count at its events, so a number below the highest of those was not counted.
    pub(crate) fn told(&self) -> Option<u64> {
        let told = self.last_pushed?;
        (!self.counts_on || self.highest_noted > Some(told)).then_some(told)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is kept does not depend on the short ways that are taken where holders come one after the other.
        #[test]
        fn words_are_kept_once_in_whatever_order_they_come(words in proptest::collection::vec((0_usize..4, 0_u128..2, 0_u64..3), 0..40)) {
            let mut evidence = StreamEvidence::default();
            let mut claims: Vec<Claim> = Vec::new();
            let mut highest: Vec<(String, u64)> = Vec::new();
            for (holder, event, number) in words {
                let claim = Claim {
                    event_id: EventId(uuid::Uuid::from_u128(event)),
                    holder: HolderId(holder),
                    saying: Saying::Outbox,
                    sequenced_at: None,
                };
                if !claims.contains(&claim) {
                    claims.push(claim.clone());
                }
                evidence.add_claim(1, claim);
                let who = holder.to_string();
                match highest.iter_mut().find(|(known, _)| *known == who) {
                    Some((_, known)) => *known = number.max(*known),
                    None if number > 0 => highest.push((who.clone(), number)),
                    None => {}
                }
                evidence.add_witness(Witness { sequence: number, grade: Grade::Claimed, who, identity: String::new() });
            }
            claims.sort_by_key(|claim| claim.holder);
            prop_assert_eq!(evidence.claims.remove(&1).unwrap_or_default(), claims);
            let witnesses: Vec<(String, u64)> = evidence.witnesses.into_iter().map(|w| (w.who, w.sequence)).collect();
            prop_assert_eq!(witnesses, highest);
        }
    }
}
