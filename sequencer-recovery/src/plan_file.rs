//! The plan as a file: one JSON object a line, so that a plan for millions of events is written, read
//! and applied in constant memory, and can be read by people and `grep`.
//!
//! The first line is the [`PlanHeader`], then for each stream its [`PlannedStream`] followed by its
//! events, commitments and open positions, and at the end a line with the SHA-256 of everything before
//! it. That digest is the plan's id: a plan that was edited by hand is refused. It protects from
//! accidents, not from attackers, so `apply` verifies every event again. Documented in docs/plan.md.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use cli_common::files::{self, InputFile};
use event_log::{Entity, Place};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ves::{AgentId, BatchId, CommandId, Event, EventId, Hash32, Receipt, StreamKey, Timestamp};

use crate::accept_keys::PlannedKey;
use crate::append::{LeftOut, PlannedAppend};
use crate::damage::NotPlanned;
use crate::floor::Floor;
use crate::grade::Grade;
use crate::tombstone::PlannedTombstone;

/// The format's name and version.
pub const SCHEMA: &str = "recovery-plan/1";

/// A longer line than this is neither read nor written: the sequencer takes no event larger than 10 MiB.
const MAX_LINE: u64 = 128 * 1024 * 1024;

/// The first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanHeader {
    /// [`SCHEMA`].
    pub schema: String,
    /// When the plan was made.
    pub made_at: Timestamp,
    /// What made it, with its version.
    pub tool: String,
    /// The log that it was made for, without secrets.
    pub db: String,
    /// Where it was looked at; older plans do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Box<Place>>,
    /// The weakest grade used.
    pub accept: String,
    /// The floor that was chosen.
    pub floor: String,
    /// The witnesses heard.
    pub witnesses: Vec<String>,
    /// Witnesses that could not be read, or not to their end: with them the plan might be another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<Incomplete>,
    /// Whether events that were never sequenced are appended, and how their keys are judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub append: Option<String>,
    /// Streams that the plan leaves alone, since the database under them is damaged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_planned: Vec<NotPlanned>,
}

/// A witness that was not heard, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incomplete {
    /// The witness.
    pub witness: String,
    /// Why.
    pub reason: String,
}

/// What is to be done in one stream; opens its section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStream {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// What the stream looked like; see [`crate::fingerprint`].
    pub fingerprint: Hash32,
    /// The last number before, 0 if the stream was empty.
    pub head_before: u64,
    /// The counter before; `None` if its row was missing.
    pub counter_before: Option<u64>,
    /// The counter afterwards; `None` if nobody knows of any number.
    pub counter_after: Option<u64>,
    /// Why.
    pub floor: Option<Floor>,
    /// Batches that are whole again with these events; `apply` recomputes their roots before it commits.
    pub batches: Vec<PlannedBatch>,
    /// Agents that made events of this stream and whose outboxes were not heard: they may hold what is open.
    pub not_heard: Vec<AgentId>,
    /// How many event lines follow.
    pub events: u64,
    /// How many commitment lines follow.
    pub commitments: u64,
    /// How many events are appended; `counter_after` is the number of the last of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub appended: u64,
    /// How many keys are registered again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub keys: u64,
    /// How many lost positions are filled with tombstones.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tombstones: u64,
    /// How many positions stay open.
    pub open_positions: u64,
    /// How many move lines follow.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub moves: u64,
    /// How many lines of superseded commitments follow.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub superseded: u64,
    /// How many numbers that were given out twice stay with the event that has them now.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reissued: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl PlannedStream {
    /// How many lines its section announces. While the file is read the counts go down.
    fn announced(&self) -> u64 {
        self.events
            + self.commitments
            + self.appended
            + self.keys
            + self.tombstones
            + self.moves
            + self.superseded
    }
}

/// A batch whose root decided about its missing events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedBatch {
    /// The batch.
    pub batch_id: BatchId,
    /// Its first number.
    pub sequence_start: u64,
    /// Its last number.
    pub sequence_end: u64,
    /// The root that its events must give.
    pub merkle_root: Hash32,
    /// `proven` for an anchored root, `committed` for one of the log's own commitments.
    pub grade: Grade,
}

