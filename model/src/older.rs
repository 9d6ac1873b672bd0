//! The writer of the older log, whose events are about the same entities.

use crate::locks::Locks;
use crate::log::Log;

/// A step of the older log's writer. It has no double: the order is that of the sequencer's own code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OlderStep {
    /// Reads the older log's counter FOR UPDATE.
    LockCounter,
    /// Raises the version of the event's entity.
    RaiseVersion,
    /// Writes the event and commits.
    Commit,
}

/// An event that is being written to the older log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Older {
    /// What is done next.
    pub step: OlderStep,
    /// What is held.
    pub held: Locks,
}

impl Default for Older {
    fn default() -> Self {
        Self {
            step: OlderStep::LockCounter,
            held: Locks::NONE,
        }
    }
}

impl Older {
    /// What the next step needs.
    pub fn wants(&self) -> Locks {
        match self.step {
            OlderStep::LockCounter => Locks::OLDER,
            OlderStep::RaiseVersion => Locks::VERSION,
            OlderStep::Commit => Locks::NONE,
        }
    }

    /// Takes the next step; says whether it is done.
    pub fn advance(&mut self, log: &mut Log) -> bool {
        self.held = self.held.and(self.wants());
        match self.step {
            OlderStep::LockCounter => self.step = OlderStep::RaiseVersion,
            OlderStep::RaiseVersion => self.step = OlderStep::Commit,
            OlderStep::Commit => {
                log.older += 1;
                log.version += 1;
                return true;
            }
        }
        false
    }
}
