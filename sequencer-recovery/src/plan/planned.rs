//! What a plan says, line by line: the types of the plan's file. Documented in docs/plan.md.

use std::fmt;
use std::ops::RangeInclusive;

use cli_common::provenance::Provenance;
use event_log::Place;
use serde::{Deserialize, Serialize};
use ves::digest::Preimage;
use ves::{AgentId, BatchId, Event, EventId, Hash32, Receipt, SigningKey, StreamKey, Timestamp, jcs};

use crate::damage::NotPlanned;
use crate::floor::Floor;
use crate::grade::{Accept, Grade};
use crate::stream::bookkeeping::Bookkeeping;
use crate::stream::tombstone_event::is_tombstone;
use crate::witness::Incomplete;
use crate::witness::rejection::Reason;

/// The first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanHeader {
    /// [`super::plan_file::SCHEMA`].
    pub schema: String,
    /// When the plan was made.
    pub made_at: Timestamp,
    /// What made it, with its version.
    pub tool: String,
    /// Where it comes from; older plans do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Box<Provenance>>,
    /// The options that named the witnesses, as words of a command line, to ask them again. Without secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witness_options: Vec<String>,
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

/// What is to be done in one stream; opens its section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStream {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// What the stream looked like; see [`crate::stream::fingerprint`].
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
    pub(crate) fn announced(&self) -> u64 {
        let announced = [
            self.events,
            self.commitments,
            self.appended,
            self.keys,
            self.tombstones,
            self.moves,
            self.superseded,
        ];
        announced.into_iter().fold(0, u64::saturating_add)
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
    /// Of an event that is `checkpointed`: the leaf that the checkpoint binds, and by it the very bytes of the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf: Option<Hash32>,
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

/// What ties a tombstone to the certificate that lists its loss: SHA-256(`SEQUENCER_RECOVERY_LOST_V1` ‖ tenant ‖ store ‖
/// the canonical JSON (RFC 8785) of the stream's `positions`, without what tells that they are filled).
///
/// # Errors
/// Positions without a canonical form.
pub fn loss_hash(stream: &StreamKey, positions: &[PlannedOpen]) -> Result<Hash32, jcs::JcsError> {
    let unfilled: Vec<PlannedOpen> = positions
        .iter()
        .map(|open| PlannedOpen {
            filled: false,
            ..open.clone()
        })
        .collect();
    let json = serde_json::to_string(&unfilled)?;
    Ok(Preimage::new("SEQUENCER_RECOVERY_LOST_V1")
        .bytes(stream.tenant_id.as_bytes())
        .bytes(stream.store_id.as_bytes())
        .bytes(jcs::canonicalize(&json)?.as_bytes())
        .finish())
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
    Bookkeeping(Box<Bookkeeping>),
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
    /// Reads a line. One that begins as events are written, of which a plan may have millions, is read as an event at once: whoever
    /// learns on the way what a line is keeps all of it in pieces until then.
    pub(crate) fn read(line: &[u8]) -> serde_json::Result<Self> {
        match line.starts_with(br#"{"type":"event","#) {
            true => serde_json::from_slice(line).map(|event| Self::Event(Box::new(event))),
            false => serde_json::from_slice(line),
        }
    }

    /// The first number of which a plan's line says that the recovery did not give it back.
    pub(crate) fn first_lost(&self) -> Option<u64> {
        match self {
            Self::Event(event) => Some(event.sequence),
            Self::Open(open) => Some(open.from),
            // What stands from there on is of another history than before the recovery, wherever it stands now.
            Self::Move(moved) => Some(moved.from.min(moved.to)),
            Self::Reissue(reissue) => Some(reissue.sequence),
            _ => None,
        }
    }

    /// What it is about, for messages.
    pub(crate) fn named(&self) -> String {
        match self {
            Self::Event(line) => format!("event {} at {}", line.event.event_id, line.sequence),
            Self::Append(line) => format!("event {} to append at {}", line.event.event_id, line.sequence),
            Self::Open(line) => format!("the line of the open positions {}-{}", line.from, line.to),
            Self::Stream(line) => format!("the line of stream {}", line.stream),
            _ => "a line".to_owned(),
        }
    }
}

/// On whose word a key comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyBasis {
    /// One outbox has it.
    Claimed,
    /// Independent outboxes have it.
    Corroborated,
    /// An event that an anchored root has placed verifies with it.
    Proven,
    /// A file that the operator gave has it.
    Given,
    /// It is the recovery agent's own, which the operator registers: tombstones are signed with it.
    Recovery,
}

