//! The promise that no file is changed or created, also beside a live, a locking and a killed writer.

use crate::common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::writer::Writer;

use outbox_sync::{Outbox, OutboxErrorKind};

/// `n` rows, numbered 1 to n, n even.
fn assert_consistent(outbox: &Outbox) -> usize {
    let rows = common::rows(outbox);
    for (row, number) in rows.iter().zip(1..) {
        assert_eq!(row.as_ref().unwrap().place.row, number);
    }
    assert_eq!(rows.len() % 2, 0);
    rows.len()
}

fn names(folder: &Path) -> Vec<String> {
    common::fingerprint(folder)
        .keys()
        .map(|p| p.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

fn beside_a_live_writer(mode: &str, companions: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("live.db");
    drop(common::create(&path, common::OUTBOX_V3, 2));
    let writer = Writer::start(&path, mode);
    let mut counts = Vec::new();
    let end = Instant::now() + Duration::from_secs(30);
    while counts.len() < 20 && Instant::now() < end {
        match Outbox::open(&path) {
            Ok(outbox) => counts.push(assert_consistent(&outbox)),
            // A writer that never rests may win; it must not be read wrongly.
            Err(error) => {
                assert!(
                    matches!(error.kind, OutboxErrorKind::Busy { .. } | OutboxErrorKind::Locked),
                    "{error}"
                );
            }
        }
        for name in names(dir.path()) {
            assert!(companions.contains(&name.as_str()), "{name}");
        }
    }
    assert_eq!(counts.len(), 20, "too few consistent views: {counts:?}");
    assert!(counts.is_sorted() && counts[0] < counts[19], "{counts:?}");
    writer.stop();
}

#[test]
fn beside_a_live_writer_in_wal_mode() {
    beside_a_live_writer("wal", &["live.db", "live.db-wal", "live.db-shm"]);
}

#[test]
fn beside_a_live_writer_in_rollback_mode() {
    beside_a_live_writer("delete", &["live.db", "live.db-journal"]);
}

#[test]
fn a_locked_file_is_reported_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("locked.db");
    drop(common::create(&path, common::OUTBOX_V3, 2));
    let writer = Writer::start(&path, "exclusive");
    let before = common::fingerprint(dir.path());
    let error = Outbox::open(&path).unwrap_err();
    assert!(matches!(error.kind, OutboxErrorKind::Locked), "{error}");
    assert_eq!(common::fingerprint(dir.path()), before);
    writer.stop();
    assert_eq!(assert_consistent(&Outbox::open(&path).unwrap()), 2);
}

#[test]
fn the_journal_of_a_killed_writer_is_rolled_back_in_the_copy_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("killed.db");
    drop(common::create(&path, common::OUTBOX_V3, 200));
    let mut writer = Writer::start(&path, "killed");
    writer.0.wait().unwrap();
    assert_eq!(names(dir.path()), ["killed.db", "killed.db-journal"]);
    let before = common::fingerprint(dir.path());
    let outbox = Outbox::open(&path).unwrap();
    for row in common::rows(&outbox) {
        assert_eq!(row.unwrap().content.event().unwrap().entity_id, "O-1");
    }
    assert_eq!(common::fingerprint(dir.path()), before);

    // A journal that names another file could make SQLite delete that file.
    let mut journal = fs::read(dir.path().join("killed.db-journal")).unwrap();
    journal.extend([0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
    fs::write(dir.path().join("killed.db-journal"), journal).unwrap();
    let error = Outbox::open(&path).unwrap_err();
    assert!(matches!(error.kind, OutboxErrorKind::SuperJournal), "{error}");
}

#[test]
fn rows_that_are_in_the_wal_alone_are_read_and_stay_there() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source.db");
    let connection = common::create(&source, common::OUTBOX_V3, 2);
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    common::add_rows(&connection, 40);
    // As a killed agent leaves it: file and WAL, here even without the shared memory.
    let left = dir.path().join("left");
    fs::create_dir(&left).unwrap();
    for suffix in ["", "-wal"] {
        fs::copy(
            dir.path().join(format!("source.db{suffix}")),
            left.join(format!("a.db{suffix}")),
        )
        .unwrap();
    }
    let before = common::fingerprint(&left);
    assert_eq!(assert_consistent(&Outbox::open(&left.join("a.db")).unwrap()), 42);
    assert_eq!(common::fingerprint(&left), before);
    // Without its WAL the file is the older state: still an outbox.
    fs::remove_file(left.join("a.db-wal")).unwrap();
    assert_eq!(assert_consistent(&Outbox::open(&left.join("a.db")).unwrap()), 2);
    assert_eq!(names(&left), ["a.db"]);
    drop(connection);
}

#[test]
fn a_stub_of_a_wal_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    drop(common::create(&path, common::OUTBOX_V3, 2));
    for stub in [&b""[..], b"x"] {
        fs::write(dir.path().join("a.db-wal"), stub).unwrap();
        let before = common::fingerprint(dir.path());
        assert_eq!(assert_consistent(&Outbox::open(&path).unwrap()), 2);
        assert_eq!(common::fingerprint(dir.path()), before);
    }
}

#[test]
fn the_private_copy_goes_with_the_value() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    drop(common::create(&path, common::OUTBOX_V1, 2));
    let outbox = Outbox::open(&path).unwrap();
    // The file may go: the copy is what is read.
    fs::remove_file(&path).unwrap();
    assert_eq!(assert_consistent(&outbox), 2);
}
