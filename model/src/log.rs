//! The log of one stream, as far as it is committed.

/// An event, by its place among all events of the world.
pub type Event = u8;

/// A number of the stream; the first is 1.
pub type Number = u8;

/// So many events there are at most.
pub const EVENTS: usize = 6;

/// The highest number that the model has room for.
pub const NUMBERS: Number = 15;

/// Which event stands at which number: four bits for each number, 0 for an empty one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Rows(u64);

impl Rows {
    /// The event at a number.
    pub fn at(&self, number: Number) -> Option<Event> {
        if number > NUMBERS {
            return None;
        }
        ((self.0 >> (4 * number)) as u8 & 0xf).checked_sub(1)
    }

    /// Puts an event at a number.
    ///
    /// # Panics
    /// If the model has no room for the number: then its size was chosen wrongly.
    pub fn put(&mut self, number: Number, event: Event) {
        assert!((1..=NUMBERS).contains(&number), "no room for number {number}");
        self.take(number);
        self.0 |= u64::from(event + 1) << (4 * number);
    }

    /// Takes out what stands at a number.
    pub fn take(&mut self, number: Number) {
        self.0 &= !(0xf << (4 * number));
    }

    /// The number of an event.
    pub fn number_of(&self, event: Event) -> Option<Number> {
        self.iter()
            .find(|(_, there)| *there == event)
            .map(|(number, _)| number)
    }

    /// All that is there, by number.
    pub fn iter(&self) -> impl Iterator<Item = (Number, Event)> + '_ {
        (1..=NUMBERS).filter_map(|number| Some((number, self.at(number)?)))
    }

    /// How many events there are from a number on.
    pub fn count_from(&self, from: Number) -> u8 {
        self.iter().map(|(number, _)| u8::from(number >= from)).sum()
    }

    /// The highest number that is filled; 0 if there is none.
    pub fn head(&self) -> Number {
        self.iter().map(|(number, _)| number).max().unwrap_or(0)
    }
}

/// What is committed of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Log {
    /// Events, each with its receipt.
    pub rows: Rows,
    /// The last number given out; `None` if the counter has no row.
    pub counter: Option<Number>,
    /// The commands that are remembered: one bit for the event of each.
    pub commands: u8,
    /// The version of the one entity that all events are about.
    pub version: u8,
    /// Events of the older log, which are about the same entity.
    pub older: u8,
    /// The last number of the last batch that was committed; 0 if there is none.
    pub batch_end: Number,
}

impl Log {
    /// What a fingerprint binds: events with their receipts, the counter, the batches.
    pub fn seen(&self) -> Seen {
        Seen {
            rows: self.rows,
            counter: self.counter,
            batch_end: self.batch_end,
        }
    }
}

/// A log as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Seen {
    /// See [`Log::rows`].
    pub rows: Rows,
    /// See [`Log::counter`].
    pub counter: Option<Number>,
    /// See [`Log::batch_end`].
    pub batch_end: Number,
}
