//! Reading a whole outbox at once: the same lines as row by row, in place without touching anything, and never of a
//! file that changed or is damaged.

use crate::common;

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::writer::Writer;
use outbox_sync::export::{ExportFormat, ExportManifest, ExportWriter, Filter, MadeFrom};
use outbox_sync::fast_export::{BulkOutbox, Part, ReadEnd};
use outbox_sync::{Content, HeldRow, Outbox, RowError};
use rusqlite::Connection;

/// What an export is: its bytes, its manifest, and the rows that did not go out.
type Exported = (String, ExportManifest, Vec<String>);

fn finish(writer: ExportWriter, out: &Path, left: Vec<String>) -> Exported {
    let mut manifest = writer.finish(MadeFrom::default()).unwrap();
    manifest.file.clear();
    (fs::read_to_string(out).unwrap(), manifest, left)
}

fn write(writer: &mut ExportWriter, filter: &Filter, row: Result<HeldRow, RowError>, left: &mut Vec<String>) {
    match row {
        Err(error) => left.push(error.to_string()),
        Ok(row) => match &row.content {
            Content::Signed(event) => {
                if filter.wants_event(&row, event)
                    && let Err(what) = writer.add(&row, event, None, None).unwrap()
                {
                    left.push(format!("{}: {what}", row.place));
                }
            }
            other => left.push(format!("{}: {other:?}", row.place)),
        },
    }
}

fn by_rows(path: &Path, out: &Path, format: ExportFormat, filter: &Filter) -> Exported {
    let mut writer = ExportWriter::create(out, format).unwrap();
    let mut left = Vec::new();
    let outbox = Outbox::open(path).unwrap();
    outbox
        .for_each_row(&mut |row| {
            write(&mut writer, filter, row, &mut left);
            ControlFlow::Continue(())
        })
        .unwrap();
    finish(writer, out, left)
}

/// Also how many rows went out as lines that were made at once.
fn at_once(path: &Path, out: &Path, format: ExportFormat, filter: &Filter) -> (Exported, u64) {
    let mut writer = ExportWriter::create(out, format).unwrap();
    let mut left = Vec::new();
    let mut fast = 0;
    let bulk = BulkOutbox::open(path).unwrap();
    let outcome = bulk.read(format, filter, &mut |part| {
        match part {
            Part::Lines { lines, rows } => {
                assert!(lines.events() <= rows);
                fast += rows;
                writer.add_lines(lines).unwrap();
            }
            Part::Row(row) => write(&mut writer, filter, *row, &mut left),
        }
        ControlFlow::Continue(())
    });
    assert_eq!(outcome.unwrap(), ReadEnd::Whole);
    (finish(writer, out, left), fast)
}

fn filters() -> Vec<Filter> {
    let id = |n: u128| uuid::Uuid::from_u128(n);
    let all = Filter::default();
    vec![
        all.clone(),
        Filter {
            states: vec!["pending", "pulled"],
            ..all.clone()
        },
        Filter {
            tenant: Some(id(0xa).into()),
            store: Some(id(0xb).into()),
            entity_type: Some("order".into()),
            ..all.clone()
        },
        Filter {
            since: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            until: Some("2026-02-01T00:00:00Z".parse().unwrap()),
            ..all.clone()
        },
        Filter {
            entity_id: Some("O-1".into()),
            store: Some(id(0xc).into()),
            ..all
        },
    ]
}

/// Both ways give the same, in every form and with every filter; how many rows were ordinary.
fn assert_same(path: &Path) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let mut ordinary = 0;
    for (n, filter) in filters().iter().enumerate() {
        for format in [ExportFormat::Ndjson, ExportFormat::Json] {
            let out = |how: &str| dir.path().join(format!("{how}-{n}-{format:?}"));
            let expected = by_rows(path, &out("rows"), format, filter);
            let (found, fast) = at_once(path, &out("once"), format, filter);
            assert!(
                found == expected,
                "{filter:?} {format:?}\n{found:?}\n{expected:?}"
            );
            ordinary = fast;
        }
    }
    ordinary
}

