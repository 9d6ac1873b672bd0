#![allow(
    clippy::redundant_closure,
    reason = "a function alone is not general enough over the lifetime of what it writes to"
)]

use std::sync::Arc;

use cli_common::Next;
use outbox_sync::reconcile::{Action, Change, CursorChange, RowState, StillOpen};
use outbox_sync::{RowPlace, Shape, Table as RowTable};

use super::super::tests::{COUNTS, event, is_bad, path, place, provenance, stream, texts};
use super::report::print_table;
use super::*;

fn done(n: usize, applied: bool) -> Done {
    let state = |status: &str, sequence| RowState {
        status: status.into(),
        sequence,
    };
    let file: Arc<Path> = Path::new(&path(n)).into();
    let change = |row: usize| Change {
        action: if row.is_multiple_of(2) {
            Action::MarkPending
        } else {
            Action::CorrectNumber
        },
        place: RowPlace {
            file: Arc::clone(&file),
            table: RowTable::Outbox,
            row: row as i64,
        },
        event_id: event(100 * n + row),
        from: state("synced", Some(170)),
        to: Some(match row.is_multiple_of(2) {
            true => state("pending", None),
            false => state("synced", Some(171)),
        }),
        why: match row.is_multiple_of(2) {
            true => "the log does not have it".into(),
            false => "the log has it at that number".into(),
        },
    };
    let changes = if n.is_multiple_of(2) { 12 } else { 0 };
    Done {
        plan: Reconciliation {
            path: path(n).into(),
            shape: Shape::V3,
            changes: (0..changes).map(change).collect(),
            cursors: (changes > 0)
                .then(|| CursorChange {
                    key: "last_pulled_sequence".into(),
                    from: Some("170".into()),
                    to: "163".into(),
                    why: "the log's head".into(),
                })
                .into_iter()
                .collect(),
            right: 400,
            conflicts: is_bad(n)
                .then(|| {
                    format!(
                        "{} _ves_outbox row 12: event {}: the log has another event with its number 163",
                        path(n),
                        event(n)
                    )
                })
                .into_iter()
                .collect(),
            still_open: (n == 0)
                .then(|| StillOpen {
                    stream: stream(0),
                    positions: 37,
                    events: 6,
                })
                .into_iter()
                .collect(),
            not_checked: Vec::new(),
        },
        applied: applied && changes > 0,
        backup: (applied && changes > 0)
            .then(|| format!("{}.before-reconcile-20260301T100000Z.bak", path(n))),
        error: None,
    }
}

fn document(count: usize, applied: bool) -> Document {
    Document {
        provenance: Some(provenance(count)),
        place: Some(place()),
        outboxes: (0..count).map(|n| done(n, applied)).collect(),
        next: Next::nothing("this is a test"),
        ..Document::default()
    }
}

#[test]
fn what_is_to_be_set_right_is_short_and_so_is_what_was() {
    for (count, text) in texts(
        &COUNTS,
        |count| document(count, false),
        |out, document| print_table(out, document),
    ) {
        insta::assert_snapshot!(format!("reconcile_{count}"), text);
    }
    for (count, text) in texts(
        &COUNTS[1..3],
        |count| document(count, true),
        |out, document| print_table(out, document),
    ) {
        insta::assert_snapshot!(format!("reconcile_applied_{count}"), text);
    }
}
