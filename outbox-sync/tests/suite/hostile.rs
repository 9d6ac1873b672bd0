//! Files and rows that nobody meant well.

use crate::common;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use outbox_sync::status::OutboxFigures;
use outbox_sync::{Content, Origin, Outbox, OutboxErrorKind, OutboxStatus, Shape};
use rusqlite::Connection;

fn open_error(path: &Path) -> OutboxErrorKind {
    let listing = || fs::read_dir(path.parent().unwrap()).unwrap().count();
    let before = listing();
    let error = Outbox::open(path).unwrap_err();
    assert_eq!(listing(), before);
    assert!(error.to_string().starts_with(&path.display().to_string()));
    error.kind
}

#[test]
fn files_that_are_no_outboxes_are_told_apart() {
    use OutboxErrorKind as Kind;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    assert!(matches!(open_error(&at("missing.db")), Kind::Io(_)));
    fs::create_dir(at("folder")).unwrap();
    assert!(matches!(open_error(&at("folder")), Kind::NotAFile));
    for (bytes, matches) in [
        (&b""[..], (|k| matches!(k, Kind::Empty)) as fn(&Kind) -> bool),
        (b"x", |k| matches!(k, Kind::NotSqlite)),
        (&[0; 4096], |k| matches!(k, Kind::NotSqlite)),
        (b"SQLite format 2\0 and more than one hundred bytes after it, which do not help, since the magic is wrong", |k| matches!(k, Kind::NotSqlite)),
        (b"SQLite format 3\0", |k| matches!(k, Kind::Truncated { .. })),
    ] {
        fs::write(at("bytes.db"), bytes).unwrap();
        let kind = open_error(&at("bytes.db"));
        assert!(matches(&kind), "{kind}");
    }
    fs::write(
        at("header.db"),
        [&b"SQLite format 3\0"[..], &[0xff; 4080]].concat(),
    )
    .unwrap();
    let kind = open_error(&at("header.db"));
    assert!(
        matches!(kind, Kind::Damaged(_) | Kind::Truncated { .. }),
        "{kind}"
    );

    drop(
        Connection::open(at("other.db"))
            .unwrap()
            .execute_batch("CREATE TABLE t (x)"),
    );
    assert!(matches!(open_error(&at("other.db")), Kind::NoOutboxTables));
    drop(
        Connection::open(at("older.db"))
            .unwrap()
            .execute_batch("CREATE TABLE pulled_events (x)"),
    );
    let kind = open_error(&at("older.db"));
    assert!(
        matches!(
            kind,
            Kind::MissingColumns {
                table: "pulled_events",
                ..
            }
        ),
        "{kind}"
    );
    drop(
        Connection::open(at("columns.db"))
            .unwrap()
            .execute_batch("CREATE TABLE _ves_outbox (event_id, payload)"),
    );
    let kind = open_error(&at("columns.db"));
    assert!(
        matches!(&kind, Kind::MissingColumns { columns, .. } if columns.contains("agent_signature")),
        "{kind}"
    );
    // A view would run what came with the file.
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    let view = format!("CREATE VIEW _ves_outbox AS {endless}");
    drop(Connection::open(at("view.db")).unwrap().execute_batch(&view));
    assert!(matches!(open_error(&at("view.db")), Kind::NoOutboxTables));
}

#[test]
fn an_outbox_without_rows_is_an_outbox() {
    let dir = tempfile::tempdir().unwrap();
    for (schema, shape) in [(common::OUTBOX_V1, Shape::V1), (common::OUTBOX_V3, Shape::V3)] {
        let path = dir.path().join(format!("{shape:?}.db"));
        drop(common::create(&path, schema, 0));
        let outbox = Outbox::open(&path).unwrap();
        assert_eq!((outbox.meta().shape, outbox.meta().outbox.total()), (shape, 0));
        assert!(common::rows(&outbox).is_empty());
    }
}

