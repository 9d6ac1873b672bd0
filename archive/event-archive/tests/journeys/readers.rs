//! Others' tools read an archive: DuckDB and pyarrow.

use std::path::Path;

use fixtures::{World, WorldSpec};
use serde_json::{Value, json};

use super::{Scenario, event_archive, newest_manifest, number, program, python, run, script, text};

/// What a script says of an archive.
fn read(python: &Path, name: &str, archive: &Path) -> Value {
    let mut command = program(python);
    command.arg(script(name)).arg(archive);
    run(command).expect(0).json()
}

/// Streams with events, by name: how many, the first, the last.
fn streams_of(manifest: &Value) -> Value {
    let streams = manifest["streams"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|stream| stream["events"] != 0);
    let named = streams.map(|stream| {
        let name = format!(
            "{}/{}",
            stream["tenant_id"].as_str().unwrap(),
            stream["store_id"].as_str().unwrap()
        );
        (name, json!([stream["events"], stream["first"], stream["last"]]))
    });
    Value::Object(named.collect())
}

fn rows(objects: &[&Value]) -> u64 {
    objects.iter().map(|object| number(&object["rows"])).sum()
}

#[test]
fn duckdb_and_pyarrow_count_what_the_manifest_says() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let world = World::generate(&WorldSpec {
        seed: 20,
        ..WorldSpec::default()
    });
    let (log, archive) = (folder.path().join("log.db"), folder.path().join("archive"));
    // First what the recovery left, then all: the archive is written twice.
    world.write_recovered(&log).unwrap();
    event_archive(["write", &text(&archive), "--db", &text(&log)]).expect(0);
    std::fs::remove_file(&log).unwrap();
    world.write_log(&log).unwrap();
    event_archive(["write", &text(&archive), "--db", &text(&log)]).expect(0);

    let manifest = newest_manifest(&archive);
    assert_eq!(manifest["number"], 2);
    let streams = manifest["streams"].as_array().unwrap();
    let files: Vec<&Value> = streams
        .iter()
        .flat_map(|s| s["files"].as_array().unwrap())
        .collect();
    let events = rows(&files);
    assert!(events > 0);
    let duckdb = read(&python, "read_with_duckdb.py", &archive);
    assert_eq!(duckdb["events"], events);
    assert_eq!(duckdb["event_ids"], events);
    assert_eq!(duckdb["receipts"], events);
    assert_eq!(duckdb["streams"], streams_of(&manifest));
    assert_eq!(duckdb["keys"], manifest["keys"]["rows"]);
    assert_eq!(duckdb["gaps"], json!([]));
    assert_eq!(duckdb["time_type"], "TIMESTAMP WITH TIME ZONE");
    let batches = number(&duckdb["batches"]);
    assert!(batches > 0 && duckdb["batches_whole"] == batches, "{duckdb}");
    let pyarrow = read(&python, "read_with_pyarrow.py", &archive);
    assert_eq!(pyarrow["events"], events);
    assert_eq!(pyarrow["receipts"], events);
    assert_eq!(pyarrow["keys"], manifest["keys"]["rows"]);
    assert_eq!(pyarrow["commitments"], batches);
    // Every batch's Merkle root comes out of the columns as the log has it.
    assert_eq!(pyarrow["roots_equal"], batches);
    assert_eq!(
        (&pyarrow["roots_differ"], &pyarrow["roots_incomplete"]),
        (&json!(0), &json!(0))
    );
}

#[test]
fn of_a_log_with_gaps_duckdb_finds_those_that_the_audit_finds() {
    let (Some(python), Some(scenario)) = (python(), Scenario::set()) else {
        return;
    };
    let Some(tools) = super::Tools::found() else {
        return;
    };
    let url = scenario.load("recovered");
    let archive = scenario.path("archive");
    event_archive(["write", &archive, "--db", &url]).expect(0);
    let audit = tools.run("sequencer-recovery", ["audit", "--format=json", "--db", &url]);
    let audit = audit.json();
    let mut expected: Vec<Value> = Vec::new();
    for stream in audit["streams"].as_array().unwrap() {
        let name = format!(
            "{}/{}",
            stream["tenant_id"].as_str().unwrap(),
            stream["store_id"].as_str().unwrap()
        );
        let gaps = stream["gaps"].as_array().unwrap().iter();
        let inner = gaps.filter(|gap| gap["kind"] != "tail");
        expected.extend(inner.map(|gap| json!([name, gap["from"], gap["to"]])));
    }
    expected.sort_by_key(ToString::to_string);
    let duckdb = read(&python, "read_with_duckdb.py", Path::new(&archive));
    let mut found = duckdb["gaps"].as_array().unwrap().clone();
    found.sort_by_key(ToString::to_string);
    assert_eq!(found, expected);
    assert_eq!(duckdb["events"], audit["totals"]["events"]);
    let pyarrow = read(&python, "read_with_pyarrow.py", Path::new(&archive));
    assert_eq!(pyarrow["events"], audit["totals"]["events"]);
    let differ = number(&pyarrow["roots_differ"]);
    let failed = &audit["totals"]["batches"]["failed"];
    assert!(differ <= number(failed), "{pyarrow} {failed}");
}
