//! A request to the sequencer: one transaction, from the events that came in to the answer that goes out.

use crate::locks::Locks;
use crate::log::{Event, Log, Number};
use crate::size::Size;

/// The most events of one request.
const MOST: usize = 2;

/// A step of a request, as the sequencer's double has it. The index is that of an event of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IngestStep {
    /// Looks whether the event is in the log already: then it is answered with its receipt. No lock.
    ///
    /// Code: `chaos/src/double/ingest.rs` `without_replays` `replay`
    LookUp(u8),
    /// Inserts the event's command; who has inserted the same and not ended is waited for. One that is remembered makes the
    /// event a replay, or a duplicate command. In no fixed order.
    ///
    /// Code: `chaos/src/double/ingest.rs` `reserve_commands` `replay`
    ReserveCommand(u8),
    /// Makes the counter's row if there is none, and reads it FOR UPDATE.
    ///
    /// Code: `chaos/src/double/ingest.rs` `lock_counter`
    LockCounter,
    /// Reads the entity's version FOR UPDATE, for an event that expects one.
    ///
    /// Code: `chaos/src/double/ingest.rs` `version_conflict`
    LockVersion(u8),
    /// Inserts the event under the next number, with its receipt. Who is inserting the same event, or another under the
    /// number, is waited for; a number that is taken ends the request.
    ///
    /// Code: `chaos/src/double/ingest.rs` `number` `insert` `receipt`
    StoreEvent(u8),
    /// Raises the entity's version.
    ///
    /// Code: `chaos/src/double/ingest.rs` `bump_version`
    RaiseVersion(u8),
    /// Raises the counter, commits and answers.
    ///
    /// Code: `chaos/src/double/ingest.rs` `ingest`
    Commit,
}

/// What becomes of an event of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fate {
    /// There is no such event in the request.
    Absent,
    /// Nobody has looked yet.
    Unknown,
    /// It gets a number.
    Pending,
    /// It has a number: its receipt is the answer.
    Replayed(Number),
    /// It is a duplicate command of something that is not there.
    Rejected,
    /// It got a number in this transaction.
    Numbered(Number),
}

/// A request that is being served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ingest {
    /// Who sent it.
    pub agent: u8,
    events: [Event; MOST],
    fates: [Fate; MOST],
    /// Commands are reserved from the last event to the first.
    pub reversed: bool,
    /// What it does next.
    pub step: IngestStep,
    /// What it holds.
    pub held: Locks,
    reserved: u8,
    head: Number,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// It goes on.
    On,
    /// It ended with an error, and nothing was written.
    Failed,
    /// It was committed.
    Done,
}

impl Ingest {
    /// A request with one or two events.
    pub fn new(agent: u8, events: &[Event], reversed: bool) -> Self {
        let (mut list, mut fates) = ([0; MOST], [Fate::Absent; MOST]);
        for (place, event) in events.iter().enumerate() {
            list[place] = *event;
            fates[place] = Fate::Unknown;
        }
        Self {
            agent,
            events: list,
            fates,
            reversed,
            step: IngestStep::LookUp(0),
            held: Locks::NONE,
            reserved: 0,
            head: 0,
        }
    }

