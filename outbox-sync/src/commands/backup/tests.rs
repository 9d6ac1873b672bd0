#![allow(
    clippy::redundant_closure,
    reason = "a function alone is not general enough over the lifetime of what it writes to"
)]

use outbox_sync::StatusCounts;

use super::super::tests::{path, provenance, text};
use super::*;

#[test]
fn what_is_said_of_a_backup_is_short() {
    let document = Document {
        schema: SCHEMA,
        provenance: provenance(1),
        done: BackedUp {
            outbox: path(0).into(),
            backup: "/backup/agent-0.db.2026-03-01".into(),
            bytes: 4_194_304,
            counts: StatusCounts {
                pending: 3,
                synced: 400,
                ..StatusCounts::default()
            },
            pulled: 1200,
            quarantined: 0,
        },
        sha256: Some("0123456789abcdef".repeat(4)),
        next: Next::nothing("the backup is checked; keep it on another disk than the outbox"),
    };
    insta::assert_snapshot!("backup", text(|out| print_table(out, &document)));
}
