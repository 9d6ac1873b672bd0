//! Writing a repair into PostgreSQL beside a script that goes row by row: the same events, receipts, command ids and
//! entity versions, in one transaction with the counter's row locked, committed to disk. The rival has its four
//! statements prepared and sends a row after the other, as a careful operator's script would. The log holds as many
//! events before as are repaired. `-- --large` repairs 200 000 events instead of 20 000.
//!
//! Needs PostgreSQL's server binaries; it starts a cluster of its own.

use std::cell::Cell;
use std::time::Duration;

use benches::{Clock, Options, Table, noise, stream};
use cli_common::DbTarget;
use event_log::{Entity, Log, RestoredEvent, Snapshot};
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::runtime::Runtime;
use uuid::Uuid;
use ves::{Event, EventId, Hash32, Payload, Receipt, SignatureBytes, SignatureScheme, StreamKey, Timestamp};

/// As many as `apply` hands over at once.
const GROUP: usize = 8192;

const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

fn uuid(seed: u64) -> Uuid {
    let mut bytes = [0; 16];
    noise(seed, &mut bytes);
    Uuid::from_bytes(bytes)
}

/// Event `n` of the stream, an order of about 480 bytes; every fourth order is a new one.
fn event(n: u64) -> RestoredEvent {
    let payload = format!(
        "{{\"note\": \"Leave at the door\\nring twice\", \"total\": {}.{:02}, \"status\": \"confirmed\", \
         \"address\": {{\"zip\": \"{:05}\", \"city\": \"Zürich\", \"line1\": \"Bahnhofstrasse {}\", \
         \"country\": \"CH\"}}, \"currency\": \"CHF\", \"order_id\": \"ORD-{n:08}\", \"placed_at\": \
         \"2026-03-0{}T12:34:56.789Z\", \"customer_id\": \"{}\", \
         \"line_items\": [{{\"qty\": {}, \"sku\": \"SKU-{}\", \"price\": 19.90}}, {{\"qty\": 1, \"sku\": \
         \"SKU-{}\", \"price\": 249.95, \"gift\": true}}], \"is_subscription\": false}}",
        100 + n,
        n % 100,
        8000 + n % 1000,
        n % 200,
        1 + n % 9,
        uuid(n / 7),
        1 + n % 4,
        n * 7,
        n * 11,
    );
    let mut hashes = [0; 64];
    noise(n << 20, &mut hashes);
    let (first, second) = hashes.split_at(32);
    let hash = |bytes: &[u8]| Hash32(bytes.try_into().expect("32 bytes"));
    RestoredEvent {
        event: Event {
            event_id: EventId(uuid(n << 8)),
            stream: stream(),
            ves_version: 1,
            source_agent_id: uuid(n % 8).into(),
            agent_key_id: 1,
            entity_type: "order".into(),
            entity_id: format!("ORD-{:08}", (n - 1) / 4),
            event_type: "order.confirmed".into(),
            created_at: "2026-03-01T12:34:56.789Z".into(),
            payload: Payload::Plain(payload),
            payload_plain_hash: hash(first),
            payload_cipher_hash: Hash32::ZERO,
            agent_signature: SignatureBytes(hashes),
            agent_signature_scheme: SignatureScheme(1),
            agent_signature_bundle: None,
            command_id: Some(uuid(n << 9 | 1).into()),
            base_version: Some(n as i64 % 4),
        },
        sequence_number: n,
        event_signing_hash: hash(second),
        sequenced_at: Timestamp(1_770_000_000_000_000 + n as i64 * 1000),
    }
}

fn receipt(of: &RestoredEvent) -> Receipt {
    Receipt {
        event_id: of.event.event_id,
        sequencer_id: uuid(3).into(),
        sequence_number: of.sequence_number,
        sequenced_at: of.sequenced_at,
        receipt_hash: of.event_signing_hash,
        sequencer_signature: Some(of.event.agent_signature),
        sequencer_key_version: 1,
        receipt_signature_scheme: 1,
        receipt_signature_bundle: None,
    }
}

/// As `sequencer-recovery apply` writes.
async fn by_group(log: &Log, events: &[RestoredEvent], receipts: &[Receipt]) {
    let stream = stream();
    let mut repair = log.repair(&stream, LOCK_TIMEOUT).await.expect("the locks");
    for (events, receipts) in events.chunks(GROUP).zip(receipts.chunks(GROUP)) {
        repair.insert_events(events).await.expect("events");
        repair.insert_receipts(receipts).await.expect("receipts");
        let commands: Vec<_> = events
            .iter()
            .filter_map(|e| Some((e.event.command_id?, e.sequenced_at)))
            .collect();
        repair.insert_dedupe(&commands).await.expect("commands");
    }
    let entities = events.iter().map(|e| Entity {
        entity_type: e.event.entity_type.clone(),
        entity_id: e.event.entity_id.clone(),
    });
    repair.raise_entity_versions(entities).await.expect("versions");
    let last = events.last().map_or(0, |e| e.sequence_number);
    repair.set_counter(last).await.expect("the counter");
    repair.commit().await.expect("committed");
}

