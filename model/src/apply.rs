//! `apply`: a plan is carried out. Rows are written ahead of the stream's locks, or, once others were in the way, under
//! them.

use crate::fault::Fault;
use crate::locks::Locks;
use crate::log::{Log, Rows, Seen};
use crate::plan::{Bundle, Plan};
use crate::size::Size;

/// How often a stream is begun: the second time alone, and the next ones would be as the second.
///
/// Code: `sequencer-recovery/src/apply/mod.rs` `run` `is_conflict`
pub const ATTEMPTS: u8 = 2;

/// A step of an apply. The index is that of a command or a row of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ApplyStep {
    /// Reads the counter, without a lock.
    ///
    /// Code: `sequencer-recovery/src/apply/prepare.rs` `prepare` `counter`
    ReadCounter,
    /// Reads the stream, without a lock, and compares it with the plan's fingerprint. One that differs is done already, or has
    /// moved.
    ///
    /// Code: `sequencer-recovery/src/apply/prepare.rs` `read`
    /// Code: `sequencer-recovery/src/apply/found.rs` `read` `not_yet_applied`
    ReadStream,
    /// Inserts a command. Who is inserting the same is waited for a moment; then all commands are let go of, and it begins with
    /// the first again. The command of an event that is appended must be new.
    ///
    /// Code: `event-log/src/repair.rs` `write_ahead` `reserve` `reserve_lines`
    /// Code: `sequencer-recovery/src/apply/write.rs` `keep_commands`
    ReserveCommand(u8),
    /// Reads the stream again.
    ///
    /// Code: `sequencer-recovery/src/apply/write.rs` `check_unchanged`
    /// Code: `sequencer-recovery/src/apply/found.rs` `again`
    CheckUnchanged,
    /// Inserts an event under its number, with its receipt. An event or a number that is there already ends the attempt.
    ///
    /// Code: `sequencer-recovery/src/apply/write.rs` `write_rows`
    /// Code: `event-log/src/repair.rs` `write_staged` `write`
    WriteRow(u8),
    /// Raises the entity's version to the number of its events.
    ///
    /// Code: `sequencer-recovery/src/apply/write.rs` `raise_versions`
    /// Code: `event-log/src/repair.rs` `raise_staged_versions`
    /// Code: `sequencer-recovery/src/apply/appending.rs` `raise`
    RaiseVersion,
    /// Reads the stream as it is to be left, for the undo bundle.
    ///
    /// Code: `sequencer-recovery/src/apply/found.rs` `afterwards`
    ReadAfterwards,
    /// Takes the advisory lock of the stream's batches.
    ///
    /// Code: `event-log/src/repair.rs` `lock` `lock_stream`
    LockAdvisory,
    /// Makes the counter's row if there is none, reads it FOR UPDATE, and compares counter and batches with what was read
    /// before.
    ///
    /// Code: `event-log/src/repair.rs` `lock_stream`
    /// Code: `sequencer-recovery/src/apply/write.rs` `lock`
    LockCounter,
    /// Locks the older log's counter.
    ///
    /// Code: `event-log/src/repair.rs` `lock_stream`
    LockOlderCounter,
    /// Counts the events, sets the counter, makes sure that it is not below a number, and commits.
    ///
    /// Code: `sequencer-recovery/src/apply/write.rs` `finish` `check_count` `commit`
    /// Code: `event-log/src/repair.rs` `set_counter` `check_counter` `commit`
    Commit,
}

/// How an apply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It goes on.
    On,
    /// Others were in the way: it must be begun again.
    Again,
    /// The stream has moved since it was planned for, or read.
    Drift,
    /// All is there already.
    Already,
    /// It was refused.
    Refused,
    /// It was committed.
    Done(Bundle),
}

/// A plan that is being carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Apply {
    /// The plan.
    pub plan: Plan,
    /// Which attempt this is, from 1.
    pub attempt: u8,
    /// What is done next.
    pub step: ApplyStep,
    /// What is held.
    pub held: Locks,
    found: Seen,
    found_version: u8,
    /// The version as it is raised, and as it was.
    version: (u8, u8),
    /// The commands that are new.
    new: u8,
    left: Rows,
}

impl Apply {
    /// Begins.
    pub fn new(plan: Plan, attempt: u8) -> Self {
        Self {
            plan,
            attempt,
            step: ApplyStep::ReadCounter,
            held: Locks::NONE,
            found: Seen::default(),
            found_version: 0,
            version: (0, 0),
            new: 0,
            left: Rows::default(),
        }
    }

