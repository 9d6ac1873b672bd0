//! Trust: whether the number that a holder noted for an event can be believed without a root or a receipt.
//!
//! What the sequencer itself told (pulled rows, other copies of the log, numbers read from receipts) is believed as
//! long as nothing contradicts it. What an agent's engine counted up by itself is another matter: it takes the first
//! number of an answer and counts on over the rows of its push, over those, too, that were refused or that the log had
//! already. Within one push such a number is too high by the number of refused or repeated rows before it, so it
//! never gets right again behind the first one. From this follows:
//!
//! - a row is right if a later row of the same push is right;
//! - otherwise it is believed only if its holder was never wrong, was right often enough to be judged, and its push
//!   shows no sign of a disturbance: no row up to it that the sequencer would have refused, and no rows that were made
//!   long before the others (they may have been pushed before, and the answer lost).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ves::{CommandId, EventId};

use crate::stream::facts::EntityHistory;
use crate::witness::evidence::{Claim, HolderId, Pushes, Saying, StreamEvidence};

/// A holder whose engine counts on is believed alone only if the log confirms so many of its rows.
pub const LEAST_CONFIRMED: u64 = 50;

/// See the module.
pub struct Trust {
    /// How often each holder's word of each kind turned out wrong.
    refuted: BTreeMap<(HolderId, Saying), u64>,
    /// Doubts about what holders noted themselves, by position and event.
    doubts: HashMap<(HolderId, u64, EventId), Doubt>,
    /// What holders noted themselves and a later row of the same push confirms.
    tied: HashSet<(HolderId, u64, EventId)>,
}

/// Why a word is not believed alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// Its holder was wrong so often elsewhere.
    WrongElsewhere(u64),
    /// Numbers noted by an engine that counts on, of a holder of whom too little is known.
    TooLittleKnown,
    /// Its push shows that the engine may have counted over something.
    Disturbed(&'static str),
    /// An event that the log has under another number, and that only its own agent places here.
    NumberedAgain,
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Doubt::WrongElsewhere(count) => write!(f, "and was wrong about {count} other(s)"),
            Doubt::TooLittleKnown => {
                f.write_str("whose engine counts on by itself, and too little confirms it")
            }
            Doubt::Disturbed(why) => write!(f, "whose engine counts on by itself, {why}"),
            Doubt::NumberedAgain => f.write_str("and the log has it under another number"),
        }
    }
}

impl Trust {
    /// Draws up what is known. `placed` says whether an event has been given a position by a root or a receipt.
    pub fn new(
        evidence: &StreamEvidence,
        history: &EntityHistory,
        refuted: BTreeMap<(HolderId, Saying), u64>,
        placed: &dyn Fn(EventId, u64) -> bool,
    ) -> Self {
        let told: BTreeSet<(EventId, u64)> = evidence
            .claims
            .iter()
            .flat_map(|(position, claims)| claims.iter().map(move |c| (*position, c)))
            .filter(|(_, c)| c.saying != Saying::Outbox && !refuted.contains_key(&(c.holder, c.saying)))
            .map(|(position, c)| (c.event_id, position))
            .collect();
        let (mut doubts, mut confirmed) = (HashMap::new(), HashSet::new());
        for (&holder, pushes) in &evidence.pushes {
            let mut wrong = refuted.get(&(holder, Saying::Outbox)).copied().unwrap_or(0);
            if pushes.counts_on {
                wrong += pushes.overlaps;
            }
            if !pushes.counts_on && wrong == 0 {
                continue;
            }
            let mut tied = pushes.confirmed_to.clone();
            for row in &pushes.rows {
                if placed(row.event_id, row.claim) || told.contains(&(row.event_id, row.claim)) {
                    let last = tied.entry(row.push).or_insert(row.local_seq);
                    *last = row.local_seq.max(*last);
                }
            }
            let signs = Signs::of(pushes, evidence, history);
            for row in &pushes.rows {
                if tied.get(&row.push).is_some_and(|last| row.local_seq <= *last) {
                    confirmed.insert((holder, row.claim, row.event_id));
                    continue;
                }
                let doubt = if wrong > 0 {
                    Doubt::WrongElsewhere(wrong)
                } else if pushes.confirmed < LEAST_CONFIRMED {
                    Doubt::TooLittleKnown
                } else if let Some(why) = signs.of_row(row.push, row.local_seq) {
                    Doubt::Disturbed(why)
                } else {
                    continue;
                };
                doubts.insert((holder, row.claim, row.event_id), doubt);
            }
        }
        let standing = evidence.standing.values();
        let standing: HashSet<EventId> = standing
            .map(|candidate| evidence.candidates[*candidate].event.event_id)
            .collect();
        if !standing.is_empty() {
            for (position, claims) in &evidence.claims {
                for claim in claims
                    .iter()
                    .filter(|c| c.saying == Saying::Outbox && standing.contains(&c.event_id))
                {
                    doubts.insert((claim.holder, *position, claim.event_id), Doubt::NumberedAgain);
                }
            }
        }
        Self {
            refuted,
            doubts,
            tied: confirmed,
        }
    }