/// As a careful operator's script would.
async fn by_row(url: &str, events: &[RestoredEvent], receipts: &[Receipt]) -> Result<(), sqlx::Error> {
    let StreamKey { tenant_id, store_id } = stream();
    let (tenant, store) = (tenant_id.0, store_id.0);
    let mut connection = PgConnection::connect(url).await?;
    let mut transaction = connection.begin().await?;
    let locked = sqlx::query(include_str!("../../sql/benches/lock_counter.sql"))
        .bind(tenant)
        .bind(store)
        .fetch_one(&mut *transaction)
        .await?;
    let _: i64 = locked.try_get(0)?;
    for (restored, receipt) in events.iter().zip(receipts) {
        let event = &restored.event;
        let at = restored.sequenced_at.to_string();
        sqlx::query(include_str!("../../sql/benches/insert_event.sql"))
            .bind(event.event_id.0)
            .bind(event.command_id.map(|id| id.0))
            .bind(event.ves_version as i32)
            .bind(tenant)
            .bind(store)
            .bind(event.source_agent_id.0)
            .bind(event.agent_key_id as i32)
            .bind(&event.entity_type)
            .bind(&event.entity_id)
            .bind(&event.event_type)
            .bind(&event.created_at)
            .bind(&event.created_at)
            .bind(&at)
            .bind(0_i32)
            .bind(event.payload.json())
            .bind(None::<String>)
            .bind(event.payload_plain_hash.0.as_slice())
            .bind(event.payload_cipher_hash.0.as_slice())
            .bind(restored.event_signing_hash.0.as_slice())
            .bind(event.agent_signature.0.as_slice())
            .bind(restored.sequence_number as i64)
            .bind(event.base_version)
            .bind(event.agent_signature_scheme.0)
            .bind(None::<Vec<u8>>)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(include_str!("../../sql/benches/insert_receipt.sql"))
            .bind(receipt.event_id.0)
            .bind(receipt.sequencer_id.0)
            .bind(receipt.sequence_number as i64)
            .bind(&at)
            .bind(receipt.receipt_hash.0.as_slice())
            .bind(receipt.sequencer_signature.map(|s| s.0.to_vec()))
            .bind(receipt.sequencer_key_version)
            .bind(receipt.receipt_signature_scheme)
            .bind(None::<Vec<u8>>)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(include_str!("../../sql/benches/insert_dedupe.sql"))
            .bind(tenant)
            .bind(store)
            .bind(event.command_id.map(|id| id.0))
            .bind(&at)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(include_str!("../../sql/benches/raise_version.sql"))
            .bind(tenant)
            .bind(store)
            .bind(&event.entity_type)
            .bind(&event.entity_id)
            .execute(&mut *transaction)
            .await?;
    }
    sqlx::query(include_str!("../../sql/benches/set_counter.sql"))
        .bind(tenant)
        .bind(store)
        .bind(events.last().map_or(0, |e| e.sequence_number as i64))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    connection.close().await
}

fn main() {
    let options = Options::from_args();
    if !test_support::postgres_available() {
        eprintln!("PostgreSQL's server binaries are not installed: nothing is measured");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let count = if options.large { 200_000 } else { 20_000 };
    let server = test_support::ScratchPostgres::start_durable();
    let url = server.create_database("log");
    test_support::load_schema(&url);
    let target = DbTarget::parse(url.as_ref()).expect("a URL");
    let log = runtime.block_on(Log::open(&target)).expect("a log");

    let before: Vec<RestoredEvent> = (1..=count).map(event).collect();
    let receipts: Vec<Receipt> = before.iter().map(receipt).collect();
    runtime.block_on(by_group(&log, &before, &receipts));
    drop(before);
    let events: Vec<RestoredEvent> = (count + 1..=2 * count).map(event).collect();
    let receipts: Vec<Receipt> = events.iter().map(receipt).collect();

    let script = |name: &str| test_support::workspace_root().join("sql/benches").join(name);
    let (forget, digest) = (script("forget_repair.sql"), script("digest.sql"));
    let base = format!("base={count}");
    let mut table = Table::new(&options, Clock::Wall, "row by row", "event");
    table.compare_changes(
        &format!("repair of {count} events in PostgreSQL"),
        count as usize,
        Some(8.0),
        || drop(test_support::run_script(&url, &forget, &[&base])),
        || test_support::run_script(&url, &digest, &[]),
        || {
            runtime
                .block_on(by_row(&url, &events, &receipts))
                .expect("written");
        },
        || runtime.block_on(by_group(&log, &events, &receipts)),
    );
    drop(table);
    snapshot(&options, &runtime, &events, &receipts);
}

/// The same repair of a snapshot file: no rival, for the time that it takes.
fn snapshot(options: &Options, runtime: &Runtime, events: &[RestoredEvent], receipts: &[Receipt]) {
    let folder = tempfile::tempdir().expect("a folder");
    let number = Cell::new(0);
    let path = || folder.path().join(format!("{}.db", number.get()));
    let mut table = Table::new(options, Clock::Wall, "the same again", "event");
    table.compare_changes(
        &format!("repair of {} events in a snapshot", events.len()),
        events.len(),
        None,
        || {
            let _ = std::fs::remove_file(path());
            number.set(number.get() + 1);
            Snapshot::create(&path())
                .and_then(Snapshot::finish)
                .expect("written");
        },
        || (),
        || repair_file(runtime, &path(), events, receipts),
        || repair_file(runtime, &path(), events, receipts),
    );
}

fn repair_file(runtime: &Runtime, path: &std::path::Path, events: &[RestoredEvent], receipts: &[Receipt]) {
    runtime.block_on(async {
        let log = Log::open(&DbTarget::Snapshot(path.to_owned()))
            .await
            .expect("a log");
        by_group(&log, events, receipts).await;
    });
}
