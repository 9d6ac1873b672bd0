//! Snapshot files: made, read without leaving a trace, repaired, and hostile ones refused or survived.

use crate::common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{SOON, everything, file, message, open, tamper, unreadable};
use event_log::{Commitment, Entity, Log, LogError, RestoredEvent, Snapshot, StreamFilter};
use tempfile::TempDir;
use uuid::Uuid;
use ves::{
    Event, EventId, Hash32, Payload, Receipt, SignatureBytes, SignatureScheme, SigningKey, StreamKey,
    Timestamp,
};

const AT: Timestamp = Timestamp(1_763_000_000_123_456);

fn stream(n: u128) -> StreamKey {
    StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(n).into())
}

fn event(stream: StreamKey, n: u64) -> RestoredEvent {
    let id = Uuid::from_u128(u128::from(n) << 64 | stream.store_id.0.as_u128());
    let event = Event {
        event_id: EventId(id),
        stream,
        ves_version: 1,
        source_agent_id: Uuid::from_u128(4).into(),
        agent_key_id: 1,
        entity_type: "order".into(),
        entity_id: format!("O-{}", n % 3),
        event_type: "order.created".into(),
        created_at: "2025-11-01T00:48:43Z".into(),
        payload: if n.is_multiple_of(2) {
            Payload::Plain("{\"a\": 1}".into())
        } else {
            Payload::Encrypted("{}".into())
        },
        payload_plain_hash: Hash32::ZERO,
        payload_cipher_hash: Hash32::ZERO,
        agent_signature: SignatureBytes([7; 64]),
        agent_signature_scheme: SignatureScheme(1),
        agent_signature_bundle: None,
        command_id: Some(id.into()),
        base_version: None,
    };
    RestoredEvent {
        event_signing_hash: event.signing_hash(),
        event,
        sequence_number: n,
        sequenced_at: AT,
    }
}

fn receipt(event: &RestoredEvent) -> Receipt {
    Receipt {
        event_id: event.event.event_id,
        sequencer_id: Uuid::from_u128(9).into(),
        sequence_number: event.sequence_number,
        sequenced_at: event.sequenced_at,
        receipt_hash: Hash32([1; 32]),
        sequencer_signature: None,
        sequencer_key_version: 2,
        receipt_signature_scheme: 1,
        receipt_signature_bundle: None,
    }
}

fn commitment(stream: StreamKey, start: u64, end: u64) -> Commitment {
    Commitment {
        batch_id: Uuid::from_u128(u128::from(start) << 64 | stream.store_id.0.as_u128()).into(),
        stream,
        ves_version: 1,
        tree_depth: 3,
        leaf_count: (end - start + 1) as u32,
        padded_leaf_count: 8,
        merkle_root: Hash32([2; 32]),
        prev_state_root: Hash32::ZERO,
        new_state_root: Hash32([3; 32]),
        sequence_start: start,
        sequence_end: end,
        committed_at: AT,
        chain_id: Some(84_532_001),
        chain_tx_hash: Some(Hash32([4; 32])),
        chain_block_number: Some(17),
        anchored_at: None,
    }
}

/// Two streams: the first has the numbers 3, 4, 7 to 10 and 12, the second none but a counter.
fn world() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    let mut snapshot = Snapshot::create(&path).unwrap();
    let events: Vec<_> = [3, 4, 7, 8, 9, 10, 12].map(|n| event(stream(1), n)).into();
    let key = SigningKey {
        tenant_id: stream(1).tenant_id,
        agent_id: Uuid::from_u128(4).into(),
        key_id: 1,
        public_key: Hash32([5; 32]),
        status: "active".into(),
        valid_from: Some(AT),
        valid_to: None,
        revoked_at: None,
        key_algorithm: 1,
        public_key_bundle: None,
    };
    snapshot.insert_keys(&[key], AT).unwrap();
    snapshot.insert_events(&events).unwrap();
    snapshot
        .insert_receipts(&events[1..].iter().map(receipt).collect::<Vec<_>>())
        .unwrap();
    snapshot
        .insert_counters(&[(stream(1), 12), (stream(2), 5)], AT)
        .unwrap();
    let commands: Vec<_> = events[..5]
        .iter()
        .map(|e| (e.event.command_id.unwrap(), AT))
        .collect();
    snapshot.insert_dedupe(&stream(1), &commands).unwrap();
    snapshot
        .insert_dedupe(&stream(1), &[(Uuid::from_u128(77).into(), AT)])
        .unwrap();
    let entity = |n: u32| Entity {
        entity_type: "order".into(),
        entity_id: format!("O-{n}"),
    };
    snapshot
        .insert_entity_versions(&stream(1), &[(entity(0), 3), (entity(1), 1)], AT)
        .unwrap();
    snapshot
        .insert_commitments(&[commitment(stream(1), 1, 5), commitment(stream(3), 6, 8)])
        .unwrap();
    snapshot.describe(AT, "drill").unwrap();
    snapshot.finish().unwrap();
    (folder, path)
}

