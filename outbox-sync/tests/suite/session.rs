//! What a session with the log may see decides what is said of outboxes.

use crate::common;

use std::path::{Path, PathBuf};

use common::{copy_folder, fingerprint, run};
use outbox_sync::export::manifest_path;
use test_support::{
    PgBouncer, ScratchPostgres, load_copy_file, load_schema, pgbouncer_available, postgres_available, query,
    shared_data,
};

/// A server, and the folder of the disaster.
fn stage() -> Option<(ScratchPostgres, PathBuf)> {
    let scenario = shared_data().join("data/scenario-1");
    postgres_available().then(|| (ScratchPostgres::start(), scenario))
}

/// The log after the disaster, in a database of its own.
fn recovered(server: &ScratchPostgres, scenario: &Path, name: &str) -> String {
    let url = server.create_database(name);
    load_schema(&url);
    load_copy_file(&url, &scenario.join("recovered.copy.sql"));
    url
}

#[test]
fn an_outbox_is_not_set_back_by_rows_that_a_policy_hides() {
    let Some((server, scenario)) = stage() else { return };
    let url = recovered(&server, &scenario, "log");
    let _ = query(
        &url,
        "CREATE ROLE operator LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO operator;
         ALTER TABLE ves_events ENABLE ROW LEVEL SECURITY;
         CREATE POLICY one ON ves_events USING (store_id = '5126e8c5-c2d2-4f92-8b21-0080eeab9c5e')",
    );
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&scenario.join("outboxes"), folder.path());
    let before = fingerprint(folder.path());
    let hidden = url.replace("postgres@", "operator@");
    for command in [
        &["reconcile", "alpha.db", "--apply", "--db", &hidden][..],
        &["census", ".", "--db", &hidden],
        &["status", "alpha.db", "--db", &hidden],
        &[
            "export",
            ".",
            "--out",
            "missing.ndjson",
            "--missing-from",
            &hidden,
        ],
    ] {
        let (code, stdout, stderr) = run(folder.path(), command);
        assert_eq!(code, 8, "{command:?}: {stdout}{stderr}");
        assert!(
            stderr.contains("ves_events") && stderr.contains("operator") && stderr.contains("BYPASSRLS"),
            "{stderr}"
        );
    }
    assert_eq!(fingerprint(folder.path()), before);
    // The owner of the rows sees them all, and every document says where that was.
    let (_, stdout, stderr) = run(
        folder.path(),
        &["reconcile", "alpha.db", "--db", &url, "--format", "json"],
    );
    let document: serde_json::Value =
        serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{e}: {stderr}"));
    assert_eq!(document["place"]["role"], "postgres");
    assert_eq!(document["place"]["mode"], "primary");
}

/// What every command that only reads says of the outboxes beside a log, without where that was.
fn read(folder: &Path, url: &str) -> Vec<(i32, String)> {
    let out = folder.join("missing.ndjson");
    let _ = std::fs::remove_file(&out);
    let _ = std::fs::remove_file(manifest_path(&out));
    let export = ["export", "outboxes", "--out", "missing.ndjson", "--missing-from"];
    let push = [
        "push",
        "outboxes",
        "--dry-run",
        "--url",
        "http://127.0.0.1:9",
        "--receipts",
        "receipts",
        "--db",
    ];
    let commands: [&[&str]; 6] = [
        &["status", "outboxes", "--db"],
        &["verify", "outboxes", "--db"],
        &["census", "outboxes", "--db"],
        &["reconcile", "outboxes", "--db"],
        &export,
        &push,
    ];
    let said = commands.map(|command| {
        let (code, stdout, stderr) = run(folder, &[&["--format", "json"], command, &[url]].concat());
        assert!(code & !4 == 0, "{command:?}: {stdout}{stderr}");
        let lines = stdout.lines().filter(|line| !line.contains("\"made_at\""));
        let text = lines.collect::<Vec<_>>().join("\n");
        (code, text.replace(url, "LOG"))
    });
    let exported = std::fs::read_to_string(out).unwrap();
    said.into_iter().chain([(0, exported)]).collect()
}

#[test]
fn through_a_pooler_outboxes_are_read_and_set_right_as_without() {
    let Some((server, scenario)) = stage() else { return };
    if !pgbouncer_available() {
        return;
    }
    let url = recovered(&server, &scenario, "pooled");
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&scenario.join("outboxes"), &folder.path().join("outboxes"));
    let direct = read(folder.path(), &url);
    assert!(direct.last().unwrap().1.lines().count() > 100);
    for mode in ["session", "transaction"] {
        let pooler = PgBouncer::start(&server, mode);
        let pooled = pooler.database_url("pooled");
        pooler.open_both("pooled");
        assert_eq!(read(folder.path(), &pooled), direct, "{mode}");
        assert_eq!(pooler.left_over("pooled"), "", "{mode}");

        // An outbox is set right by what such a log has.
        let outbox = format!("{mode}.db");
        std::fs::copy(scenario.join("outboxes/alpha.db"), folder.path().join(&outbox)).unwrap();
        let set_right = [
            "reconcile",
            &outbox,
            "--apply",
            "--format",
            "json",
            "--db",
            &pooled,
        ];
        let (code, stdout, stderr) = run(folder.path(), &set_right);
        assert_eq!(code & !4, 1, "{stdout}{stderr}");
        let (code, stdout, stderr) = run(folder.path(), &set_right);
        assert_eq!(code & !4, 0, "{stdout}{stderr}");
    }
}
