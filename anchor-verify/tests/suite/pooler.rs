//! Logs that are reached through a pooler.

use crate::common;

use std::path::Path;
use std::thread;

use common::Real;
use serde_json::Value;
use test_support::{PgBouncer, pgbouncer_available, query, shared_data};

/// Runs the tool in a folder; what it prints, as JSON.
fn tool(folder: &Path, arguments: &[&str]) -> Value {
    let output = assert_cmd::Command::cargo_bin("anchor-verify")
        .unwrap()
        .env_remove("DATABASE_URL")
        .current_dir(folder)
        .args(["--format", "json"])
        .args(arguments)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {stderr}"))
}

/// What each command says of the log at a URL, and the files that it writes.
fn read(folder: &Path, url: &str, event: &str) -> Vec<(String, Vec<u8>)> {
    let (anchors, out) = (["--anchors", "anchors.json"], ["--out", "out", "--force"]);
    let commands: [(&[&str], bool); 4] = [
        (&[&["verify"][..], &anchors].concat(), false),
        (&["lint", "anchors.json"], false),
        (&[&["bundle"][..], &anchors, &out].concat(), true),
        (&[&["prove", "--event", event][..], &anchors, &out].concat(), true),
    ];
    let said = commands.map(|(command, writes)| {
        let mut report = tool(folder, &[command, &["--db", url]].concat());
        // It has the time.
        report["provenance"] = Value::Null;
        let written = writes.then(|| std::fs::read(folder.join("out")).unwrap());
        (
            report.to_string().replace(url, "LOG"),
            written.unwrap_or_default(),
        )
    });
    said.into()
}

#[test]
fn through_a_pooler_a_log_is_verified_as_without() {
    let Some(real) = Real::load("scenario-1", "truth.copy.sql").filter(|_| pgbouncer_available()) else {
        return;
    };
    let folder = real.folder.path();
    let saved = shared_data().join("data/scenario-1/anchors");
    let mut import = vec!["import", "--chain-id", "84532001", "--out", "anchors.json"];
    let logs = ["SetRegistry_BatchCommitted", "StateSetAnchor_CommitmentAnchored"].map(|name| {
        saved
            .join(format!("logs_{name}.json"))
            .to_str()
            .unwrap()
            .to_owned()
    });
    import.extend(logs.iter().map(String::as_str));
    let _ = tool(folder, &import);
    let event = query(
        &real.url,
        "SELECT event_id FROM ves_events WHERE sequence_number = 3 LIMIT 1",
    );
    let direct = read(folder, &real.url, &event);
    let whole = tool(folder, &["verify", "--db", &real.url]);

    for mode in ["session", "transaction"] {
        let pooler = PgBouncer::start(&real.server, mode);
        let url = pooler.database_url("log");
        pooler.open_both("log");
        assert_eq!(read(folder, &url, &event), direct, "{mode}");
        // More at once than it has connections.
        let parts = thread::scope(|scope| {
            let shard = |part: &'static str| {
                let url = &url;
                scope.spawn(move || tool(folder, &["verify", "--db", url, "--shard", part]))
            };
            ["1/3", "2/3", "3/3"].map(shard).map(|part| part.join().unwrap())
        });
        let names = ["1.json", "2.json", "3.json"];
        for (name, part) in names.iter().zip(&parts) {
            std::fs::write(folder.join(name), part.to_string()).unwrap();
        }
        let merged = tool(folder, &[&["merge"][..], &names].concat());
        assert_eq!(merged["units"], whole["units"], "{mode}");
        assert_eq!(pooler.left_over("log"), "", "{mode}");
    }
}
