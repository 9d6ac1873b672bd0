//! The post-recovery checklist: each line is run, not ticked. What is asked of the log, the audit answers
//! ([`of_audit`]); beside it the sequencer ([`service`]), the alerts ([`alerts`]) and the backups ([`backup`]) are asked.
//! Changes nothing.

pub mod alerts;
pub mod backup;
mod fetch;
pub mod line;
pub mod of_audit;
pub mod service;

use event_log::Place;
use serde::Serialize;
use ves::StreamKey;

use crate::plan::committing::Committing;
use crate::report::audit::AuditReport;
use line::{Line, LineId, LineVerdict};

pub use fetch::check_url;

/// The report's name and version; documented in docs/checklist.md.
pub const SCHEMA: &str = "checklist/1";

/// What was run, and what came of it.
#[derive(Debug, Serialize)]
pub struct Checklist {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The log, without secrets.
    pub db: String,
    /// Where it was looked at; `None` if it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// True if every line passed. A line that was not checked did not.
    pub all_passed: bool,
    /// How many lines passed, failed, were not checked.
    pub counts: Counts,
    /// The lines, in the order in which they are run.
    pub lines: Vec<Line>,
    /// Of each stream whether it can be committed further.
    pub streams: Vec<StreamCommitting>,
    /// The lines that were not checked, and what the audit did not check; with the reasons.
    pub not_checked: Vec<String>,
}

/// Lines by verdict.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Passed.
    pub pass: usize,
    /// Failed.
    pub fail: usize,
    /// Not checked.
    pub not_checked: usize,
}

/// One stream.
#[derive(Debug, Serialize)]
pub struct StreamCommitting {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// Whether it can be committed further.
    #[serde(flatten)]
    pub committing: Committing,
}

impl Checklist {
    /// Puts the lines together. `required` are those that fail if they were not checked.
    pub fn new(db: String, audit: Option<&AuditReport>, mut lines: Vec<Line>, required: &[LineId]) -> Self {
        for line in lines.iter_mut().filter(|line| required.contains(&line.id)) {
            line.require();
        }
        let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
        let counts = Counts {
            pass: count(LineVerdict::Pass),
            fail: count(LineVerdict::Fail),
            not_checked: count(LineVerdict::NotChecked),
        };
        let streams = audit.map(|a| a.streams.as_slice()).unwrap_or_default();
        let unseen = lines
            .iter()
            .filter_map(|line| Some(format!("{}: {}", line.id, line.reason.as_ref()?)));
        let mut not_checked: Vec<String> = unseen.collect();
        not_checked.extend(audit.iter().flat_map(|a| a.not_checked.iter().cloned()));
        Self {
            schema: SCHEMA,
            db,
            place: audit.map(|a| a.place.clone()),
            all_passed: counts.pass == lines.len(),
            counts,
            lines,
            streams: streams
                .iter()
                .map(|s| StreamCommitting {
                    stream: s.stream,
                    committing: s.committing.clone(),
                })
                .collect(),
            not_checked,
        }
    }

    /// Whether something that was asked for could not be looked at.
    pub fn could_not(&self) -> bool {
        self.lines.iter().any(|line| line.could_not)
    }
}
