//! What an undo did, stream by stream. Documented in docs/undo.md.

use event_log::{JournalEntry, Place};
use serde::Serialize;
use ves::{Hash32, StreamKey};

use crate::apply::undo_file::UndoFile;
use crate::error::RecoveryError;

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoStatus {
    /// It is as it was before the apply.
    Undone,
    /// It was as before the apply already; nothing was changed.
    AlreadyUndone,
    /// It is as the apply left it, and stays so, since others have moved or a sequencer may run.
    Refused,
    /// Nothing was changed; the error says why.
    Failed,
}

/// One stream's outcome.
#[derive(Debug, Serialize)]
pub struct UndoneStream {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// What became of it.
    pub status: UndoStatus,
    /// Keys that are no longer registered.
    pub keys: u64,
    /// Events that have their number of before again.
    #[serde(skip_serializing_if = "is_zero")]
    pub moved_back: u64,
    /// Commitments that are there again.
    #[serde(skip_serializing_if = "is_zero")]
    pub commitments_back: u64,
    /// Events taken out again.
    pub events: u64,
    /// Receipts taken out again.
    pub receipts: u64,
    /// Command ids that are no longer remembered.
    pub commands: u64,
    /// Command ids that are remembered again.
    pub commands_back: u64,
    /// Entity versions that are as before.
    pub entity_versions: u64,
    /// Commitments taken out again.
    pub commitments: u64,
    /// Where the projection checkpoint is again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projection: Option<u64>,
    /// The counter as found.
    pub counter_before: Option<u64>,
    /// The counter now.
    pub counter_after: Option<u64>,
    /// What the journal said of the plan and the stream before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub journal: Vec<JournalEntry>,
    /// Why the journal has no entry of this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_in_journal: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The same, as an error.
    #[serde(skip)]
    pub(super) failure: Option<RecoveryError>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The outcome of an undo. Documented in docs/plan.md.
#[derive(Debug, Serialize)]
pub struct UndoReport {
    /// `recovery-undone/1`.
    pub schema: &'static str,
    /// The plan whose apply is taken back.
    pub plan_id: Hash32,
    /// The log, without secrets.
    pub db: String,
    /// Where it was worked on.
    pub place: Place,
    /// The streams, in the bundle's order.
    pub streams: Vec<UndoneStream>,
    /// What the user must know, loudly.
    pub warnings: Vec<String>,
    /// What speaks for a sequencer that runs.
    pub signs: Vec<String>,
    /// What was not checked, and why.
    pub not_checked: Vec<String>,
    /// The errors of failed streams, in order.
    #[serde(skip)]
    pub errors: Vec<RecoveryError>,
}

impl UndoReport {
    /// Streams that were changed.
    pub fn changed(&self) -> usize {
        self.streams
            .iter()
            .filter(|s| s.status == UndoStatus::Undone)
            .count()
    }
}

impl UndoReport {
    pub(super) fn new(bundle: &UndoFile, db: String, place: Place) -> Self {
        let mut report = Self {
            schema: "recovery-undone/1",
            plan_id: bundle.header().plan_id,
            db,
            place,
            streams: Vec::new(),
            warnings: Vec::new(),
            signs: Vec::new(),
            not_checked: vec![
                "whether the sequencer was started since the plan was applied: numbers that it gave out and that left \
                 no row here cannot be seen"
                    .into(),
            ],
            errors: Vec::new(),
        };
        if !bundle.complete() {
            report.not_checked.push(
                "the end of the bundle: streams that are not in what was sealed of it are not taken back"
                    .into(),
            );
        }
        let unknown = bundle
            .sections()
            .iter()
            .filter(|s| s.sealed.anchored_after.is_none());
        match unknown.count() {
            0 => {}
            count => report.not_checked.push(format!(
                "whether commitments of {count} stream(s) were anchored since: the bundle is of an older release"
            )),
        }
        report
    }

    pub(super) fn refused(&mut self, why: &str) {
        self.warnings.push(format!(
            "NOTHING was taken back: {why}, and a counter that is lowered would give promised numbers to other events. \
             --streams-that-are-still takes back the streams that are as the apply left them"
        ));
    }

    /// Takes the errors of the streams, in order.
    pub(super) fn collect_errors(&mut self) {
        for stream in &mut self.streams {
            self.errors.extend(stream.failure.take());
        }
    }
}

impl UndoReport {
    pub(super) fn warn(&mut self) {
        for stream in &self.streams {
            if let Some(what) = &stream.not_in_journal {
                let what = format!("{}: the journal has no entry of this: {what}", stream.stream);
                self.warnings.push(what);
            }
        }
        let lowered = self
            .streams
            .iter()
            .filter(|s| s.status == UndoStatus::Undone && s.counter_after < s.counter_before)
            .count();
        if lowered > 0 {
            self.warnings.push(format!(
                "the counter of {lowered} stream(s) was LOWERED to what it was before the plan was applied: do not \
                 start the sequencer before the log is repaired again, or it gives promised numbers to other events"
            ));
        }
    }
}

impl UndoneStream {
    pub(super) fn new(stream: StreamKey) -> Self {
        Self {
            stream,
            status: UndoStatus::Failed,
            keys: 0,
            moved_back: 0,
            commitments_back: 0,
            events: 0,
            receipts: 0,
            commands: 0,
            commands_back: 0,
            entity_versions: 0,
            commitments: 0,
            projection: None,
            counter_before: None,
            counter_after: None,
            journal: Vec::new(),
            not_in_journal: None,
            error: None,
            failure: None,
        }
    }
}
