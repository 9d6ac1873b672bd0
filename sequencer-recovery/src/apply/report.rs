//! What an apply tells.

use event_log::{JournalEntry, Place};
use serde::Serialize;
use ves::{Hash32, StreamKey};

use super::ApplyOptions;
use crate::error::RecoveryError;
use crate::plan::planned::PlannedStream;
use crate::skipped::Skipped;

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamStatus {
    /// Changed as planned.
    Applied,
    /// It was as the plan leaves it already; nothing was changed.
    AlreadyApplied,
    /// Nothing was changed; the error says why.
    Failed,
}

/// One stream's outcome.
#[derive(Debug, Serialize)]
pub struct AppliedStream {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// What became of it.
    pub status: StreamStatus,
    /// Events that got another number.
    #[serde(skip_serializing_if = "is_zero")]
    pub moved: u64,
    /// Their receipts that were replaced.
    #[serde(skip_serializing_if = "is_zero")]
    pub receipts_superseded: u64,
    /// Commitments over them that went.
    #[serde(skip_serializing_if = "is_zero")]
    pub commitments_superseded: u64,
    /// Numbers that were given out twice and stay with the event that has them now.
    #[serde(skip_serializing_if = "is_zero")]
    pub reissued: u64,
    /// Events inserted at positions that were lost.
    pub events: u64,
    /// Tombstones inserted at positions that are lost.
    pub tombstones: u64,
    /// Events inserted after the floor, which were never sequenced.
    pub appended: u64,
    /// Keys registered.
    pub keys: u64,
    /// Receipts inserted.
    pub receipts: u64,
    /// Of them signed: by a witness's receipt or with the given key.
    pub receipts_signed: u64,
    /// Command ids remembered.
    pub commands: u64,
    /// Command ids forgotten, since no event carries them.
    pub commands_forgotten: u64,
    /// Entity versions raised.
    pub entity_versions: u64,
    /// Where the projection checkpoint was set back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projection_set_back_to: Option<u64>,
    /// Commitments inserted.
    pub commitments: u64,
    /// Batches whose roots were recomputed in the transaction and came out equal.
    pub roots_equal: u64,
    /// The counter before.
    pub counter_before: Option<u64>,
    /// The counter after.
    pub counter_after: Option<u64>,
    /// Positions that stay open.
    pub open_positions: u64,
    /// The next number to be committed, if it stays open: the stream can make no further commitment until it is filled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commits_stop_at: Option<u64>,
    /// What the journal said of this plan and stream before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub journal: Vec<JournalEntry>,
    /// How often it was begun again, since another's transaction was in the way.
    #[serde(skip_serializing_if = "is_zero")]
    pub begun_again: u64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Receipts that could not be signed.
    #[serde(skip)]
    pub(super) receipts_unsigned: Vec<String>,
    /// What was not checked of it.
    #[serde(skip)]
    pub(super) not_checked: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The outcome of a plan. Documented in docs/apply.md.
#[derive(Debug, Serialize)]
pub struct ApplyReport {
    /// `recovery-apply/1`.
    pub schema: &'static str,
    /// The plan's id.
    pub plan_id: Hash32,
    /// The log, without secrets.
    pub db: String,
    /// Where it was worked on.
    pub place: Place,
    /// Everything below would be so; nothing was written.
    pub dry_run: bool,
    /// Whether the log's journal of repairs has an entry for each stream that was changed.
    pub journal: bool,
    /// The streams, in the plan's order.
    pub streams: Vec<AppliedStream>,
    /// What was not checked, and why.
    pub not_checked: Vec<String>,
    /// Streams of the plan that were not begun, since the work was stopped.
    pub untouched: u64,
    /// The errors of failed streams, in order.
    #[serde(skip)]
    pub errors: Vec<RecoveryError>,
    /// What stopped the work before its end: what is told was done all the same.
    #[serde(skip)]
    pub stopped: Option<RecoveryError>,
    /// Whether the undo bundle could be closed, if there is one.
    #[serde(skip)]
    pub undo_file: Option<Result<(), RecoveryError>>,
}

impl ApplyReport {
    pub(super) fn new(plan_id: Hash32, db: String, place: Place, options: &ApplyOptions) -> Self {
        Self {
            schema: "recovery-apply/1",
            plan_id,
            db,
            place,
            dry_run: options.dry_run,
            journal: options.journal,
            streams: Vec::new(),
            not_checked: Vec::new(),
            untouched: 0,
            errors: Vec::new(),
            stopped: None,
            undo_file: None,
        }
    }

