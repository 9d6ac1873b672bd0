//! What the tests of this crate share.
#![allow(dead_code)] // Each test binary uses a part.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use outbox_sync::{HeldRow, Outbox, RowError};
use rusqlite::Connection;
use sha2::{Digest, Sha256};

/// Shapes of outboxes as agents create them.
pub const OUTBOX_V1: &str = include_str!("outbox_v1.sql");
pub const OUTBOX_V3: &str = include_str!("outbox_v3.sql");

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
