//! What the tests of this crate share.

pub mod agents;
pub mod proxy;
pub mod sequencer;
pub mod writer;

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use outbox_sync::{HeldRow, Outbox, RowError};
use rusqlite::Connection;
use sha2::{Digest, Sha256};

/// An outbox of version 1 as agents create it.
pub const OUTBOX_V1: &str = include_str!("../../../../fixtures/sql/outbox_v1.sql");
/// An outbox that was upgraded from version 1 to version 3.
pub const OUTBOX_V3: &str = concat!(
    include_str!("../../../../fixtures/sql/outbox_v1.sql"),
    include_str!("../../../../fixtures/sql/outbox_v1_add_schemes.sql"),
    include_str!("../../../../fixtures/sql/outbox_v3_add.sql"),
);

/// An outbox with `rows` signed-looking rows (nobody checks them here).
pub fn create(path: &Path, schema: &str, rows: i64) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(schema).unwrap();
    add_rows(&connection, rows);
    connection
}

pub fn add_rows(connection: &Connection, rows: i64) {
    for _ in 0..rows {
        connection
            .execute(INSERT, [uuid::Uuid::from_u128(next(connection)).to_string()])
            .unwrap();
    }
}

fn next(connection: &Connection) -> u128 {
    let last: i64 = connection
        .query_row("SELECT coalesce(max(local_seq), 0) FROM _ves_outbox", [], |r| {
            r.get(0)
        })
        .unwrap();
    (last + 1).unsigned_abs().into()
}

const INSERT: &str = "INSERT INTO _ves_outbox (event_id, tenant_id, store_id, entity_type, entity_id, event_type, \
    payload, payload_plain_hash, payload_cipher_hash, agent_key_id, agent_signature, source_agent, created_at, \
    sync_status, remote_sequence) \
    VALUES (?1, '00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-00000000000b', 'order', 'O-1', \
    'order.created', '{\"a\":1}', '0x' || hex(zeroblob(32)), '0x' || hex(zeroblob(32)), 1, '0x1' || \
    substr(hex(zeroblob(64)), 2), '00000000-0000-0000-0000-00000000000c', '2026-01-01T00:00:00Z', 'synced', 7)";

/// Every file of a folder with its SHA-256.
pub fn fingerprint(folder: &Path) -> BTreeMap<PathBuf, String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| {
            let hash = hex::encode(Sha256::digest(fs::read(&path).unwrap()));
            (path, hash)
        })
        .collect()
}

pub fn rows(outbox: &Outbox) -> Vec<Result<HeldRow, RowError>> {
    let mut rows = Vec::new();
    outbox
        .for_each_row(&mut |row| {
            rows.push(row);
            ControlFlow::Continue(())
        })
        .unwrap();
    rows
}

/// Copies the files of a folder, WAL and all.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

/// Runs the binary in a folder: exit status, stdout, stderr.
pub fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = assert_cmd::Command::cargo_bin("outbox-sync")
        .unwrap()
        .current_dir(folder)
        .env_remove("DATABASE_URL")
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        without_time(&text(output.stderr)),
    )
}

/// What is said of work that takes long on a busy machine is no part of what is tested.
pub fn without_time(stderr: &str) -> String {
    let said = |line: &&str| !line.starts_with("took ") && !line.starts_with("reconciling outboxes: ");
    stderr
        .lines()
        .filter(said)
        .map(|line| format!("{line}\n"))
        .collect()
}

/// The real disaster in a folder of its own: copies of all outboxes, and the two logs as snapshots.
pub struct Scenario {
    pub dir: tempfile::TempDir,
    pub truth: serde_json::Value,
}

impl Scenario {
    /// `None`, after saying so, where there is no server.
    pub fn load() -> Option<Self> {
        let data = test_support::shared_data().join("data/scenario-1");
        if !test_support::postgres_available() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        copy_folder(&data.join("outboxes"), &dir.path().join("outboxes"));
        copy_folder(&data.join("older-outboxes"), &dir.path().join("older"));
        let server = test_support::ScratchPostgres::start();
        for name in ["recovered", "truth"] {
            let url = server.create_database(name);
            test_support::load_schema(&url);
            test_support::load_copy_file(&url, &data.join(format!("{name}.copy.sql")));
            snapshot(&url, &dir.path().join(format!("{name}.log")));
        }
        let truth = serde_json::from_slice(&fs::read(data.join("truth.json")).unwrap()).unwrap();
        Some(Self { dir, truth })
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs the binary in the folder of the disaster and reads its JSON.
    pub fn json(&self, arguments: &[&str]) -> (i32, serde_json::Value, String) {
        let (code, out, err) = run(self.path(), &[&["--format", "json"], arguments].concat());
        let value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
        (code, value, err)
    }

    /// The ids of the events that the truth lists under these names, over all streams.
    pub fn listed(&self, name: &str) -> std::collections::BTreeSet<String> {
        let streams = self.truth["streams"].as_array().unwrap();
        let events = streams.iter().flat_map(|s| s[name].as_array().unwrap());
        events
            .map(|e| e["event_id"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn snapshot(url: &str, path: &Path) {
    use cli_common::DbTarget;
    let target = DbTarget::parse(url.as_ref()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let log = event_log::Log::open(&target).await.unwrap();
        let mut view = log.view().await.unwrap();
        event_log::write_snapshot(&mut view, &target, path, &cli_common::NoProgress)
            .await
            .unwrap();
    });
}