/// An event and the position that it goes back to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedEvent {
    /// The position.
    pub sequence: u64,
    /// How sure it is.
    pub grade: Grade,
    /// On what evidence.
    pub basis: String,
    /// When the sequencer numbered it, as a witness knows, or the time of the nearest earlier event.
    pub sequenced_at: Timestamp,
    /// Whether a witness knows that time.
    pub sequenced_at_known: bool,
    /// The receipt that a witness saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
    /// The event.
    pub event: Event,
}

/// A number that was given out twice, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedReissue {
    /// The number.
    pub sequence: u64,
    /// The anchored batch that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
    /// The event that had it before the recovery, as far as it is known.
    pub before: Option<EventId>,
    /// How sure that is.
    pub before_grade: Grade,
    /// On what evidence.
    pub before_basis: String,
    /// Who holds that event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before_held_by: Vec<String>,
    /// The event that has it now.
    pub now: EventId,
    /// When that one was numbered.
    pub now_sequenced_at: Timestamp,
}

/// An event of the log that gets another number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedMove {
    /// The event.
    pub event_id: EventId,
    /// Its number.
    pub from: u64,
    /// The number that it gets.
    pub to: u64,
    /// How sure it is that this was its number before the recovery; `None` for a new number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grade: Option<Grade>,
    /// On what evidence, or why.
    pub basis: String,
    /// When it was numbered, for the row and its receipt.
    pub sequenced_at: Timestamp,
    /// Its leaf at the new number.
    pub leaf: Hash32,
    /// The receipt for the new number that a witness saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
    /// The hash of the receipt that it has, which no longer holds.
    pub superseded_receipt: Option<Hash32>,
}

/// A commitment of the log over events that are moved: it contradicts the anchors, and goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedSuperseded {
    /// The batch.
    pub batch_id: BatchId,
    /// Its first number.
    pub sequence_start: u64,
    /// Its last number.
    pub sequence_end: u64,
    /// Its root.
    pub merkle_root: Hash32,
}

/// A commitment that an anchor remembers and the log forgot, whole again once the events are back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedCommitment {
    /// The batch, by its id on chain.
    pub batch_id: BatchId,
    /// Its first number.
    pub sequence_start: u64,
    /// Its last number.
    pub sequence_end: u64,
    /// Its root, equal to the anchored one.
    pub merkle_root: Hash32,
    /// The state root before it.
    pub prev_state_root: Hash32,
    /// The state root after it, equal to the anchored one.
    pub new_state_root: Hash32,
    /// When it was committed: the time of its block where known, else that of its last event.
    pub committed_at: Timestamp,
    /// The chain.
    pub chain_id: Option<u64>,
    /// The anchoring transaction.
    pub chain_tx_hash: Option<Hash32>,
    /// Its block.
    pub chain_block_number: Option<u64>,
    /// The time of that block.
    pub anchored_at: Option<Timestamp>,
}

/// Positions that the plan leaves open, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedOpen {
    /// The first position.
    pub from: u64,
    /// The last position (inclusive).
    pub to: u64,
    /// `lost` or `contested`, or the grade that was not accepted.
    pub grade: Grade,
    /// Why.
    pub reason: String,
    /// The events that are named for it.
    pub rivals: Vec<EventId>,
    /// The batch that it is in, if one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<KnownBatch>,
    /// Whether the plan fills them with tombstones: they are lost, and no longer open.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub filled: bool,
}

/// A batch that an open position is in: its root is known, the events are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownBatch {
    /// The batch.
    pub batch_id: BatchId,
    /// Whether its root is anchored; otherwise only the log's own commitment has it.
    pub anchored: bool,
}

impl PlannedOpen {
    /// The positions.
    pub fn range(&self) -> RangeInclusive<u64> {
        self.from..=self.to
    }