fn bytes_and_files(path: &Path) -> (Vec<u8>, usize) {
    (
        fs::read(path).unwrap(),
        fs::read_dir(path.parent().unwrap()).unwrap().count(),
    )
}

#[tokio::test]
async fn what_was_put_in_comes_out_and_reading_leaves_no_trace() {
    let (folder, path) = world();
    let before = bytes_and_files(&path);
    let log = open(&file(&path)).await;
    assert_eq!(log.snapshot_info().unwrap().taken_at, Some(AT));
    assert_eq!(log.snapshot_info().unwrap().source.as_deref(), Some("drill"));
    let mut view = log.view().await.unwrap();
    let streams = view
        .streams(&StreamFilter::default())
        .await
        .unwrap()
        .all()
        .unwrap();
    let [first, second, third] = &streams[..] else {
        panic!("{streams:?}")
    };
    assert_eq!(
        (first.event_count, first.first, first.last, first.counter),
        (7, Some(3), Some(12), Some(12))
    );
    assert_eq!(first.misnumbered, 0);
    let receipts = view.highest_receipts(&StreamFilter::default()).await.unwrap();
    assert_eq!(receipts.all().unwrap(), [(first.stream, 12)]);
    assert_eq!(
        (second.event_count, second.last, second.counter),
        (0, None, Some(5))
    );
    assert_eq!(
        (third.commitment_count, third.last_committed, third.counter),
        (1, Some(8), None)
    );

    let s = stream(1);
    assert_eq!(view.present_ranges(&s).await.unwrap(), [3..=4, 7..=10, 12..=12]);
    assert_eq!(view.present_ranges(&stream(2)).await.unwrap(), []);
    let entries = view.entries(&s, 4..=9).await.unwrap().all().unwrap();
    let restored: Vec<RestoredEvent> = entries.iter().cloned().map(Into::into).collect();
    assert_eq!(restored, [4, 7, 8, 9].map(|n| event(s, n)));
    assert_eq!(entries[0].receipt, Some(receipt(&event(s, 4))));
    assert_eq!(
        view.entries(&s, 3..=3).await.unwrap().all().unwrap()[0].receipt,
        None
    );
    assert_eq!(
        view.commitments(&s).await.unwrap().all().unwrap(),
        [commitment(s, 1, 5)]
    );

    let drift = view.version_drift(&s).await.unwrap().all().unwrap();
    let drift: Vec<_> = drift
        .iter()
        .map(|d| (d.entity.entity_id.as_str(), d.version, d.events))
        .collect();
    assert_eq!(drift, [("O-1", Some(1), 3), ("O-2", None, 1)]);
    let orphans = view.dedupe_orphans(&s).await.unwrap().all().unwrap();
    assert_eq!(
        orphans
            .iter()
            .map(|o| o.command_id.0.as_u128())
            .collect::<Vec<_>>(),
        [77]
    );
    let missing = view.dedupe_missing(&s).await.unwrap().all().unwrap();
    assert_eq!(
        missing.iter().map(|m| m.sequence_number).collect::<Vec<_>>(),
        [10, 12]
    );
    let defaults = view.receipt_defaults(&s).await.unwrap().unwrap();
    assert_eq!(view.receipt_defaults(&stream(2)).await.unwrap(), Some(defaults));
    assert_eq!(
        (defaults.sequencer_key_version, defaults.receipt_signature_scheme),
        (2, 1)
    );
    assert_eq!(view.last_sequenced_before(&s, 3).await.unwrap(), None);
    assert_eq!(view.last_sequenced_before(&s, u64::MAX).await.unwrap(), Some(AT));
    assert_eq!(view.projection_checkpoint(&s).await.unwrap(), None);
    drop(view);
    assert_eq!(bytes_and_files(&path), before);
    drop(folder);
}