/// Values that agents write, values that they might, and values that nobody should.
const CHANGES: &[&str] = &[
    "event_id = upper(event_id)",
    "event_id = replace(event_id, '-', '')",
    "event_id = '{' || event_id || '}'",
    "event_id = 'urn:uuid:' || event_id",
    "event_id = 'x'",
    "event_id = x'00'",
    "tenant_id = '00000000-0000-0000-0000-00000000000A'",
    "store_id = '00000000-0000-0000-0000-00000000000c'",
    "store_id = 12",
    "source_agent = 'FFFFFFFF-0000-0000-0000-00000000000c'",
    "source_agent = ''",
    "entity_type = 'invoice'",
    "entity_type = 'a\"b'",
    "entity_type = 'a\\b'",
    "entity_type = ''",
    "entity_type = 7",
    "entity_id = 'Zürich \u{2028}\u{7f}'",
    "entity_id = 'a' || char(10)",
    "entity_id = 'a' || char(0) || 'b'",
    "entity_id = CAST(x'ff' AS TEXT)",
    "event_type = CAST('order' AS BLOB)",
    "event_type = 'it''s'",
    "created_at = '2025-12-31T23:59:59.5+01:00'",
    "created_at = '2026-01-15 10:00:00+00'",
    "created_at = 'yesterday'",
    "ves_version = 2",
    "ves_version = 4294967295",
    "ves_version = 4294967296",
    "ves_version = -1",
    "ves_version = 'one'",
    "ves_version = 1.5",
    "payload = '{\"a\": [1, 2.50, -0, 1e400, {\"b\": null}], \"c\": \"\\u00e9\\n é\"}'",
    "payload = '{' || char(10) || '}'",
    "payload = ' {}'",
    "payload = '{} '",
    "payload = '{\"a\":1,\"a\":2}'",
    "payload = '{\"a\":}'",
    "payload = ''",
    "payload = 'true'",
    "payload = '\"' || char(1) || '\"'",
    "payload = CAST('{\"a\":\"' || x'ff' || '\"}' AS TEXT)",
    "payload = x'7b7d'",
    "payload = 5",
    "payload = printf('[%.*c]', 100000, '1')",
    "payload = printf('%.*c', 120, '[') || printf('%.*c', 120, ']')",
    "payload = printf('%.*c', 200, '[') || printf('%.*c', 200, ']')",
    "payload_kind = 1",
    "payload_kind = 7",
    "payload_kind = 1, payload_encrypted = '{\"c\": 1}'",
    "payload_kind = 1, payload_encrypted = 'x'",
    "payload_kind = 1, payload_encrypted = x'7b7d'",
    "payload_kind = 0, payload_encrypted = '{}'",
    "payload_plain_hash = upper(hex(randomblob(32)))",
    "payload_plain_hash = '0X' || hex(randomblob(32))",
    "payload_plain_hash = hex(randomblob(31))",
    "payload_cipher_hash = '0x' || hex(randomblob(31)) || 'zz'",
    "payload_cipher_hash = NULL",
    "agent_key_id = 0",
    "agent_key_id = 4294967295",
    "agent_key_id = 4294967296",
    "agent_key_id = 'x'",
    "agent_signature = hex(randomblob(64))",
    "agent_signature = ''",
    "agent_signature = '0x' || hex(zeroblob(64))",
    "agent_signature = '0x' || hex(zeroblob(32))",
    "agent_signature = 'zz'",
    "agent_signature_scheme = 1",
    "agent_signature_scheme = 0",
    "agent_signature_scheme = 99999",
    "agent_signature_scheme = 'x'",
    "agent_signature_scheme = 2, agent_signature_bundle = '{\"a\":[1]}'",
    "agent_signature_scheme = 2, agent_signature_bundle = '{', agent_signature = '0x' || hex(zeroblob(64))",
    "agent_signature_bundle = ''",
    "agent_signature_bundle = x'7b7d'",
    "command_id = '00000000-0000-0000-0000-0000000000AB'",
    "command_id = ''",
    "command_id = 'x'",
    "command_id = 3",
    "base_version = -3",
    "base_version = 9223372036854775807",
    "base_version = 'x'",
];
const OWN_CHANGES: &[&str] = &[
    "sync_status = 'pending'",
    "sync_status = 'failed'",
    "sync_status = 'rejected'",
    "sync_status = 'lost'",
    "sync_status = NULL",
    "remote_sequence = NULL",
    "remote_sequence = 0",
    "remote_sequence = -5",
    "remote_sequence = 9223372036854775807",
    "remote_sequence = 'x'",
    "local_seq = -9223372036854775808",
    "local_seq = 9223372036854775807",
    "local_seq = -1",
];
const PULLED_CHANGES: &[&str] = &[
    "sequenced_at = '2026-01-01T01:00:00.123456789+01:00'",
    "sequenced_at = '2026-01-01 01:00:00.5+00'",
    "sequenced_at = 'never'",
    "sequenced_at = ''",
    "sequence_number = -7",
    "sequence_number = 9223372036854775807",
];

