//! What a session with the log may see decides what is said of outboxes.

use crate::common;

use common::{fingerprint, run};
use test_support::{ScratchPostgres, load_copy_file, load_schema, postgres_available, query, shared_data};

#[test]
fn an_outbox_is_not_set_back_by_rows_that_a_policy_hides() {
    let Some(shared) = shared_data() else { return };
    if !postgres_available() {
        return;
    }
    let scenario = shared.join("data/scenario-1");
    let server = ScratchPostgres::start();
    let url = server.create_database("log");
    load_schema(&url);
    load_copy_file(&url, &scenario.join("recovered.copy.sql"));
    let _ = query(
        &url,
        "CREATE ROLE operator LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO operator;
         ALTER TABLE ves_events ENABLE ROW LEVEL SECURITY;
         CREATE POLICY one ON ves_events USING (store_id = '5126e8c5-c2d2-4f92-8b21-0080eeab9c5e')",
    );
    let folder = tempfile::tempdir().unwrap();
    common::copy_folder(&scenario.join("outboxes"), folder.path());
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
