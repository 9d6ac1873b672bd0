//! Writing many rows at once: whatever is refused is named, wherever in the heap it lies.

use crate::common;

use cli_common::DbTarget;
use common::{SOON, Server, everything_at, file, open, target};
use event_log::{Entity, Log, LogError, Reserved, RestoredEvent, RowError, Snapshot};
use uuid::Uuid;
use ves::{EventId, Hash32, Receipt, StreamKey, Timestamp};

fn stream() -> StreamKey {
    StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(2).into())
}

fn event(n: u64, payload: usize) -> RestoredEvent {
    let json = format!("{{\"text\": \"{}\", \"n\": {n}}}", "x".repeat(payload));
    let event = ves::Event {
        event_id: EventId(Uuid::from_u128(n.into())),
        stream: stream(),
        ves_version: 1,
        source_agent_id: Uuid::from_u128(4).into(),
        agent_key_id: 1,
        entity_type: "order".into(),
        entity_id: format!("order-{}", n % 100),
        event_type: "order.changed".into(),
        created_at: "2025-11-01T00:48:43Z".into(),
        payload_plain_hash: ves::payload::plain_hash(&json).unwrap(),
        payload: ves::Payload::Plain(json),
        payload_cipher_hash: Hash32::ZERO,
        agent_signature: ves::SignatureBytes([n as u8; 64]),
        agent_signature_scheme: ves::SignatureScheme(1),
        agent_signature_bundle: None,
        command_id: Some(Uuid::from_u128((1 << 64) + u128::from(n)).into()),
        base_version: None,
    };
    RestoredEvent {
        event_signing_hash: event.signing_hash(),
        event,
        sequence_number: n,
        sequenced_at: Timestamp(1_700_000_000_000_000 + n as i64),
    }
}

fn receipt(of: &RestoredEvent) -> Receipt {
    Receipt {
        event_id: of.event.event_id,
        sequencer_id: Uuid::from_u128(5).into(),
        sequence_number: of.sequence_number,
        sequenced_at: of.sequenced_at,
        receipt_hash: Hash32([1; 32]),
        sequencer_signature: None,
        sequencer_key_version: 0,
        receipt_signature_scheme: 1,
        receipt_signature_bundle: None,
    }
}

fn row_of(error: LogError) -> RowError {
    match error {
        LogError::RefusedRow { row, .. } => row,
        other => panic!("{other:?}"),
    }
}

/// An empty log of either kind.
async fn logs(server: &Server, name: &str, folder: &std::path::Path) -> [Log; 2] {
    let path = folder.join(format!("{name}.db"));
    Snapshot::create(&path).unwrap().finish().unwrap();
    let snapshot: DbTarget = file(&path);
    [open(&target(&server.empty(name))).await, open(&snapshot).await]
}

#[tokio::test]
async fn many_rows_and_large_ones_arrive_in_both_databases_alike() {
    let Some(server) = Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    // More rows than a group has, and more bytes: 11 of a megabyte.
    let events: Vec<RestoredEvent> = (1..=9_000)
        .map(|n| event(n, if n % 800 == 0 { 1 << 20 } else { 10 }))
        .collect();
    let receipts: Vec<Receipt> = events.iter().map(receipt).collect();
    let commands: Vec<_> = events
        .iter()
        .map(|e| (e.event.command_id.unwrap(), e.sequenced_at))
        .collect();
    let mut all = Vec::new();
    for log in logs(&server, "many", folder.path()).await {
        let mut repair = log.repair(&stream(), SOON).await.unwrap();
        // In two calls, as apply does.
        for part in [0..8_300, 8_300..9_000] {
            let count = part.len() as u64;
            assert_eq!(repair.insert_events(&events[part.clone()]).await.unwrap(), count);
            assert_eq!(
                repair.insert_receipts(&receipts[part.clone()]).await.unwrap(),
                count
            );
            assert_eq!(repair.insert_dedupe(&commands[part]).await.unwrap(), count);
        }
        // Those that are remembered already are not new.
        assert_eq!(repair.insert_dedupe(&commands[..10]).await.unwrap(), 0);
        let entities = events.iter().map(|e| Entity {
            entity_type: e.event.entity_type.clone(),
            entity_id: e.event.entity_id.clone(),
        });
        assert_eq!(repair.raise_entity_versions(entities.clone()).await.unwrap(), 100);
        assert_eq!(repair.raise_entity_versions(entities).await.unwrap(), 0);
        repair.set_counter(9_000).await.unwrap();
        repair.commit().await.unwrap();
        all.push(everything_at(log.target()).await);
    }
    assert!(all[0].entries[&stream()].len() == 9_000);
    assert_eq!(all[0], all[1]);
}

