//! What follows from events and was lost or left over beside them: found by audit, put right by plan and apply.

use std::collections::BTreeSet;
use std::path::Path;

use assert_cmd::Command;
use fixtures::{World, WorldSpec};
use rusqlite::Connection;
use serde_json::Value;

fn tool(args: &[&str]) -> (i32, Value) {
    let output = Command::cargo_bin("sequencer-recovery")
        .unwrap()
        .args(args)
        .output()
        .unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
        panic!("{e}\n{}", String::from_utf8_lossy(&output.stderr));
    });
    (output.status.code().unwrap(), json)
}

fn problems(report: &Value) -> BTreeSet<&str> {
    report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["severity"] == "problem")
        .map(|f| f["code"].as_str().unwrap())
        .collect()
}

/// Every row that the damage below touches, as text.
fn rows(log: &Path) -> Vec<String> {
    let db = Connection::open(log).unwrap();
    let mut all = Vec::new();
    for sql in [
        "SELECT event_id || hex(receipt_hash) || sequence_number || sequenced_at || sequencer_id
         FROM ves_sequencer_receipts ORDER BY 1",
        // Not created_at: the sequencer stores the start of its transaction there, which nothing else remembers.
        "SELECT tenant_id || store_id || command_id FROM ves_command_dedupe ORDER BY 1",
        "SELECT tenant_id || store_id || entity_type || entity_id || version FROM entity_versions ORDER BY 1",
    ] {
        let mut statement = db.prepare(sql).unwrap();
        let found = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        all.extend(found.map(Result::unwrap));
    }
    all
}

#[test]
fn receipts_commands_and_versions_come_back_as_they_were() {
    let world = World::generate(&WorldSpec::honest(5));
    let dir = tempfile::tempdir().unwrap();
    let (log, plan) = (dir.path().join("log.db"), dir.path().join("plan"));
    world.write_log(&log).unwrap();
    let before = rows(&log);
    let (code, report) = tool(&["audit", "--db", log.to_str().unwrap(), "--format", "json"]);
    assert_eq!(
        (code, problems(&report)),
        (0, BTreeSet::new()),
        "nothing is wrong to begin with"
    );

    let db = Connection::open(&log).unwrap();
    let damage = |sql: &str| assert!(db.execute(sql, []).unwrap() > 0, "{sql}");
    damage("DELETE FROM ves_sequencer_receipts WHERE sequence_number % 7 = 0");
    damage("DELETE FROM ves_command_dedupe WHERE rowid % 3 = 0");
    damage(
        "INSERT INTO ves_command_dedupe (tenant_id, store_id, command_id, created_at)
         SELECT tenant_id, store_id, '99999999-9999-4999-8999-999999999999', created_at
         FROM ves_command_dedupe LIMIT 1",
    );
    damage("UPDATE entity_versions SET version = version - 1 WHERE version > 1");
    drop(db);

    let log_name = log.to_str().unwrap();
    let (code, report) = tool(&["audit", "--db", log_name, "--format", "json"]);
    let expected = BTreeSet::from([
        "receipt.missing",
        "dedupe.missing",
        "dedupe.orphan",
        "version.drift",
    ]);
    assert_eq!((code, problems(&report)), (4, expected));

    let (code, _) = tool(&[
        "plan",
        "--db",
        log_name,
        "--out",
        plan.to_str().unwrap(),
        "--format",
        "json",
    ]);
    assert_eq!(code, 0, "nothing stays open");
    let (code, applied) = tool(&[
        "apply",
        plan.to_str().unwrap(),
        "--db",
        log_name,
        "--format",
        "json",
    ]);
    assert_eq!(code, 1, "{applied}");
    let (before, after): (BTreeSet<String>, BTreeSet<String>) =
        (before.into_iter().collect(), rows(&log).into_iter().collect());
    let differ: Vec<&String> = before.symmetric_difference(&after).take(4).collect();
    assert!(differ.is_empty(), "every row as it was: {differ:#?}");
    let (code, again) = tool(&[
        "apply",
        plan.to_str().unwrap(),
        "--db",
        log_name,
        "--format",
        "json",
    ]);
    assert_eq!(code, 0, "{again}");
    assert!(
        again["streams"]
            .as_array()
            .unwrap()
            .iter()
            .all(|s| s["status"] == "already_applied")
    );
    let (code, report) = tool(&["audit", "--db", log_name, "--format", "json"]);
    assert_eq!((code, problems(&report)), (0, BTreeSet::new()));
}

#[test]
fn a_projection_that_ran_past_a_hole_goes_back_before_it() {
    let world = World::generate(&WorldSpec::honest(6));
    let dir = tempfile::tempdir().unwrap();
    let (whole, log, plan) = (
        dir.path().join("whole.db"),
        dir.path().join("log.db"),
        dir.path().join("plan"),
    );
    world.write_log(&whole).unwrap();
    std::fs::copy(&whole, &log).unwrap();
    let stream = *world.log().streams.keys().next().unwrap();
    let of = [stream.tenant_id.to_string(), stream.store_id.to_string()];
    let db = Connection::open(&log).unwrap();
    for sql in [
        "DELETE FROM projection_checkpoints WHERE tenant_id = ?1 AND store_id = ?2",
        "INSERT INTO projection_checkpoints (tenant_id, store_id, last_projected_sequence, updated_at)
         VALUES (?1, ?2, 40, '2026-01-01T00:00:00.000000Z')",
        "DELETE FROM ves_sequencer_receipts WHERE event_id IN (SELECT event_id FROM ves_events
         WHERE tenant_id = ?1 AND store_id = ?2 AND sequence_number IN (31, 32))",
        "DELETE FROM ves_events WHERE tenant_id = ?1 AND store_id = ?2 AND sequence_number IN (31, 32)",
    ] {
        db.execute(sql, [&of[0], &of[1]]).unwrap();
    }
    drop(db);
    let public: String = world
        .sequencer_public_key()
        .to_bytes()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let (log_name, plan_name) = (log.to_str().unwrap(), plan.to_str().unwrap());
    let common = [
        "--witness",
        whole.to_str().unwrap(),
        "--sequencer-public-key",
        &public,
        "--format",
        "json",
    ];
    let (_, report) = tool(&[&["audit", "--db", log_name], &common[..]].concat());
    assert!(
        problems(&report).contains("projection.ahead"),
        "{:?}",
        problems(&report)
    );
    let (code, _) = tool(&[&["plan", "--db", log_name, "--out", plan_name], &common[..]].concat());
    assert_eq!(code, 0);
    let (code, applied) = tool(&["apply", plan_name, "--db", log_name, "--format", "json"]);
    assert_eq!(code, 1, "{applied}");
    let db = Connection::open(&log).unwrap();
    let checkpoint: i64 = db
        .query_row(
            "SELECT last_projected_sequence FROM projection_checkpoints WHERE tenant_id = ?1 AND store_id = ?2",
            [&of[0], &of[1]],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(checkpoint, 30);
    let (code, report) = tool(&[&["audit", "--db", log_name], &common[..]].concat());
    assert_eq!((code, problems(&report)), (0, BTreeSet::new()));
}
