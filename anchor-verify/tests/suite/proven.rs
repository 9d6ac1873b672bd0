//! The real logs against the real chain, through the compiled tool: every anchored batch is PROVEN against the head that
//! the auditor trusts, and nothing is without it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use test_support::{ScratchPostgres, load_copy_file, load_schema, postgres_available, shared_data};

fn tool(arguments: &[&str]) -> (i32, Value) {
    let output = assert_cmd::Command::cargo_bin("anchor-verify")
        .unwrap()
        .env_remove("DATABASE_URL")
        .args(arguments)
        .args(["--wide", "--all"])
        .output()
        .unwrap();
    let document = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), document)
}

/// How many batches have each verdict.
fn verdicts(report: &Value) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for unit in report["units"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|u| u["kind"] == "batch")
    {
        *counts
            .entry(unit["verdict"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    counts
}

fn check(data: &Path, copy: &str, expected: &[(&str, usize)]) {
    let server = ScratchPostgres::start();
    let database = server.create_database("log");
    load_schema(&database);
    load_copy_file(&database, &data.join(copy));
    let dir = tempfile::tempdir().unwrap();
    let anchors = dir.path().join("anchors.json");
    let anchors = anchors.to_str().unwrap();
    let mut import = vec![
        "import".to_owned(),
        "--format".into(),
        "json".into(),
        "--out".into(),
        anchors.into(),
    ];
    for file in fs::read_dir(data.join("anchors"))
        .unwrap()
        .map(|e| e.unwrap().path())
    {
        if file.extension().is_some_and(|e| e == "json") {
            import.push(file.to_str().unwrap().to_owned());
        }
    }
    let import: Vec<&str> = import.iter().map(String::as_str).collect();
    assert_eq!(tool(&import).0, 0);
    let head: Value =
        serde_json::from_slice(&fs::read(data.join("anchors/trusted_head.json")).unwrap()).unwrap();
    let head = head["hash"].as_str().unwrap();
    let verify = [
        "verify",
        "--db",
        &database,
        "--anchors",
        anchors,
        "--format",
        "json",
    ];

    let (code, report) = tool(&[&verify[..], &["--trusted-block", head]].concat());
    let expected: BTreeMap<String, usize> = expected.iter().map(|(v, n)| ((*v).to_owned(), *n)).collect();
    assert_eq!((code, verdicts(&report)), (0, expected), "{}", report["problems"]);

    // Another block, or none, proves nothing.
    for other in [&["--trusted-block", &"ab".repeat(32)][..], &[]] {
        let (_, report) = tool(&[&verify[..], other].concat());
        assert_eq!(verdicts(&report).get("PROVEN"), None, "{other:?}");
    }
}

#[test]
fn golden_is_proven() {
    if !postgres_available() {
        return;
    }
    let data = shared_data();
    check(&data.join("data/golden"), "log.copy.sql", &[("PROVEN", 39)]);
}

#[test]
fn the_scenario_before_its_disaster_is_proven_but_for_the_batch_that_was_never_anchored() {
    if !postgres_available() {
        return;
    }
    let data = shared_data();
    check(
        &data.join("data/scenario-1"),
        "truth.copy.sql",
        &[("MATCHES DATABASE", 1), ("PROVEN", 17)],
    );
}
