//! A whole outbox as an export, with its manifest and on disk, beside a `SELECT` of the same columns by `rusqlite` into nothing.
//!
//! The outbox is made once, in the target folder: a million rows by default, or `-- ROWS`. Of the rows a quarter are
//! events that the agent pulled from three others. It is left as an agent leaves it that was stopped: in WAL mode, without
//! a WAL. The second comparison lays a WAL beside it, so that the file is copied before it is read, as beside a live agent.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use benches::{Clock, Options, Table, noise, order, peak_memory};
use outbox_sync::export::{ExportFormat, ExportWriter, Filter, MadeFrom, manifest_path};
use outbox_sync::fast_export::{BulkOutbox, Part, ReadEnd};
use rusqlite::types::{Null, ValueRef};
use rusqlite::{Connection, named_params};

const SCHEMA: [&str; 2] = [
    include_str!("../../fixtures/sql/outbox_v2.sql"),
    include_str!("../../fixtures/sql/outbox_v3_add.sql"),
];
const INSERT_OUTBOX: &str = include_str!("../../fixtures/sql/insert_outbox.sql");
const INSERT_PULLED: &str = include_str!("../../fixtures/sql/insert_pulled.sql");
const SELECTS: [&str; 2] = [
    include_str!("../../sql/outbox-sync/rows_outbox.sql"),
    include_str!("../../sql/outbox-sync/rows_pulled.sql"),
];

fn digits<const N: usize>(seed: u64) -> String {
    let mut bytes = [0; N];
    noise(seed, &mut bytes);
    let mut text = String::from("0x");
    for byte in bytes {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

fn id(seed: u64) -> String {
    let mut bytes = [0; 16];
    noise(seed, &mut bytes);
    uuid::Uuid::from_bytes(bytes).to_string()
}

fn make(path: &Path, rows: usize) -> rusqlite::Result<()> {
    let mut db = Connection::open(path)?;
    db.pragma_update(None, "synchronous", "off")?;
    db.execute_batch(&SCHEMA.concat())?;
    let zeros = format!("0x{:064}", 0);
    let transaction = db.transaction()?;
    {
        let mut outbox = transaction.prepare(INSERT_OUTBOX)?;
        let mut pulled = transaction.prepare(INSERT_PULLED)?;
        for i in 0..rows {
            let seed = i as u64;
            let own = i % 4 != 3;
            let agent = if own { 0 } else { 1 + seed % 3 };
            let (event, command) = (id(seed << 8), id(seed << 8 | 1));
            let (tenant, store, agent) = (id(u64::MAX), id(u64::MAX - 1), id(u64::MAX - 2 - agent));
            let (hash, signature) = (digits::<32>(seed << 8 | 2), digits::<64>(seed << 8 | 3));
            let (entity, payload) = (format!("ORD-{i:08}"), order(i));
            if own {
                outbox.execute(named_params! {
                    ":event_id": event, ":command_id": command, ":tenant_id": tenant, ":store_id": store,
                    ":entity_type": "order", ":entity_id": entity, ":event_type": "order.confirmed",
                    ":ves_version": 1, ":payload": payload, ":payload_kind": 0, ":payload_encrypted": Null,
                    ":payload_plain_hash": hash, ":payload_cipher_hash": zeros, ":agent_key_id": 1,
                    ":agent_signature": signature, ":base_version": seed as i64 % 7, ":source_agent": agent,
                    ":created_at": "2026-03-01T12:34:56.789Z", ":local_seq": seed as i64 + 1,
                    ":sync_status": "synced", ":remote_sequence": seed as i64 + 1,
                    ":synced_at": "2026-03-01 12:34:57", ":rejection_reason": Null, ":retry_count": 0,
                    ":last_error": Null,
                })?;
            } else {
                pulled.execute(named_params! {
                    ":event_id": event, ":command_id": command, ":tenant_id": tenant, ":store_id": store,
                    ":entity_type": "order", ":entity_id": entity, ":event_type": "order.confirmed",
                    ":ves_version": 1, ":payload": payload, ":payload_kind": 0, ":payload_encrypted": Null,
                    ":payload_plain_hash": hash, ":payload_cipher_hash": zeros, ":agent_key_id": 1,
                    ":agent_signature": signature, ":base_version": Null, ":source_agent": agent,
                    ":created_at": "2026-03-01T12:34:56.789Z", ":sequence_number": seed as i64 + 1,
                    ":sequenced_at": "2026-03-01T12:34:57.123456Z", ":pulled_at": "2026-03-01 12:35:00",
                })?;
            }
        }
    }
    transaction.commit()?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.close().map_err(|(_, error)| error)
}

/// Every column of every row, looked at and let go.
fn select(path: &Path) -> rusqlite::Result<u64> {
    let db = Connection::open(format!("file:{}?immutable=1", path.display()))?;
    let (mut count, mut bytes) = (0, 0);
    for sql in SELECTS {
        let mut statement = db.prepare(sql)?;
        let columns = statement.column_count();
        let mut rows = statement.query([i64::MIN])?;
        while let Some(row) = rows.next()? {
            count += 1;
            for column in 0..columns {
                bytes += match row.get_ref(column)? {
                    ValueRef::Text(text) | ValueRef::Blob(text) => text.len(),
                    ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 1,
                };
            }
        }
    }
    std::hint::black_box(bytes);
    Ok(count)
}

fn export(path: &Path, in_place: bool) -> u64 {
    let out = path.with_extension("ndjson");
    let bulk = BulkOutbox::open(path).expect("an outbox");
    assert_eq!(bulk.is_in_place(), in_place);
    let mut writer = ExportWriter::create(&out, ExportFormat::Ndjson).expect("a new file");
    let outcome = bulk.read(ExportFormat::Ndjson, &Filter::default(), &mut |part| {
        match part {
            Part::Lines { lines, .. } => writer.add_lines(lines).expect("room on the disk"),
            Part::Row(row) => panic!("an ordinary row: {row:?}"),
        }
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(outcome.expect("a sound file"), ReadEnd::Whole);
    writer
        .finish(MadeFrom::default())
        .expect("room on the disk")
        .events
}

/// Takes the export away again. That takes the file system a while, and is no part of an export.
fn remove(path: &Path) {
    let out = path.with_extension("ndjson");
    for file in [manifest_path(&out), out] {
        let _ = fs::remove_file(file);
    }
}

fn main() {
    let options = Options::from_args();
    let rows = options.number().unwrap_or(1_000_000);
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("outbox-{rows}.db"));
    if !path.exists() {
        eprintln!("making an outbox of {rows} rows …");
        let making = path.with_extension("making");
        let _ = fs::remove_file(&making);
        make(&making, rows).expect("an outbox");
        fs::rename(&making, &path).expect("the outbox");
    }
    let mut table = Table::new(&options, Clock::Wall, "`SELECT` by `rusqlite`", "row");
    let wal = path.with_extension("db-wal");
    for (name, in_place) in [("in place", true), ("copied first, beside a WAL", false)] {
        if !in_place {
            // SQLite reads no frame from it, but somebody may be at work.
            fs::write(&wal, [0; 32]).expect("a file beside the outbox");
        }
        let found = Cell::new(0);
        table.compare_changes(
            &format!("export of {rows} rows, {name}"),
            rows,
            in_place.then_some(0.67),
            || remove(&path),
            || found.take(),
            || found.set(select(&path).expect("an outbox")),
            || found.set(export(&path, in_place)),
        );
        remove(&path);
        let _ = fs::remove_file(&wal);
    }
    println!("peak of memory of both together: {} MiB", peak_memory() >> 10);
}
