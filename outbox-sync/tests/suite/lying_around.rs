//! Outboxes as they lie around: every command looks through folders by content, and says what it did not use.

use crate::common;

use std::fs;
use std::path::Path;

use fixtures::{World, WorldSpec};
use rusqlite::Connection;
use serde_json::Value;

fn json(folder: &Path, arguments: &[&str]) -> (i32, Value, String) {
    let (code, out, err) = common::run(folder, &[arguments, &["--format", "json"]].concat());
    let json = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}\n{err}"));
    (code, json, err)
}

/// A folder with a log and one with outboxes under the names that people give them.
fn world() -> (tempfile::TempDir, usize) {
    let dir = tempfile::tempdir().unwrap();
    let world = World::generate(&WorldSpec {
        tenants: 1,
        stores_per_tenant: 1,
        agents_per_stream: 6,
        events_per_stream: 60,
        wal_outboxes: 0,
        ..WorldSpec::honest(5)
    });
    world.write_recovered(&dir.path().join("log.db")).unwrap();
    world.write_outboxes(&dir.path().join("tidy")).unwrap();
    let all = dir.path().join("all");
    fs::create_dir_all(all.join("host/deep")).unwrap();
    let mut tidy: Vec<_> = fs::read_dir(dir.path().join("tidy"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    tidy.sort();
    let names = ["a.db", "b.DB", "host/deep/outbox.db", "c.db.bak", "d"].map(str::to_owned);
    let more = (0..).map(|n| format!("host/more-{n}.sqlite"));
    for (from, to) in tidy.iter().zip(names.into_iter().chain(more)) {
        fs::copy(from, all.join(to)).unwrap();
    }
    fs::copy(all.join("a.db"), all.join("a.db.orig")).unwrap();
    fs::write(all.join("README"), "mind the gap\n").unwrap();
    (dir, tidy.len())
}

#[test]
fn reading_commands_take_every_outbox_once() {
    let (dir, count) = world();
    assert!(count >= 5, "{count}");
    let (code, document, _) = json(dir.path(), &["status", "all"]);
    assert_eq!(code & 8, 0);
    assert_eq!(document["outboxes"].as_array().unwrap().len(), count);
    let not_checked = document["not_checked"].to_string();
    assert!(
        not_checked.contains("README") && not_checked.contains("the same content as"),
        "{not_checked}"
    );

    let (_, tidy, _) = json(dir.path(), &["census", "tidy", "--db", "log.db"]);
    let (_, all, _) = json(dir.path(), &["census", "all", "--db", "log.db"]);
    let grades = |census: &Value| -> Vec<Value> {
        let streams = census["streams"].as_array().unwrap();
        streams.iter().map(|s| s["by_grade"].clone()).collect()
    };
    assert_eq!(grades(&all), grades(&tidy), "a copy is no second voice");

    fs::write(dir.path().join("all/gone.db-wal"), "frames").unwrap();
    for command in [
        &["status", "all"][..],
        &["verify", "all"],
        &["census", "all", "--db", "log.db"],
    ] {
        let (code, document, err) = json(dir.path(), command);
        assert_eq!(code & 8, 8, "{command:?}: {err}");
        assert!(err.contains("gone.db-wal"), "{err}");
        assert!(
            document["not_read"].to_string().contains("gone.db-wal"),
            "{command:?}"
        );
        assert!(
            document["not_checked"].to_string().contains("gone.db-wal"),
            "{command:?}"
        );
    }
    let (code, _, err) = common::run(dir.path(), &["status", "log.db"]);
    assert_eq!(code & 8, 8, "{err}");
}

#[test]
fn an_older_copy_without_a_name_is_no_second_voice() {
    let (dir, _) = world();
    let folder = dir.path().join("one");
    fs::create_dir(&folder).unwrap();
    fs::copy(dir.path().join("all/a.db"), folder.join("new.db")).unwrap();
    let edit = |name: &str, sql: &str| {
        Connection::open(folder.join(name))
            .unwrap()
            .execute_batch(sql)
            .unwrap();
    };
    edit(
        "new.db",
        "DELETE FROM _ves_sync_state WHERE key = 'agent_id'; DELETE FROM _ves_pulled_events;",
    );
    fs::copy(folder.join("new.db"), folder.join("old.db")).unwrap();
    edit(
        "old.db",
        "DELETE FROM _ves_outbox WHERE local_seq = (SELECT max(local_seq) FROM _ves_outbox)",
    );
    let (_, census, _) = json(dir.path(), &["census", "one", "--db", "log.db"]);
    assert_eq!(census["heard"].as_array().unwrap().len(), 2);
    assert!(
        !census["streams"].to_string().contains("corroborated"),
        "{census}"
    );
}

#[test]
fn commands_that_change_things_leave_copies_alone() {
    let (dir, _) = world();
    let names = |document: &Value| -> Vec<String> {
        let outboxes = document["outboxes"].as_array().unwrap();
        outboxes
            .iter()
            .map(|o| o["path"].as_str().unwrap().to_owned())
            .collect()
    };
    let (_, document, err) = json(dir.path(), &["reconcile", "all", "--db", "log.db"]);
    let found = names(&document);
    assert!(
        found.iter().any(|n| n.ends_with("b.DB")) && found.iter().any(|n| n.ends_with("outbox.db")),
        "{found:?}"
    );
    assert!(
        !found.iter().any(|n| n.ends_with(".bak") || n.ends_with("all/d")),
        "{found:?}"
    );
    assert!(
        document["not_checked"].to_string().contains("by its name a copy"),
        "{err}"
    );
    let (_, document, _) = json(dir.path(), &["reconcile", "all/c.db.bak", "--db", "log.db"]);
    assert_eq!(names(&document), ["all/c.db.bak"]);
}