/// Rows each of which has one thing that is not as usual, in the outbox and in the table of pulled events.
fn motley(path: &Path) {
    let connection = common::create(path, common::OUTBOX_V3, 0);
    connection
        .execute_batch("PRAGMA ignore_check_constraints = ON")
        .unwrap();
    common::add_rows(&connection, (CHANGES.len() + OWN_CHANGES.len() + 20) as i64);
    connection.execute_batch(PULL).unwrap();
    for (table, number, own) in [
        ("_ves_outbox", "local_seq", OWN_CHANGES),
        ("_ves_pulled_events", "sequence_number", PULLED_CHANGES),
    ] {
        for (row, change) in (1..).zip(CHANGES.iter().chain(own)) {
            let sql = format!("UPDATE OR IGNORE {table} SET {change} WHERE {number} = {row}");
            // A table that is STRICT about nulls keeps its row as it is.
            let _ = connection.execute(&sql, []);
        }
    }
}

const PULL: &str = "INSERT INTO _ves_pulled_events (sequence_number, event_id, tenant_id, store_id, entity_type, \
    entity_id, event_type, payload, payload_plain_hash, payload_cipher_hash, agent_key_id, agent_signature, \
    source_agent, created_at, sequenced_at) \
    SELECT local_seq, 'ffffffff' || substr(event_id, 9), tenant_id, store_id, entity_type, entity_id, event_type, \
    payload, payload_plain_hash, payload_cipher_hash, agent_key_id, agent_signature, source_agent, created_at, \
    '2026-01-01T00:00:01Z' FROM _ves_outbox";

#[test]
fn lines_made_at_once_are_those_made_row_by_row() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("motley \" %é?.db");
    motley(&path);
    let ordinary = assert_same(&path);
    assert!(ordinary > 80, "{ordinary} rows only went the fast way");

    // Many stretches, gaps between the numbers, several pieces a stretch.
    let path = dir.path().join("long.db");
    let connection = common::create(&path, common::OUTBOX_V3, 0);
    connection.execute_batch("BEGIN").unwrap();
    common::add_rows(&connection, 6000);
    connection
        .execute_batch(
            "UPDATE _ves_outbox SET local_seq = local_seq + 1000000 WHERE local_seq > 5000; \
             UPDATE _ves_outbox SET payload = printf('{\"a\":\"%.*c\"}', 800, 'x'); \
             UPDATE _ves_outbox SET agent_key_id = 0 WHERE local_seq % 1000 = 0; COMMIT",
        )
        .unwrap();
    drop(connection);
    assert_eq!(assert_same(&path), 6000 - 6);

    let path = dir.path().join("v1.db");
    drop(common::create(&path, common::OUTBOX_V1, 7));
    assert_eq!(assert_same(&path), 7);
    let path = dir.path().join("none.db");
    drop(common::create(&path, common::OUTBOX_V3, 0));
    assert_eq!(assert_same(&path), 0);
}

#[test]
fn lines_of_real_outboxes_are_those_made_row_by_row() {
    let shared = test_support::shared_data();
    let dir = tempfile::tempdir().unwrap();
    let mut ordinary = 0;
    for folder in ["outboxes", "older-outboxes"] {
        let from = shared.join("data/scenario-1").join(folder);
        common::copy_folder(&from, dir.path());
    }
    let mut files: Vec<PathBuf> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "db"))
        .collect();
    files.sort();
    for path in &files {
        let before = common::fingerprint(dir.path());
        ordinary += assert_same(path);
        assert_eq!(common::fingerprint(dir.path()), before, "{}", path.display());
    }
    assert!(files.len() > 3 && ordinary > 100, "{files:?} {ordinary}");
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A file with `rows` rows, closed in this journal mode.
fn closed(path: &Path, mode: &str, rows: i64) {
    let connection = common::create(path, common::OUTBOX_V3, 0);
    connection.execute_batch("BEGIN").unwrap();
    common::add_rows(&connection, rows);
    connection.execute_batch("COMMIT").unwrap();
    connection.pragma_update(None, "journal_mode", mode).unwrap();
    connection.close().unwrap();
}

/// Reads to the end; `meanwhile` is called once when the first rows have come. How many rows, and how it ended.
fn read(bulk: &BulkOutbox, meanwhile: impl FnOnce()) -> (u64, ReadEnd) {
    let mut meanwhile = Some(meanwhile);
    let mut read = 0;
    let outcome = bulk.read(ExportFormat::Ndjson, &Filter::default(), &mut |part| {
        read += match part {
            Part::Lines { rows, .. } => rows,
            Part::Row(_) => 1,
        };
        if let Some(meanwhile) = meanwhile.take() {
            meanwhile();
        }
        ControlFlow::Continue(())
    });
    (read, outcome.unwrap())
}

