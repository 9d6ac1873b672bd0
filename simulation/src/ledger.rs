//! Who was promised which number: the arbiter, who saw everything.

use std::collections::{BTreeMap, BTreeSet};

use fixtures::World;
use ves::{EventId, StreamKey};

/// All promises ever made. A sequencer that was rewound makes some twice, so a number can have several events and an event
/// several numbers.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    given: BTreeMap<(StreamKey, u64), BTreeSet<EventId>>,
    numbers: BTreeMap<EventId, BTreeSet<(StreamKey, u64)>>,
    made: BTreeMap<EventId, StreamKey>,
}

impl Ledger {
    /// The promises of a world: those of its log, and those of the sequencer that ran on after it was rewound.
    pub fn of(world: &World) -> Self {
        let mut ledger = Self::default();
        for log in [world.log(), world.recovered()] {
            for logged in log.events() {
                ledger.promise(logged.event.event_id, logged.event.stream, logged.number);
            }
        }
        for outbox in world.outboxes() {
            for row in &outbox.rows {
                ledger.made.insert(row.event.event_id, row.event.stream);
            }
        }
        ledger
    }

    /// Notes a promise.
    pub fn promise(&mut self, event: EventId, stream: StreamKey, number: u64) {
        self.given.entry((stream, number)).or_default().insert(event);
        self.numbers.entry(event).or_default().insert((stream, number));
        self.made.insert(event, stream);
    }

    /// Whether the event was promised the number.
    pub fn was(&self, event: EventId, stream: StreamKey, number: u64) -> bool {
        self.numbers
            .get(&event)
            .is_some_and(|places| places.contains(&(stream, number)))
    }

    /// Whether an agent of this stream made the event.
    pub fn made(&self, event: EventId, stream: StreamKey) -> bool {
        self.made.get(&event) == Some(&stream)
    }

    /// The events that were promised a number.
    pub fn promised(&self, stream: StreamKey, number: u64) -> Option<&BTreeSet<EventId>> {
        self.given.get(&(stream, number))
    }
}
