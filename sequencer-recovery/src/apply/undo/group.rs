//! The lines of an undo bundle's section, taken together as far as they are of one kind.

use event_log::{Commitment, Entity};
use ves::{BatchId, CommandId, EventId, Hash32, Receipt, SigningKey, Timestamp};

use crate::apply::undo_file::{SectionLines, UndoLine};
use crate::error::RecoveryError;

/// Rows are taken out in groups of this many.
pub(super) const GROUP: usize = 1000;

/// An event that goes back to its number of before.
pub(super) struct MovedBack {
    pub(super) event_id: EventId,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) sequenced_at: Timestamp,
    pub(super) leaf: Hash32,
    pub(super) receipt: Option<Box<Receipt>>,
}

/// Lines of one kind.
pub(super) enum Group {
    Key(SigningKey),
    Moved(Vec<MovedBack>),
    Withdrawn(Vec<Commitment>),
    Events(Vec<(u64, EventId, Hash32)>),
    Receipts(Vec<EventId>),
    Commands(Vec<CommandId>),
    Forgotten(Vec<(CommandId, Timestamp)>),
    Version {
        entity: Entity,
        before: Option<i64>,
        after: i64,
    },
    Commitments(Vec<BatchId>),
    Projection {
        before: u64,
        after: u64,
    },
}

impl Group {
    /// The next lines of a section, as far as they are of one kind.
    pub(super) fn next(lines: &mut SectionLines) -> Result<Option<Self>, RecoveryError> {
        let Some(first) = lines.peek().map_err(RecoveryError::Bundle)? else {
            return Ok(None);
        };
        let Some(mut group) = Self::begin(first) else {
            return Ok(None);
        };
        if group.is_single() {
            lines.next().map_err(RecoveryError::Bundle)?;
            return Ok(Some(group));
        }
        for _ in 0..GROUP {
            match lines.peek().map_err(RecoveryError::Bundle)? {
                Some(line) if group.add(line) => {}
                _ => break,
            }
            lines.next().map_err(RecoveryError::Bundle)?;
        }
        Ok(Some(group))
    }

    /// The group that a line begins: it alone, or an empty one that it is added to. `None` for what is no line of a section;
    /// the structure was checked when the bundle was opened.
    fn begin(first: &UndoLine) -> Option<Self> {
        Some(match first {
            UndoLine::Moved { .. } => Group::Moved(Vec::new()),
            UndoLine::Withdrawn { .. } => Group::Withdrawn(Vec::new()),
            UndoLine::Event { .. } => Group::Events(Vec::new()),
            UndoLine::Receipt { .. } => Group::Receipts(Vec::new()),
            UndoLine::Command { .. } => Group::Commands(Vec::new()),
            UndoLine::Forgotten { .. } => Group::Forgotten(Vec::new()),
            UndoLine::Commitment { .. } => Group::Commitments(Vec::new()),
            UndoLine::Key { key } => Group::Key(key.clone()),
            UndoLine::Version {
                entity,
                before,
                after,
            } => Group::Version {
                entity: entity.clone(),
                before: *before,
                after: *after,
            },
            UndoLine::Projection { before, after } => Group::Projection {
                before: *before,
                after: *after,
            },
            UndoLine::Undo(_) | UndoLine::Stream(_) | UndoLine::Sealed(_) | UndoLine::End { .. } => {
                return None;
            }
        })
    }

    fn is_single(&self) -> bool {
        matches!(
            self,
            Group::Key(_) | Group::Version { .. } | Group::Projection { .. }
        )
    }

    /// Adds a line if it is of the same kind.
    fn add(&mut self, line: &UndoLine) -> bool {
        match (self, line) {
            (
                Group::Moved(all),
                UndoLine::Moved {
                    event_id,
                    from,
                    to,
                    sequenced_at,
                    leaf,
                    receipt,
                },
            ) => all.push(MovedBack {
                event_id: *event_id,
                from: *from,
                to: *to,
                sequenced_at: *sequenced_at,
                leaf: *leaf,
                receipt: receipt.clone(),
            }),
            (Group::Withdrawn(all), UndoLine::Withdrawn { commitment }) => all.push((**commitment).clone()),
            (
                Group::Events(all),
                UndoLine::Event {
                    sequence,
                    event_id,
                    leaf,
                },
            ) => all.push((*sequence, *event_id, *leaf)),
            (Group::Receipts(all), UndoLine::Receipt { event_id, .. }) => all.push(*event_id),
            (Group::Commands(all), UndoLine::Command { command_id }) => all.push(*command_id),
            (
                Group::Forgotten(all),
                UndoLine::Forgotten {
                    command_id,
                    created_at,
                },
            ) => all.push((*command_id, *created_at)),
            (Group::Commitments(all), UndoLine::Commitment { batch_id }) => all.push(*batch_id),
            _ => return false,
        }
        true
    }
}
