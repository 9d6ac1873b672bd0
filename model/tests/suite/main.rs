//! The model, looked through to its end at sizes that fit into a test; its faults, each of which it finds; and the code that
//! it is of.

#![allow(clippy::unwrap_used)]

mod code;
mod docs;
mod faults;
mod worlds;

use std::collections::BTreeSet;

use protocol_model::log::Rows;
use protocol_model::properties::PROPERTIES;
use protocol_model::protocol::Protocol;
use protocol_model::size::Size;
use stateright::{Checker, Model};

/// What came of a world: which properties do not hold, and what never happens in it.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    broken: BTreeSet<&'static str>,
    never: BTreeSet<&'static str>,
}

/// Looks through all of a world. At least one property must hold, or it would be left early.
fn look_through(name: &str, size: Size) -> Outcome {
    let checker = Protocol(size).checker().spawn_bfs().join();
    let found = checker.discoveries();
    let (mut broken, mut never) = (BTreeSet::new(), BTreeSet::new());
    for promise in PROPERTIES {
        match (promise.always, found.contains_key(promise.name)) {
            (true, true) => drop(broken.insert(promise.name)),
            (false, false) => drop(never.insert(promise.name)),
            _ => {}
        }
    }
    println!(
        "{name}: {} states, {} deep",
        checker.unique_state_count(),
        checker.max_depth()
    );
    Outcome { broken, never }
}

#[test]
fn rows_are_found_by_number_and_by_event() {
    let mut rows = Rows::default();
    assert_eq!(
        (rows.head(), rows.at(0), rows.at(1), rows.at(200)),
        (0, None, None, None)
    );
    rows.put(2, 0);
    rows.put(5, 3);
    assert_eq!(rows.iter().collect::<Vec<_>>(), [(2, 0), (5, 3)]);
    assert_eq!(
        (rows.at(2), rows.number_of(3), rows.number_of(1)),
        (Some(0), Some(5), None)
    );
    assert_eq!((rows.count_from(2), rows.count_from(3), rows.head()), (2, 1, 5));
    rows.take(5);
    assert_eq!((rows.at(5), rows.head()), (None, 2));
}