    /// Adds what was not checked of a stream.
    pub(super) fn tell(
        &mut self,
        applied: &mut AppliedStream,
        unsigned_receipts: &mut Skipped,
        options: &ApplyOptions,
    ) {
        let stream = applied.stream;
        self.not_checked.append(&mut applied.not_checked);
        let unsigned = applied.receipts - applied.receipts_signed.min(applied.receipts);
        if unsigned > 0 && options.sequencer_keys.is_empty() {
            unsigned_receipts.add(
                stream,
                "restored receipt(s)",
                "they have no signature (give --sequencer-key to sign them)",
                unsigned,
            );
        }
        let unsigned = applied.receipts_unsigned.drain(..);
        self.not_checked
            .extend(unsigned.map(|what| format!("{stream}: {what}")));
        match applied.status {
            StreamStatus::Applied => {}
            StreamStatus::AlreadyApplied => self.not_checked.push(format!(
                "{stream}: nothing was written, so payloads and roots were not recomputed (audit does)"
            )),
            StreamStatus::Failed => self.not_checked.push(format!(
                "{stream}: it was not repaired, so nothing of it was checked"
            )),
        }
    }

    /// Streams that failed.
    pub fn failed(&self) -> usize {
        self.count(StreamStatus::Failed)
    }

    /// Streams that are in a state.
    pub fn count(&self, status: StreamStatus) -> usize {
        self.streams.iter().filter(|s| s.status == status).count()
    }

    /// Streams that were changed.
    pub fn changed(&self) -> usize {
        self.streams
            .iter()
            .filter(|s| s.status == StreamStatus::Applied)
            .count()
    }

    /// Numbers that were given out twice and stay so, over all streams.
    pub fn reissued(&self) -> u64 {
        self.streams
            .iter()
            .map(|s| s.reissued)
            .fold(0, u64::saturating_add)
    }

    /// Positions that stay open, over all streams.
    pub fn open_positions(&self) -> u64 {
        self.streams
            .iter()
            .map(|s| s.open_positions)
            .fold(0, u64::saturating_add)
    }
}

impl ApplyReport {
    /// Streams that can make no further commitment, since the next number to be committed stays open.
    pub fn commits_stop(&self) -> impl Iterator<Item = &AppliedStream> {
        self.streams.iter().filter(|s| s.commits_stop_at.is_some())
    }
}

impl AppliedStream {
    pub(super) fn changed_nothing(&self) -> bool {
        let rows = self.events
            + self.tombstones
            + self.moved
            + self.commitments_superseded
            + self.appended
            + self.keys
            + self.receipts
            + self.commands
            + self.commands_forgotten
            + self.entity_versions
            + self.commitments;
        rows == 0 && self.projection_set_back_to.is_none() && self.counter_after == self.counter_before
    }

    pub(super) fn new(header: &PlannedStream) -> Self {
        Self {
            stream: header.stream,
            status: StreamStatus::Failed,
            moved: 0,
            receipts_superseded: 0,
            commitments_superseded: 0,
            reissued: header.reissued,
            not_checked: Vec::new(),
            events: 0,
            tombstones: 0,
            appended: 0,
            keys: 0,
            receipts: 0,
            receipts_signed: 0,
            commands: 0,
            commands_forgotten: 0,
            entity_versions: 0,
            projection_set_back_to: None,
            commitments: 0,
            roots_equal: 0,
            counter_before: header.counter_before,
            counter_after: header.counter_before,
            open_positions: header.open_positions,
            commits_stop_at: None,
            journal: Vec::new(),
            begun_again: 0,
            error: None,
            receipts_unsigned: Vec::new(),
        }
    }
}
