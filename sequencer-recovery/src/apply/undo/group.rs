//! What the next changed rows of a bundle's section ask of undo: table by table, so that a statement takes back many rows.

use event_log::{Commitment, Entity};
use ves::{BatchId, CommandId, EventId, Receipt, SigningKey, Timestamp};

use crate::apply::undo_file::Changes;
use crate::apply::undo_file::change::{Change, Image, Left, Stands, Stood};
use crate::error::RecoveryError;

/// Rows are taken together in groups of this many: a thousand events and their receipts.
const GROUP: usize = 2000;

/// Changed rows, sorted by what takes them back.
#[derive(Default)]
pub(super) struct Group {
    /// Rows that were inserted, and go.
    pub(super) events: Vec<(EventId, Stands)>,
    /// An event's is in the same group as the event or in one before.
    pub(super) receipts: Vec<EventId>,
    pub(super) commands: Vec<(CommandId, Left<Timestamp>)>,
    pub(super) keys: Vec<SigningKey>,
    pub(super) commitments: Vec<(BatchId, Left<Box<Commitment>>)>,
    /// Rows that were changed, with what they were and are; an entity's may have been inserted.
    pub(super) versions: Vec<(Entity, Option<i64>, i64)>,
    pub(super) projections: Vec<(u64, u64)>,
    /// Rows that made room for others.
    pub(super) back: Back,
}

/// Rows that go back once those are out for which they made room.
#[derive(Default)]
pub(super) struct Back {
    pub(super) moved: Vec<(EventId, Stood, Stands)>,
    pub(super) receipts: Vec<Receipt>,
    pub(super) commands: Vec<(CommandId, Timestamp)>,
    pub(super) commitments: Vec<Commitment>,
}

impl Group {
    /// The next rows of a section; `None` at its end.
    pub(super) fn next(rows: &mut Changes<'_>) -> Result<Option<Self>, RecoveryError> {
        let mut group = Self::default();
        let mut empty = true;
        for _ in 0..GROUP {
            let Some(row) = rows.next().map_err(RecoveryError::Bundle)? else {
                break;
            };
            empty = false;
            if !group.add(row) {
                let what = "no repair changes a row from what it says to what it says";
                return Err(RecoveryError::Bundle(rows.refused(what)));
            }
        }
        Ok((!empty).then_some(group))
    }

    /// Adds a row; says whether it was changed as a repair changes such rows.
    fn add(&mut self, row: Change) -> bool {
        match row {
            Change::Event {
                event_id,
                image:
                    Image {
                        before,
                        after: Some(stands),
                    },
            } => match before {
                None => self.events.push((event_id, stands)),
                Some(stood) => self.back.moved.push((event_id, stood, stands)),
            },
            Change::Receipt { event_id, image } => {
                self.receipts.extend(image.after.map(|_| event_id));
                self.back.receipts.extend(image.before.map(|receipt| *receipt));
            }
            Change::Command { command_id, image } => match (image.before, image.after) {
                (None, Some(left)) => self.commands.push((command_id, left)),
                (Some(since), None) => self.back.commands.push((command_id, since)),
                _ => return false,
            },
            Change::Key(Image {
                before: None,
                after: Some(key),
            }) => self.keys.push(*key),
            Change::Commitment { batch_id, image } => match (image.before, image.after) {
                (None, Some(left)) => self.commitments.push((batch_id, left)),
                (Some(row), None) => self.back.commitments.push(*row),
                _ => return false,
            },
            Change::EntityVersion {
                entity,
                image:
                    Image {
                        before,
                        after: Some(after),
                    },
            } => self.versions.push((entity, before, after)),
            Change::Projection(Image {
                before: Some(before),
                after: Some(after),
            }) => self.projections.push((before, after)),
            _ => return false,
        }
        true
    }
}

impl Back {
    /// Adds those of another group.
    pub(super) fn extend(&mut self, more: Self) {
        self.moved.extend(more.moved);
        self.receipts.extend(more.receipts);
        self.commands.extend(more.commands);
        self.commitments.extend(more.commitments);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_no_repair_does_to_a_row_is_refused() {
        let entity = Entity {
            entity_type: "order".into(),
            entity_id: "7".into(),
        };
        let command_id = CommandId(Uuid::from_u128(1));
        let event_id = EventId(Uuid::from_u128(2));
        let stood = Stood {
            sequence: 1,
            sequenced_at: Timestamp(0),
        };
        let removed = [
            Change::EntityVersion {
                entity: entity.clone(),
                image: Image::removed(2),
            },
            Change::Event {
                event_id,
                image: Image::removed(stood),
            },
            Change::Projection(Image::removed(2)),
            Change::Projection(Image::inserted(2)),
            Change::Command {
                command_id,
                image: Image {
                    before: Some(Timestamp(0)),
                    after: Some(Left::As(Timestamp(1))),
                },
            },
            Change::Command {
                command_id,
                image: Image {
                    before: None,
                    after: None,
                },
            },
        ];
        for row in removed {
            assert!(!Group::default().add(row.clone()), "{row:?}");
        }
        let mut group = Group::default();
        assert!(group.add(Change::EntityVersion {
            entity: entity.clone(),
            image: Image::inserted(2)
        }));
        assert!(group.add(Change::Command {
            command_id,
            image: Image::removed(Timestamp(3))
        }));
        let stands = Stands {
            sequence: 7,
            leaf: ves::Hash32::ZERO,
        };
        assert!(
            Change::event(event_id, None, stands)
                .into_iter()
                .all(|row| group.add(row))
        );
        assert_eq!(group.versions, [(entity, None, 2)]);
        assert_eq!(group.back.commands, [(command_id, Timestamp(3))]);
        // The receipt goes first.
        assert_eq!((group.receipts, group.events.len()), (vec![event_id], 1));
    }
}
