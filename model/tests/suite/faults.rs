//! Faults that the code could have: each is found, so the model looks where they would be. And guards of which each has
//! another behind it.

use std::collections::BTreeSet;

use protocol_model::fault::Fault;
use protocol_model::properties::{
    AS_BEFORE, BATCHES, BOOKKEEPING, COUNTER, IN_ITS_PLACE, NEVER_LOWERED, NO_DEADLOCK, NUMBERS_ONCE,
};
use protocol_model::protocol::Protocol;
use protocol_model::size::{Operator, Size};
use protocol_model::story::story;
use stateright::{Checker, HasDiscoveries, Model};

use crate::look_through;
use crate::worlds::under_traffic;

fn with(size: Size, faults: &[Fault]) -> Size {
    Size {
        faults: faults.iter().copied().collect(),
        symmetry: false,
        ..size
    }
}

/// The steps that lead to where a property is broken.
fn steps(size: Size, property: &'static str) -> String {
    let only = HasDiscoveries::AnyOf([property].into());
    let checker = Protocol(size).checker().finish_when(only).spawn_bfs().join();
    let path = checker.discovery(property);
    let path = path.unwrap_or_else(|| panic!("not found: {property}"));
    let told = story(&size, path.into_vec()).join("\n");
    println!("{property}: broken so\n{told}\n");
    told
}

/// The steps that must be told, in their order.
fn assert_told(told: &str, steps: &[&str]) {
    let mut rest = told;
    for step in steps {
        let at = rest.find(step);
        let at = at.unwrap_or_else(|| panic!("no '{step}' in\n{rest}"));
        rest = &rest[at + step.len()..];
    }
}

/// Everything that `apply` looks at to see whether the stream has moved.
const LOOKS: [Fault; 4] = [
    Fault::NoFingerprint,
    Fault::NoSecondLook,
    Fault::NoCompareUnderLocks,
    Fault::NoCount,
];

#[test]
fn the_counter_read_before_its_lock() {
    let faults = [
        Fault::NoCompareUnderLocks,
        Fault::NoCount,
        Fault::SetsCounterAnyway,
    ];
    let told = steps(with(under_traffic(), &faults), COUNTER);
    let steps = [
        "the tool: reads the counter",
        "commits",
        "the tool: locks the counter",
        "and commits",
    ];
    assert_told(&told, &steps);
}

#[test]
fn an_apply_that_does_not_look_whether_the_stream_moved() {
    let mut faults = LOOKS.to_vec();
    faults.push(Fault::SetsCounterAnyway);
    steps(with(under_traffic(), &faults), NEVER_LOWERED);
}

#[test]
fn a_counter_that_is_set_and_not_raised() {
    let told = steps(with(under_traffic(), &[Fault::CounterSetNotRaised]), COUNTER);
    assert_told(
        &told,
        &[
            "begins to raise the counter",
            "gets 2",
            "commits the counter, whose floor is 1",
        ],
    );
}

#[test]
fn a_floor_of_the_rows_alone() {
    let size = Size {
        append: true,
        ..under_traffic()
    };
    steps(with(size, &[Fault::FloorOfRowsAlone]), NUMBERS_ONCE);
}

#[test]
fn an_event_at_the_next_free_number() {
    steps(with(under_traffic(), &[Fault::PlacedAtNextFree]), IN_ITS_PLACE);
}

#[test]
fn locks_in_another_order() {
    let size = Size {
        append: true,
        ..under_traffic()
    };
    let told = steps(with(size, &[Fault::CommandsAfterCounter]), NO_DEADLOCK);
    assert!(told.contains("the tool: locks the counter"), "{told}");
    steps(with(size, &[Fault::CommandsInOneWait]), NO_DEADLOCK);
    let told = steps(with(under_traffic(), &[Fault::LongWaitAhead]), NO_DEADLOCK);
    assert_told(
        &told,
        &[
            "the tool: raises the version",
            "the tool: takes the advisory lock",
        ],
    );
}

#[test]
fn an_undo_that_does_not_compare() {
    let told = steps(with(under_traffic(), &[Fault::UndoBlind]), AS_BEFORE);
    let steps = [
        "and commits",
        "gets 3",
        "the sequencer is stopped",
        "the tool: commits the undo",
    ];
    assert_told(&told, &steps);
}

#[test]
fn an_undo_that_does_not_look_for_a_sequencer() {
    let size = Size {
        operator: Operator::UndoesAnyTime,
        ..under_traffic()
    };
    steps(with(size, &[Fault::UndoWithoutSigns]), COUNTER);
}

/// What no look can prevent: the sequencer comes after the last of them. So the documentation forbids it.
#[test]
fn a_sequencer_that_is_started_while_an_apply_is_taken_back() {
    let size = Size {
        operator: Operator::StartsDuringUndo,
        ..under_traffic()
    };
    let told = steps(with(size, &[]), COUNTER);
    let steps = [
        "looks for sessions of a sequencer again",
        "the sequencer is started",
        "commits the undo",
    ];
    assert_told(&told, &steps);
}

/// Where an undo does not see the sequencer, the advisory lock is what keeps it from under a batch.
#[test]
fn tools_that_do_not_take_the_advisory_lock() {
    let size = Size {
        operator: Operator::UndoesAnyTime,
        agents: 1,
        batches: 1,
        ..under_traffic()
    };
    steps(
        with(size, &[Fault::UndoWithoutSigns, Fault::NoAdvisoryLock]),
        BATCHES,
    );
    let locked = with(size, &[Fault::UndoWithoutSigns]);
    assert!(!look_through("advisory lock", locked).broken.contains(BATCHES));
}

#[test]
fn a_version_that_is_read_before_its_lock() {
    let size = Size {
        agents: 1,
        older: 1,
        ..under_traffic()
    };
    steps(with(size, &[Fault::VersionReadBeforeLock]), BOOKKEEPING);
}

/// All looks of `apply` together can be missing, or that it never lowers a counter: then the others are left, and last the
/// table's unique keys.
#[test]
fn the_guards_of_apply_have_others_behind_them() {
    for faults in [&LOOKS[..], &[Fault::SetsCounterAnyway]] {
        let size = Size {
            faults: faults.iter().copied().collect(),
            ..under_traffic()
        };
        let outcome = look_through(&format!("{faults:?}"), size);
        assert_eq!(outcome.broken, BTreeSet::new(), "{faults:?}");
    }
}