    /// How many positions.
    pub fn count(&self) -> u64 {
        self.to - self.from + 1
    }
}

/// What follows from the events and was lost or left over beside them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedBookkeeping {
    /// Positions of events that are there and have no receipt.
    pub receipts: Vec<RangeInclusive<u64>>,
    /// Commands of events that are there and are not remembered, with the event's position.
    pub remember: Vec<(CommandId, u64)>,
    /// Commands that are remembered and that no event carries.
    pub forget: Vec<CommandId>,
    /// Entities whose version is below the number of their events.
    pub raise_versions: Vec<Entity>,
    /// Where the projection checkpoint goes back to.
    pub projection: Option<u64>,
}

impl PlannedBookkeeping {
    /// True if there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PlanLine {
    /// The first line.
    Plan(PlanHeader),
    /// Opens a stream's section.
    Stream(Box<PlannedStream>),
    /// A key that events of that stream need and the log lost.
    Key(Box<PlannedKey>),
    /// A number of that stream that was given out twice.
    Reissue(Box<PlannedReissue>),
    /// A commitment of that stream that goes.
    Superseded(PlannedSuperseded),
    /// An event of that stream that gets another number.
    Move(Box<PlannedMove>),
    /// An event of that stream.
    Event(Box<PlannedEvent>),
    /// A tombstone in a lost place of that stream.
    Tombstone(Box<PlannedTombstone>),
    /// A commitment of that stream.
    Commitment(Box<PlannedCommitment>),
    /// Bookkeeping of that stream.
    Bookkeeping(Box<PlannedBookkeeping>),
    /// An event that was never sequenced and gets the next number of that stream.
    Append(Box<PlannedAppend>),
    /// An event that waits in an outbox and is not appended.
    LeftOut(Box<LeftOut>),
    /// Open positions of that stream.
    Open(PlannedOpen),
    /// The last line.
    End {
        /// How many lines stand before it.
        lines: u64,
        /// SHA-256 of all bytes before this line.
        sha256: Hash32,
    },
}

impl PlanLine {
    /// What it is about, for messages.
    fn named(&self) -> String {
        match self {
            Self::Event(line) => format!("event {} at {}", line.event.event_id, line.sequence),
            Self::Append(line) => format!("event {} to append at {}", line.event.event_id, line.sequence),
            Self::Open(line) => format!("the line of the open positions {}-{}", line.from, line.to),
            Self::Stream(line) => format!("the line of stream {}", line.stream),
            _ => "a line".to_owned(),
        }
    }
}

/// Why a plan, or another file that ends in its own digest, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The file is not of this kind and version.
    #[error("{}: not a file of version {wanted}: {found}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
        /// What stands there instead.
        found: String,
    },
    /// A line cannot be understood, or stands where it must not.
    #[error("{}, line {line}: {what}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The digest in the last line is not that of the lines before.
    #[error("{}: the file was changed after it was made (its digest is {found}, the file says {written})", path.display())]
    Altered {
        /// The file.
        path: PathBuf,
        /// The digest of the file as it is.
        found: Hash32,
        /// The digest that its last line tells.
        written: Hash32,
    },
    /// The last line is missing.
    #[error("{}: the file ends early, after line {line}: it was cut off", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The last line read.
        line: u64,
    },
}

/// Writes a plan line by line.
pub struct PlanWriter<W: Write> {
    out: W,
    digest: Sha256,
    lines: u64,
}

impl<W: Write> PlanWriter<W> {
    /// Starts a plan with its header.
    ///
    /// # Errors
    /// What the writer says.
    pub fn new(out: W, header: &PlanHeader) -> std::io::Result<Self> {
        let mut writer = Self {
            out,
            digest: Sha256::new(),
            lines: 0,
        };
        writer.line(&PlanLine::Plan(header.clone()))?;
        Ok(writer)
    }

