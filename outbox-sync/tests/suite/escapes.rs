//! Text of an outbox reaches a terminal escaped.

use std::fs;

use assert_cmd::Command;
use fixtures::{World, WorldSpec};
use test_support::{assert_harmless, poison_json, poison_sqlite};

#[test]
fn text_of_outboxes_and_logs_is_escaped() {
    let world = World::generate(&WorldSpec {
        seed: 12,
        events_per_stream: 60,
        ..WorldSpec::default()
    });
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    world.write_recovered(&at("log.db")).unwrap();
    world.write_outboxes(&at("outboxes")).unwrap();
    let outboxes: Vec<_> = fs::read_dir(at("outboxes"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "db"))
        .collect();
    outboxes.iter().for_each(|path| poison_sqlite(path));
    let mut said = 0;
    let mut run = |arguments: &[&str]| {
        for format in ["json", "ndjson", "table"] {
            let output = Command::cargo_bin("outbox-sync")
                .unwrap()
                .current_dir(folder.path())
                .env_remove("DATABASE_URL")
                .args(["--format", format])
                .args(arguments)
                .output()
                .unwrap();
            let _ = fs::remove_file(at("out.ndjson"));
            let _ = fs::remove_file(at("out.ndjson.manifest.json"));
            for bytes in [output.stdout, output.stderr] {
                let text = String::from_utf8(bytes).unwrap();
                assert_harmless(&text);
                said += text.matches("\\u{1b}[2J").count();
            }
        }
    };
    let all = |run: &mut dyn FnMut(&[&str])| {
        run(&["status", "outboxes"]);
        run(&["verify", "outboxes", "--db", "log.db"]);
        run(&["census", "outboxes", "--db", "log.db"]);
        run(&[
            "export",
            "outboxes",
            "--out",
            "out.ndjson",
            "--missing-from",
            "log.db",
        ]);
        let first = outboxes[0].to_str().unwrap();
        run(&["reconcile", first, "--db", "log.db"]);
    };
    all(&mut run);
    poison_sqlite(&at("log.db"));
    all(&mut run);
    let mut receipts = serde_json::json!({"receipts": [{"eventId": "x", "sequenceNumber": "y"}], "z": "a"});
    poison_json(&mut receipts, 1, 0);
    fs::write(at("receipts.ndjson"), format!("{receipts}\n")).unwrap();
    run(&[
        "reconcile",
        outboxes[0].to_str().unwrap(),
        "--receipts",
        "receipts.ndjson",
    ]);
    assert!(said > 0);
}
