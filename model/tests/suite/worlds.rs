//! Worlds without a fault: everything that must hold holds, and what does not happen in one of them happens in another.

use std::collections::BTreeSet;

use protocol_model::properties::PROPERTIES;
use protocol_model::size::{Commands, Operator, Size};

use crate::look_through;

const APPLIED_BESIDE: &str = "a plan is applied while a request is served";
const UNDONE: &str = "an apply is taken back";
const NO_UNDO: &str = "an undo is refused";
const ALL_IN_WRITING: &str = "every event has its number in writing and stands there";
const AMONG_THEMSELVES: &str = "two requests of the sequencer are in a deadlock";

/// Looks through a world in which all holds and nothing but this never happens.
fn holds(name: &str, size: Size, never: &[&str]) {
    let outcome = look_through(name, size);
    assert_eq!(outcome.broken, BTreeSet::new(), "{name}");
    assert_eq!(outcome.never, never.iter().copied().collect(), "{name}");
    let known = |name: &&str| PROPERTIES.iter().any(|promise| promise.name == *name);
    assert!(never.iter().all(known));
}

/// Two agents, two requests at once, one tool.
pub(crate) fn under_traffic() -> Size {
    Size {
        append: false,
        ..Size::default()
    }
}

#[test]
fn a_repair_beside_requests() {
    holds("beside requests", under_traffic(), &[AMONG_THEMSELVES]);
}

#[test]
fn a_repair_that_gives_out_numbers_itself() {
    let size = Size {
        append: true,
        ..under_traffic()
    };
    holds("appends", size, &[AMONG_THEMSELVES]);
}

#[test]
fn answers_that_are_lost_and_events_that_are_pushed_again() {
    let size = Size {
        requests: 1,
        pushes: 2,
        crashes: false,
        ..Size::default()
    };
    holds("lost answers", size, &[AMONG_THEMSELVES]);
}

/// The same request twice at once: the sequencer is in a deadlock with itself, and the tool never in it.
#[test]
fn equal_requests_at_once() {
    let size = Size {
        agents: 1,
        pushes: 3,
        append: false,
        ..Size::default()
    };
    holds("equal requests", size, &[]);
}

/// Without commands a request meets what was written ahead at the events themselves, with the counter in hand.
#[test]
fn events_without_commands_that_expect_versions() {
    let size = Size {
        commands: Commands::None,
        base_versions: true,
        runs: 3,
        ..under_traffic()
    };
    holds("no commands", size, &[AMONG_THEMSELVES]);
}

#[test]
fn batches_and_the_older_log() {
    let size = Size {
        agents: 1,
        batches: 1,
        older: 1,
        ..under_traffic()
    };
    holds("batches and the older log", size, &[AMONG_THEMSELVES]);
}

/// Two operators who do not know of each other.
#[test]
fn a_second_repair_at_the_same_time() {
    let size = Size {
        requests: 1,
        tools: 2,
        runs: 1,
        ..under_traffic()
    };
    let never = [UNDONE, NO_UNDO, AMONG_THEMSELVES];
    holds("two tools", size, &never);
}

/// Undo beside a second repair, without a sequencer: it is refused where the other repair has added something.
#[test]
fn two_operators_at_rest() {
    let size = Size {
        requests: 0,
        starts: 0,
        tools: 2,
        runs: 2,
        crashes: false,
        ..Size::default()
    };
    let never = [APPLIED_BESIDE, ALL_IN_WRITING, AMONG_THEMSELVES];
    holds("at rest", size, &never);
}

/// An undo that is begun beside a running sequencer sees it and changes nothing.
#[test]
fn an_undo_that_is_forbidden_is_refused() {
    let size = Size {
        operator: Operator::UndoesAnyTime,
        ..under_traffic()
    };
    holds("undo at any time", size, &[AMONG_THEMSELVES]);
}
