//! An agent that waits 1.5 s for its database does not notice `reconcile`, not even one that is halted while it works.

use crate::common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::agents::{command_bare, events, outbox, push, registry};
use common::sequencer::Sequencer;
use rusqlite::Connection;

/// What the agent does all day, with its own patience.
fn agent_writes(path: &Path) -> rusqlite::Result<usize> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_millis(1500))?;
    connection.execute("UPDATE agent_notes SET n = n + 1", [])
}

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args([&format!("-{name}"), &id])
            .status()
            .unwrap()
            .success()
    );
}

/// Whether a file that the run makes on its way is there: the private copy, the backup that is being written.
fn is_there(folder: &Path, prefix: &str, inner: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with(prefix) && (inner.is_empty() || path.join(inner).exists())
    })
}

fn reconcile(folder: &Path) -> Child {
    let mut command = command_bare(folder);
    command
        .args([
            "reconcile",
            "a.db",
            "--receipts",
            "receipts.ndjson",
            "--apply",
            "--backup-dir",
            ".",
        ])
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.join("stderr")).unwrap());
    command.spawn().unwrap()
}

/// Each of its closings moves the WAL into the file, removes it, and so starts it anew.
#[test]
fn an_agent_that_opens_writes_and_closes_without_a_rest_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    outbox(&path, &events(1, 100));
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE agent_notes (n INTEGER); INSERT INTO agent_notes VALUES (0); \
             CREATE TABLE filler (filler BLOB); INSERT INTO filler VALUES (zeroblob(64 << 20)); \
             PRAGMA journal_mode = wal;",
        )
        .unwrap();
    drop(connection);
    let mut child = command_bare(dir.path())
        .args(["status", "a.db", "--format", "json"])
        .stdout(std::fs::File::create(dir.path().join("stdout")).unwrap())
        .stderr(std::fs::File::create(dir.path().join("stderr")).unwrap())
        .spawn()
        .unwrap();
    let mut writes = 0;
    while child.try_wait().unwrap().is_none() {
        let written = agent_writes(&path);
        assert!(matches!(written, Ok(1)), "{written:?}");
        writes += 1;
    }
    let said = |name| std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert!(writes > 3, "{writes}");
    assert!(
        said("stdout").contains("\"pending\": 100"),
        "{writes}: {}{}",
        said("stdout"),
        said("stderr")
    );
    assert!(
        !dir.path().join("a.db-wal").exists(),
        "the next closing removes it"
    );
}

#[test]
fn an_agent_does_not_see_a_lock_of_a_reconcile_that_was_halted() {
    for mode in ["delete", "wal"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        outbox(&path, &events(1, 1500));
        let connection = Connection::open(&path).unwrap();
        // Large enough that copying takes a moment.
        connection
            .execute_batch(
                "CREATE TABLE agent_notes (n INTEGER); INSERT INTO agent_notes VALUES (0); \
                 CREATE TABLE filler (filler BLOB); INSERT INTO filler VALUES (zeroblob(64 << 20));",
            )
            .unwrap();
        let set: String = connection
            .query_row(&format!("PRAGMA journal_mode = {mode}"), [], |r| r.get(0))
            .unwrap();
        assert_eq!(set, mode);
        drop(connection);
        let sequencer = Sequencer::start(registry());
        assert_eq!(push(dir.path(), &sequencer, &["a.db"]).0, 0);

        let points = [
            ("ves-private-", "copy.db"),
            ("ves-private-", "copy.db"),
            (".a.db.before-reconcile-", ""),
        ];
        for (number, (prefix, inner)) in points.into_iter().enumerate() {
            let mut child = reconcile(dir.path());
            let started = Instant::now();
            while !is_there(dir.path(), prefix, inner) {
                assert!(
                    child.try_wait().unwrap().is_none(),
                    "it ended before it was halted"
                );
                assert!(started.elapsed() < Duration::from_secs(120));
                std::thread::sleep(Duration::from_millis(1));
            }
            // In the middle of the copying, too.
            std::thread::sleep(Duration::from_millis(number as u64 * 7));
            signal(&child, "STOP");
            for _ in 0..3 {
                let written = agent_writes(&path);
                assert!(matches!(written, Ok(1)), "{mode}, {prefix}: {written:?}");
            }
            signal(&child, "KILL");
            child.wait().unwrap();
        }
        // At any moment, with an agent that writes all the time.
        let mut child = reconcile(dir.path());
        let mut writes = 0;
        while child.try_wait().unwrap().is_none() {
            let written = agent_writes(&path);
            assert!(matches!(written, Ok(1)), "{mode}: {written:?}");
            writes += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        let said = std::fs::read_to_string(dir.path().join("stderr")).unwrap();
        assert_eq!(
            child.wait().unwrap().code(),
            Some(1),
            "{mode}: after {writes} writes: {said}"
        );
        let connection = Connection::open(&path).unwrap();
        let synced: i64 = connection
            .query_row(
                "SELECT count(*) FROM _ves_outbox WHERE sync_status = 'synced'",
                [],
                |r| r.get(0),
            )
            .unwrap();
        assert_eq!(synced, 1500);
        // What the killed runs left is gone.
        for prefix in ["ves-private-", ".a.db."] {
            assert!(!is_there(dir.path(), prefix, ""), "{prefix}");
        }
    }
}
