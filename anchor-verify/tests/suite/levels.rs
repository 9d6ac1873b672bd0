//! Logs as the sequencer's own migrations made them, at every age, and damaged ones, through the compiled tool.

use std::collections::BTreeMap;

use serde_json::Value;
use test_support::level::{load_copy_file_at, load_level};
use test_support::{ScratchPostgres, postgres_available, query, shared_data};

fn tool(arguments: &[&str]) -> (i32, String, String) {
    let output = assert_cmd::Command::cargo_bin("anchor-verify")
        .unwrap()
        .env_remove("DATABASE_URL")
        .args(arguments)
        .args(["--wide", "--all"])
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// The exit status, how many batches have each verdict, and the report.
fn verify(url: &str) -> (i32, BTreeMap<String, usize>, Value) {
    let (code, stdout, stderr) = tool(&["verify", "--db", url, "--format", "json"]);
    let report: Value = serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{e}: {stderr}"));
    let mut counts = BTreeMap::new();
    let units = report["units"].as_array().unwrap().iter();
    for unit in units.filter(|unit| unit["kind"] == "batch") {
        let verdict = unit["verdict"].as_str().unwrap().to_owned();
        *counts.entry(verdict).or_default() += 1;
    }
    (code, counts, report)
}

/// A server with the log of the scenario as it was before the disaster.
fn at_level(server: &ScratchPostgres, name: &str, level: u32) -> String {
    let url = server.create_database(name);
    load_level(&url, level);
    load_copy_file_at(&url, level, &shared_data().join("data/scenario-1/truth.copy.sql"));
    url
}

#[test]
fn a_log_of_an_older_level_is_verified_as_the_newest_is() {
    if !postgres_available() {
        return;
    }
    let server = ScratchPostgres::start();
    let newest = verify(&at_level(&server, "newest", 16));
    assert_eq!(newest.1, BTreeMap::from([("MATCHES DATABASE".to_owned(), 18)]));
    // What each level is like is tested where it is read.
    for level in [2, 7, 9, 12, 14] {
        let url = at_level(&server, &format!("level_{level}"), level);
        let (code, verdicts, _) = verify(&url);
        assert_eq!((code, &verdicts), (newest.0, &newest.1), "{level}");
    }
    let url = server.create_database("level_1");
    load_level(&url, 1);
    let (code, _, stderr) = tool(&["verify", "--db", &url]);
    assert_eq!(code, 8);
    assert!(
        stderr.contains("level 1") && stderr.contains("002_ves_v1_tables"),
        "{stderr}"
    );
}

#[test]
fn a_damaged_log_is_never_more_than_it_is() {
    if !postgres_available() {
        return;
    }
    let server = ScratchPostgres::start();
    let sound = at_level(&server, "sound", 16);
    let before = verify(&sound);

    // Rows that no index of the numbers has: they are there, and every root comes out as before.
    let url = at_level(&server, "hidden", 16);
    let index = "idx_ves_events_tenant_store_seq";
    let of = "SELECT event_id FROM ves_events WHERE sequence_number BETWEEN 10 AND 12";
    let _ = query(
        &url,
        &format!(
            "CREATE SCHEMA kept;
             CREATE TABLE kept.receipts AS SELECT * FROM ves_sequencer_receipts WHERE event_id IN ({of});
             CREATE TABLE kept.events AS SELECT * FROM ves_events WHERE event_id IN ({of});
             DELETE FROM ves_sequencer_receipts WHERE event_id IN (SELECT event_id FROM kept.events);
             DELETE FROM ves_events WHERE event_id IN (SELECT event_id FROM kept.events)"
        ),
    );
    let _ = query(&url, "VACUUM ves_events");
    for (ready, then) in [
        (false, "INSERT INTO ves_events SELECT * FROM kept.events"),
        (
            true,
            "INSERT INTO ves_sequencer_receipts SELECT * FROM kept.receipts",
        ),
    ] {
        let _ = query(
            &url,
            &format!(
                "UPDATE pg_index SET indisready = {ready}, indisvalid = {ready} WHERE indexrelid = '{index}'::regclass"
            ),
        );
        let _ = query(&url, then);
    }
    let (_, verdicts, report) = verify(&url);
    assert_eq!(verdicts, before.1, "{}", report["problems"]);

    // Rows that nobody can read whole: their batches are not called good, and all others are judged as before.
    let url = at_level(&server, "unreadable", 16);
    let _ = query(
        &url,
        "UPDATE ves_events SET sequenced_at = 'infinity' WHERE sequence_number = 5;
         UPDATE ves_commitments SET committed_at = '-infinity' WHERE sequence_start = 1",
    );
    let (code, verdicts, _) = verify(&url);
    assert_ne!(code, 0);
    assert!(
        verdicts.get("MATCHES DATABASE").is_none_or(|good| *good <= 18),
        "{verdicts:?}"
    );

    // What a policy hides is no verdict at all.
    let url = at_level(&server, "policy", 16);
    let _ = query(
        &url,
        "CREATE ROLE auditor LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO auditor;
         ALTER TABLE ves_events ENABLE ROW LEVEL SECURITY;
         CREATE POLICY one ON ves_events USING (sequence_number < 50)",
    );
    let (code, stdout, stderr) = tool(&["verify", "--db", &url.replace("postgres@", "auditor@")]);
    assert_eq!(code, 8, "{stdout}{stderr}");
    assert!(
        stderr.contains("ves_events") && stderr.contains("auditor") && stderr.contains("BYPASSRLS"),
        "{stderr}"
    );

    // Nor is what a role may not see.
    let _ = query(
        &url,
        "ALTER TABLE ves_events DISABLE ROW LEVEL SECURITY; REVOKE SELECT ON ves_commitments FROM auditor",
    );
    let (code, _, stderr) = tool(&["verify", "--db", &url.replace("postgres@", "auditor@")]);
    assert_eq!(code, 8, "{stderr}");
    assert!(
        stderr.contains("GRANT SELECT ON") && stderr.contains("ves_commitments"),
        "{stderr}"
    );
}
