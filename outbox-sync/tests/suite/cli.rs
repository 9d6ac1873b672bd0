//! The binary as people and scripts use it.

use crate::common;

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

fn status(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("outbox-sync")
        .unwrap()
        .current_dir(folder)
        .arg("status")
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        common::without_time(&text(output.stderr)),
    )
}

#[test]
fn status_of_a_fleet_with_bad_files_shows_the_good_ones() {
    let dir = tempfile::tempdir().unwrap();
    drop(common::create(&dir.path().join("a.db"), common::OUTBOX_V1, 3));
    drop(common::create(&dir.path().join("b.db"), common::OUTBOX_V3, 4));
    let (code, out, err) = status(dir.path(), &["."]);
    // Rows that all claim one number are nothing to be content with.
    assert_eq!((code, err.as_str()), (4, ""), "{out}");
    assert!(out.contains("NOT CHECKED\n  signatures"), "{out}");

    fs::write(
        dir.path().join("c.db"),
        "not a database, but long enough\u{1b}[31m",
    )
    .unwrap();
    for format in ["table", "json", "ndjson"] {
        let (code, out, err) = status(dir.path(), &["--format", format, ".", "nothing.db", "x*.db"]);
        assert_eq!(code, 12, "{out}{err}");
        for name in ["c.db", "nothing.db", "x*.db"] {
            assert!(err.contains(name), "{err}");
        }
        assert!(out.contains("b.db"), "{out}");
    }
    let (_, out, _) = status(dir.path(), &["--format", "json", "."]);
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["schema"], "outbox-status/1");
    assert_eq!(document["totals"]["outbox"]["synced"], 7);
    assert_eq!(document["totals"]["not_read"], 1);
    assert_eq!(document["outboxes"][0]["shape"], "v1");
    assert_eq!(document["outboxes"][1]["highest_claim"], 7);
    let (_, out, _) = status(dir.path(), &["--format", "ndjson", "."]);
    let types: Vec<String> = out
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["type"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(
        types,
        [
            "provenance",
            "outbox",
            "outbox",
            "not_read",
            "totals",
            "not_checked",
            "not_checked",
            "next"
        ]
    );

    let connection = rusqlite::Connection::open(dir.path().join("a.db")).unwrap();
    connection
        .execute_batch("UPDATE _ves_outbox SET event_id = 'x' || char(10) WHERE local_seq = 2")
        .unwrap();
    drop(connection);
    let (code, out, _) = status(dir.path(), &["a.db", "--wide"]);
    assert_eq!(code, 4);
    assert!(out.contains("fault: a.db _ves_outbox row 2: event_id"), "{out}");
    let (code, _, _) = status(dir.path(), &["a.db", "c.db"]);
    assert_eq!(code, 12);
}

#[cfg(unix)]
#[test]
fn a_killed_run_leaves_its_copy_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (temporary, left) = (dir.path().join("tmp"), dir.path().join("tmp/ves-private-left"));
    fs::create_dir_all(&left).unwrap();
    // As it is after SIGKILL: the lock is free.
    fs::write(left.join("ves.owner"), "").unwrap();
    fs::write(left.join("copy.db"), "a copy").unwrap();
    let path = dir.path().join("a.db");
    drop(common::create(&path, common::OUTBOX_V1, 1));
    Command::cargo_bin("outbox-sync")
        .unwrap()
        .env("TMPDIR", &temporary)
        .arg("status")
        .arg(&path)
        .assert()
        .success();
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
}

#[test]
fn wrong_usage_is_16() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(status(dir.path(), &[]).0, 16);
    assert_eq!(status(dir.path(), &["--nonsense", "x"]).0, 16);
    let none = Command::cargo_bin("outbox-sync").unwrap().output().unwrap();
    assert_eq!(none.status.code(), Some(16));
}

#[test]
fn status_of_the_real_fleet() {
    let Some(scenario) = common::Scenario::load() else {
        return;
    };
    let before = common::fingerprint(&scenario.path().join("outboxes"));
    // Claims contradict each other: no fault of the reader's, but nothing is well.
    let (code, document, err) = scenario.json(&["status", "outboxes/*"]);
    assert_eq!((code, err.as_str()), (4, ""));
    let totals = &document["totals"];
    let outbox = &totals["outbox"];
    assert_eq!(totals["outboxes"], 7);
    let counts = ["pending", "synced", "failed", "rejected", "unknown"].map(|s| outbox[s].as_u64().unwrap());
    assert_eq!(counts, [67, 690, 10, 21, 0]);
    assert_eq!(
        (&totals["pulled"], &totals["unsigned"]),
        (&Value::from(564), &Value::from(242))
    );
    let doubled: u64 = scenario.truth["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["double_claims"].as_object().unwrap().len() as u64)
        .sum();
    assert_eq!(doubled, 74);
    // Rows of the older log among pulled ones claim numbers too.
    let found = totals["doubled_claims"].as_u64().unwrap();
    assert!((doubled..=doubled + 34).contains(&found), "{found}");
    assert_eq!(totals["oldest_unsent"], "2026-03-01T10:00:00.000000Z");
    assert!(document["not_checked"].to_string().contains("signatures"));

    // With keys the two encrypted events show; the head is the log's.
    let (code, document, _) = scenario.json(&["status", "outboxes", "--db", "truth.log"]);
    assert_eq!(
        (code, &document["totals"]["verdicts"]["fails"]),
        (4, &Value::from(2)),
        "{document}"
    );
    assert_eq!(document["totals"]["beyond_head"], 0);
    let (_, document, _) = scenario.json(&["status", "outboxes", "--db", "recovered.log"]);
    assert!(document["totals"]["beyond_head"].as_u64().unwrap() > 100);

    let (code, out, err) = common::run(scenario.path(), &["status", "older", "--wide"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("older/legacy-agent.db  older"), "{out}");
    assert_eq!(common::fingerprint(&scenario.path().join("outboxes")), before);

    // A damaged one is counted as far as it goes.
    let golf = scenario.path().join("outboxes/golf.db");
    let bytes = fs::read(&golf).unwrap();
    fs::write(&golf, &bytes[..bytes.len() / 2]).unwrap();
    let (code, document, err) = scenario.json(&["status", "outboxes/golf.db"]);
    assert!(code & 8 == 8 && err.contains("truncated"), "{code} {err}");
    assert!(document["totals"]["signed"].as_u64().unwrap() > 0);
}