    /// Appends a line.
    ///
    /// # Errors
    /// What the writer says.
    pub fn line(&mut self, line: &PlanLine) -> std::io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        if text.len() as u64 >= MAX_LINE {
            return Err(std::io::Error::other(format!(
                "{} takes {} bytes; a plan has no lines of more than {} MiB",
                line.named(),
                text.len(),
                MAX_LINE >> 20
            )));
        }
        self.digest.update(&text);
        self.lines += 1;
        self.out.write_all(&text)
    }

    /// Writes the last line and gives the writer back together with the plan's id.
    ///
    /// # Errors
    /// What the writer says.
    pub fn finish(mut self) -> std::io::Result<(W, Hash32)> {
        let sha256 = Hash32(self.digest.finalize().into());
        let end = PlanLine::End {
            lines: self.lines,
            sha256,
        };
        let mut text = serde_json::to_vec(&end)?;
        text.push(b'\n');
        self.out.write_all(&text)?;
        self.out.flush()?;
        Ok((self.out, sha256))
    }
}

/// A file that is read more than once.
pub(crate) fn input_file(path: &Path) -> Result<InputFile, PlanError> {
    InputFile::new(path).map_err(|source| PlanError::Io {
        path: path.into(),
        source,
    })
}

/// A plan file whose digest holds.
#[derive(Debug, Clone)]
pub struct PlanFile {
    file: InputFile,
    header: PlanHeader,
    id: Hash32,
    lines: u64,
}

impl PlanFile {
    /// Opens a plan and checks the whole file: version, structure and digest.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub fn open(path: &Path) -> Result<Self, PlanError> {
        let file = input_file(path)?;
        let mut lines = Lines::open(&file, SCHEMA)?;
        let Some(PlanLine::Plan(header)) = lines.next_line()? else {
            return Err(PlanError::Schema {
                path: path.into(),
                wanted: SCHEMA,
                found: "its first line is no header".into(),
            });
        };
        let mut section: Option<PlannedStream> = None;
        let id = loop {
            let number = lines.number + 1;
            let bad = |what: &str| PlanError::Line {
                path: path.into(),
                line: number,
                what: what.into(),
            };
            match lines.next_line::<PlanLine>()? {
                None => {
                    return Err(PlanError::Truncated {
                        path: path.into(),
                        line: lines.number,
                    });
                }
                Some(PlanLine::Plan(_)) => return Err(bad("a second header")),
                Some(PlanLine::Stream(stream)) => {
                    if section.is_some_and(|s| s.announced() > 0) {
                        return Err(bad("the stream before has fewer lines than it announced"));
                    }
                    section = Some(*stream);
                }
                Some(PlanLine::Key(_)) => match &mut section {
                    Some(s) if s.keys > 0 => s.keys -= 1,
                    _ => return Err(bad("a key that no stream announced")),
                },
                Some(PlanLine::Move(_)) => match &mut section {
                    Some(s) if s.moves > 0 => s.moves -= 1,
                    _ => return Err(bad("a move that no stream announced")),
                },
                Some(PlanLine::Superseded(_)) => match &mut section {
                    Some(s) if s.superseded > 0 => s.superseded -= 1,
                    _ => return Err(bad("a superseded commitment that no stream announced")),
                },
                Some(PlanLine::Event(_)) => match &mut section {
                    // What is moved makes room first.
                    Some(s) if s.moves > 0 || s.superseded > 0 => {
                        return Err(bad("an event before all that is moved"));
                    }
                    Some(s) if s.events > 0 => s.events -= 1,
                    _ => return Err(bad("an event that no stream announced")),
                },
                Some(PlanLine::Tombstone(_)) => match &mut section {
                    Some(s) if s.tombstones > 0 => s.tombstones -= 1,
                    _ => return Err(bad("a tombstone that no stream announced")),
                },
                Some(PlanLine::Commitment(_)) => match &mut section {
                    Some(s) if s.commitments > 0 => s.commitments -= 1,
                    _ => return Err(bad("a commitment that no stream announced")),
                },
                Some(PlanLine::Append(_)) => match &mut section {
                    Some(s) if s.appended > 0 => s.appended -= 1,
                    _ => return Err(bad("an event to append that no stream announced")),
                },
                Some(PlanLine::Open(open)) if open.from > open.to => {
                    return Err(bad("a range that ends before it starts"));
                }
                Some(
                    PlanLine::Open(_)
                    | PlanLine::Bookkeeping(_)
                    | PlanLine::Reissue(_)
                    | PlanLine::LeftOut(_),
                ) => {
                    if section.is_none() {
                        return Err(bad("a line of no stream"));
                    }
                }
                Some(PlanLine::End { lines: count, sha256 }) => {
                    let found = lines.digest_before_last;
                    if found != sha256 || count + 1 != lines.number {
                        return Err(PlanError::Altered {
                            path: path.into(),
                            found,
                            written: sha256,
                        });
                    }
                    if section.is_some_and(|s| s.announced() > 0) {
                        return Err(bad("the last stream has fewer lines than it announced"));
                    }
                    break sha256;
                }
            }
        };
        if lines.next_raw()?.is_some() {
            let what = "text after the end of the plan".into();
            return Err(PlanError::Line {
                path: path.into(),
                line: lines.number,
                what,
            });
        }
        Ok(Self {
            file,
            header,
            id,
            lines: lines.number,
        })
    }

    /// The first line.
    pub fn header(&self) -> &PlanHeader {
        &self.header
    }

    /// The plan's id: the digest in its last line.
    pub fn id(&self) -> Hash32 {
        self.id
    }

    /// How many lines it has.
    pub fn lines_in_all(&self) -> u64 {
        self.lines
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.file.shown()
    }

    /// Reads the lines between header and end, in order.
    ///
    /// # Errors
    /// See [`PlanError`]; a file that changed since [`PlanFile::open`] is `Altered`.
    pub fn read(&self, mut each: impl FnMut(PlanLine) -> Result<(), PlanError>) -> Result<(), PlanError> {
        let mut lines = self.lines()?;
        while let Some(line) = lines.next()? {
            each(line)?;
        }
        Ok(())
    }

    /// The lines between header and end, one by one.
    ///
    /// # Errors
    /// If the file cannot be opened again.
    pub fn lines(&self) -> Result<PlanLines, PlanError> {
        let mut lines = Lines::open(&self.file, SCHEMA)?;
        lines.next_line::<PlanLine>()?;
        Ok(PlanLines {
            lines,
            id: self.id,
            ended: false,
        })
    }

    /// The lines from a mark on.
    pub(crate) fn resume(&self, mark: &Mark) -> Result<PlanLines, PlanError> {
        Ok(PlanLines {
            lines: Lines::resume(&self.file, SCHEMA, mark)?,
            id: self.id,
            ended: false,
        })
    }
}