    /// Its events, with what becomes of them.
    pub fn events(&self) -> impl Iterator<Item = (Event, Fate)> + '_ {
        let all = self.events.iter().copied().zip(self.fates);
        all.filter(|(_, fate)| *fate != Fate::Absent)
    }

    /// The receipts of its answer.
    pub fn receipts(&self) -> impl Iterator<Item = (Event, Number)> + '_ {
        self.events().filter_map(|(event, fate)| match fate {
            Fate::Replayed(number) | Fate::Numbered(number) => Some((event, number)),
            _ => None,
        })
    }

    /// Whether it holds the counter.
    pub fn numbers(&self) -> bool {
        self.held.meets(Locks::COUNTER)
    }

    /// What the next step needs, and waits for if another has it.
    pub fn wants(&self) -> Locks {
        let event = |i: u8| self.events[usize::from(i)];
        match self.step {
            IngestStep::LookUp(_) | IngestStep::Commit => Locks::NONE,
            IngestStep::ReserveCommand(i) => Locks::command(event(i)),
            IngestStep::LockCounter => Locks::COUNTER,
            IngestStep::LockVersion(_) | IngestStep::RaiseVersion(_) => Locks::VERSION,
            IngestStep::StoreEvent(i) => Locks::event(event(i)).and(Locks::number(self.head + 1)),
        }
    }

    /// Takes the next step; nobody else has what it needs.
    pub fn advance(&mut self, log: &mut Log, size: &Size) -> Served {
        let wants = self.wants();
        match self.step {
            IngestStep::LookUp(i) => {
                let i = usize::from(i);
                let there = log.rows.number_of(self.events[i]);
                self.fates[i] = there.map_or(Fate::Pending, Fate::Replayed);
            }
            IngestStep::ReserveCommand(i) => self.reserve(usize::from(i), log),
            IngestStep::LockCounter => {
                self.held = self.held.and(wants);
                self.head = log.counter.unwrap_or(0);
            }
            IngestStep::LockVersion(_) | IngestStep::RaiseVersion(_) => self.held = self.held.and(wants),
            IngestStep::StoreEvent(i) => {
                if !self.store(usize::from(i), log) {
                    return Served::Failed;
                }
            }
            IngestStep::Commit => {
                self.commit(log);
                return Served::Done;
            }
        }
        self.step = self.next(size);
        Served::On
    }

    fn reserve(&mut self, i: usize, log: &Log) {
        let event = self.events[i];
        if log.commands & (1 << event) == 0 {
            self.held = self.held.and(Locks::command(event));
            self.reserved |= 1 << event;
            return;
        }
        let there = log.rows.number_of(event);
        self.fates[i] = there.map_or(Fate::Rejected, Fate::Replayed);
    }

    /// Says whether the request goes on.
    fn store(&mut self, i: usize, log: &Log) -> bool {
        let (event, number) = (self.events[i], self.head + 1);
        if let Some(there) = log.rows.number_of(event) {
            self.fates[i] = Fate::Replayed(there);
            return true;
        }
        if log.rows.at(number).is_some() {
            return false;
        }
        self.held = self.held.and(Locks::event(event)).and(Locks::number(number));
        self.fates[i] = Fate::Numbered(number);
        self.head = number;
        true
    }

    fn commit(&mut self, log: &mut Log) {
        for (event, fate) in self.events() {
            if let Fate::Numbered(number) = fate {
                log.rows.put(number, event);
                log.counter = Some(number);
                log.version += 1;
            }
        }
        if self.numbers() {
            // Taking the lock made the row.
            log.counter = log.counter.or(Some(0));
        }
        log.commands |= self.reserved;
    }

    /// The step after this one: what has nothing to do is passed over.
    fn next(&self, size: &Size) -> IngestStep {
        let pending = |i: &u8| self.fates[usize::from(*i)] == Fate::Pending;
        let most = MOST as u8;
        if let IngestStep::LookUp(i) = self.step
            && let Some(i) = (i + 1..most).find(|i| self.fates[usize::from(*i)] == Fate::Unknown)
        {
            return IngestStep::LookUp(i);
        }
        let command = |i: &u8| {
            let event = self.events[usize::from(*i)];
            size.has_command(event) && pending(i) && self.reserved & (1 << event) == 0
        };
        if !self.numbers() {
            let reserve = if self.reversed {
                (0..most).rev().find(command)
            } else {
                (0..most).find(command)
            };
            if let Some(i) = reserve {
                return IngestStep::ReserveCommand(i);
            }
            if (0..most).any(|i| pending(&i)) {
                return IngestStep::LockCounter;
            }
            return IngestStep::Commit;
        }
        let version = self.held.meets(Locks::VERSION);
        match self.step {
            IngestStep::LockVersion(i) => return IngestStep::StoreEvent(i),
            IngestStep::StoreEvent(i) if !version && !pending(&i) && self.stored(i) => {
                return IngestStep::RaiseVersion(i);
            }
            _ => {}
        }
        match (0..most).find(pending) {
            Some(i) if size.base_versions && !version => IngestStep::LockVersion(i),
            Some(i) => IngestStep::StoreEvent(i),
            None => IngestStep::Commit,
        }
    }

    fn stored(&self, i: u8) -> bool {
        matches!(self.fates[usize::from(i)], Fate::Numbered(_))
    }
}
