//! What a repair changed: single rows, each as it was and as it is since.

use event_log::{Commitment, Entity};
use serde::{Deserialize, Serialize};
use ves::{BatchId, CommandId, EventId, Hash32, Receipt, SigningKey, Timestamp};

/// A row before a repair and since; `None`: there was, or is, no such row. Before is what putting it back takes; since is what
/// undo knows it by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "B: Deserialize<'de>, A: Deserialize<'de>"))]
pub struct Image<B, A = B> {
    /// The row before. It is named in any case: what was left out is not taken for null.
    #[serde(deserialize_with = "Option::deserialize")]
    pub before: Option<B>,
    /// The row since.
    #[serde(deserialize_with = "Option::deserialize")]
    pub after: Option<A>,
}

impl<B, A> Image<B, A> {
    /// Of a row that is there.
    pub fn changed(before: Option<B>, after: A) -> Self {
        let after = Some(after);
        Self { before, after }
    }

    /// Of a row that was not there.
    pub fn inserted(after: A) -> Self {
        Self::changed(None, after)
    }

    /// Of a row that is gone.
    pub fn removed(before: B) -> Self {
        Self {
            before: Some(before),
            after: None,
        }
    }
}

/// A row that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Left<T> {
    /// As it was left.
    As(T),
    /// A bundle of an older release does not say how.
    #[serde(skip)]
    Somehow,
}

/// Where an event stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stood {
    /// Its number.
    pub sequence: u64,
    /// When it was numbered.
    pub sequenced_at: Timestamp,
}

/// Where an event stands. A repair never changes what it says, which the leaf stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stands {
    /// Its number.
    pub sequence: u64,
    /// The leaf of its batch's Merkle tree: number, signing hash and signature.
    pub leaf: Hash32,
}

/// A row that a repair changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "row", rename_all = "snake_case")]
pub enum Change {
    /// A key of an agent.
    Key(Image<Box<SigningKey>>),
    /// An event: inserted, or moved to another number.
    Event {
        /// Its id.
        event_id: EventId,
        /// Its place.
        #[serde(flatten)]
        image: Image<Stood, Stands>,
    },
    /// The receipt of an event.
    Receipt {
        /// The event's id.
        event_id: EventId,
        /// Since: the number that it is for. Its hash is in the stream's fingerprint, and its signatures may be long.
        #[serde(flatten)]
        image: Image<Box<Receipt>, u64>,
    },
    /// A command that is remembered as accepted.
    Command {
        /// Its id.
        command_id: CommandId,
        /// Since when it is remembered.
        #[serde(flatten)]
        image: Image<Timestamp, Left<Timestamp>>,
    },
    /// An entity's version.
    EntityVersion {
        /// The entity.
        #[serde(flatten)]
        entity: Entity,
        /// Its version.
        #[serde(flatten)]
        image: Image<i64>,
    },
    /// A commitment.
    Commitment {
        /// Its batch.
        batch_id: BatchId,
        /// The whole row.
        #[serde(flatten)]
        image: Image<Box<Commitment>, Left<Box<Commitment>>>,
    },
    /// The projection checkpoint.
    Projection(Image<u64>),
}

impl Change {
    /// An event that stands where it did not stand before, and its receipt, which is in the way of taking it out: that goes
    /// first. `before` tells where it stood, with the receipt that it had.
    pub fn event(
        event_id: EventId,
        before: Option<(Stood, Option<Box<Receipt>>)>,
        after: Stands,
    ) -> [Self; 2] {
        let (before, receipt) = before.unzip();
        let receipt = Self::receipt(event_id, receipt.flatten(), after.sequence);
        let image = Image::changed(before, after);
        [receipt, Self::Event { event_id, image }]
    }

    /// A receipt that was made.
    pub fn receipt(event_id: EventId, before: Option<Box<Receipt>>, sequence: u64) -> Self {
        let image = Image::changed(before, sequence);
        Self::Receipt { event_id, image }
    }
}