#[test]
fn a_file_at_rest_is_read_in_place_and_nothing_is_touched() {
    for mode in ["wal", "delete", "truncate", "persist"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        closed(&path, mode, 5000);
        let before = common::fingerprint(dir.path());
        let bulk = BulkOutbox::open(&path).unwrap();
        assert!(bulk.is_in_place(), "{mode}");
        assert_eq!(bulk.about(), Some(5000));
        let during = || assert_eq!(common::fingerprint(dir.path()).len(), before.len(), "{mode}");
        assert_eq!(read(&bulk, during), (5000, ReadEnd::Whole), "{mode}");
        // Again, from the same handle.
        assert_eq!(read(&bulk, || ()), (5000, ReadEnd::Whole), "{mode}");
        drop(bulk);
        assert_eq!(common::fingerprint(dir.path()), before, "{mode}");
    }
}

#[test]
fn what_a_writer_may_be_at_is_copied() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    closed(&path, "wal", 10);
    let copied = |what: &str| {
        let before = common::fingerprint(dir.path());
        let bulk = BulkOutbox::open(&path).unwrap();
        assert!(!bulk.is_in_place(), "{what}");
        assert_eq!(read(&bulk, || ()), (10, ReadEnd::Whole), "{what}");
        drop(bulk);
        assert_eq!(common::fingerprint(dir.path()), before, "{what}");
    };
    for beside in [&b""[..], &[0; 32]] {
        fs::write(dir.path().join("a.db-wal"), beside).unwrap();
        copied("a WAL");
        fs::remove_file(dir.path().join("a.db-wal")).unwrap();
    }
    fs::write(dir.path().join("a.db-journal"), b"").unwrap();
    copied("a journal");
    fs::remove_file(dir.path().join("a.db-journal")).unwrap();
    // Under the other name there may be a WAL.
    fs::hard_link(&path, dir.path().join("b.db")).unwrap();
    copied("two names");
}

#[test]
fn a_writer_that_begins_meanwhile_is_noticed_in_wal_mode() {
    for stopped in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        closed(&path, "wal", 10_000);
        let bulk = BulkOutbox::open(&path).unwrap();
        assert!(bulk.is_in_place());
        let mut writer = None;
        let (_, outcome) = read(&bulk, || {
            let begun = Writer::start(&path, "wal");
            if stopped {
                // It closes the file as it should, and yet cannot take its WAL away.
                begun.stop();
            } else {
                writer = Some(begun);
            }
        });
        // What was read may make no sense by then, which is as good a reason.
        assert!(matches!(outcome, ReadEnd::Doubtful(_)), "{outcome:?}");
        drop(bulk);
        assert!(names(dir.path()).contains(&"a.db-wal".to_owned()), "{stopped}");
        // The next one copies.
        let bulk = BulkOutbox::open(&path).unwrap();
        assert!(!bulk.is_in_place());
        let (rows, outcome) = read(&bulk, || ());
        assert_eq!((rows % 2, outcome), (0, ReadEnd::Whole));
        assert!(rows > 10_000, "{rows}");
    }
}

#[test]
fn a_writer_waits_for_the_reader_in_rollback_mode() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    closed(&path, "delete", 10_000);
    let bulk = BulkOutbox::open(&path).unwrap();
    assert!(bulk.is_in_place());
    let mut starting = None;
    let (rows, outcome) = read(&bulk, || {
        let path = path.clone();
        starting = Some(std::thread::spawn(move || Writer::start(&path, "delete")));
        let journal = dir.path().join("a.db-journal");
        while !journal.exists() {
            std::thread::yield_now();
        }
    });
    assert_eq!((rows, outcome), (10_000, ReadEnd::Whole));
    drop(bulk);
    // It comes up, and goes on.
    starting.unwrap().join().unwrap().stop();
    assert!(common::rows(&Outbox::open(&path).unwrap()).len() > 10_000);
}

#[test]
fn a_file_that_is_changed_without_sqlite_is_noticed() {
    for mode in ["wal", "delete"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        closed(&path, mode, 5000);
        let bulk = BulkOutbox::open(&path).unwrap();
        assert!(bulk.is_in_place());
        let other = dir.path().join("b.db");
        fs::copy(&path, &other).unwrap();
        let (_, outcome) = read(&bulk, || fs::rename(&other, &path).unwrap());
        assert!(matches!(outcome, ReadEnd::Doubtful(_)), "{mode}: {outcome:?}");
    }
}

