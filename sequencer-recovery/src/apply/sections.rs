//! Reading a plan, section by section and in groups of rows.

use ves::span::{Span, Spans};
use ves::{BatchId, StreamKey};

use super::GROUP;
use crate::apply::moves::Moves;
use crate::error::RecoveryError;
use crate::plan::plan_file::{PlanFile, PlanLines};
use crate::plan::planned::PlannedAppend;
use crate::plan::planned::PlannedKey;
use crate::plan::planned::{PlanLine, PlannedCommitment, PlannedEvent, PlannedStream};
use crate::sealed_file::Mark;
use crate::stream::bookkeeping::Bookkeeping;

/// Events are verified and inserted in groups of this many, or of about so many bytes of payloads.
const EVENTS: usize = 8192;
const EVENT_BYTES: usize = 8 << 20;

/// What a section changes, as far as it must be known beforehand.
pub(super) struct Outline {
    /// The first position at which an event or a receipt changes.
    pub(super) first: u64,
    /// The number before the first that was lost.
    pub(super) recovered_head: u64,
    /// Commitments that come.
    pub(super) commitments: Vec<PlannedCommitment>,
    /// Commitments that go.
    pub(super) superseded: Vec<BatchId>,
    /// Positions that stay open.
    pub(super) open: Spans,
}

/// The plan's lines, one stream's section after the other.
pub(super) struct Sections<'a> {
    plan: &'a PlanFile,
    lines: PlanLines,
    next: Option<PlanLine>,
    /// The line in the file of the first event of the last group.
    pub(super) group_at: u64,
}

impl<'a> Sections<'a> {
    pub(super) fn new(plan: &'a PlanFile) -> Result<Self, RecoveryError> {
        Ok(Self {
            plan,
            lines: plan.lines()?,
            next: None,
            group_at: 0,
        })
    }

    /// How many lines the plan has.
    pub(super) fn lines_in_all(&self) -> u64 {
        self.plan.lines_in_all()
    }

    /// How many lines of the plan were read.
    pub(super) fn lines_read(&self) -> u64 {
        self.lines.number()
    }

    /// Where the section begins whose header was read last.
    pub(super) fn mark(&self) -> Mark {
        self.lines.mark()
    }

    /// Goes back to the beginning of a section.
    pub(super) fn rewind(&mut self, mark: &Mark) -> Result<(), RecoveryError> {
        self.lines = self.plan.resume(mark)?;
        self.next = None;
        Ok(())
    }

    /// Reads a section ahead, for what must be known of it before its rows are.
    pub(super) fn outline(&self, mark: &Mark) -> Result<Outline, RecoveryError> {
        let mut outline = Outline {
            first: u64::MAX,
            recovered_head: u64::MAX,
            commitments: Vec::new(),
            superseded: Vec::new(),
            open: Spans::default(),
        };
        let mut open = Vec::new();
        let mut lines = self.plan.resume(mark)?;
        while let Some(line) = lines.next()? {
            if let Some(lost) = line.first_lost() {
                outline.recovered_head = outline.recovered_head.min(lost.saturating_sub(1));
            }
            let touches = match line {
                PlanLine::Stream(_) => break,
                PlanLine::Event(event) => event.sequence,
                PlanLine::Tombstone(tombstone) => tombstone.sequence,
                PlanLine::Append(append) => append.sequence,
                PlanLine::Move(moved) => moved.from.min(moved.to),
                PlanLine::Bookkeeping(books) => books.receipts.first().unwrap_or(u64::MAX),
                PlanLine::Commitment(commitment) => {
                    outline.commitments.push(*commitment);
                    continue;
                }
                PlanLine::Superseded(commitment) => {
                    outline.superseded.push(commitment.batch_id);
                    continue;
                }
                PlanLine::Open(stays) if !stays.filled => {
                    open.extend(Span::new(stays.from, stays.to));
                    continue;
                }
                _ => continue,
            };
            outline.first = outline.first.min(touches);
        }
        outline.open = open.into_iter().collect();
        Ok(outline)
    }

    /// On which line of the plan a section places an event at a position.
    pub(super) fn line_of(&self, mark: &Mark, sequence: u64) -> Result<Option<u64>, RecoveryError> {
        let mut lines = self.plan.resume(mark)?;
        while let Some(line) = lines.next()? {
            let at = match line {
                PlanLine::Stream(_) => break,
                PlanLine::Event(event) => event.sequence,
                PlanLine::Tombstone(tombstone) => tombstone.sequence,
                PlanLine::Append(append) => append.sequence,
                _ => continue,
            };
            if at == sequence {
                return Ok(Some(lines.number()));
            }
        }
        Ok(None)
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
    pub(super) fn rest(&mut self) -> Result<(Vec<PlannedCommitment>, Bookkeeping), RecoveryError> {
        let (mut commitments, mut bookkeeping) = (Vec::new(), Bookkeeping::default());
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

    /// Reads to the end; says how many streams there were.
    pub(super) fn count_streams(&mut self) -> Result<u64, RecoveryError> {
        let mut streams = 0;
        loop {
            self.skip_to_next_stream()?;
            if self.next_stream()?.is_none() {
                return Ok(streams);
            }
            streams += 1;
        }
    }

    pub(super) fn skip_to_next_stream(&mut self) -> Result<(), RecoveryError> {
        while !matches!(self.peek()?, None | Some(PlanLine::Stream(_))) {
            self.next = None;
        }
        Ok(())
    }
}