impl KeyBasis {
    pub(crate) fn admitted(self, accept: Accept) -> bool {
        match self {
            KeyBasis::Claimed => accept.admits(Grade::Claimed),
            KeyBasis::Corroborated => accept.admits(Grade::Corroborated),
            KeyBasis::Proven | KeyBasis::Given | KeyBasis::Recovery => true,
        }
    }

    /// The word that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyBasis::Claimed => "claimed",
            KeyBasis::Corroborated => "corroborated",
            KeyBasis::Proven => "proven",
            KeyBasis::Given => "given",
            KeyBasis::Recovery => "recovery",
        }
    }
}

/// A key that is registered again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedKey {
    /// The key, as its source has it.
    pub key: SigningKey,
    /// On whose word.
    pub basis: KeyBasis,
    /// The files and outboxes that have it.
    pub sources: Vec<String>,
    /// Events of the log that name it, which nobody could check without it.
    pub events_in_log: u64,
    /// Events of this plan whose signature was checked with it: what they are worth rests on this key.
    pub events_planned: u64,
}

/// At which time an event's key is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgeKeys {
    /// When it is appended, as the sequencer does.
    #[default]
    Now,
    /// When the event says that it was made: one that was signed before its key was revoked or rotated out is taken.
    CreatedAt,
}

impl fmt::Display for JudgeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JudgeKeys::Now => "now",
            JudgeKeys::CreatedAt => "created-at",
        })
    }
}

impl std::str::FromStr for JudgeKeys {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "now" => Ok(Self::Now),
            "created-at" => Ok(Self::CreatedAt),
            _ => Err(format!("{s:?} is neither now nor created-at")),
        }
    }
}

/// An event that gets the next number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedAppend {
    /// Its number.
    pub sequence: u64,
    /// Why it counts as never sequenced.
    pub basis: String,
    /// At which time its key is judged.
    pub judge_keys: JudgeKeys,
    /// The event.
    pub event: Event,
}

/// Why an event that waits is not appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOutAs {
    /// The sequencer would not accept it.
    Rejected,
    /// It may have a number already.
    Doubtful,
}

/// An event that waits in an outbox and is not appended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The event.
    pub event_id: EventId,
    /// Who made it.
    pub source_agent_id: Option<AgentId>,
    /// The outbox.
    pub outbox: String,
    /// Its row there, in the agent's own order.
    pub local_seq: i64,
    /// Rejected or doubtful.
    pub left_out: LeftOutAs,
    /// The sequencer's word for it, if it is rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Why, in a sentence.
    pub message: String,
}

/// A tombstone and its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedTombstone {
    /// The position.
    pub sequence: u64,
    /// The time of the nearest earlier event, so that times keep the order of numbers.
    pub sequenced_at: Timestamp,
    /// The tombstone.
    pub event: Event,
}

impl PlannedTombstone {
    /// As an event that goes to its place.
    ///
    /// # Errors
    /// It is no tombstone for this place.
    pub(crate) fn into_event(self) -> Result<PlannedEvent, String> {
        if !is_tombstone(&self.event, self.sequence) {
            return Err(format!(
                "event {} is no tombstone for this place",
                self.event.event_id
            ));
        }
        Ok(PlannedEvent {
            sequence: self.sequence,
            grade: Grade::Lost,
            basis: "tombstone".into(),
            sequenced_at: self.sequenced_at,
            sequenced_at_known: false,
            receipt: None,
            leaf: None,
            event: self.event,
        })
    }
}