#[tokio::test]
async fn the_first_row_that_is_refused_is_named_and_nothing_stays() {
    let Some(server) = Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    type Spoil = fn(&mut Vec<RestoredEvent>);
    // What is spoilt, whether a snapshot refuses it too, and the event that is to be named.
    let cases: [(&str, Spoil, bool, u64, &str); 6] = [
        (
            "number",
            |e| e[4_777].sequence_number = 12,
            true,
            4_778,
            "sequence",
        ),
        (
            "id",
            |e| e[700].event.event_id = e[699].event.event_id,
            true,
            700,
            "event_id",
        ),
        (
            "long",
            |e| e[5_999].event.entity_type = "x".repeat(129),
            false,
            6_000,
            "character varying",
        ),
        (
            "json",
            |e| e[4_500].event.payload = ves::Payload::Plain("{\"a\": \"\\u0000\"}".into()),
            true,
            4_501,
            "",
        ),
        (
            "time",
            |e| e[3].event.created_at = "yesterday".into(),
            true,
            4,
            "RFC 3339",
        ),
        (
            "huge",
            |e| e[5_000].sequence_number = u64::MAX,
            true,
            5_001,
            "more than a database can hold",
        ),
    ];
    for (name, spoil, both, id, says) in cases {
        let mut events: Vec<RestoredEvent> = (1..=6_000).map(|n| event(n, 10)).collect();
        spoil(&mut events);
        for log in logs(&server, &format!("refused_{name}"), folder.path())
            .await
            .into_iter()
            .take(if both { 2 } else { 1 })
        {
            let mut repair = log.repair(&stream(), SOON).await.unwrap();
            let row = row_of(repair.insert_events(&events).await.unwrap_err());
            let named = format!("event {}: ", EventId(Uuid::from_u128(id.into())));
            assert!(row.what.starts_with(&named), "{name}: {row}");
            assert!(row.what.contains(says), "{name}: {row}");
            assert_eq!(row.stream, Some(stream()));
            let number = events
                .iter()
                .rfind(|e| e.event.event_id.0.as_u128() == u128::from(id));
            assert_eq!(row.sequence, number.map(|e| e.sequence_number), "{name}");
            drop(repair);
            let mut view = log.view().await.unwrap();
            let found = view.entries(&stream(), 0..=u64::MAX).await.unwrap();
            assert!(found.rows.is_empty());
        }
    }
}

#[tokio::test]
async fn a_receipt_without_its_event_and_what_a_trigger_refuses_are_named_too() {
    let Some(server) = Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let events: Vec<RestoredEvent> = (1..=2_000).map(|n| event(n, 10)).collect();
    let mut receipts: Vec<Receipt> = events.iter().map(receipt).collect();
    receipts[1_234].event_id = EventId(Uuid::from_u128(77_777));
    for log in logs(&server, "orphan", folder.path()).await {
        let mut repair = log.repair(&stream(), SOON).await.unwrap();
        repair.insert_events(&events).await.unwrap();
        let row = row_of(repair.insert_receipts(&receipts).await.unwrap_err());
        assert_eq!((row.table, row.sequence), ("ves_sequencer_receipts", Some(1_235)));
        assert!(row.what.contains("receipt of event"), "{row}");
    }
    let [log, _] = logs(&server, "trigger", folder.path()).await;
    let _ = test_support::query(
        &server.server.database_url("trigger"),
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN RAISE EXCEPTION 'not on my watch'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON ves_events FOR EACH ROW
         WHEN (NEW.sequence_number = 1500) EXECUTE FUNCTION refuse()",
    );
    let mut repair = log.repair(&stream(), SOON).await.unwrap();
    let row = row_of(repair.insert_events(&events).await.unwrap_err());
    assert_eq!(row.sequence, Some(1_500));
    assert!(row.what.contains("not on my watch"), "{row}");
}

#[tokio::test]
async fn nothing_is_left_of_what_was_staged() {
    let Some(server) = Server::start() else { return };
    let url = server.empty("staged");
    let log = open(&target(&url)).await;
    let mut repair = log.repair(&stream(), SOON).await.unwrap();
    repair.insert_events(&[event(1, 10)]).await.unwrap();
    let staged = "SELECT count(*) FROM pg_class WHERE relname LIKE 'stage%'";
    assert_eq!(test_support::query(&url, staged), "0", "not yet seen by others");
    repair.set_counter(1).await.unwrap();
    repair.commit().await.unwrap();
    assert_eq!(test_support::query(&url, staged), "0");
}

