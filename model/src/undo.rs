//! `undo`: an apply is taken back, if nothing has happened since.

use crate::fault::Fault;
use crate::locks::Locks;
use crate::log::Log;
use crate::plan::Bundle;
use crate::size::Size;

/// A step of an undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UndoStep {
    /// Looks for sessions of a sequencer.
    ///
    /// Code: `sequencer-recovery/src/apply/undo/mod.rs` `undo_all`
    /// Code: `sequencer-recovery/src/stream/living.rs` `sessions`
    LookForSigns,
    /// Takes the advisory lock of the stream's batches.
    ///
    /// Code: `event-log/src/repair.rs` `lock` `lock_stream`
    LockAdvisory,
    /// Makes the counter's row if there is none, and reads it FOR UPDATE.
    ///
    /// Code: `event-log/src/repair.rs` `lock_stream`
    LockCounter,
    /// Locks the older log's counter.
    ///
    /// Code: `event-log/src/repair.rs` `lock_stream`
    LockOlderCounter,
    /// Compares the stream with what the bundle says of it: as it was left, as it was before, or moved.
    ///
    /// Code: `sequencer-recovery/src/apply/undo/mod.rs` `look`
    /// Code: `sequencer-recovery/src/apply/undo/compare.rs` `compare` `compare_group`
    Compare,
    /// Removes events, receipts and commands, and makes version and counter what they were.
    ///
    /// Code: `sequencer-recovery/src/apply/undo/take_back.rs` `take_back`
    /// Code: `event-log/src/undo.rs` `remove_receipts` `remove_events` `remove_commands` `take_back_entity_version`
    /// Code: `event-log/src/undo.rs` `take_back_counter`
    TakeBack,
    /// Looks for sessions of a sequencer again.
    ///
    /// Code: `sequencer-recovery/src/apply/undo/mod.rs` `commit`
    LookAgain,
    /// Commits.
    ///
    /// Code: `event-log/src/undo.rs` `commit_as_it_was`
    Commit,
}

/// An apply that is being taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Undo {
    /// What the apply wrote down.
    pub bundle: Bundle,
    /// What is done next.
    pub step: UndoStep,
    /// What is held.
    pub held: Locks,
}

/// How an undo ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undone {
    /// It goes on.
    On,
    /// The log is as before already.
    Already,
    /// It was refused: the stream has moved, or a sequencer may run.
    Refused,
    /// It was committed. Whether the log is what it was before the apply.
    Done {
        /// Every table is.
        as_before: bool,
    },
}

impl Undo {
    /// Begins.
    pub fn new(bundle: Bundle) -> Self {
        Self {
            bundle,
            step: UndoStep::LookForSigns,
            held: Locks::NONE,
        }
    }

    /// What the next step needs.
    pub fn wants(&self) -> Locks {
        match self.step {
            UndoStep::LockAdvisory => Locks::ADVISORY,
            UndoStep::LockCounter => Locks::COUNTER,
            UndoStep::LockOlderCounter => Locks::OLDER,
            UndoStep::TakeBack => self.taken_back(),
            UndoStep::LookForSigns | UndoStep::Compare | UndoStep::LookAgain | UndoStep::Commit => {
                Locks::NONE
            }
        }
    }

    fn taken_back(&self) -> Locks {
        let rows = self.bundle.rows.iter();
        let mut all = Locks::NONE;
        for (number, event) in rows {
            all = all.and(Locks::event(event)).and(Locks::number(number));
            if self.bundle.commands & (1 << event) != 0 {
                all = all.and(Locks::command(event));
            }
        }
        if self.bundle.version_after != self.bundle.version_before {
            all = all.and(Locks::VERSION);
        }
        all
    }

    /// Takes the next step; nobody else has what it needs. `living`: a sequencer runs.
    pub fn advance(&mut self, log: &mut Log, living: bool, size: &Size) -> Undone {
        let wants = self.wants();
        let signs = living && !size.has(Fault::UndoWithoutSigns);
        match self.step {
            UndoStep::LookForSigns | UndoStep::LookAgain if signs => return Undone::Refused,
            UndoStep::Compare if !size.has(Fault::UndoBlind) => {
                let done = self.compare(log);
                if done != Undone::On {
                    return done;
                }
            }
            UndoStep::Commit => return self.commit(log, size),
            _ => {}
        }
        self.held = self.held.and(wants);
        self.step = match self.step {
            UndoStep::LookForSigns if size.has(Fault::NoAdvisoryLock) => UndoStep::LockCounter,
            UndoStep::LookForSigns => UndoStep::LockAdvisory,
            UndoStep::LockAdvisory => UndoStep::LockCounter,
            UndoStep::LockCounter if size.older > 0 => UndoStep::LockOlderCounter,
            UndoStep::LockCounter | UndoStep::LockOlderCounter => UndoStep::Compare,
            UndoStep::Compare => UndoStep::TakeBack,
            UndoStep::TakeBack => UndoStep::LookAgain,
            UndoStep::LookAgain | UndoStep::Commit => UndoStep::Commit,
        };
        Undone::On
    }

    fn compare(&self, log: &Log) -> Undone {
        let bundle = &self.bundle;
        let remembered = log.commands & bundle.commands;
        if log.seen() == bundle.before && remembered == 0 && log.version == bundle.version_before {
            return Undone::Already;
        }
        let as_left =
            log.seen() == bundle.left && remembered == bundle.commands && log.version == bundle.version_after;
        if as_left { Undone::On } else { Undone::Refused }
    }

    fn commit(&self, log: &mut Log, size: &Size) -> Undone {
        let bundle = &self.bundle;
        let mut after = *log;
        for (number, _) in bundle.rows.iter() {
            after.rows.take(number);
        }
        after.commands &= !bundle.commands;
        after.version = bundle.version_before;
        after.counter = bundle.before.counter;
        // What is read back before the commit.
        if after.seen() != bundle.before && !size.has(Fault::UndoBlind) {
            return Undone::Refused;
        }
        *log = after;
        Undone::Done {
            as_before: after == bundle.truth,
        }
    }
}
