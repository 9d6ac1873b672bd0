//! Evidence: what the witnesses say of one stream's missing positions, kept as they said it.
//!
//! Nothing is decided here. Contradictions stand side by side; [`crate::place::placement`] judges them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use outbox_sync::OutboxStatus;
use serde::Serialize;
use ves::{AgentId, CommandId, Event, EventId, Hash32, Receipt, SignatureCheck, Timestamp};

use crate::floor::Witness;
use crate::grade::Grade;
use crate::witness::rejection::Rejection;

/// So many holders are named in a sentence.
const NAMED: usize = 7;

/// A witness's database or file, as an index into [`Holders`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HolderId(pub usize);

/// The holders heard, and which of them are one and the same.
#[derive(Debug, Default)]
pub struct Holders {
    names: Vec<String>,
    /// What makes a holder itself: the agent where known, so that two copies of one outbox do not
    /// corroborate each other.
    identities: Vec<String>,
}

impl Holders {
    /// Registers a holder by its display name and the identity behind it.
    pub fn add(&mut self, name: String, identity: String) -> HolderId {
        self.names.push(name);
        self.identities.push(identity);
        HolderId(self.names.len() - 1)
    }

    /// The display name.
    pub fn name(&self, holder: HolderId) -> &str {
        &self.names[holder.0]
    }

    /// The display names of several: of many the first ones, and how many more they are.
    pub fn names(&self, holders: &BTreeSet<HolderId>) -> String {
        let few = holders.len() <= NAMED + 1;
        let named = if few { holders.len() } else { NAMED };
        let names: Vec<&str> = holders.iter().take(named).map(|h| self.name(*h)).collect();
        let names = names.join(", ");
        if few {
            names
        } else {
            format!("{names} and {} more", holders.len() - NAMED)
        }
    }

    /// How many of these holders are independent of each other.
    pub fn independent(&self, holders: impl IntoIterator<Item = HolderId>) -> usize {
        let identities: BTreeSet<&str> = holders
            .into_iter()
            .map(|h| self.identities[h.0].as_str())
            .collect();
        identities.len()
    }
}

/// What kind of word a claim is, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Saying {
    /// The agent's own bookkeeping after a push. Engines that count up get it wrong.
    Outbox,
    /// A pulled row without a usable signature: no content, but it names event and number.
    Pointer,
    /// A pulled row with its signature: the sequencer itself told the number.
    Pulled,
    /// A row of another copy of the log.
    Log,
}

impl Saying {
    /// How much a claim of this kind counts when guesses are ordered. Only the order of guesses depends
    /// on it; what is accepted does not.
    pub fn weight(self) -> u32 {
        match self {
            Saying::Outbox => 2,
            Saying::Pointer => 5,
            Saying::Pulled => 8,
            Saying::Log => 20,
        }
    }
}

/// "This event was at this position", as one holder says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The event.
    pub event_id: EventId,
    /// Who says so.
    pub holder: HolderId,
    /// What kind of word it is.
    pub saying: Saying,
    /// When the sequencer numbered it, if the holder knows.
    pub sequenced_at: Option<Timestamp>,
}

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
pub struct Refused {
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
    pub waiting: BTreeMap<EventId, Vec<Waiting>>,
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
pub struct Waiting {
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

    #[test]
    fn many_holders_are_named_in_few_words() {
        let mut holders = Holders::default();
        let all: BTreeSet<HolderId> = (0..9_000)
            .map(|n| holders.add(format!("{n}.db"), n.to_string()))
            .collect();
        assert_eq!(
            holders.names(&all),
            "0.db, 1.db, 2.db, 3.db, 4.db, 5.db, 6.db and 8993 more"
        );
        let few: BTreeSet<HolderId> = all.into_iter().take(8).collect();
        assert!(holders.names(&few).ends_with("6.db, 7.db"));
    }
}
