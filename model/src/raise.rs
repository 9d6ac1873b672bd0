//! `counters --raise`: a counter that is below its floor is raised to it, beside whoever works.

use crate::fault::Fault;
use crate::locks::Locks;
use crate::log::{Log, Number};
use crate::size::Size;

/// A step of raising the counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RaiseStep {
    /// Takes the advisory lock of the stream's batches.
    ///
    /// Code: `event-log/src/repair.rs` `lock_stream`
    LockAdvisory,
    /// Makes the counter's row if there is none, and reads it FOR UPDATE.
    ///
    /// Code: `event-log/src/repair.rs` `lock_stream`
    LockCounter,
    /// Locks the older log's counter.
    ///
    /// Code: `event-log/src/repair.rs` `lock_stream`
    LockOlderCounter,
    /// Raises the counter if it is below the floor, and commits; one that is above is left alone.
    ///
    /// Code: `sequencer-recovery/src/apply/counters.rs` `raise_one`
    /// Code: `event-log/src/repair.rs` `set_counter` `commit`
    Commit,
}

/// A counter that is being raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Raise {
    /// To what.
    pub floor: Number,
    /// What is done next.
    pub step: RaiseStep,
    /// What is held.
    pub held: Locks,
}

impl Raise {
    /// Begins.
    pub fn new(floor: Number, size: &Size) -> Self {
        Self {
            floor,
            step: if size.has(Fault::NoAdvisoryLock) {
                RaiseStep::LockCounter
            } else {
                RaiseStep::LockAdvisory
            },
            held: Locks::NONE,
        }
    }

    /// What the next step needs.
    pub fn wants(&self) -> Locks {
        match self.step {
            RaiseStep::LockAdvisory => Locks::ADVISORY,
            RaiseStep::LockCounter => Locks::COUNTER,
            RaiseStep::LockOlderCounter => Locks::OLDER,
            RaiseStep::Commit => Locks::NONE,
        }
    }

    /// Takes the next step; says whether it is done.
    pub fn advance(&mut self, log: &mut Log, size: &Size) -> bool {
        self.held = self.held.and(self.wants());
        self.step = match self.step {
            RaiseStep::LockAdvisory => RaiseStep::LockCounter,
            RaiseStep::LockCounter if size.older > 0 => RaiseStep::LockOlderCounter,
            RaiseStep::LockCounter | RaiseStep::LockOlderCounter => RaiseStep::Commit,
            RaiseStep::Commit => {
                let behind = log.counter.is_none_or(|counter| counter < self.floor);
                if behind || size.has(Fault::CounterSetNotRaised) {
                    log.counter = Some(self.floor);
                }
                return true;
            }
        };
        false
    }
}
