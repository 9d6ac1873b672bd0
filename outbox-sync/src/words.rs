//! What holders say of a missing position, and what follows from that alone: which event was there, and how sure it is.
//!
//! The census of a fleet and the plan of a repair both ask here, so that they cannot answer differently. The plan asks roots,
//! checkpoints and receipts before, and doubts some words; what those settle is no longer asked.

use std::collections::BTreeSet;

use serde::Serialize;
use ves::{EventId, Timestamp};

use crate::row::{Content, HeldRow, Origin};

/// So many holders are named in a sentence.
const NAMED: usize = 7;

/// A witness's database or file, as an index into [`Holders`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HolderId(pub usize);

/// The holders heard, and which of them are one and the same.
#[derive(Debug, Default)]
pub struct Holders {
    names: Vec<String>,
    /// What makes a holder itself: the agent where known, so that two copies of one outbox do not corroborate each other.
    /// An export has none: what it holds is another's word.
    identities: Vec<Option<String>>,
}

impl Holders {
    /// Registers a holder by its display name and the identity behind it, if it has one.
    pub fn add(&mut self, name: String, identity: Option<String>) -> HolderId {
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
        let identities = holders
            .into_iter()
            .filter_map(|h| self.identities[h.0].as_deref());
        identities.collect::<BTreeSet<&str>>().len()
    }
}

/// What kind of word a claim is, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Saying {
    /// The agent's own bookkeeping after a push. Engines that count up get it wrong.
    Outbox,
    /// A pulled row without a signature: no content, but it names event and number.
    Pointer,
    /// A pulled row with its signature: the sequencer itself told the number.
    Pulled,
    /// A row of another copy of the log.
    Log,
}

impl Saying {
    /// Of a row in an outbox.
    pub fn of(row: &HeldRow) -> Self {
        match (&row.origin, &row.content) {
            (Origin::Outbox { .. }, _) => Self::Outbox,
            (_, Content::Signed(_)) => Self::Pulled,
            _ => Self::Pointer,
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

/// What holders have of an event that the log lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// Nobody holds it whole.
    None,
    /// All who hold it hold the same.
    One {
        /// Whether its signature holds, by a key that was valid.
        signed: bool,
    },
    /// Holders have different contents of it.
    Several,
}

/// Why an event that is the only one named for a position is not known to have been there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsure {
    /// Nobody holds a copy of it that verifies.
    NotHeld,
    /// Holders have different contents of it.
    Contents,
    /// Its signature does not hold, or could not be checked.
    Signature,
    /// No word for it can be trusted alone.
    Doubted,
    /// It is named for other missing positions, too.
    Elsewhere,
}

/// What words say of a missing position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spoken {
    /// No event is named.
    Nobody,
    /// Several are.
    Rivals(Vec<EventId>),
    /// One is, and something is in the way.
    Unsure(EventId, Unsure),
    /// One is, and nothing speaks against it.
    One {
        /// The event.
        event_id: EventId,
        /// Who says so.
        holders: BTreeSet<HolderId>,
    },
}

/// How sure it is which event was at a position, strongest first: words alone prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WordGrade {
    /// Independent holders agree.
    Corroborated,
    /// One holder says so.
    Claimed,
    /// Holders disagree, or something speaks against the only event that is named.
    Contested,
    /// Nobody has an event that is named for it.
    Lost,
}

/// What is known of the events that are named.
pub trait NamedEvents {
    /// What holders have of it.
    fn contents(&self, event_id: EventId) -> Contents;

    /// Whether it is named for other missing positions, too.
    fn is_named_elsewhere(&self, event_id: EventId) -> bool;

    /// Whether a claim cannot be trusted alone.
    fn is_doubted(&self, claim: &Claim) -> bool;
}

impl Spoken {
    /// What claims to a missing position come to. Those of events whose places are settled are not among them.
    pub fn of<'a>(claims: impl IntoIterator<Item = &'a Claim>, named: &impl NamedEvents) -> Self {
        let claims: Vec<&Claim> = claims.into_iter().collect();
        let events: BTreeSet<EventId> = claims.iter().map(|claim| claim.event_id).collect();
        let mut events = events.into_iter();
        let (event_id, second) = (events.next(), events.next());
        let event_id = match (event_id, second) {
            (None, _) => return Self::Nobody,
            (Some(event_id), None) => event_id,
            (first, second) => return Self::Rivals(first.into_iter().chain(second).chain(events).collect()),
        };
        let unsure = match named.contents(event_id) {
            Contents::None => Some(Unsure::NotHeld),
            Contents::Several => Some(Unsure::Contents),
            Contents::One { signed: false } => Some(Unsure::Signature),
            Contents::One { signed: true } => {
                let doubted = claims.iter().all(|claim| named.is_doubted(claim));
                let elsewhere = || named.is_named_elsewhere(event_id).then_some(Unsure::Elsewhere);
                doubted.then_some(Unsure::Doubted).or_else(elsewhere)
            }
        };
        match unsure {
            Some(why) => Self::Unsure(event_id, why),
            None => Self::One {
                event_id,
                holders: claims.iter().map(|claim| claim.holder).collect(),
            },
        }
    }

    /// How sure that is.
    pub fn grade(&self, of: &Holders) -> WordGrade {
        match self {
            Self::Nobody | Self::Unsure(_, Unsure::NotHeld) => WordGrade::Lost,
            Self::Rivals(_) | Self::Unsure(..) => WordGrade::Contested,
            Self::One { holders, .. } if of.independent(holders.iter().copied()) > 1 => {
                WordGrade::Corroborated
            }
            Self::One { .. } => WordGrade::Claimed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_holders_are_named_in_few_words() {
        let mut holders = Holders::default();
        let all: BTreeSet<HolderId> = (0..9_000)
            .map(|n| holders.add(format!("{n}.db"), Some(n.to_string())))
            .collect();
        assert_eq!(
            holders.names(&all),
            "0.db, 1.db, 2.db, 3.db, 4.db, 5.db, 6.db and 8993 more"
        );
        let few: BTreeSet<HolderId> = all.into_iter().take(8).collect();
        assert!(holders.names(&few).ends_with("6.db, 7.db"));
    }

    #[test]
    fn copies_of_one_outbox_and_exports_are_not_independent() {
        let mut holders = Holders::default();
        let own = holders.add("a.db".into(), Some("a".into()));
        let copy = holders.add("copy.db".into(), Some("a".into()));
        let other = holders.add("b.db".into(), Some("b".into()));
        let export = holders.add("export.ndjson".into(), None);
        assert_eq!(holders.independent([own, copy]), 1);
        assert_eq!(holders.independent([own, export]), 1);
        assert_eq!(holders.independent([own, copy, other, export]), 2);
    }
}
