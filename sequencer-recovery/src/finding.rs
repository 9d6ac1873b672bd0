//! Findings: what an audit has to say, each with a stable code.

pub use cli_common::finding::{Code, Severity};
use event_log::Family;
use serde::Serialize;
use ves::StreamKey;

/// One thing that is so, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The stable code.
    pub code: Code,
    /// What it means for the exit status.
    pub severity: Severity,
    /// The sequence concerned, if it is not the VES log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// The stream concerned, if one is.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamKey>,
    /// The first sequence number concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// The last sequence number concerned (inclusive).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// How many rows or positions are concerned.
    pub count: u64,
    /// One plain sentence.
    pub message: String,
    /// What to do about it: the command that acts on it, or in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Which command acts on it; whoever knows the command line writes it out, into `next`.
    #[serde(skip)]
    pub remedy: Option<Remedy>,
}

/// A command that acts on a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// To plan the repair.
    Plan,
    /// To plan it, with the choice of the history that stays.
    ChooseHistory,
    /// To raise the counters of the finding's family.
    Counters,
}

impl Finding {
    /// A finding of this code with its sentence, about no stream yet.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity(),
            family: None,
            stream: None,
            from: None,
            to: None,
            count: 1,
            message: message.into(),
            next: None,
            remedy: None,
        }
    }

    /// Says which stream is concerned.
    pub fn stream(mut self, stream: StreamKey) -> Self {
        self.stream = Some(stream);
        self
    }

    /// Says that it is about a sequence beside the VES log.
    pub fn family(mut self, family: Family) -> Self {
        self.family = Some(family);
        self
    }

    /// Says which positions are concerned; the count becomes their number.
    pub fn range(mut self, from: u64, to: u64) -> Self {
        self.from = Some(from);
        self.to = Some(to);
        self.count = to.saturating_sub(from).saturating_add(1);
        self
    }

    /// Says how many rows are concerned.
    pub fn count(mut self, count: u64) -> Self {
        self.count = count;
        self
    }

    /// Says which command acts on it.
    pub fn remedy(mut self, remedy: Remedy) -> Self {
        self.remedy = Some(remedy);
        self
    }

    /// Says in words what to do about it.
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}
