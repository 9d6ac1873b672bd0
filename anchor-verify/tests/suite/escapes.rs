//! Text of a log, an export, an anchors file or a proof reaches a terminal escaped.

use std::fs;

use assert_cmd::Command;
use fixtures::{World, WorldSpec};
use test_support::{assert_harmless, poison_json, poison_sqlite};

#[test]
fn text_of_inputs_is_escaped() {
    let world = World::generate(&WorldSpec {
        seed: 13,
        events_per_stream: 60,
        ..WorldSpec::default()
    });
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let run = |arguments: &[&str]| {
        for format in ["json", "ndjson", "table"] {
            let output = Command::cargo_bin("anchor-verify")
                .unwrap()
                .current_dir(folder.path())
                .env_remove("DATABASE_URL")
                .args(["--format", format])
                .args(arguments)
                .output()
                .unwrap();
            for bytes in [output.stdout, output.stderr] {
                assert_harmless(&String::from_utf8(bytes).unwrap());
            }
        }
    };
    world.write_log(&at("log.db")).unwrap();
    world.write_anchors(&at("anchors.json")).unwrap();
    let stream = world.log().streams.keys().next().unwrap().to_string();
    run(&[
        "prove",
        "--db",
        "log.db",
        "--stream",
        &stream,
        "--sequence",
        "1",
        "--anchors",
        "anchors.json",
        "--out",
        "whole.vesproof",
    ]);
    let whole: serde_json::Value = serde_json::from_slice(&fs::read(at("anchors.json")).unwrap()).unwrap();
    let proof = fs::read(at("whole.vesproof"))
        .ok()
        .map(|bytes| serde_json::from_slice(&bytes).unwrap());
    for remainder in 0..5 {
        let mut poisoned = whole.clone();
        poison_json(&mut poisoned, 5, remainder);
        fs::write(at("poisoned.json"), poisoned.to_string()).unwrap();
        run(&["verify", "--db", "log.db", "--anchors", "poisoned.json"]);
        run(&["lint", "poisoned.json", "--db", "log.db"]);
        run(&["import", "poisoned.json", "--out", "imported.json", "--force"]);
        let mut poisoned: serde_json::Value = serde_json::Value::clone(proof.as_ref().unwrap());
        poison_json(&mut poisoned, 5, remainder);
        fs::write(at("poisoned.vesproof"), poisoned.to_string()).unwrap();
        run(&["check", "poisoned.vesproof", "--anchors", "anchors.json"]);
    }
    poison_sqlite(&at("log.db"));
    run(&["verify", "--db", "log.db", "--anchors", "anchors.json"]);
    run(&["lint", "anchors.json", "--db", "log.db"]);
    run(&[
        "bundle",
        "--db",
        "log.db",
        "--stream",
        &stream,
        "--out",
        "a.vesbundle",
    ]);
    run(&["check", "a.vesbundle", "--anchors", "anchors.json"]);
}