#[test]
fn bad_rows_are_named_and_do_not_stop_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.db");
    let connection = common::create(&path, common::OUTBOX_V3, 30);
    connection
        .execute_batch("PRAGMA ignore_check_constraints = ON")
        .unwrap();
    let bad = [
        // Not even a pointer.
        ("event_id = 'not a uuid'", "row"),
        ("tenant_id = x'00'", "row"),
        ("store_id = 12", "row"),
        // A pointer, but no content.
        ("agent_key_id = -1", "content"),
        ("agent_key_id = 4294967296", "content"),
        ("ves_version = 'one'", "content"),
        ("payload_kind = 7", "content"),
        ("payload_kind = 1", "content"),
        ("payload_encrypted = '{}'", "content"),
        ("payload_plain_hash = '0xabc'", "content"),
        ("agent_signature = 'zz'", "content"),
        ("entity_id = 'a' || char(0) || 'b'", "content"),
        ("entity_type = CAST(x'ff' AS TEXT)", "content"),
        ("payload = printf('%.*c', 17 * 1024 * 1024, 'x')", "content"),
        ("agent_signature_scheme = 99999", "content"),
        // Bookkeeping alone.
        ("remote_sequence = -5", "flaw"),
        ("remote_sequence = 0", "flaw"),
        ("remote_sequence = 'x'", "flaw"),
        ("sync_status = 'lost'", "flaw"),
        ("command_id = 'x'", "flaw"),
        ("base_version = 'x'", "flaw"),
        // Nobody signed.
        ("agent_signature = ''", "unsigned"),
        // More than is read at all.
        ("payload = printf('%.*c', 50 * 1024 * 1024, 'x')", "row"),
    ];
    for (row, (change, _)) in (1..).zip(bad) {
        let sql = format!("UPDATE _ves_outbox SET {change} WHERE local_seq = {row}");
        assert_eq!(connection.execute(&sql, []).unwrap(), 1, "{change}");
    }
    connection
        .execute_batch(
            "UPDATE _ves_outbox SET local_seq = -9223372036854775808 WHERE local_seq = 30; \
        UPDATE _ves_outbox SET local_seq = 9223372036854775807 WHERE local_seq = 29; \
        INSERT INTO _ves_sync_state (key, value) VALUES ('agent_id', 'nobody'), ('head_sequence', '-1'), ('later', 'x')",
        )
        .unwrap();
    drop(connection);

    let outbox = Outbox::open(&path).unwrap();
    let mut seen = 0;
    outbox
        .for_each_row(&mut |row| {
            seen += 1;
            let (number, class) = match &row {
                Err(error) => (error.place.row, "row"),
                Ok(row) => (
                    row.place.row,
                    match &row.content {
                        Content::Malformed { .. } => "content",
                        Content::Unsigned { .. } => "unsigned",
                        Content::Rerendered(_) => "rerendered",
                        Content::Signed(_) if row.flaw.is_some() => "flaw",
                        Content::Signed(_) => "good",
                    },
                ),
            };
            let expected = usize::try_from(number.saturating_sub(1))
                .ok()
                .and_then(|i| bad.get(i));
            assert_eq!(
                class,
                expected.map_or("good", |(_, class)| class),
                "row {number}: {row:?}"
            );
            if let Ok(row) = row
                && row
                    .flaw
                    .as_deref()
                    .is_some_and(|flaw| flaw.contains("remote_sequence"))
            {
                assert_eq!(row.claimed_sequence, None);
                assert_eq!(
                    row.origin,
                    Origin::Outbox {
                        local_seq: number,
                        status: OutboxStatus::Synced
                    }
                );
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen, 30);

    let figures = OutboxFigures::of(&outbox).unwrap();
    assert_eq!(
        (
            figures.signed,
            figures.unsigned,
            figures.malformed,
            figures.flawed
        ),
        (13, 1, 16, 6)
    );
    assert_eq!(figures.meta.flaws.len(), 2);
    assert_eq!(figures.meta.outbox.unknown, 1);
    assert!(figures.has_problems());

    let mut first = 0;
    outbox
        .for_each_row(&mut |_| {
            first += 1;
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!(first, 1);
}

#[test]
fn the_local_plaintext_of_an_encrypted_event_is_not_its_payload() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("encrypted.db");
    let connection = common::create(&path, common::OUTBOX_V3, 1);
    connection
        .execute_batch("UPDATE _ves_outbox SET payload_kind = 1, payload_encrypted = '{\"c\":1}'")
        .unwrap();
    drop(connection);
    let rows = common::rows(&Outbox::open(&path).unwrap());
    let event = rows[0].as_ref().unwrap().content.event().unwrap();
    assert_eq!(event.payload, ves::Payload::Encrypted("{\"c\":1}".into()));
}

#[test]
fn a_post_quantum_signature_is_in_the_bundle() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pq.db");
    let connection = common::create(&path, common::OUTBOX_V3, 2);
    connection
        .execute_batch(
            "UPDATE _ves_outbox SET agent_signature = '0x' || hex(zeroblob(64)); \
             UPDATE _ves_outbox SET agent_signature_scheme = 2, agent_signature_bundle = '{}' WHERE local_seq = 2",
        )
        .unwrap();
    drop(connection);
    let rows = common::rows(&Outbox::open(&path).unwrap());
    assert!(matches!(
        rows[0].as_ref().unwrap().content,
        Content::Unsigned { .. }
    ));
    let event = rows[1].as_ref().unwrap().content.event().unwrap();
    assert_eq!(event.agent_signature_bundle.as_deref(), Some(&b"{}"[..]));
    assert_eq!(event.agent_signature_scheme.0, 2);
}

#[test]
fn tables_without_row_numbers_are_refused_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.db");
    let connection = common::create(&path, common::OUTBOX_V3, 3);
    let columns: String = connection
        .query_row(
            "SELECT group_concat(name, ', ') FROM pragma_table_info('_ves_outbox')",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let sql = format!(
        "CREATE TABLE t ({columns}, PRIMARY KEY (event_id)) WITHOUT ROWID; INSERT INTO t SELECT {columns} FROM _ves_outbox; \
         DROP TABLE _ves_outbox; ALTER TABLE t RENAME TO _ves_outbox;"
    );
    connection.execute_batch(&sql).unwrap();
    drop(connection);
    let kind = open_error(&path);
    assert!(
        matches!(kind, OutboxErrorKind::WithoutRowid { table: "_ves_outbox" }),
        "{kind}"
    );
    assert!(kind.to_string().contains("CREATE TABLE"));
}
