//! What a run of the checkpointer says.

use event_log::Place;
use serde::Serialize;
use ves::{Hash32, StreamKey};

use crate::finding::{Finding, Severity};

/// The report's schema.
pub const SCHEMA: &str = "checkpoint-report/1";

/// What was signed. Documented in docs/checkpoints.md.
#[derive(Debug, Serialize)]
pub struct CheckpointReport {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The log, without secrets.
    pub db: String,
    /// Where it was looked at.
    pub place: Place,
    /// The deployment's name.
    pub deployment: String,
    /// The deployment's key, for `--checkpoint-key`.
    pub key: String,
    /// The state's file.
    pub state: String,
    /// Where checkpoints go.
    pub out: String,
    /// The streams, by tenant and store.
    pub streams: Vec<StreamSigned>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// What was not checked, and why.
    pub not_checked: Vec<String>,
    /// What the run cost the database.
    pub cost: Cost,
}

/// What a run cost the database.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Cost {
    /// How many rows of events were read.
    pub rows: u64,
    /// How long the run took, in seconds.
    pub seconds: f64,
}

/// A stream as far as it is signed now.
#[derive(Debug, Clone, Serialize)]
pub struct StreamSigned {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// The name of its tree, which is that of the key too.
    pub origin: String,
    /// The stream's own verifier key, as witnesses want it.
    pub vkey: String,
    /// How many events were signed before this run.
    pub before: u64,
    /// How many are signed now.
    pub size: u64,
    /// The root over them.
    pub root: Hash32,
    /// How many checkpoints this run signed.
    pub checkpoints: u64,
    /// Whether this run opened the tree, as the next generation of the stream.
    pub opened: bool,
    /// The witnesses that cosigned the last of them.
    pub witnesses: Vec<String>,
}

impl CheckpointReport {
    /// Whether anything is wrong.
    pub fn has_problems(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Problem)
    }

    /// How many checkpoints were signed.
    pub fn signed(&self) -> u64 {
        self.streams.iter().map(|s| s.checkpoints).sum()
    }
}