/// See [`PlanFile::lines`].
pub struct PlanLines {
    lines: Lines,
    id: Hash32,
    ended: bool,
}

impl PlanLines {
    /// Where the next line begins.
    pub(crate) fn mark(&self) -> Mark {
        self.lines.mark()
    }

    /// The number in the file of the line that was read last, from 1.
    pub fn number(&self) -> u64 {
        self.lines.number
    }

    /// The next line; `None` at the end of the plan.
    ///
    /// # Errors
    /// See [`PlanError`]; a file that changed since [`PlanFile::open`] is `Altered`.
    #[expect(
        clippy::should_implement_trait,
        reason = "a Result of an Option reads better with `?`"
    )]
    pub fn next(&mut self) -> Result<Option<PlanLine>, PlanError> {
        if self.ended {
            return Ok(None);
        }
        match self.lines.next_line()? {
            Some(PlanLine::End { sha256, .. }) => {
                let found = self.lines.digest_before_last;
                if found != self.id {
                    return Err(PlanError::Altered {
                        path: self.lines.path.clone(),
                        found,
                        written: sha256,
                    });
                }
                self.ended = true;
                Ok(None)
            }
            Some(line) => Ok(Some(line)),
            None => Err(PlanError::Truncated {
                path: self.lines.path.clone(),
                line: self.lines.number,
            }),
        }
    }
}