/// The pages of a table or index that are leaves.
fn leaves(path: &Path, name: &str) -> Vec<i64> {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection
        .prepare("SELECT pageno FROM dbstat WHERE name = ?1 AND pagetype = 'leaf' ORDER BY path")
        .unwrap();
    let pages = statement.query_map([name], |row| row.get::<_, i64>(0)).unwrap();
    pages.collect::<rusqlite::Result<_>>().unwrap()
}

#[test]
fn damage_is_noticed() {
    const PAGE: usize = 4096;
    let zeros = vec![0; PAGE];
    // A page of zeros, or an earlier one a second time, in the table or in the index of its ids.
    for name in ["_ves_outbox", "sqlite_autoindex__ves_outbox_1"] {
        for twice in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.db");
            closed(&path, "delete", 5000);
            let leaves = leaves(&path, name);
            let file = fs::File::options().read(true).write(true).open(&path).unwrap();
            let at = |page: i64| (page - 1).unsigned_abs() * PAGE as u64;
            let mut page = zeros.clone();
            if twice {
                file.read_exact_at(&mut page, at(leaves[2])).unwrap();
                // Were the two equally full, the index would have as many entries as before.
                page[3..5].copy_from_slice(&1_u16.to_be_bytes());
            }
            file.write_all_at(&page, at(leaves[leaves.len() / 2])).unwrap();
            drop(file);
            let bulk = BulkOutbox::open(&path).unwrap();
            let (_, outcome) = read(&bulk, || ());
            assert!(
                matches!(outcome, ReadEnd::Doubtful(_)),
                "{name} {twice}: {outcome:?}"
            );
        }
    }
}

#[test]
fn one_who_has_enough_is_not_given_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    closed(&path, "wal", 20_000);
    let bulk = BulkOutbox::open(&path).unwrap();
    let mut calls = 0;
    let outcome = bulk.read(ExportFormat::Ndjson, &Filter::default(), &mut |_| {
        calls += 1;
        ControlFlow::Break(())
    });
    assert_eq!((calls, outcome.unwrap()), (1, ReadEnd::Stopped));
}

/// The command beside a writer that never rests: each export is one state of the file.
#[test]
fn exports_beside_a_live_writer_are_consistent() {
    for mode in ["wal", "delete"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("live.db");
        drop(common::create(&path, common::OUTBOX_V3, 2));
        let writer = Writer::start(&path, mode);
        let mut counts = Vec::new();
        let end = Instant::now() + Duration::from_secs(60);
        for n in 0.. {
            if counts.len() == 5 || Instant::now() > end {
                break;
            }
            let out = dir.path().join(format!("out-{n}.ndjson"));
            let run = assert_cmd::Command::cargo_bin("outbox-sync")
                .unwrap()
                .args(["export", "--quiet"])
                .arg(&path)
                .arg("--out")
                .arg(&out)
                .output()
                .unwrap();
            if run.status.code() == Some(8) {
                // A writer that never rests may win; it must not be read wrongly.
                continue;
            }
            assert_eq!(run.status.code(), Some(0), "{run:?}");
            let text = fs::read_to_string(out).unwrap();
            let rows: Vec<u64> = text
                .lines()
                .skip(1)
                .map(|line| {
                    let line: serde_json::Value = serde_json::from_str(line).unwrap();
                    line["held"]["row"].as_u64().unwrap()
                })
                .collect();
            assert!(rows.iter().copied().eq(1..=rows.len() as u64), "{mode}");
            assert_eq!(rows.len() % 2, 0, "{mode}");
            counts.push(rows.len());
        }
        assert_eq!(counts.len(), 5, "{mode}: too few consistent exports");
        assert!(counts.is_sorted() && counts[0] < counts[4], "{mode}: {counts:?}");
        writer.stop();
    }
}

#[test]
fn the_fast_way_can_be_switched_off_and_the_export_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let events = common::agents::events(1, 300);
    common::agents::outbox(&dir.path().join("a.db"), &events);
    for form in ["ndjson", "json"] {
        let export = |out: &str, more: &[&str]| {
            let base = ["export", "a.db", "--out", out, "--form", form];
            let (code, _, err) = common::run(dir.path(), &[&base, more].concat());
            assert_eq!(code, 0, "{err}");
            fs::read(dir.path().join(out)).unwrap()
        };
        let fast = export(&format!("fast.{form}"), &[]);
        assert_eq!(fast, export(&format!("plain.{form}"), &["--row-by-row"]));
    }
}
