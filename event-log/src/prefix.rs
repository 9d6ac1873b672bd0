//! A stream's leaves in the order of their numbers, as far as they follow each other without a hole: what the tree over a
//! stream ([`ves::log_tree`]) is grown from.

use std::ops::ControlFlow;

use ves::span::Span;
use ves::{Hash32, StreamKey, kernel};

use crate::error::{LogError, RowError};
use crate::view::View;

/// Where leaves that follow each other end, and why.
#[derive(Debug)]
pub struct PrefixEnd {
    /// The first number of which there is no leaf.
    pub next: u64,
    /// What stands in the way; nothing if the range that was asked for ends there, or the stream.
    pub hole: Option<Hole>,
}

/// Why leaves do not follow each other.
#[derive(Debug)]
pub enum Hole {
    /// These numbers have no row, and later ones have.
    Missing(Span),
    /// A row that cannot be read.
    Unreadable(RowError),
    /// A second row with the number of the one before it.
    Duplicate(u64),
}

impl std::fmt::Display for Hole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(span) if span.count() == 1 => write!(f, "number {} is missing", span.start()),
            Self::Missing(span) => write!(f, "the numbers {span} are missing"),
            Self::Unreadable(row) => write!(f, "a row cannot be read: {row}"),
            Self::Duplicate(number) => write!(f, "two rows have the number {number}"),
        }
    }
}

impl View {
    /// Gives the leaves of a range (`ves::merkle::leaf_hash` of the stored signing hash and signature), in the order of
    /// their numbers, until a number is missing, a row cannot be read, or `each` has enough.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn for_each_leaf(
        &mut self,
        stream: &StreamKey,
        range: Span,
        each: &mut dyn FnMut(&[Hash32]) -> ControlFlow<()>,
    ) -> Result<PrefixEnd, LogError> {
        let mut end = PrefixEnd {
            next: range.start(),
            hole: None,
        };
        let (mut inputs, mut leaves) = (Vec::new(), Vec::new());
        self.for_each_leaf_input(stream, range.positions(), &mut |chunk| {
            inputs.clear();
            for row in chunk {
                let row = match row {
                    Ok(row) if row.sequence_number == end.next => row,
                    Ok(row) => {
                        end.hole = Some(match row.sequence_number.checked_sub(1) {
                            Some(before) if row.sequence_number > end.next => {
                                Span::new(end.next, before).map_or(Hole::Duplicate(end.next), Hole::Missing)
                            }
                            _ => Hole::Duplicate(row.sequence_number),
                        });
                        break;
                    }
                    Err(error) => {
                        end.hole = Some(Hole::Unreadable(error));
                        break;
                    }
                };
                inputs.push(kernel::LeafInput {
                    sequence_number: row.sequence_number,
                    event_signing_hash: row.event_signing_hash,
                    agent_signature: row.agent_signature,
                });
                end.next += 1;
            }
            leaves.resize(inputs.len(), Hash32::ZERO);
            kernel::leaf_hashes(stream, &inputs, &mut leaves);
            let flow = if leaves.is_empty() {
                ControlFlow::Continue(())
            } else {
                each(&leaves)
            };
            if end.hole.is_some() {
                return ControlFlow::Break(());
            }
            flow
        })
        .await?;
        Ok(end)
    }
}
