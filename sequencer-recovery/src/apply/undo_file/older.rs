//! Bundles of older releases, which have a kind of line for each kind of change and say less of what was left: what they say is
//! told as changed rows.

use event_log::{Commitment, Entity};
use serde::Deserialize;
use ves::{BatchId, CommandId, EventId, Hash32, Receipt, SigningKey, Timestamp};

use super::change::{Change, Image, Left, Stands, Stood};
use super::{UndoLine, UndoSealed, UndoStream};

/// The format's name and version.
pub(super) const SCHEMA: &str = "recovery-undo/1";

/// A line behind the first.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Line {
    Stream(UndoStream),
    Key {
        key: Box<SigningKey>,
    },
    /// Inserted with its receipt.
    Event {
        sequence: u64,
        event_id: EventId,
        leaf: Hash32,
    },
    /// Got another number, and another receipt with it.
    Moved {
        event_id: EventId,
        from: u64,
        to: u64,
        /// Before.
        sequenced_at: Timestamp,
        /// Since.
        leaf: Hash32,
        /// Before.
        receipt: Option<Box<Receipt>>,
    },
    /// Taken out.
    Withdrawn {
        commitment: Box<Commitment>,
    },
    /// Made for an event that was there.
    Receipt {
        sequence: u64,
        event_id: EventId,
    },
    /// Remembered since.
    Command {
        command_id: CommandId,
    },
    /// Remembered before.
    Forgotten {
        command_id: CommandId,
        created_at: Timestamp,
    },
    Version {
        #[serde(flatten)]
        entity: Entity,
        before: Option<i64>,
        after: i64,
    },
    /// Inserted.
    Commitment {
        batch_id: BatchId,
    },
    Projection {
        before: u64,
        after: u64,
    },
    Sealed(UndoSealed),
    End {
        lines: u64,
        sha256: Hash32,
    },
}

impl Line {
    /// What it says: a line, and another row if it is about two.
    pub(super) fn now(self) -> (UndoLine, Option<Change>) {
        let one = match self {
            Self::Stream(opened) => return (UndoLine::Stream(opened), None),
            Self::Sealed(sealed) => return (UndoLine::Sealed(sealed), None),
            Self::End { lines, sha256 } => return (UndoLine::End { lines, sha256 }, None),
            Self::Event {
                sequence,
                event_id,
                leaf,
            } => return two(Change::event(event_id, None, Stands { sequence, leaf })),
            Self::Moved {
                event_id,
                from: sequence,
                to,
                sequenced_at,
                leaf,
                receipt,
            } => {
                let stood = Stood {
                    sequence,
                    sequenced_at,
                };
                let stands = Stands { sequence: to, leaf };
                return two(Change::event(event_id, Some((stood, receipt)), stands));
            }
            Self::Key { key } => Change::Key(Image::inserted(key)),
            Self::Withdrawn { commitment } => Change::Commitment {
                batch_id: commitment.batch_id,
                image: Image::removed(commitment),
            },
            Self::Receipt { sequence, event_id } => Change::receipt(event_id, None, sequence),
            Self::Command { command_id } => Change::Command {
                command_id,
                image: Image::inserted(Left::Somehow),
            },
            Self::Forgotten {
                command_id,
                created_at,
            } => Change::Command {
                command_id,
                image: Image::removed(created_at),
            },
            Self::Version {
                entity,
                before,
                after,
            } => Change::EntityVersion {
                entity,
                image: Image::changed(before, after),
            },
            Self::Commitment { batch_id } => Change::Commitment {
                batch_id,
                image: Image::inserted(Left::Somehow),
            },
            Self::Projection { before, after } => Change::Projection(Image::changed(Some(before), after)),
        };
        (UndoLine::Row(one), None)
    }
}

fn two([first, second]: [Change; 2]) -> (UndoLine, Option<Change>) {
    (UndoLine::Row(first), Some(second))
}
