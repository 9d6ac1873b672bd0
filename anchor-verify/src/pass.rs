//! A pass over a log: its events, each judged by itself on any thread, in their order. `verify` folds them into batches and the
//! audit of `sequencer-recovery` into streams; what is said of an event is the same.

use event_log::{Checker, LogEntry, RowError};

use crate::rules::EventVerdict;
use crate::verify::source::Chunk;

/// Events in their order, with what is to be said of each, and rows that cannot be read.
pub type JudgedEvents<T> = Vec<Result<(T, EventVerdict), RowError>>;

/// Judges the events of a chunk, and keeps of each what the fold needs.
pub fn judge<T>(chunk: Chunk, checker: &Checker, keep: impl Fn(LogEntry) -> T) -> JudgedEvents<T> {
    fn all<R, T>(
        rows: Vec<Result<R, RowError>>,
        checker: &Checker,
        entry: fn(&R) -> &LogEntry,
        taken: impl Fn(R) -> (LogEntry, bool),
        keep: impl Fn(LogEntry) -> T,
    ) -> JudgedEvents<T> {
        let mut checks = checker.check(&rows, entry).into_iter();
        let judged = |row: Result<R, RowError>| {
            row.map(|row| {
                let check = checks.next().expect("one check for each entry");
                let (entry, redacted) = taken(row);
                let verdict = EventVerdict::of(&entry, redacted, check);
                (keep(entry), verdict)
            })
        };
        rows.into_iter().map(judged).collect()
    }
    let whole = |entry| (entry, false);
    match chunk {
        Chunk::Raw(rows) => all(rows.read(), checker, |entry| entry, whole, keep),
        Chunk::Kept(rows) => all(rows.read(), checker, |entry| entry, whole, keep),
        Chunk::Read(rows) => all(
            rows,
            checker,
            |held| &held.entry,
            |held| (held.entry, held.redacted),
            keep,
        ),
    }
}
