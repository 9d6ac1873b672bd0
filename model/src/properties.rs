//! What must always hold, and what must be possible for that to mean anything.

use crate::log::Number;
use crate::protocol::Protocol;
use crate::waits::Waits;
use crate::world::{Job, Last, World};

/// A property.
pub struct Promise {
    /// What it says.
    pub name: &'static str,
    /// Whether a moment agrees with it.
    pub holds: fn(&Protocol, &World) -> bool,
    /// It holds at every moment; otherwise there is such a moment.
    pub always: bool,
}

const fn always(name: &'static str, holds: fn(&Protocol, &World) -> bool) -> Promise {
    Promise {
        name,
        holds,
        always: true,
    }
}

const fn sometimes(name: &'static str, holds: fn(&Protocol, &World) -> bool) -> Promise {
    Promise {
        name,
        holds,
        always: false,
    }
}

/// No number is given twice.
pub const NUMBERS_ONCE: &str = "no number is given to two events, and no event has two numbers";
/// Nothing is misplaced.
pub const IN_ITS_PLACE: &str = "an event in the log has the number that its agent has in writing";
/// The counter is high enough.
pub const COUNTER: &str =
    "while the sequencer runs, its counter is not below a number that anybody has in writing or the log has";
/// The counter is never lowered.
pub const NEVER_LOWERED: &str = "only an undo lowers a counter";
/// Rows stay.
pub const NOTHING_OVERWRITTEN: &str = "only an undo removes a row, and nothing replaces one";
/// Undo is exact.
pub const AS_BEFORE: &str = "an undo leaves the log as it was before the apply, or untouched";
/// Bookkeeping holds.
pub const BOOKKEEPING: &str = "versions count events, and each event's command is remembered";
/// Batches are of what is there.
pub const BATCHES: &str = "a batch is of the events that the log has";
/// No deadlock of a tool.
pub const NO_DEADLOCK: &str = "no tool is in a deadlock";
/// Somebody can go on.
pub const NOBODY_STUCK: &str = "where somebody waits, somebody can go on";

/// All of them.
pub static PROPERTIES: &[Promise] = &[
    always(NUMBERS_ONCE, numbers_once),
    always(IN_ITS_PLACE, in_its_place),
    always(COUNTER, counter_is_high_enough),
    always(NEVER_LOWERED, |_, world| !world.broken.lowered),
    always(NOTHING_OVERWRITTEN, |_, world| !world.broken.overwritten),
    always(AS_BEFORE, |_, world| !world.broken.not_as_before),
    always(BOOKKEEPING, bookkeeping),
    always(BATCHES, batches),
    always(NO_DEADLOCK, |model, world| {
        !Waits::of(world, &model.0).has_deadlock_of_a_tool()
    }),
    always(NOBODY_STUCK, |model, world| {
        !Waits::of(world, &model.0).is_stuck()
    }),
    sometimes("a plan is applied while a request is served", |_, world| {
        let served = world.requests.iter().any(Option::is_some);
        served && last(world, Last::Applied)
    }),
    sometimes("a plan is refused, since the stream has moved", |_, world| {
        last(world, Last::Drift)
    }),
    sometimes("a plan was applied before", |_, world| last(world, Last::Already)),
    sometimes("an apply is taken back", |_, world| last(world, Last::Undone)),
    sometimes("an undo is refused", |_, world| last(world, Last::UndoRefused)),
    sometimes("an apply begins again, alone", |_, world| {
        let again = |job: &Job| matches!(job, Job::Applying(apply) if apply.attempt > 1);
        world.tools.iter().any(|tool| again(&tool.job))
    }),
    sometimes("a tool ends a circle of waits by itself", |model, world| {
        Waits::of(world, &model.0).has_short_circle()
    }),
    sometimes(
        "two requests of the sequencer are in a deadlock",
        |model, world| Waits::of(world, &model.0).has_deadlock(),
    ),
    sometimes(
        "every event has its number in writing and stands there",
        |model, world| {
            (0..model.0.events()).all(|event| {
                let written = world.written[usize::from(event)];
                written.is_some() && world.log.rows.number_of(event) == written
            })
        },
    ),
];

fn last(world: &World, last: Last) -> bool {
    world.tools.iter().any(|tool| tool.last == last)
}

fn numbers_once(_: &Protocol, world: &World) -> bool {
    let mut known: [Option<u8>; 32] = [None; 32];
    let mut agrees = |number: Number, event: u8| {
        let there = known[usize::from(number)].replace(event);
        there.is_none_or(|there| there == event)
    };
    let rows = world.log.rows;
    let in_rows = rows.iter().all(|(number, event)| agrees(number, event));
    let in_writing = (0..)
        .zip(world.written)
        .all(|(event, number)| number.is_none_or(|number| agrees(number, event)));
    let once = rows
        .iter()
        .all(|(number, event)| rows.number_of(event) == Some(number));
    in_rows && in_writing && once && !world.broken.two_answers
}

fn in_its_place(_: &Protocol, world: &World) -> bool {
    world.log.rows.iter().all(|(number, event)| {
        let written = world.written[usize::from(event)];
        written.is_none_or(|written| written == number)
    })
}

fn counter_is_high_enough(_: &Protocol, world: &World) -> bool {
    let written = world.written.iter().flatten().copied().max().unwrap_or(0);
    let known = written.max(world.log.rows.head());
    !world.runs || world.log.counter.unwrap_or(0) >= known
}

fn bookkeeping(model: &Protocol, world: &World) -> bool {
    let log = &world.log;
    let remembered = (0..model.0.events()).all(|event| {
        let there = log.rows.number_of(event).is_some() && model.0.has_command(event);
        there == (log.commands & (1 << event) != 0)
    });
    remembered && log.version == log.rows.count_from(1) + log.older
}

fn batches(_: &Protocol, world: &World) -> bool {
    let filled = |number| world.log.rows.at(number).is_some();
    (1..=world.log.batch_end).all(filled) && !world.broken.untrue_batch
}