#[tokio::test]
async fn a_file_that_may_not_be_written_is_read_all_the_same() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, path) = world();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    assert_eq!(
        open(&file(&path))
            .await
            .view()
            .await
            .unwrap()
            .present_ranges(&stream(1))
            .await
            .unwrap()
            .len(),
        3
    );
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn repairs_are_kept_only_by_a_commit_and_lock_the_file() {
    let (_folder, path) = world();
    let log = open(&file(&path)).await;
    let before = bytes_and_files(&path);
    let mut repair = log.repair(&stream(1), SOON).await.unwrap();
    assert_eq!(repair.counter_before(), Some(12));
    repair.insert_events(&[event(stream(1), 5)]).await.unwrap();
    assert_eq!(repair.view().present_ranges(&stream(1)).await.unwrap()[0], 3..=5);
    let second = log.repair(&stream(2), Duration::from_millis(50)).await;
    assert!(second.err().unwrap().is_locked());
    drop(repair);
    assert_eq!(bytes_and_files(&path), before);

    // A reader keeps a writer from committing, and the writer says so.
    let reader = log.view().await.unwrap();
    let mut repair = log.repair(&stream(3), Duration::from_millis(50)).await.unwrap();
    assert_eq!(repair.counter_before(), None);
    repair.set_counter(8).await.unwrap();
    assert!(repair.commit().await.unwrap_err().is_locked());
    drop(reader);

    let mut repair = log.repair(&stream(3), SOON).await.unwrap();
    assert!(message(repair.insert_receipts(&[receipt(&event(stream(3), 1))]).await).contains("FOREIGN KEY"));
    repair.insert_events(&[event(stream(3), 9)]).await.unwrap();
    repair.set_counter(8).await.unwrap();
    assert!(message(repair.commit().await).contains("below the last number 9"));
    let mut repair = log.repair(&stream(3), SOON).await.unwrap();
    let bad = RestoredEvent {
        event: Event {
            payload: Payload::Plain("{\"a\": \"\\u0000\"}".into()),
            ..event(stream(3), 1).event
        },
        ..event(stream(3), 1)
    };
    assert!(
        message(repair.insert_events(&[bad]).await).contains("ves_events.payload: not JSON that jsonb takes")
    );
    repair.set_counter(8).await.unwrap();
    repair.commit().await.unwrap();
    assert_eq!(
        open(&file(&path))
            .await
            .view()
            .await
            .unwrap()
            .counter(&stream(3))
            .await
            .unwrap(),
        Some(8)
    );
    assert_eq!(bytes_and_files(&path).1, 1);
}

#[tokio::test]
async fn a_locked_file_is_said_to_be_locked() {
    let (_folder, path) = world();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let log = tokio::time::timeout(Duration::from_secs(30), Log::open(&file(&path)))
        .await
        .unwrap();
    assert!(log.unwrap_err().is_locked());
}