    /// Whether rows are written before the stream is locked.
    ///
    /// Code: `sequencer-recovery/src/apply/write.rs` `write`
    pub fn is_ahead(&self, size: &Size) -> bool {
        self.attempt == 1 && !size.has(Fault::CommandsAfterCounter)
    }

    /// What the next step needs.
    pub fn wants(&self, size: &Size) -> Locks {
        match self.step {
            ApplyStep::ReserveCommand(i) => self.plan.command(i, size).map_or(Locks::NONE, Locks::command),
            ApplyStep::WriteRow(i) => {
                let row = self.plan.row(i);
                row.map_or(Locks::NONE, |(number, event)| {
                    Locks::event(event).and(Locks::number(number))
                })
            }
            ApplyStep::RaiseVersion => Locks::VERSION,
            ApplyStep::LockAdvisory => Locks::ADVISORY,
            ApplyStep::LockCounter => Locks::COUNTER,
            ApplyStep::LockOlderCounter => Locks::OLDER,
            ApplyStep::ReadCounter
            | ApplyStep::ReadStream
            | ApplyStep::CheckUnchanged
            | ApplyStep::ReadAfterwards
            | ApplyStep::Commit => Locks::NONE,
        }
    }

    /// Whether a wait for what the next step needs ends by itself after a moment, long before PostgreSQL looks for a
    /// deadlock.
    ///
    /// Code: `event-log/src/repair.rs` `write_ahead` `lock` `reserve`
    pub fn is_short(&self, size: &Size) -> bool {
        match self.step {
            ApplyStep::ReserveCommand(_) => {
                !size.has(Fault::CommandsInOneWait) && !size.has(Fault::CommandsAfterCounter)
            }
            ApplyStep::LockAdvisory | ApplyStep::LockCounter | ApplyStep::LockOlderCounter => {
                self.is_ahead(size) && !size.has(Fault::LongWaitAhead)
            }
            _ => self.is_ahead(size),
        }
    }

    /// The moment is over.
    ///
    /// Code: `event-log/src/repair.rs` `reserve`
    pub fn give_up(&mut self) -> Applied {
        if matches!(self.step, ApplyStep::ReserveCommand(_)) {
            self.held = Locks::NONE;
            self.new = 0;
            self.step = ApplyStep::ReserveCommand(0);
            return Applied::On;
        }
        Applied::Again
    }

    /// Takes the next step; nobody else has what it needs.
    pub fn advance(&mut self, log: &mut Log, size: &Size) -> Applied {
        let wants = self.wants(size);
        let done = match self.step {
            ApplyStep::ReadCounter => {
                self.found.counter = log.counter;
                Applied::On
            }
            ApplyStep::ReadStream => self.read(log, size),
            ApplyStep::ReserveCommand(i) => self.reserve(i, log, size),
            ApplyStep::CheckUnchanged => self.check_unchanged(log, size),
            ApplyStep::WriteRow(i) => self.write_row(i, log, size),
            ApplyStep::RaiseVersion => self.raise_version(log, size),
            ApplyStep::ReadAfterwards => {
                self.left = log.rows;
                for (number, event) in self.plan.rows.iter() {
                    self.left.put(number, event);
                }
                Applied::On
            }
            ApplyStep::LockAdvisory | ApplyStep::LockOlderCounter => Applied::On,
            ApplyStep::LockCounter => self.compare(log, size),
            ApplyStep::Commit => self.commit(log, size),
        };
        if done == Applied::On {
            self.held = self.held.and(wants);
            self.step = self.next(size);
        }
        done
    }

    fn read(&mut self, log: &Log, size: &Size) -> Applied {
        self.found.rows = log.rows;
        self.found.batch_end = log.batch_end;
        self.found_version = log.version;
        if self.found == self.plan.seen || size.has(Fault::NoFingerprint) {
            return Applied::On;
        }
        if self.plan.is_done(log) {
            return Applied::Already;
        }
        Applied::Drift
    }

    fn reserve(&mut self, i: u8, log: &Log, size: &Size) -> Applied {
        let Some(event) = self.plan.command(i, size) else {
            return Applied::On;
        };
        if log.commands & (1 << event) == 0 {
            self.new |= 1 << event;
        } else if self.plan.appended & (1 << event) != 0 {
            return Applied::Drift;
        }
        Applied::On
    }

    fn check_unchanged(&self, log: &Log, size: &Size) -> Applied {
        if self.found.rows == log.rows || size.has(Fault::NoSecondLook) {
            return Applied::On;
        }
        Applied::Drift
    }

    fn write_row(&self, i: u8, log: &Log, size: &Size) -> Applied {
        let Some((number, event)) = self.plan.row(i) else {
            return Applied::On;
        };
        if log.rows.at(number).is_none() && log.rows.number_of(event).is_none() {
            return Applied::On;
        }
        if self.is_ahead(size) {
            return Applied::Again;
        }
        Applied::Refused
    }

