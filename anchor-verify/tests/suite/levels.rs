//! Logs as the sequencer's own migrations made them, at every age, and damaged ones, through the compiled tool.

use std::collections::BTreeMap;
use std::fs;

use anchor_verify::Importer;
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

/// Takes the events 10 to 12 of each stream and their receipts out of these indexes. They stay in the tables.
fn hide(url: &str, indexes: &[&str]) {
    let of = "SELECT event_id FROM ves_events WHERE sequence_number BETWEEN 10 AND 12";
    let _ = query(
        url,
        &format!(
            "CREATE SCHEMA kept;
             CREATE TABLE kept.receipts AS SELECT * FROM ves_sequencer_receipts WHERE event_id IN ({of});
             CREATE TABLE kept.events AS SELECT * FROM ves_events WHERE event_id IN ({of});
             DELETE FROM ves_sequencer_receipts WHERE event_id IN (SELECT event_id FROM kept.events);
             DELETE FROM ves_events WHERE event_id IN (SELECT event_id FROM kept.events)"
        ),
    );
    let _ = query(url, "VACUUM ves_events");
    let _ = query(url, "VACUUM ves_sequencer_receipts");
    let names: Vec<String> = indexes.iter().map(|name| format!("'{name}'::regclass")).collect();
    let ready = |ready: bool| {
        query(
            url,
            &format!(
                "UPDATE pg_index SET indisready = {ready}, indisvalid = {ready} WHERE indexrelid IN ({})",
                names.join(", ")
            ),
        )
    };
    let _ = ready(false);
    let _ = query(
        url,
        "INSERT INTO ves_events SELECT * FROM kept.events;
         INSERT INTO ves_sequencer_receipts SELECT * FROM kept.receipts",
    );
    let _ = ready(true);
}

/// Every index that events are found by, and their receipts: `verify` and `prove` say of the log what they said before.
#[test]
fn what_an_index_lacks_is_verified_and_proved_all_the_same() {
    if !postgres_available() {
        return;
    }
    let server = ScratchPostgres::start();
    let folder = tempfile::tempdir().unwrap();
    let mut importer = Importer::new(Some(84_532_001), Vec::new());
    for file in fs::read_dir(shared_data().join("data/scenario-1/anchors")).unwrap() {
        let path = file.unwrap().path();
        if path.to_string_lossy().contains("logs_") {
            importer.add_file(&path).unwrap();
        }
    }
    let anchors = importer.finish(&[]).file;
    let anchored = (anchors.anchors.iter()).find(|a| a.sequence_start <= 11 && a.sequence_end >= 11);
    let stream = anchored.and_then(|anchor| anchor.stream).unwrap();
    let known = folder.path().join("anchors.json");
    anchors.write_json(fs::File::create(&known).unwrap()).unwrap();
    let proved = |url: &str, event: &str, name: &str| {
        let (out, known) = (folder.path().join(name), known.to_str().unwrap());
        let to = ["--anchors", known, "--out", out.to_str().unwrap()];
        let (code, _, stderr) = tool(&[&["prove", "--event", event, "--db", url], &to[..]].concat());
        (code, fs::read(&out).unwrap_or_else(|e| panic!("{e}: {stderr}")))
    };
    let sound = at_level(&server, "sound", 16);
    let before = verify(&sound);
    let event = query(
        &sound,
        &format!(
            "SELECT event_id FROM ves_events WHERE sequence_number = 11 AND store_id = '{}'",
            stream.store_id
        ),
    );
    let proof = proved(&sound, &event, "sound.json");
    assert_eq!(proof.0, 0);
    let on = |table: &str, columns: &str| {
        let found = query(
            &sound,
            &format!(
                "SELECT indexname FROM pg_indexes WHERE tablename = '{table}' AND indexdef LIKE '%({columns})' ORDER BY 1"
            ),
        );
        let names: Vec<String> = found.lines().map(str::to_owned).collect();
        assert!(!names.is_empty(), "{columns}");
        names
    };
    for (name, table, columns) in [
        ("numbers", "ves_events", "tenant_id, store_id, sequence_number"),
        ("ids", "ves_events", "event_id"),
        ("receipts", "ves_sequencer_receipts", "event_id"),
    ] {
        let indexes = on(table, columns);
        let indexes: Vec<&str> = indexes.iter().map(String::as_str).collect();
        let url = at_level(&server, name, 16);
        hide(&url, &indexes);
        // As if the tables were large.
        let _ = query(&url, &format!("ALTER DATABASE {name} SET enable_seqscan = off"));
        // As PostgreSQL answers by the index.
        let by_index = format!(
            "SET enable_seqscan = off; SET enable_bitmapscan = off; SELECT count(*) FROM ves_events WHERE event_id = '{event}'"
        );
        assert_eq!(query(&url, &by_index), if name == "ids" { "0" } else { "1" });
        let after = verify(&url);
        assert_eq!((after.0, &after.1), (before.0, &before.1), "{name}");
        assert_eq!(after.2["totals"], before.2["totals"], "{name}");
        assert_eq!(proved(&url, &event, &format!("{name}.json")), proof, "{name}");
    }
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
    hide(&url, &["idx_ves_events_tenant_store_seq"]);
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