/// The lines of a file whose first names its version and whose last tells the digest of those before.
pub(crate) struct Lines {
    pub(crate) path: PathBuf,
    schema: &'static str,
    reader: BufReader<File>,
    digest: Sha256,
    /// The digest of everything before the line that was read last.
    pub(crate) digest_before_last: Hash32,
    /// How many lines were read.
    pub(crate) number: u64,
    offset: u64,
}

/// A place between two lines, to go on from.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    digest: Sha256,
    number: u64,
    offset: u64,
}

impl Lines {
    pub(crate) fn open(file: &InputFile, schema: &'static str) -> Result<Self, PlanError> {
        let reader = files::open_text(file.path()).map_err(|source| PlanError::Io {
            path: file.shown().into(),
            source,
        })?;
        Ok(Self {
            path: file.shown().into(),
            schema,
            reader,
            digest: Sha256::new(),
            digest_before_last: Hash32::ZERO,
            number: 0,
            offset: 0,
        })
    }

    /// Where the next line begins.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            digest: self.digest.clone(),
            number: self.number,
            offset: self.offset,
        }
    }

    /// Opens a file again where it was marked.
    pub(crate) fn resume(file: &InputFile, schema: &'static str, mark: &Mark) -> Result<Self, PlanError> {
        let mut lines = Self::open(file, schema)?;
        // Counted from the first line on, behind a mark of the encoding.
        let offset = i64::try_from(mark.offset).unwrap_or(i64::MAX);
        lines
            .reader
            .seek_relative(offset)
            .map_err(|source| PlanError::Io {
                path: file.shown().into(),
                source,
            })?;
        lines.digest = mark.digest.clone();
        lines.number = mark.number;
        lines.offset = mark.offset;
        Ok(lines)
    }

    pub(crate) fn next_raw(&mut self) -> Result<Option<Vec<u8>>, PlanError> {
        use std::io::Read as _;
        let mut line = Vec::new();
        let read = (&mut self.reader)
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)
            .map_err(|source| PlanError::Io {
                path: self.path.clone(),
                source,
            })?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.offset += read as u64;
        if line.last() != Some(&b'\n') {
            if read as u64 == MAX_LINE {
                let what = format!("longer than {MAX_LINE} bytes");
                return Err(PlanError::Line {
                    path: self.path.clone(),
                    line: self.number,
                    what,
                });
            }
            return Err(PlanError::Truncated {
                path: self.path.clone(),
                line: self.number,
            });
        }
        // Line ends of Windows, from a way that took the file for text. The digest is of the lines as they were written.
        if line.ends_with(b"\r\n") {
            line.truncate(line.len() - 2);
            line.push(b'\n');
        }
        self.digest_before_last = Hash32(self.digest.clone().finalize().into());
        self.digest.update(&line);
        Ok(Some(line))
    }

    pub(crate) fn next_line<T: DeserializeOwned>(&mut self) -> Result<Option<T>, PlanError> {
        let Some(raw) = self.next_raw()? else {
            return Ok(None);
        };
        if self.number == 1 {
            // Another version may have another header: look at its name before its fields.
            let found = serde_json::from_slice::<serde_json::Value>(&raw)
                .ok()
                .and_then(|v| v.get("schema")?.as_str().map(str::to_owned));
            match found {
                Some(schema) if schema == self.schema => {}
                Some(schema) => {
                    return Err(PlanError::Schema {
                        path: self.path.clone(),
                        wanted: self.schema,
                        found: schema,
                    });
                }
                None => {
                    let found = "its first line is no header".into();
                    return Err(PlanError::Schema {
                        path: self.path.clone(),
                        wanted: self.schema,
                        found,
                    });
                }
            }
        }
        serde_json::from_slice(&raw)
            .map(Some)
            .map_err(|e| PlanError::Line {
                path: self.path.clone(),
                line: self.number,
                what: e.to_string(),
            })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn header() -> PlanHeader {
        PlanHeader {
            schema: SCHEMA.into(),
            made_at: Timestamp(0),
            tool: "test".into(),
            db: "log.db".into(),
            place: None,
            accept: "receipted".into(),
            floor: "claimed".into(),
            witnesses: vec![],
            incomplete: vec![],
            append: None,
            not_planned: Vec::new(),
        }
    }

    fn stream_line(events: u64) -> PlanLine {
        PlanLine::Stream(Box::new(PlannedStream {
            stream: StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(2).into()),
            fingerprint: Hash32::ZERO,
            head_before: 3,
            counter_before: Some(3),
            counter_after: Some(9),
            floor: None,
            batches: vec![],
            not_heard: vec![],
            events,
            commitments: 0,
            appended: 0,
            keys: 0,
            tombstones: 0,
            open_positions: 2,
            moves: 0,
            superseded: 0,
            reissued: 0,
        }))
    }

    fn open_line() -> PlanLine {
        let reason = "nobody".into();
        PlanLine::Open(PlannedOpen {
            from: 4,
            to: 5,
            grade: Grade::Lost,
            reason,
            rivals: vec![],
            batch: None,
            filled: false,
        })
    }

    fn plan(lines: &[PlanLine]) -> Vec<u8> {
        let mut writer = PlanWriter::new(Vec::new(), &header()).unwrap();
        lines.iter().for_each(|line| writer.line(line).unwrap());
        writer.finish().unwrap().0
    }

    fn open(bytes: &[u8]) -> Result<PlanFile, PlanError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        PlanFile::open(file.path())
    }

    #[test]
    fn what_is_written_reads_back() {
        let bytes = plan(&[stream_line(0), open_line()]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let read = PlanFile::open(file.path()).unwrap();
        assert_eq!(read.header(), &header());
        let mut lines = Vec::new();
        read.read(|line| {
            lines.push(line);
            Ok(())
        })
        .unwrap();
        assert_eq!(lines, [stream_line(0), open_line()]);
        // Changed between check and use.
        std::fs::write(file.path(), plan(&[stream_line(0)])).unwrap();
        assert!(matches!(read.read(|_| Ok(())), Err(PlanError::Altered { .. })));
    }

    #[test]
    fn every_change_cut_or_addition_is_noticed() {
        let bytes = plan(&[stream_line(0), open_line()]);
        let text = String::from_utf8(bytes.clone()).unwrap();
        let edited = text.replace("\"counter_after\":9", "\"counter_after\":8");
        assert!(matches!(open(edited.as_bytes()), Err(PlanError::Altered { .. })));
        for cut in 0..bytes.len() {
            assert!(open(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let mut longer = bytes.clone();
        longer.push(b'\n');
        assert!(open(&longer).is_err());
        let without_open: String = text
            .lines()
            .filter(|l| !l.contains("\"open\""))
            .map(|l| format!("{l}\n"))
            .collect();
        assert!(matches!(
            open(without_open.as_bytes()),
            Err(PlanError::Altered { .. })
        ));
    }

    #[test]
    fn other_versions_and_other_files_are_told_apart() {
        let other = String::from_utf8(plan(&[])).unwrap().replace("plan/1", "plan/2");
        assert!(
            matches!(open(other.as_bytes()), Err(PlanError::Schema { found, .. }) if found.ends_with("plan/2"))
        );
        assert!(matches!(open(b"{}\n"), Err(PlanError::Schema { .. })));
        assert!(matches!(
            open(b"SQLite format 3\0 and so on\n"),
            Err(PlanError::Schema { .. })
        ));
        assert!(matches!(
            PlanFile::open(Path::new("/nowhere/plan")),
            Err(PlanError::Io { .. })
        ));
    }

    #[test]
    fn sections_must_hold_what_they_announce() {
        assert!(matches!(
            open(&plan(&[stream_line(1), open_line()])),
            Err(PlanError::Line { .. })
        ));
        assert!(matches!(
            open(&plan(&[open_line()])),
            Err(PlanError::Line { line: 2, .. })
        ));
    }
}
