//! What came of a push.

use std::collections::BTreeMap;
use std::fmt;

use http_client::Failure;
use serde::Serialize;
use ves::{AgentId, EventId, StreamKey};

use crate::error::FileError;

/// How many events and other things are listed in a report; all are counted.
pub const MAX_LISTED: usize = 10_000;

/// An event that was not taken, or of which something is to be said.
#[derive(Debug, Clone, Serialize)]
pub struct Noted {
    /// The event.
    pub event_id: EventId,
    /// Where it was read.
    pub place: String,
    /// What is to be said.
    pub what: String,
}

/// Adds to a list that is kept short; the caller counts.
pub(super) fn note(list: &mut Vec<Noted>, event_id: EventId, place: &str, what: impl Into<String>) {
    if list.len() < MAX_LISTED {
        list.push(Noted {
            event_id,
            place: place.to_owned(),
            what: what.into(),
        });
    }
}

/// Events of one agent in one stream.
#[derive(Debug, Clone, Serialize)]
pub struct GroupCount {
    /// The agent.
    pub agent_id: AgentId,
    /// The stream.
    pub stream: StreamKey,
    /// Events to send.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Requests.
    pub requests: u64,
}

/// One agent's events in one stream, of which nothing more is sent in this run: a request of them could not be settled,
/// and what comes later must not be numbered before it.
#[derive(Debug, Clone, Serialize)]
pub struct HeldBack {
    /// The agent.
    pub agent_id: AgentId,
    /// The stream.
    pub stream: StreamKey,
    /// Events that were sent, and of which no answer told.
    pub unanswered: u64,
    /// The first of them.
    pub first: EventId,
    /// The last of them.
    pub last: EventId,
    /// Later events that were not sent for that reason.
    pub held_back: u64,
    /// Why no answer was believed.
    pub why: String,
}

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "agent {} in stream {}: {} events were sent and not answered ({} to {}): {}; {} later ones were not sent",
            self.agent_id, self.stream, self.unanswered, self.first, self.last, self.why, self.held_back
        )
    }
}

/// What came of a push.
#[derive(Debug, Default, Serialize)]
pub struct Pushed {
    /// Events that the sequencer accepted now.
    pub accepted: u64,
    /// Events that it had already, and gave its receipt of.
    pub replayed: u64,
    /// Events that were not sent, since a saved receipt covers them.
    pub receipted_before: u64,
    /// Rejections by reason.
    pub rejected: BTreeMap<String, u64>,
    /// The rejected events, with what the sequencer says.
    pub rejections: Vec<Noted>,
    /// Events that are too large, or that the sequencer fails on.
    pub set_aside: Vec<Noted>,
    /// How many.
    pub set_aside_count: u64,
    /// Events that an earlier run went past (they were rejected or set aside) and that later events of their agent have
    /// overtaken: sent now, they would be numbered behind those. Not sent.
    pub overtaken: Vec<Noted>,
    /// How many.
    pub overtaken_count: u64,
    /// Events that were sent, and of which no answer that could be believed told. The next run begins with them.
    pub unanswered: Vec<Noted>,
    /// How many.
    pub unanswered_count: u64,
    /// Whose events were held back after them.
    pub held: Vec<HeldBack>,
    /// Events that were read and not sent.
    pub not_sent: u64,
    /// Receipts that do not hold, in answers that were the last word.
    pub bad_receipts: Vec<Noted>,
    /// How many.
    pub bad_receipts_count: u64,
    /// Answers that were incomplete or not of their request, in words; the events were asked for again.
    pub refused_answers: Vec<String>,
    /// How many.
    pub refused_answers_count: u64,
    /// Events whose number is lower than that of an event before them in their agent's order.
    pub out_of_order: Vec<Noted>,
    /// How many.
    pub out_of_order_count: u64,
    /// Whose saved receipts go beyond the log's head.
    pub rewound: Vec<String>,
    /// Receipts that came and could not be saved.
    pub unsaved_receipts: u64,
    /// Receipts whose signature was not checked.
    pub unchecked_receipts: u64,
    /// Requests that were answered.
    pub requests: u64,
    /// Tries that were not.
    pub retries: u64,
    /// By agent and stream.
    pub groups: Vec<GroupCount>,
    /// Why it ended early; what was not sent is to be sent by another run.
    pub stopped: Option<String>,
}

impl Pushed {
    /// How many events were rejected.
    pub fn rejected_count(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// How many events, or receipts, need somebody's attention.
    pub fn problems(&self) -> u64 {
        self.rejected_count()
            + self.set_aside_count
            + self.overtaken_count
            + self.unanswered_count
            + self.bad_receipts_count
            + self.out_of_order_count
            + self.unsaved_receipts
            + (self.held.len() + self.rewound.len()) as u64
    }

    /// Whether every event is in the log, with a receipt that holds.
    pub fn is_complete(&self) -> bool {
        self.problems() == 0 && self.stopped.is_none()
    }
}

/// What stands against going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// There is no connection to the sequencer.
    Unreachable(Failure),
    /// The sequencer refuses the API key.
    KeyRefused,
    /// What answers at this URL is no sequencer.
    NotASequencer,
    /// The sequencer fails on everything.
    Fails,
    /// No answer is one that can be believed.
    Unsettled,
    /// The system has no thread for a request.
    System,
}

impl StopCause {
    pub(super) fn because(self, what: String) -> PushError {
        PushError::Stopped { what, cause: self }
    }
}

/// Why a push ends early.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The sequencer cannot be reached, refuses us, or fails on everything.
    #[error("{what}")]
    Stopped {
        /// Why, in words.
        what: String,
        /// Why, of a few kinds.
        cause: StopCause,
    },
    /// The user stopped it.
    #[error("cancelled")]
    Cancelled,
    /// What is about to be sent cannot be noted, or receipts cannot be saved. Going on would lose evidence.
    #[error(transparent)]
    Evidence(#[from] FileError),
}