    fn raise_version(&mut self, log: &Log, size: &Size) -> Applied {
        let written = self.plan.rows.count_from(1);
        if size.has(Fault::VersionReadBeforeLock) {
            self.version = (self.found_version + written, log.version);
            return Applied::On;
        }
        // What is appended is added to the version, which must be what it was.
        if self.plan.appended != 0 && log.version != self.found_version {
            return Applied::Drift;
        }
        let counted = log.rows.count_from(1) + log.older + written;
        self.version = (counted.max(log.version), log.version);
        Applied::On
    }

    fn compare(&self, log: &Log, size: &Size) -> Applied {
        let same = log.counter == self.found.counter && log.batch_end == self.found.batch_end;
        if same || size.has(Fault::NoCompareUnderLocks) {
            return Applied::On;
        }
        Applied::Drift
    }

    fn commit(&self, log: &mut Log, size: &Size) -> Applied {
        let truth = *log;
        let from = self.plan.from();
        if log.rows.count_from(from) != self.found.rows.count_from(from) && !size.has(Fault::NoCount) {
            return Applied::Refused;
        }
        let counter = self.plan.counter_after;
        if log.counter > Some(counter) && !size.has(Fault::SetsCounterAnyway) {
            return Applied::Refused;
        }
        let nothing = self.plan.rows == Rows::default() && self.plan.seen.counter == Some(counter);
        if nothing {
            return Applied::Already;
        }
        for (number, event) in self.plan.rows.iter() {
            log.rows.put(number, event);
        }
        if log.rows.head() > counter && !size.has(Fault::SetsCounterAnyway) {
            *log = truth;
            return Applied::Refused;
        }
        log.counter = Some(counter);
        log.commands |= self.new;
        if self.held.meets(Locks::VERSION) {
            log.version = self.version.0;
        }
        Applied::Done(Bundle {
            before: self.found,
            left: Seen {
                rows: self.left,
                counter: log.counter,
                batch_end: log.batch_end,
            },
            rows: self.plan.rows,
            commands: self.new,
            version_before: self.version.1,
            version_after: self.version.0,
            truth,
        })
    }

    /// Whether rows are written that others may wait for, before the stream is locked.
    pub fn has_written_ahead(&self, size: &Size) -> bool {
        self.is_ahead(size) && !matches!(self.step, ApplyStep::ReserveCommand(_)) && self.held != Locks::NONE
    }

    /// The step after this one, in the order of rows that are written ahead, or of a stream that is locked first.
    fn next(&self, size: &Size) -> ApplyStep {
        let reserve = |i: u8| self.plan.command(i, size).map(|_| ApplyStep::ReserveCommand(i));
        let write = |i: u8| self.plan.row(i).map(|_| ApplyStep::WriteRow(i));
        let ahead = self.is_ahead(size);
        let reserve_late = size.has(Fault::CommandsAfterCounter);
        let lock = if size.has(Fault::NoAdvisoryLock) {
            ApplyStep::LockCounter
        } else {
            ApplyStep::LockAdvisory
        };
        let reserved = if ahead || reserve_late {
            ApplyStep::CheckUnchanged
        } else {
            lock
        };
        let locked = match reserve(0) {
            _ if ahead => ApplyStep::Commit,
            Some(first) if reserve_late => first,
            _ => ApplyStep::CheckUnchanged,
        };
        match self.step {
            ApplyStep::ReadCounter => ApplyStep::ReadStream,
            ApplyStep::ReadStream if reserve_late => lock,
            ApplyStep::ReadStream => reserve(0).unwrap_or(reserved),
            ApplyStep::ReserveCommand(i) => reserve(i + 1).unwrap_or(reserved),
            ApplyStep::CheckUnchanged => write(0).unwrap_or(ApplyStep::ReadAfterwards),
            ApplyStep::WriteRow(i) => write(i + 1).unwrap_or(ApplyStep::RaiseVersion),
            ApplyStep::RaiseVersion => ApplyStep::ReadAfterwards,
            ApplyStep::ReadAfterwards if ahead => lock,
            ApplyStep::ReadAfterwards => ApplyStep::Commit,
            ApplyStep::LockAdvisory => ApplyStep::LockCounter,
            ApplyStep::LockCounter if size.older > 0 => ApplyStep::LockOlderCounter,
            ApplyStep::LockCounter | ApplyStep::LockOlderCounter => locked,
            ApplyStep::Commit => ApplyStep::Commit,
        }
    }
}
