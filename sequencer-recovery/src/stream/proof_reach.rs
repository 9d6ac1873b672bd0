//! How far proof reaches in a stream: up to which number an anchor or a checkpoint says which event stands there. What was
//! given out behind that is the recovery point of proof: after a disaster nothing but receipts and holders' words tells where
//! those events belong.

use anchor_verify::AnchoredBatch;
use event_log::{StreamState, View};
use serde::{Deserialize, Serialize};

use crate::error::RecoveryError;
use crate::stream::checkpointed::Checkpointed;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProofReach {
    /// The last number of an anchored batch.
    pub anchored_to: u64,
    /// The last number of a checkpoint that counts.
    pub checkpointed_to: u64,
    /// How many numbers behind both were given out, as far as anybody knows.
    pub unproven: u64,
    /// How much time lies between the last proven event and the last one of the log, in seconds; absent where the log lacks
    /// the one or the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unproven_seconds: Option<f64>,
}

impl ProofReach {
    /// Of a stream of which numbers up to `known` were given out.
    pub(crate) fn of(anchored: &[AnchoredBatch], checkpointed: &Checkpointed, known: u64) -> Self {
        let anchored = anchored.iter().filter(|anchor| !anchor.contested);
        let anchored_to = anchored.map(|anchor| anchor.sequence_end).max().unwrap_or(0);
        let checkpointed_to = checkpointed.latest().map_or(0, |held| held.checkpoint.size);
        Self {
            anchored_to,
            checkpointed_to,
            unproven: known.saturating_sub(anchored_to.max(checkpointed_to)),
            unproven_seconds: None,
        }
    }

    /// The last number that is proven.
    pub fn to(&self) -> u64 {
        self.anchored_to.max(self.checkpointed_to)
    }

    /// Asks the log for the time between the last proven event and its last one.
    pub(crate) async fn timed(mut self, view: &mut View, state: &StreamState) -> Result<Self, RecoveryError> {
        let Some(last) = state.last.filter(|last| *last > self.to()) else {
            self.unproven_seconds = (self.unproven == 0).then_some(0.0);
            return Ok(self);
        };
        let stream = &state.stream;
        // The first event has nothing before it to be measured from.
        let from = view
            .last_sequenced_before(stream, self.to().saturating_add(1))
            .await?;
        let to = view.last_sequenced_before(stream, last.saturating_add(1)).await?;
        self.unproven_seconds = from.zip(to).map(|(from, to)| to.seconds_since(from));
        Ok(self)
    }
}

/// The reach of proof in several streams together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProofTotals {
    /// Numbers that were given out, as far as anybody knows.
    pub known: u64,
    /// Of those, the ones behind the last anchor and checkpoint of their stream.
    pub unproven: u64,
    /// The longest time between a stream's last proven event and its last one, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unproven_seconds: Option<f64>,
}

impl ProofTotals {
    /// Adds a stream of which numbers up to `known` were given out.
    pub fn add(&mut self, known: u64, reach: &ProofReach) {
        self.known = self.known.saturating_add(known);
        self.unproven = self.unproven.saturating_add(reach.unproven);
        let longest = [self.unproven_seconds, reach.unproven_seconds];
        self.unproven_seconds = longest.into_iter().flatten().reduce(f64::max);
    }

    /// In a sentence.
    pub fn describe(&self) -> String {
        let seconds = match self.unproven_seconds {
            Some(seconds) if seconds > 0.0 => format!(" (up to {seconds:.0} s of a stream)"),
            _ => String::new(),
        };
        match self.unproven {
            0 => format!("Proof reaches all {} number(s) that were given out.", self.known),
            unproven => format!(
                "Proof reaches {} of {} number(s) that were given out: {unproven}{seconds} are behind the last anchor and \
                 checkpoint.",
                self.known.saturating_sub(unproven),
                self.known
            ),
        }
    }
}
