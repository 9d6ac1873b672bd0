//! Reading a plan, section by section and in groups of rows.

use ves::StreamKey;

use super::GROUP;
use crate::accept_keys::PlannedKey;
use crate::append::PlannedAppend;
use crate::error::RecoveryError;
use crate::moves::Moves;
use crate::plan_file::{
    PlanLine, PlanLines, PlannedBookkeeping, PlannedCommitment, PlannedEvent, PlannedStream,
};

/// Events are verified and inserted in groups of this many, or of about so many bytes of payloads.
const EVENTS: usize = 8192;
const EVENT_BYTES: usize = 8 << 20;

/// The plan's lines, one stream's section after the other.
pub(super) struct Sections {
    lines: PlanLines,
    next: Option<PlanLine>,
    /// The line in the file of the first event of the last group.
    pub(super) group_at: u64,
}

impl Sections {
    pub(super) fn new(lines: PlanLines) -> Self {
        Self {
            lines,
            next: None,
            group_at: 0,
        }
    }

    fn peek(&mut self) -> Result<Option<&PlanLine>, RecoveryError> {
        if self.next.is_none() {
            self.next = self.lines.next()?;
        }
        Ok(self.next.as_ref())
    }

    pub(super) fn next_stream(&mut self) -> Result<Option<PlannedStream>, RecoveryError> {
        self.peek()?;
        match self.next.take() {
            Some(PlanLine::Stream(header)) => Ok(Some(*header)),
            // The structure was checked when the plan was opened.
            _ => Ok(None),
        }
    }

    /// The keys of this stream, which stand before everything else.
    pub(super) fn keys(&mut self) -> Result<Vec<PlannedKey>, RecoveryError> {
        let mut keys = Vec::new();
        while matches!(self.peek()?, Some(PlanLine::Key(_))) {
            if let Some(PlanLine::Key(key)) = self.next.take() {
                keys.push(*key);
            }
        }
        Ok(keys)
    }

    /// What comes before the stream's events: what makes room for them.
    pub(super) fn next_moves(&mut self) -> Result<Moves, RecoveryError> {
        let mut found = Moves::default();
        while matches!(
            self.peek()?,
            Some(PlanLine::Reissue(_) | PlanLine::Superseded(_) | PlanLine::Move(_))
        ) {
            match self.next.take() {
                Some(PlanLine::Superseded(commitment)) => found.superseded.push(commitment),
                Some(PlanLine::Move(moved)) => found.moves.push(*moved),
                _ => {}
            }
        }
        Ok(found)
    }

    fn next_event(&mut self) -> Result<Option<PlannedEvent>, RecoveryError> {
        match self.peek()? {
            Some(PlanLine::Event(_)) => match self.next.take() {
                Some(PlanLine::Event(event)) => Ok(Some(*event)),
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// The next events of this stream, at most a group. They stand on lines that follow each other.
    pub(super) fn next_group(&mut self) -> Result<Vec<PlannedEvent>, RecoveryError> {
        self.peek()?;
        self.group_at = self.lines.number();
        let (mut group, mut bytes) = (Vec::new(), 0);
        while group.len() < EVENTS
            && bytes < EVENT_BYTES
            && let Some(event) = self.next_event()?
        {
            bytes += event.event.payload.json().len();
            group.push(event);
        }
        Ok(group)
    }

    /// The next tombstones of this stream, at most a group, as the events that they are.
    pub(super) fn next_tombstones(&mut self, stream: StreamKey) -> Result<Vec<PlannedEvent>, RecoveryError> {
        let mut group = Vec::new();
        while group.len() < GROUP && matches!(self.peek()?, Some(PlanLine::Tombstone(_))) {
            if let Some(PlanLine::Tombstone(tombstone)) = self.next.take() {
                let sequence = tombstone.sequence;
                let refused = |what| RecoveryError::Refused {
                    stream,
                    sequence,
                    what,
                };
                group.push(tombstone.into_event().map_err(refused)?);
            }
        }
        Ok(group)
    }

    /// The commitments and the bookkeeping of this stream, which stand before what is appended.
    pub(super) fn rest(&mut self) -> Result<(Vec<PlannedCommitment>, PlannedBookkeeping), RecoveryError> {
        let (mut commitments, mut bookkeeping) = (Vec::new(), PlannedBookkeeping::default());
        while !matches!(
            self.peek()?,
            None | Some(PlanLine::Stream(_) | PlanLine::Append(_))
        ) {
            match self.next.take() {
                Some(PlanLine::Commitment(commitment)) => commitments.push(*commitment),
                Some(PlanLine::Bookkeeping(rest)) => bookkeeping = *rest,
                _ => {}
            }
        }
        Ok((commitments, bookkeeping))
    }

    /// The next events that this stream gets at its end, at most a group.
    pub(super) fn next_appends(&mut self) -> Result<Vec<PlannedAppend>, RecoveryError> {
        let mut group = Vec::new();
        while group.len() < GROUP && matches!(self.peek()?, Some(PlanLine::Append(_))) {
            if let Some(PlanLine::Append(append)) = self.next.take() {
                group.push(*append);
            }
        }
        Ok(group)
    }

    pub(super) fn skip_to_next_stream(&mut self) -> Result<(), RecoveryError> {
        while !matches!(self.peek()?, None | Some(PlanLine::Stream(_))) {
            self.next = None;
        }
        Ok(())
    }
}