/// Runs a script in a thread of its own, once `waiting` sessions wait for locks.
fn beside(url: &str, script: String, waiting: u32) -> std::thread::JoinHandle<String> {
    let url_of_it = url.to_owned();
    let running = std::thread::spawn(move || test_support::query(&url_of_it, &script));
    let sql = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted";
    while test_support::query(url, sql) != waiting.to_string() {
        assert!(!running.is_finished(), "it did not wait");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    running
}

#[tokio::test]
async fn what_is_written_ahead_lets_a_sequencer_pass() {
    let Some(server) = Server::start() else { return };
    let url = server.empty("ahead");
    let log = open(&target(&url)).await;
    let mut repair = log.repair(&stream(), SOON).await.unwrap();
    repair.insert_events(&[event(1, 10)]).await.unwrap();
    repair.set_counter(1).await.unwrap();
    repair.commit().await.unwrap();
    let events = [event(2, 10), event(3, 10)];
    let command = Reserved {
        stream: stream(),
        command_id: events[0].event.command_id.unwrap(),
        created_at: events[0].sequenced_at,
    };
    let ahead = async || {
        let mut repair = log.prepare_repair(&stream(), SOON).await.unwrap();
        repair.stage_events(&events).await.unwrap();
        let new = repair.write_ahead(&[command], SOON).await.unwrap();
        assert_eq!(new.len(), 1);
        assert_eq!(repair.write_staged().await.unwrap().events, 2);
        repair
    };
    let mut repair = ahead().await;
    repair.let_others_pass().await.unwrap();
    let of = format!(
        "tenant_id = '{}' AND store_id = '{}'",
        stream().tenant_id,
        stream().store_id
    );
    // The same command once more: that request holds no counter yet, and learns soon that it was accepted.
    let again = format!(
        "INSERT INTO ves_command_dedupe (tenant_id, store_id, command_id) VALUES ('{}', '{}', '{}') \
         ON CONFLICT DO NOTHING",
        stream().tenant_id,
        stream().store_id,
        command.command_id
    );
    let again = beside(&url, again, 1);
    repair.let_others_pass().await.unwrap();
    // Another event is about to get the number 2, under the counter's lock.
    let next = format!(
        "BEGIN; SELECT 1 FROM ves_sequence_counters WHERE {of} FOR UPDATE; \
         CREATE TEMP TABLE one AS SELECT * FROM ves_events WHERE {of}; \
         UPDATE one SET event_id = gen_random_uuid(), command_id = NULL, sequence_number = 2; \
         INSERT INTO ves_events SELECT * FROM one; \
         UPDATE ves_sequence_counters SET current_sequence = 2 WHERE {of}; COMMIT"
    );
    let next = beside(&url, next, 2);
    let error = repair.let_others_pass().await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
    drop(repair);
    again.join().unwrap();
    next.join().unwrap();
    let counter = format!("SELECT current_sequence FROM ves_sequence_counters WHERE {of}");
    assert_eq!(test_support::query(&url, &counter), "2");

    // Whoever holds the counter is waited for a moment only: it may wait for what was written.
    let forget = "DELETE FROM ves_events WHERE sequence_number = 2; DELETE FROM ves_command_dedupe";
    assert_eq!(test_support::query(&url, forget), "");
    let mut repair = ahead().await;
    let held =
        format!("BEGIN; SELECT 1 FROM ves_sequence_counters WHERE {of} FOR UPDATE; SELECT pg_sleep(2)");
    let holder = std::thread::spawn({
        let url = url.clone();
        move || test_support::query(&url, &held)
    });
    while test_support::query(
        &url,
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(2)'",
    ) != "1"
    {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let lock = repair.lock(&[], &[], std::time::Duration::from_secs(60)).await;
    assert!(lock.unwrap_err().is_locked());
    drop(repair);
    holder.join().unwrap();
    // With nobody there the locks are had, and it is kept.
    let mut repair = ahead().await;
    repair.lock(&[], &[], SOON).await.unwrap();
    assert_eq!(repair.counter_before(), Some(2));
    repair.let_others_pass().await.unwrap();
    repair.set_counter(3).await.unwrap();
    repair.commit().await.unwrap();
    let there = "SELECT count(*) FROM ves_events WHERE sequence_number IN (2, 3)";
    assert_eq!(test_support::query(&url, there), "2");
}
