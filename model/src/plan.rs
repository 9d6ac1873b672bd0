//! What a plan says, and what an apply leaves so that it can be taken back.

use crate::fault::Fault;
use crate::log::{Event, Log, Number, Rows, Seen};
use crate::size::Size;

/// Which number each event has in writing with its agent.
pub type Written = [Option<Number>; crate::log::EVENTS];

/// A plan for the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Plan {
    /// The log that it was made for: its fingerprint.
    pub seen: Seen,
    /// What is to be written.
    pub rows: Rows,
    /// Which of these events were never sequenced: one bit for each.
    pub appended: u8,
    /// The counter afterwards.
    pub counter_after: Number,
    /// It was applied, or an apply of it was begun.
    pub used: bool,
}

/// The highest number that was ever given out, as far as the log and the agents know.
///
/// Code: `sequencer-recovery/src/floor.rs` `choose`
pub fn floor(seen: &Seen, written: &Written, size: &Size) -> Number {
    let promised = written.iter().flatten().copied();
    let rows = seen.rows.head();
    if size.has(Fault::FloorOfRowsAlone) {
        return rows;
    }
    promised.max().unwrap_or(0).max(rows)
}

impl Plan {
    /// Plans from a log that was seen and what agents have in writing now: events that have a number and are missing go
    /// back to it, and those that have none get the next ones after the floor, if that is wanted (`append`).
    ///
    /// Code: `sequencer-recovery/src/plan/stream_plan.rs` `of`
    /// Code: `sequencer-recovery/src/plan/append.rs` `appending`
    pub fn of(seen: &Seen, written: &Written, append: bool, size: &Size) -> Self {
        let floor = floor(seen, written, size);
        let mut rows = Rows::default();
        let events = 0..size.events();
        for event in events.clone() {
            let Some(mut number) = written[usize::from(event)] else {
                continue;
            };
            if seen.rows.number_of(event).is_some() {
                continue;
            }
            if size.has(Fault::PlacedAtNextFree) {
                let free = |n: &Number| seen.rows.at(*n).is_none() && rows.at(*n).is_none();
                number = (1..).find(free).unwrap_or(number);
            }
            if seen.rows.at(number).is_none() {
                rows.put(number, event);
            }
        }
        let mut counter_after = floor.max(seen.counter.unwrap_or(0));
        let mut appended = 0;
        for event in events {
            let waits = written[usize::from(event)].is_none() && seen.rows.number_of(event).is_none();
            if append && waits {
                counter_after += 1;
                rows.put(counter_after, event);
                appended |= 1 << event;
            }
        }
        Self {
            seen: *seen,
            rows,
            appended,
            counter_after,
            used: false,
        }
    }

    /// The rows in the order in which they are written.
    pub fn row(&self, i: u8) -> Option<(Number, Event)> {
        self.rows.iter().nth(usize::from(i))
    }

    /// The events that have a command, in the order in which commands are reserved.
    pub fn command(&self, i: u8, size: &Size) -> Option<Event> {
        let mut events: Vec<Event> = self.rows.iter().map(|(_, event)| event).collect();
        events.sort_unstable();
        let mut with = events.into_iter().filter(|event| size.has_command(*event));
        with.nth(usize::from(i))
    }

    /// Whether all that it wants is there already.
    pub fn is_done(&self, log: &Log) -> bool {
        log.counter >= Some(self.counter_after)
            && self
                .rows
                .iter()
                .all(|(number, event)| log.rows.at(number) == Some(event))
    }

    /// The first number that changes.
    pub fn from(&self) -> Number {
        self.row(0).map_or(Number::MAX, |(number, _)| number)
    }
}

/// What `apply --undo` has written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bundle {
    /// The log as the apply found it.
    pub before: Seen,
    /// The log as it left it.
    pub left: Seen,
    /// What it wrote.
    pub rows: Rows,
    /// The commands that it made the log remember.
    pub commands: u8,
    /// The entity's version before.
    pub version_before: u8,
    /// The entity's version after.
    pub version_after: u8,
    /// All of the log just before the commit: what no bundle has, to hold the outcome of an undo against.
    pub truth: Log,
}
