//! Faults that the code could have. Each is found by the model, which shows that it looks where they would be.

/// A guard of the code that is left out, or an order that is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub enum Fault {
    /// `apply` locks the counter first and reserves commands after it, as long as that takes.
    CommandsAfterCounter,
    /// `apply` waits for a command as long as it may, with the ones before it in hand.
    CommandsInOneWait,
    /// `apply` waits for the stream's locks as long as it may, although rows are written already.
    LongWaitAhead,
    /// `apply` does not compare the stream with the plan's fingerprint.
    NoFingerprint,
    /// `apply` does not look at the stream again before it writes.
    NoSecondLook,
    /// `apply` does not compare counter and batches under the locks with what it read before them.
    NoCompareUnderLocks,
    /// `apply` does not count the stream's events before it commits.
    NoCount,
    /// `apply` sets the counter to the plan's, also if that lowers it.
    SetsCounterAnyway,
    /// `counters --raise` sets a counter to its floor, also if it is above.
    CounterSetNotRaised,
    /// The floor is the highest number in the rows.
    FloorOfRowsAlone,
    /// A plan puts an event that has a number in writing at the next free number.
    PlacedAtNextFree,
    /// `undo` takes back what its bundle says without comparing.
    UndoBlind,
    /// `undo` does not look for the sequencer's sessions.
    UndoWithoutSigns,
    /// The tools do not take the advisory lock of the stream's batches.
    NoAdvisoryLock,
    /// `apply` adds what it writes to the version that it read before it held the version's row.
    VersionReadBeforeLock,
}

/// Faults that are there together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults(u32);

impl Faults {
    /// Whether it is among them.
    pub fn has(self, fault: Fault) -> bool {
        self.0 & (1 << fault as u32) != 0
    }
}

impl FromIterator<Fault> for Faults {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        Self(faults.into_iter().fold(0, |all, fault| all | (1 << fault as u32)))
    }
}
