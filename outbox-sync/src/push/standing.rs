//! Where a push stands, at any moment, and what it waits for.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ves::{AgentId, EventId, StreamKey};

/// What was handed over and what not, as far as it is known now.
#[derive(Debug, Clone, Default)]
pub struct PushStanding {
    /// Events that the sequencer accepted.
    pub accepted: u64,
    /// Events that it had already.
    pub replayed: u64,
    /// Events that were not sent, since a saved receipt covers them.
    pub receipted_before: u64,
    /// Events that it rejected.
    pub rejected: u64,
    /// Events that were read and are not sent yet.
    pub waiting: u64,
    /// The request that was sent and is not answered.
    pub in_flight: Option<InFlight>,
}

/// A request that was sent and is not answered.
#[derive(Debug, Clone)]
pub struct InFlight {
    /// Whose events.
    pub agent_id: AgentId,
    /// In which stream.
    pub stream: StreamKey,
    /// How many.
    pub events: u64,
    /// The first of them.
    pub first: EventId,
    /// The last of them.
    pub last: EventId,
}

impl fmt::Display for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} events of agent {} in stream {} ({} to {})",
            self.events, self.agent_id, self.stream, self.first, self.last
        )
    }
}

impl fmt::Display for PushStanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} events handed over ({} accepted, {} replayed, {} receipted before), {} rejected",
            self.accepted + self.replayed + self.receipted_before,
            self.accepted,
            self.replayed,
            self.receipted_before,
            self.rejected
        )?;
        if let Some(request) = &self.in_flight {
            write!(f, "; sent and not answered: {request}, which may be in the log")?;
        }
        write!(
            f,
            "; {} read and not sent, and what was not read yet",
            self.waiting
                .saturating_sub(self.in_flight.as_ref().map_or(0, |request| request.events))
        )
    }
}

/// A [`PushStanding`] that several threads see.
#[derive(Debug, Clone, Default)]
pub struct SharedStanding(Arc<Mutex<PushStanding>>);

impl SharedStanding {
    /// How it stands now.
    #[must_use]
    pub fn now(&self) -> PushStanding {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut PushStanding)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A pause of our own choice is not worth a word before.
const OWN_PAUSE: Duration = Duration::from_secs(6);

/// Tells what is waited for, now and then.
#[derive(Debug)]
pub(super) struct Wait {
    what: String,
    wait: cli_common::Wait,
    silent: Duration,
}

impl Wait {
    /// `what` is what is waited for, since now: `for …`.
    pub(super) fn begin(what: &str) -> Self {
        let now = jiff::Timestamp::now().strftime("%H:%M:%SZ");
        Self {
            what: format!("{what}, since {now}"),
            wait: cli_common::Wait::begin(),
            silent: Duration::ZERO,
        }
    }

    /// A pause that is of our own choice, and not worth a word if it is short.
    pub(super) fn own(self) -> Self {
        Self {
            silent: OWN_PAUSE,
            ..self
        }
    }

    /// Says it, if it is time.
    pub(super) fn tell(&mut self) {
        if self.wait.elapsed() >= self.silent && self.wait.is_due() {
            self.wait.say(&self.what);
        }
    }
}