    /// Why a claim is not believed alone; `None` if it is.
    pub fn doubt(&self, position: u64, claim: &Claim) -> Option<Doubt> {
        let row = (claim.holder, position, claim.event_id);
        if claim.saying == Saying::Outbox {
            if let Some(doubt) = self.doubts.get(&row) {
                return Some(*doubt);
            }
            // A row that is tied to another is right, whatever its holder was wrong about.
            if self.tied.contains(&row) {
                return None;
            }
        }
        let wrong = self.refuted.get(&(claim.holder, claim.saying));
        wrong.map(|count| Doubt::WrongElsewhere(*count))
    }
}

/// Where pushes of one holder show that something was counted over.
struct Signs {
    /// By push: the first row that shows it.
    first: HashMap<u32, (i64, &'static str)>,
}

impl Signs {
    fn of(pushes: &Pushes, evidence: &StreamEvidence, history: &EntityHistory) -> Self {
        let mut first: HashMap<u32, (i64, &'static str)> = HashMap::new();
        let mut commands: BTreeSet<CommandId> = evidence.remembered.clone();
        let mut accepted: HashMap<(&str, &str), u64> = HashMap::new();
        // Rows made within the time that this agent's pushes are known to take belong to one push; others may have
        // been pushed before.
        let longest = pushes.longest.saturating_mul(2).saturating_add(20_000);
        for row in &pushes.rows {
            let mut sign = |local: i64, why: &'static str| {
                first.entry(row.push).or_insert((local, why));
            };
            if row.since_first > longest {
                // Those before it are the ones that may be there for the second time.
                first.insert(
                    row.push,
                    (i64::MIN, "and its push holds events made long before the others"),
                );
                continue;
            }
            let [candidate] = *evidence.candidates_of(row.event_id) else {
                sign(row.local_seq, "and its push holds an event that does not verify");
                continue;
            };
            let candidate = &evidence.candidates[candidate];
            if !candidate.signature.is_valid() {
                sign(row.local_seq, "and its push holds an event that does not verify");
                continue;
            }
            let event = &candidate.event;
            if event.command_id.is_some_and(|command| !commands.insert(command)) {
                sign(row.local_seq, "and its push holds a command that was used before");
                continue;
            }
            let own = accepted
                .entry((&event.entity_type, &event.entity_id))
                .or_default();
            if let Some(base) = event.base_version {
                let there = history.count(event);
                if u64::try_from(base).ok() != Some(there.saturating_add(*own)) {
                    sign(
                        row.local_seq,
                        "and its push holds an event that builds on a version that was not there",
                    );
                    continue;
                }
            }
            *own += 1;
        }
        Self { first }
    }

    fn of_row(&self, push: u32, local_seq: i64) -> Option<&'static str> {
        let (first, why) = self.first.get(&push)?;
        (*first <= local_seq).then_some(*why)
    }
}

#[cfg(test)]
mod tests;