#[tokio::test]
async fn what_is_no_snapshot_is_told_apart() {
    let (folder, path) = world();
    let at = |name: &str| folder.path().join(name);
    let good = fs::read(&path).unwrap();
    let written = |name: &str, bytes: &[u8]| {
        fs::write(at(name), bytes).unwrap();
        at(name)
    };
    let mut other_version = good.clone();
    other_version[63] = 2;
    let mut wal = good.clone();
    wal[18..20].copy_from_slice(&[2, 2]);
    let mut scrambled = good.clone();
    scrambled[100..2000].fill(0xa5);
    let plain = at("plain.db");
    rusqlite::Connection::open(&plain)
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    for (path, expected) in [
        (written("empty", b""), "too short"),
        (written("text", &[b'x'; 500]), "not an SQLite database"),
        (plain, "not a snapshot"),
        (written("newer", &other_version), "version 2"),
        (written("wal", &wal), "WAL mode"),
        (written("half", &good[..good.len() / 2]), "truncated"),
        (written("most", &good[..good.len() - 1]), "truncated"),
        (written("scrambled", &scrambled), "damaged"),
        (folder.path().to_owned(), "not a file"),
    ] {
        let error = Log::open(&file(&path)).await.unwrap_err();
        assert!(matches!(error, LogError::NotASnapshot { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
    assert!(matches!(
        Log::open(&file(&at("missing"))).await,
        Err(LogError::Io { .. })
    ));
    assert!(!at("missing").exists());
    assert!(!at("wal-shm").exists() && !at("wal-wal").exists());

    // Cut in the middle without the header knowing: what is read says so, and no more is claimed.
    let mut lying = good[..good.len() - 4 * 8192].to_vec();
    let pages = u32::try_from(lying.len() / 8192).unwrap().to_be_bytes();
    lying[28..32].copy_from_slice(&pages);
    let lying = written("lying", &lying);
    if let Ok(log) = Log::open(&file(&lying)).await {
        let _ = log.view().await.unwrap().streams(&StreamFilter::default()).await;
    }
}

#[tokio::test]
async fn a_file_with_another_schema_is_refused() {
    for (sql, expected) in [
        (
            "ALTER TABLE ves_commitments DROP COLUMN chain_id",
            "column ves_commitments.chain_id is missing",
        ),
        (
            "DROP TABLE ves_sequence_counters",
            "table ves_sequence_counters is missing",
        ),
        (
            "CREATE TRIGGER t AFTER INSERT ON ves_events BEGIN DELETE FROM ves_events; END",
            "trigger \"t\"",
        ),
        ("CREATE VIEW v AS SELECT 1", "view \"v\""),
        (
            "DROP TABLE projection_checkpoints; CREATE VIEW projection_checkpoints AS SELECT 1 AS tenant_id",
            "table projection_checkpoints is missing",
        ),
        (
            "DROP TABLE projection_checkpoints; CREATE TABLE projection_checkpoints
                (tenant_id TEXT, store_id TEXT, last_projected_sequence INTEGER, updated_at TEXT)",
            "not a plain column of a STRICT table",
        ),
        (
            "UPDATE snapshot_meta SET value = '7' WHERE key = 'version'",
            "version Some(\"7\")",
        ),
        ("DELETE FROM snapshot_meta", "format None"),
    ] {
        let (_folder, path) = world();
        tamper(&path, sql);
        let error = Log::open(&file(&path)).await.unwrap_err();
        assert!(matches!(error, LogError::Schema { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn hostile_rows_are_named_and_do_not_hide_the_others() {
    let (_folder, path) = world();
    tamper(
        &path,
        "UPDATE ves_events SET event_signing_hash = x'00' WHERE sequence_number = 4;
         UPDATE ves_events SET payload_kind = 5 WHERE sequence_number = 7;
         UPDATE ves_events SET agent_key_id = -1 WHERE sequence_number = 8;
         UPDATE ves_events SET entity_id = CAST(x'ff' AS TEXT) WHERE sequence_number = 9;
         UPDATE ves_sequencer_receipts SET sequence_number = -3 WHERE sequence_number = 10;
         UPDATE ves_events SET sequence_number = -12 WHERE sequence_number = 12;
         UPDATE ves_commitments SET sequence_end = -1;
         UPDATE ves_sequence_counters SET current_sequence = -1 WHERE current_sequence = 5;
         UPDATE agent_signing_keys SET public_key = x'', key_id = 4294967296;
         UPDATE ves_command_dedupe SET command_id = upper(command_id) || 'X';
         INSERT INTO ves_sequence_counters VALUES ('no', 'uuid', 1, 'never');
         INSERT INTO ves_sequencer_receipts SELECT '00000000-0000-0000-0000-0000000000aa', sequencer_id, 99,
             sequenced_at, receipt_hash, NULL, 0, 0, NULL FROM ves_sequencer_receipts LIMIT 1",
    );
    let log = open(&file(&path)).await;
    let mut view = log.view().await.unwrap();
    let s = stream(1);
    let streams = view.streams(&StreamFilter::default()).await.unwrap();
    assert_eq!(streams.rows[0].misnumbered, 1);
    assert_eq!(streams.rows[0].last, Some(10));
    let errors = unreadable(&streams);
    assert_eq!(errors.len(), 4, "{errors:?}");
    assert!(
        errors
            .iter()
            .any(|e| e.contains("tenant_id: not a lower-case hyphenated uuid: \"no\"")),
        "{errors:?}"
    );
    assert!(
        errors
            .iter()
            .any(|e| e.contains("current_sequence: -1 is out of range")),
        "{errors:?}"
    );

    let rows = view.entries(&s, 0..=u64::MAX).await.unwrap();
    assert_eq!(
        rows.rows.iter().map(|e| e.sequence_number).collect::<Vec<_>>(),
        [3]
    );
    let place = format!("ves_events, stream {s}, sequence");
    assert_eq!(
        unreadable(&rows),
        [
            format!("{place} 4: event_signing_hash: 1 bytes instead of 32"),
            format!("{place} 7: payload_kind is 5, which nobody knows"),
            format!("{place} 8: agent_key_id: -1 is out of range"),
            format!("{place} 9: entity_id: text that is not UTF-8"),
            format!("ves_sequencer_receipts, stream {s}, sequence 10: sequence_number: -3 is out of range"),
        ]
    );
    assert_eq!(view.commitments(&s).await.unwrap().unreadable.len(), 1);
    assert!(matches!(
        view.keys(None).await.unwrap().all(),
        Err(LogError::Row(_))
    ));
    assert_eq!(view.dedupe_orphans(&s).await.unwrap().unreadable.len(), 6);
    assert!(matches!(view.counter(&stream(2)).await, Err(LogError::Row(_))));
    assert_eq!(view.receipts_of_no_event().await.unwrap().highest, Some(99));
    drop(view);
    assert!(matches!(
        log.repair(&stream(2), SOON).await,
        Err(LogError::Row(_))
    ));
}

#[tokio::test]
async fn a_snapshot_that_is_not_finished_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    let mut snapshot = Snapshot::create(&path).unwrap();
    snapshot.insert_events(&[event(stream(1), 1)]).unwrap();
    assert!(matches!(
        snapshot.insert_events(&[event(stream(1), 1)]),
        Err(LogError::Refused { .. })
    ));
    drop(snapshot);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(matches!(
        Snapshot::create(&folder.path().join("no/where.db")),
        Err(LogError::Io { .. })
    ));

    // A name that is taken meanwhile stays as it is.
    let late = Snapshot::create(&path).unwrap();
    fs::write(&path, b"mine").unwrap();
    assert!(matches!(late.finish(), Err(LogError::Io { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(message(Snapshot::create(&path)).contains("exists already"));
}

#[tokio::test]
async fn entities_of_the_older_log_count_too() {
    let (_folder, path) = world();
    tamper(
        &path,
        "INSERT INTO events SELECT event_id, NULL, sequence_number, tenant_id, store_id, entity_type, 'O-1', event_type,
             x'', x'', NULL, source_agent_id, NULL, created_at, sequenced_at FROM ves_events WHERE sequence_number < 5",
    );
    let log = open(&file(&path)).await;
    let mut repair = log.repair(&stream(1), SOON).await.unwrap();
    let drift = repair
        .view()
        .version_drift(&stream(1))
        .await
        .unwrap()
        .all()
        .unwrap();
    assert_eq!(drift[0].events, 5);
    let entities: Vec<_> = drift.into_iter().map(|d| d.entity).collect();
    let absent = Entity {
        entity_type: "order".into(),
        entity_id: "none".into(),
    };
    let raised = repair
        .raise_entity_versions(entities.iter().cloned().chain(entities.clone()).chain([absent]))
        .await;
    assert_eq!(raised.unwrap(), 2);
    assert_eq!(
        repair
            .view()
            .version_drift(&stream(1))
            .await
            .unwrap()
            .all()
            .unwrap(),
        []
    );
    repair.commit().await.unwrap();
    let _ = everything(&mut log.view().await.unwrap()).await;
}

#[tokio::test]
async fn after_an_interrupted_write_readers_see_the_state_before_and_writers_restore_it() {
    let (folder, path) = world();
    let before = common::everything_at(&file(&path)).await;

    // The file and its journal as a writer leaves them that is killed in the middle of its commit: with a cache of one
    // page its changes are in the file before it commits.
    let killed = folder.path().join("killed.db");
    let writer = rusqlite::Connection::open(&path).unwrap();
    writer
        .execute_batch(
            "PRAGMA cache_size = 1; BEGIN; UPDATE ves_sequence_counters SET current_sequence = 99;
             UPDATE ves_events SET entity_id = 'X', payload = '\"' || hex(zeroblob(20000)) || '\"', payload_kind = 0,
                 payload_encrypted = NULL",
        )
        .unwrap();
    fs::copy(&path, &killed).unwrap();
    fs::copy(
        folder.path().join("log.db-journal"),
        folder.path().join("killed.db-journal"),
    )
    .unwrap();
    drop(writer);
    assert_ne!(fs::read(&killed).unwrap(), fs::read(&path).unwrap());

    let left = (
        fs::read(&killed).unwrap(),
        fs::read(folder.path().join("killed.db-journal")).unwrap(),
    );
    assert_eq!(common::everything_at(&file(&killed)).await, before);
    let now = (
        fs::read(&killed).unwrap(),
        fs::read(folder.path().join("killed.db-journal")).unwrap(),
    );
    assert!(now == left, "reading left a trace");

    let log = open(&file(&killed)).await;
    drop(log.repair(&stream(1), SOON).await.unwrap());
    assert!(!folder.path().join("killed.db-journal").exists());
    assert_eq!(common::everything_at(&file(&killed)).await, before);
}

/// What a repair did is taken out again, statement by statement, and nothing that is not as it was left.
#[tokio::test]
async fn a_repair_is_taken_back_exactly() {
    let (_folder, path) = world();
    let log = open(&file(&path)).await;
    let before = everything(&mut log.view().await.unwrap()).await;
    let stream = stream(1);
    let added: Vec<RestoredEvent> = (13..=15).map(|n| event(stream, n)).collect();
    let ids: Vec<EventId> = added.iter().map(|e| e.event.event_id).collect();
    let commands: Vec<_> = added.iter().filter_map(|e| e.event.command_id).collect();
    let entities = |events: &[RestoredEvent]| -> Vec<Entity> {
        let entity = |e: &RestoredEvent| Entity {
            entity_type: e.event.entity_type.clone(),
            entity_id: e.event.entity_id.clone(),
        };
        let mut all: Vec<Entity> = events.iter().map(entity).collect();
        all.sort();
        all.dedup();
        all
    };
    let mut versions = Vec::new();

    let mut repair = log.repair(&stream, SOON).await.unwrap();
    for entity in entities(&added) {
        let version = repair.view().entity_version(&stream, &entity).await.unwrap();
        versions.push((entity, version));
    }
    repair.insert_events(&added).await.unwrap();
    let receipts: Vec<Receipt> = added.iter().map(receipt).collect();
    repair.insert_receipts(&receipts).await.unwrap();
    let dedupe: Vec<_> = commands.iter().map(|id| (*id, AT)).collect();
    assert_eq!(repair.insert_dedupe(&dedupe).await.unwrap(), 3);
    repair.raise_entity_versions(entities(&added)).await.unwrap();
    repair.set_counter(15).await.unwrap();
    repair.commit().await.unwrap();
    assert_ne!(everything(&mut log.view().await.unwrap()).await, before);

    let mut repair = log.repair(&stream, SOON).await.unwrap();
    // With its receipt an event cannot go.
    assert!(matches!(
        repair.remove_events(&ids).await,
        Err(LogError::Refused { .. })
    ));
    drop(repair);
    let mut repair = log.repair(&stream, SOON).await.unwrap();
    assert_eq!(repair.proofs_of_events(&ids).await.unwrap(), 0);
    assert_eq!(
        repair
            .proofs_of_batches(&[Uuid::from_u128(9).into()])
            .await
            .unwrap(),
        0
    );
    assert_eq!(repair.remove_receipts(&ids).await.unwrap(), 3);
    assert_eq!(repair.remove_events(&ids).await.unwrap(), 3);
    let known = repair
        .view()
        .remembered_commands(&stream, &commands)
        .await
        .unwrap();
    assert_eq!(known.len(), 3);
    assert_eq!(repair.remove_commands(&commands).await.unwrap(), 3);
    for (entity, was) in versions {
        let left = repair.view().entity_version(&stream, &entity).await.unwrap();
        if left == was {
            continue;
        }
        let left = left.unwrap();
        let wrong = repair.take_back_entity_version(&entity, left + 1, was).await;
        assert!(!wrong.unwrap(), "not as it was left");
        assert!(repair.take_back_entity_version(&entity, left, was).await.unwrap());
    }
    assert!(matches!(
        repair.take_back_counter(14, Some(12)).await,
        Err(LogError::Refused { .. })
    ));
    repair.take_back_counter(15, Some(12)).await.unwrap();
    repair.commit_as_it_was().await.unwrap();
    assert_eq!(everything(&mut log.view().await.unwrap()).await, before);
}

/// Numbers and counters beside the VES log.
#[tokio::test]
async fn the_families_beside_the_log_are_read_and_their_counters_raised() {
    use event_log::Family;
    let (_folder, path) = world();
    let at = "2026-01-02T03:04:05.678901Z";
    let (tenant, store) = (Uuid::from_u128(1), Uuid::from_u128(7));
    for n in [2, 3, 5] {
        let id = Uuid::from_u128(1000 + n);
        tamper(
            &path,
            &format!(
                "INSERT INTO x402_payment_intents VALUES ('{id}', '{tenant}', '{store}', {n});
                 INSERT INTO events VALUES ('{id}', NULL, {n}, '{tenant}', '{store}', 'a', 'b', 'c', x'00', x'00', NULL,
                    '{id}', NULL, '{at}', '{at}')"
            ),
        );
    }
    tamper(
        &path,
        &format!("INSERT INTO x402_sequence_counters VALUES ('{tenant}', '{store}', 9, '{at}')"),
    );
    let log = open(&file(&path)).await;
    let stream = stream(7);
    for (family, counter) in [(Family::Events, None), (Family::X402, Some(9))] {
        let mut view = log.view().await.unwrap();
        let found = view
            .family_streams(family, &StreamFilter::default())
            .await
            .unwrap();
        assert_eq!(found.missing, [""; 0]);
        let states = found.streams.all().unwrap();
        assert_eq!(states.len(), 1);
        let state = &states[0];
        assert_eq!((state.stream, state.count, state.counter), (stream, 3, counter));
        assert_eq!(view.family_ranges(family, state).await.unwrap(), [2..=3, 5..=5]);
        let elsewhere = StreamFilter::from(&self::stream(1));
        let none = view.family_streams(family, &elsewhere).await.unwrap();
        assert!(none.streams.rows.is_empty());
    }
    let below = log.raise_family_counter(Family::Events, &stream, 4, SOON).await;
    assert!(message(below).contains("below the last number, 5"));
    let raised = log.raise_family_counter(Family::Events, &stream, 5, SOON).await;
    assert_eq!(raised.unwrap(), (None, 5));
    let again = log.raise_family_counter(Family::Events, &stream, 5, SOON).await;
    assert_eq!(again.unwrap(), (Some(5), 5));
    // Never down.
    let lower = log.raise_family_counter(Family::X402, &stream, 6, SOON).await;
    assert_eq!(lower.unwrap(), (Some(9), 9));
    // The counter of the VES log is another.
    assert_eq!(log.view().await.unwrap().counter(&stream).await.unwrap(), None);
}
