//! The sequencer's job that commits what follows the last batch.

use crate::locks::Locks;
use crate::log::{Log, Number, Rows};

/// A step of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CommitStep {
    /// Takes the advisory lock of the stream.
    ///
    /// Code: `chaos/src/double/commit.rs` `commit`
    LockAdvisory,
    /// Reads the last batch, and the events that follow it up to the first hole.
    ///
    /// Code: `chaos/src/double/commit.rs` `commit`
    Read,
    /// Inserts the batch and commits.
    ///
    /// Code: `chaos/src/double/commit.rs` `commit`
    Commit,
}

/// A batch that is being committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Batch {
    /// What is done next.
    pub step: CommitStep,
    /// What is held.
    pub held: Locks,
    rows: Rows,
    end: Number,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            step: CommitStep::LockAdvisory,
            held: Locks::NONE,
            rows: Rows::default(),
            end: 0,
        }
    }
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// It goes on.
    On,
    /// It ended; there was nothing to commit.
    Nothing,
    /// The batch is there. Whether it is of the events that are there.
    Batch {
        /// The leaves are those of the log.
        true_to_log: bool,
    },
}

impl Batch {
    /// What the next step needs.
    pub fn wants(&self) -> Locks {
        match self.step {
            CommitStep::LockAdvisory => Locks::ADVISORY,
            CommitStep::Read | CommitStep::Commit => Locks::NONE,
        }
    }

    /// Takes the next step.
    pub fn advance(&mut self, log: &mut Log) -> Committed {
        match self.step {
            CommitStep::LockAdvisory => {
                self.held = Locks::ADVISORY;
                self.step = CommitStep::Read;
            }
            CommitStep::Read => {
                self.rows = log.rows;
                self.end = log.batch_end;
                while self.rows.at(self.end + 1).is_some() {
                    self.end += 1;
                }
                if self.end == log.batch_end {
                    return Committed::Nothing;
                }
                self.step = CommitStep::Commit;
            }
            CommitStep::Commit => {
                log.batch_end = self.end;
                let same = |number| self.rows.at(number) == log.rows.at(number);
                return Committed::Batch {
                    true_to_log: (1..=self.end).all(same),
                };
            }
        }
        Committed::On
    }
}
