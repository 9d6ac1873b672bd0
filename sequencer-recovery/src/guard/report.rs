//! What the guard says.

use event_log::Place;
use serde::Serialize;
use ves::StreamKey;

use crate::finding::{Finding, Severity};

/// The report's schema.
pub const SCHEMA: &str = "guard-report/1";

/// Whether the sequencer may start. Documented in docs/guard.md.
#[derive(Debug, Serialize)]
pub struct GuardReport {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The log, without secrets.
    pub db: String,
    /// Where it was looked at.
    pub place: Place,
    /// Whether the sequencer may start.
    pub passed: bool,
    /// There was nothing to compare with yet: all that can be said is what was seen.
    pub learned: bool,
    /// The streams, by tenant and store.
    pub streams: Vec<StreamGuarded>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// What was not checked, and why.
    pub not_checked: Vec<String>,
    /// What became of the notes, if a file of them was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// How many rows of events were read.
    pub rows: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// A stream, beside what is known of it.
#[derive(Debug, Clone, Serialize)]
pub struct StreamGuarded {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// Its highest number.
    pub head: Option<u64>,
    /// Its counter.
    pub counter: Option<u64>,
    /// The generation of its tree.
    pub generation: u32,
    /// The largest checkpoint.
    pub checkpoint: Option<u64>,
    /// The highest number that is anchored.
    pub anchored: Option<u64>,
    /// The highest number or counter of an earlier look.
    pub noted: Option<u64>,
    /// With how many checkpoints its tree was compared.
    pub compared: u64,
    /// Whether it may go on.
    pub passes: bool,
    /// What explains that it ends below a promise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explained: Option<String>,
}

impl GuardReport {
    /// Whether anything is wrong.
    pub fn has_problems(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Problem)
    }
}
