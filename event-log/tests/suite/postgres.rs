//! The log over a real PostgreSQL, against its snapshot, with the real data.

use crate::common;

use std::ops::ControlFlow;
use std::time::Duration;

use cli_common::NoProgress;
use common::{
    GOLDEN, RECOVERED, SOON, Server, TRUTH, everything, everything_at, file, message, open, snapshot_of,
    target,
};
use event_log::{Entity, Log, LogError, RestoredEvent, Snapshot, StreamFilter, View, write_snapshot};
use sqlx::{AssertSqlSafe, Connection as _};
use ves::span::Span;
use ves::{CommandId, EventCheck, EventId, StreamKey, Timestamp, merkle};

async fn streams(view: &mut View) -> Vec<StreamKey> {
    let streams = view
        .streams(&StreamFilter::default())
        .await
        .unwrap()
        .all()
        .unwrap();
    streams.into_iter().map(|state| state.stream).collect()
}

#[tokio::test]
async fn a_log_and_its_snapshot_say_the_same_and_every_golden_hash_recomputes() {
    let Some(server) = Server::start() else { return };
    let log = open(&target(&server.load("golden", GOLDEN))).await;
    let mut view = log.view().await.unwrap();
    let from_postgres = everything(&mut view).await;
    let (_folder, path) = snapshot_of(&log).await;
    let snapshot = open(&file(&path)).await;
    assert!(snapshot.snapshot_info().unwrap().taken_at.is_some());
    let mut copy = snapshot.view().await.unwrap();
    assert_eq!(everything(&mut copy).await, from_postgres);

    assert_eq!(from_postgres.entries.values().map(Vec::len).sum::<usize>(), 2061);
    for (stream, entries) in &from_postgres.entries {
        let mut numbers = 1..;
        for entry in entries {
            assert_eq!(Some(entry.sequence_number), numbers.next());
            assert_eq!(entry.event.signing_hash(), entry.event_signing_hash);
            assert_eq!(entry.event.check_payload(), EventCheck::Matches);
            assert_eq!(
                entry.event.created_at.parse::<Timestamp>().unwrap(),
                entry.created_at_column
            );
            let receipt = entry.receipt.as_ref().unwrap();
            assert!(receipt.hash_matches(stream, &entry.event_signing_hash));
            assert_eq!(
                (receipt.sequence_number, receipt.event_id),
                (entry.sequence_number, entry.event.event_id)
            );
        }
        for view in [&mut view, &mut copy] {
            for commitment in view.commitments(stream).await.unwrap().all().unwrap() {
                let range = commitment.sequence_start..=commitment.sequence_end;
                let mut leaves = Vec::new();
                view.for_each_leaf_input(stream, range, &mut |chunk| {
                    leaves.extend(chunk.into_iter().map(|leaf| {
                        let leaf = leaf.unwrap();
                        let number = leaf.sequence_number;
                        merkle::leaf_hash(stream, number, &leaf.event_signing_hash, &leaf.agent_signature)
                    }));
                    ControlFlow::Continue(())
                })
                .await
                .unwrap();
                assert_eq!(merkle::root(&leaves), Some(commitment.merkle_root));
                let whole = Span::new(commitment.sequence_start, u64::MAX).unwrap();
                let mut again = Vec::new();
                let end = view
                    .for_each_leaf(stream, whole, &mut |leaves| {
                        again.extend_from_slice(leaves);
                        ControlFlow::Continue(())
                    })
                    .await
                    .unwrap();
                assert!(end.hole.is_none() && again.starts_with(&leaves), "{end:?}");
                let last = commitment.sequence_start + again.len() as u64;
                assert_eq!(end.next, last);
            }
        }
    }
    drop((view, copy));

    // A snapshot of the snapshot is the same again, and nothing is left beside it.
    let folder = tempfile::tempdir().unwrap();
    let again = folder.path().join("again.db");
    let mut view = snapshot.view().await.unwrap();
    let counts = write_snapshot(&mut view, snapshot.target(), &again, &NoProgress)
        .await
        .unwrap();
    assert!(counts.rows.contains(&("ves_events", Some(2061))), "{counts:?}");
    drop(view);
    assert_eq!(everything_at(&file(&again)).await, from_postgres);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let mut view = snapshot.view().await.unwrap();
    let refused = write_snapshot(&mut view, snapshot.target(), &again, &NoProgress).await;
    assert!(message(refused).contains("exists already"));
}

#[tokio::test]
async fn views_keep_to_their_filter_and_break_off_when_told() {
    let Some(server) = Server::start() else { return };
    let log = open(&target(&server.load("golden", GOLDEN))).await;
    let mut view = log.view().await.unwrap();
    let all = streams(&mut view).await;
    assert_eq!(all.len(), 6);
    let one = view
        .streams(&StreamFilter::from(&all[2]))
        .await
        .unwrap()
        .all()
        .unwrap();
    assert_eq!(one.len(), 1);
    assert_eq!(one[0].stream, all[2]);
    let tenant = StreamFilter {
        tenant: Some(all[0].tenant_id),
        store: None,
    };
    assert!(
        view.streams(&tenant)
            .await
            .unwrap()
            .all()
            .unwrap()
            .iter()
            .all(|s| s.stream.tenant_id == all[0].tenant_id)
    );

    let mut seen = 0;
    let longest = all[0];
    view.for_each_entry(&longest, 5..=7, &mut |chunk| {
        seen += chunk.len();
        ControlFlow::Break(())
    })
    .await
    .unwrap();
    assert_eq!(seen, 3);
    // After breaking off in the middle of an answer the connection still answers.
    for stream in &all {
        view.for_each_entry(stream, 1..=u64::MAX, &mut |_| ControlFlow::Break(()))
            .await
            .unwrap();
    }
    assert_eq!(streams(&mut view).await, all);

    let ids: Vec<EventId> = view
        .entries(&longest, 1..=3)
        .await
        .unwrap()
        .all()
        .unwrap()
        .iter()
        .map(|entry| entry.event.event_id)
        .chain([EventId(uuid::Uuid::nil())])
        .collect();
    let mut found: Vec<u64> = view
        .find_events(&ids)
        .await
        .unwrap()
        .placed
        .iter()
        .map(|f| f.sequence_number)
        .collect();
    found.sort_unstable();
    assert_eq!(found, [1, 2, 3]);
    assert!(
        view.entries(&longest, u64::MAX..=u64::MAX)
            .await
            .unwrap()
            .rows
            .is_empty()
    );
}

#[tokio::test]
async fn what_a_damaged_row_does_not_say_costs_no_other_row() {
    let Some(server) = Server::start() else { return };
    let url = server.load("damaged", RECOVERED);
    let log = open(&target(&url)).await;
    let mut view = log.view().await.unwrap();
    let stream = streams(&mut view).await[0];
    let entries = view.entries(&stream, 1..=9).await.unwrap().all().unwrap();
    let ids: Vec<EventId> = entries.iter().map(|entry| entry.event.event_id).collect();
    let commands: Vec<CommandId> = entries.iter().filter_map(|e| e.event.command_id).collect();
    let known = view.remembered_commands(&stream, &commands).await.unwrap();
    assert!(known.len() >= 3, "{known:?}");
    drop(view);
    let no_tenant = entries
        .iter()
        .position(|e| e.event.command_id == Some(known[0]))
        .unwrap();
    let no_number = (no_tenant + 1) % entries.len();
    let _ = test_support::query(
        &url,
        &format!(
            "ALTER TABLE ves_events ALTER tenant_id DROP NOT NULL, ALTER sequence_number DROP NOT NULL;
             UPDATE ves_events SET tenant_id = NULL WHERE event_id = '{}';
             UPDATE ves_events SET sequence_number = NULL WHERE event_id = '{}';
             UPDATE ves_command_dedupe SET created_at = 'infinity' WHERE command_id = '{}'",
            ids[no_tenant], ids[no_number], known[1]
        ),
    );
    let mut view = log.view().await.unwrap();
    let found = view.find_events(&ids).await.unwrap();
    assert_eq!((found.placed.len(), found.unreadable.len()), (7, 2));
    let row = |id| found.unreadable.iter().find(|row| row.event_id == id).unwrap();
    let (tenant, number) = (row(ids[no_tenant]), row(ids[no_number]));
    assert_eq!(tenant.number_in(&stream), Some(no_tenant as u64 + 1));
    let other = StreamKey::new(stream.tenant_id, ves::StoreId(uuid::Uuid::nil()));
    assert_eq!(tenant.number_in(&other), None);
    assert_eq!(
        (number.number_in(&stream), number.error.stream),
        (None, Some(stream))
    );
    let said = format!("ves_events: event {}: tenant_id is NULL", ids[no_tenant]);
    assert_eq!(tenant.error.to_string(), said);
    let state = view.streams(&StreamFilter::from(&stream)).await.unwrap().rows;
    assert_eq!(state[0].misnumbered, 1);

    // A command is remembered, whether or not anybody can read since when.
    let since = view.remembered_since(&stream, &commands).await.unwrap();
    assert_eq!(since.len(), known.len());
    let unknown = since.iter().filter(|(_, since)| since.is_none());
    assert_eq!(unknown.map(|(id, _)| *id).collect::<Vec<_>>(), [known[1]]);
    // Its event is there, though no stream has it.
    let carried = view.commands_of_no_stream(&commands).await.unwrap();
    assert_eq!(carried, [known[0]]);
    drop(view);

    // What is to be forgotten is forgotten beside rows that cannot be read; one of these itself could not be put back.
    let _ = test_support::query(
        &url,
        &format!(
            "UPDATE ves_events SET command_id = NULL WHERE command_id IN ('{}', '{}')",
            known[1], known[2]
        ),
    );
    let mut repair = log.repair(&stream, SOON).await.unwrap();
    let forgotten = repair.forget_commands(&known[2..3]).await.unwrap();
    assert_eq!(forgotten.len(), 1);
    let refused = repair.forget_commands(&known[1..2]).await.unwrap_err();
    assert!(matches!(refused, LogError::Row(_)), "{refused}");
}

#[tokio::test]
async fn islands_are_the_numbers_that_are_there() {
    let Some(server) = Server::start() else { return };
    let url = server.load("recovered", RECOVERED);
    let log = open(&target(&url)).await;
    let (_folder, path) = snapshot_of(&log).await;
    let both = [log, open(&file(&path)).await];
    let mut views = [both[0].view().await.unwrap(), both[1].view().await.unwrap()];
    for stream in streams(&mut views[0]).await {
        let ranges = views[0].present_ranges(&stream).await.unwrap();
        assert_eq!(views[1].present_ranges(&stream).await.unwrap(), ranges);
        let entries = views[0]
            .entries(&stream, 0..=u64::MAX)
            .await
            .unwrap()
            .all()
            .unwrap();
        let from_ranges: Vec<u64> = ranges.iter().cloned().flatten().collect();
        let from_rows: Vec<u64> = entries.iter().map(|entry| entry.sequence_number).collect();
        assert_eq!(from_ranges, from_rows);
        assert!(
            ranges
                .windows(2)
                .all(|pair| *pair[0].end() + 1 < *pair[1].start())
        );
    }
}

/// Every row of every table that a repair writes, as text, without the times of updates.
fn dump(url: &str) -> String {
    [
        "SELECT * FROM ves_events ORDER BY tenant_id, store_id, sequence_number",
        "SELECT * FROM ves_sequencer_receipts ORDER BY event_id",
        "SELECT * FROM ves_command_dedupe ORDER BY 1, 2, 3",
        "SELECT tenant_id, store_id, entity_type, entity_id, version FROM entity_versions ORDER BY 1, 2, 3, 4",
        "SELECT tenant_id, store_id, current_sequence FROM ves_sequence_counters ORDER BY 1, 2",
        "SELECT * FROM ves_commitments ORDER BY batch_id",
    ]
    .map(|sql| test_support::query(url, sql))
    .join("\n")
}

/// Takes the last events of each stream away as a recovery would, and puts them back.
async fn take_away_and_put_back(url: &str) {
    let log = open(&target(url)).await;
    let before = dump(url);
    let mut view = log.view().await.unwrap();
    let mut lost = Vec::new();
    for stream in streams(&mut view).await {
        let entries = view.entries(&stream, 20..=u64::MAX).await.unwrap().all().unwrap();
        let commitments = view.commitments(&stream).await.unwrap().all().unwrap();
        let commitments: Vec<_> = commitments.into_iter().filter(|c| c.sequence_end >= 20).collect();
        let counter = view.counter(&stream).await.unwrap().unwrap();
        lost.push((stream, entries, commitments, counter));
    }
    drop(view);
    let dedupe = test_support::query(url, "SELECT command_id, created_at FROM ves_command_dedupe");
    let dedupe: std::collections::BTreeMap<String, Timestamp> = dedupe
        .lines()
        .map(|line| line.split_once('|').unwrap())
        .map(|(id, at)| (id.to_owned(), at.parse().unwrap()))
        .collect();

    let _ = test_support::query(
        url,
        "CREATE TEMP TABLE gone AS SELECT * FROM ves_events WHERE sequence_number >= 20;
         DELETE FROM ves_sequencer_receipts WHERE sequence_number >= 20;
         DELETE FROM ves_command_dedupe WHERE command_id IN (SELECT command_id FROM gone);
         DELETE FROM ves_events WHERE sequence_number >= 20;
         DELETE FROM ves_commitments WHERE sequence_end >= 20;
         UPDATE entity_versions v SET version = (
             SELECT count(*) FROM ves_events e WHERE (e.tenant_id, e.store_id, e.entity_type, e.entity_id)
                 = (v.tenant_id, v.store_id, v.entity_type, v.entity_id)) + (
             SELECT count(*) FROM events e WHERE (e.tenant_id, e.store_id, e.entity_type, e.entity_id)
                 = (v.tenant_id, v.store_id, v.entity_type, v.entity_id));
         DELETE FROM entity_versions WHERE version = 0;
         DELETE FROM ves_sequence_counters",
    );
    assert_ne!(dump(url), before);

    for (stream, entries, commitments, counter) in lost {
        let mut repair = log.repair(&stream, SOON).await.unwrap();
        assert_eq!(repair.counter_before(), None);
        let receipts: Vec<_> = entries.iter().filter_map(|entry| entry.receipt.clone()).collect();
        let commands: Vec<_> = entries
            .iter()
            .filter_map(|entry| entry.event.command_id)
            .map(|id| (id, dedupe[&id.to_string()]))
            .collect();
        let entities: Vec<Entity> = entries
            .iter()
            .map(|e| Entity {
                entity_type: e.event.entity_type.clone(),
                entity_id: e.event.entity_id.clone(),
            })
            .collect();
        let events: Vec<_> = entries.into_iter().map(Into::into).collect();
        assert_eq!(repair.insert_events(&events).await.unwrap(), events.len() as u64);
        assert_eq!(
            repair.insert_receipts(&receipts).await.unwrap(),
            receipts.len() as u64
        );
        assert_eq!(
            repair.insert_dedupe(&commands).await.unwrap(),
            commands.len() as u64
        );
        assert_eq!(repair.insert_dedupe(&commands).await.unwrap(), 0);
        assert!(repair.raise_entity_versions(entities.clone()).await.unwrap() > 0);
        assert_eq!(repair.raise_entity_versions(entities).await.unwrap(), 0);
        repair.insert_commitments(&commitments).await.unwrap();
        repair.set_counter(counter).await.unwrap();
        assert!(message(repair.set_counter(counter - 1).await).contains("never be lowered"));
        assert_eq!(
            repair.view().version_drift(&stream).await.unwrap().all().unwrap(),
            []
        );
        repair.commit().await.unwrap();
    }
    let after = dump(url);
    for (before, after) in before.lines().zip(after.lines()) {
        assert_eq!(before, after);
    }
    assert_eq!(before.len(), after.len());
}

#[tokio::test]
async fn what_is_put_back_is_the_same_to_the_byte() {
    let Some(server) = Server::start() else { return };
    take_away_and_put_back(&server.load("golden", GOLDEN)).await;
    take_away_and_put_back(&server.load("truth", TRUTH)).await;
}

#[tokio::test]
async fn a_repair_of_a_snapshot_equals_a_repair_of_the_database() {
    let Some(server) = Server::start() else { return };
    let recovered = open(&target(&server.load("recovered", RECOVERED))).await;
    let truth = open(&target(&server.load("truth", TRUTH))).await;
    let (_folder, path) = snapshot_of(&recovered).await;
    let snapshot = open(&file(&path)).await;
    let mut view = truth.view().await.unwrap();
    for stream in streams(&mut view).await {
        for log in [&recovered, &snapshot] {
            let mut repair = log.repair(&stream, SOON).await.unwrap();
            let present = repair.view().present_ranges(&stream).await.unwrap();
            let entries = view.entries(&stream, 1..=u64::MAX).await.unwrap().all().unwrap();
            let missing: Vec<_> = entries
                .into_iter()
                .filter(|entry| !present.iter().any(|range| range.contains(&entry.sequence_number)))
                .collect();
            let receipts: Vec<_> = missing.iter().filter_map(|entry| entry.receipt.clone()).collect();
            let entities: Vec<Entity> = missing
                .iter()
                .map(|e| Entity {
                    entity_type: e.event.entity_type.clone(),
                    entity_id: e.event.entity_id.clone(),
                })
                .collect();
            let events: Vec<_> = missing.into_iter().map(Into::into).collect();
            repair.insert_events(&events).await.unwrap();
            repair.insert_receipts(&receipts).await.unwrap();
            repair.raise_entity_versions(entities).await.unwrap();
            let missing = repair
                .view()
                .dedupe_missing(&stream)
                .await
                .unwrap()
                .all()
                .unwrap();
            let at = Timestamp(1_700_000_000_000_000);
            let commands: Vec<_> = missing.iter().map(|m| (m.command_id, at)).collect();
            repair.insert_dedupe(&commands).await.unwrap();
            // A number below the rows stops the sequencer, and so the repair.
            let counter = view.counter(&stream).await.unwrap().unwrap();
            repair.set_counter(counter).await.unwrap();
            repair.commit().await.unwrap();
        }
    }
    let repaired = everything_at(recovered.target()).await;
    assert_eq!(everything_at(snapshot.target()).await, repaired);
    assert_eq!(repaired.entries, everything(&mut view).await.entries);
}

#[tokio::test]
async fn a_repair_waits_for_the_sequencers_locks_and_gives_up() {
    let Some(server) = Server::start() else { return };
    let url = server.load("recovered", RECOVERED);
    let log = open(&target(&url)).await;
    let stream = streams(&mut log.view().await.unwrap()).await[0];
    let of = format!(
        "tenant_id = '{}' AND store_id = '{}'",
        stream.tenant_id, stream.store_id
    );
    let row = format!("SELECT 1 FROM ves_sequence_counters WHERE {of} FOR UPDATE");
    let advisory = format!(
        "SELECT pg_advisory_xact_lock({})",
        ves::stream::advisory_lock_key(&stream)
    );
    for held in [row.as_str(), advisory.as_str()] {
        let mut blocker = sqlx::PgConnection::connect(&url).await.unwrap();
        let hold = sqlx::raw_sql(AssertSqlSafe(format!("BEGIN; {held}")));
        hold.execute(&mut blocker).await.unwrap();
        let error = log.repair(&stream, SOON).await.err().unwrap();
        assert!(error.is_locked(), "{error}");
        sqlx::raw_sql("ROLLBACK").execute(&mut blocker).await.unwrap();
        // And the other way round: what a repair holds, nobody else gets.
        let repair = log.repair(&stream, SOON).await.unwrap();
        let nowait = format!("BEGIN; SET LOCAL lock_timeout = '100ms'; {held}");
        let url = url.clone();
        let refused =
            std::thread::spawn(move || std::panic::catch_unwind(|| test_support::query(&url, &nowait)));
        assert!(refused.join().unwrap().is_err());
        drop(repair);
    }
    // Two repairs of one stream exclude each other; of two streams they do not.
    let all = streams(&mut log.view().await.unwrap()).await;
    let first = log.repair(&all[0], SOON).await.unwrap();
    assert!(log.repair(&all[0], SOON).await.err().unwrap().is_locked());
    drop(log.repair(&all[1], SOON).await.unwrap());
    drop(first);
    drop(log.repair(&all[0], Duration::from_secs(5)).await.unwrap());
}

#[tokio::test]
async fn nothing_is_kept_without_a_commit_and_harm_is_refused() {
    let Some(server) = Server::start() else { return };
    let url = server.load("recovered", RECOVERED);
    let before = dump(&url);
    let log = open(&target(&url)).await;
    let mut view = log.view().await.unwrap();
    let all = streams(&mut view).await;
    let entries = view.entries(&all[0], 1..=2).await.unwrap().all().unwrap();
    drop(view);

    let mut repair = log.repair(&all[0], SOON).await.unwrap();
    repair.set_counter(1_000_000).await.unwrap();
    drop(repair);

    let attempt = |change: fn(&mut RestoredEvent)| {
        let mut event: RestoredEvent = entries[0].clone().into();
        event.event.event_id = EventId(uuid::Uuid::from_u128(7));
        event.sequence_number = 1_000_000;
        change(&mut event);
        let log = &log;
        let stream = all[0];
        async move {
            let mut repair = log.repair(&stream, Duration::from_secs(5)).await.unwrap();
            match repair.insert_events(&[event]).await {
                Ok(_) => repair.commit().await.unwrap_err(),
                Err(error) => error,
            }
        }
    };
    type Change = fn(&mut RestoredEvent);
    let harms: [(Change, &str); 6] = [
        (|_| (), "below the last number 1000000"),
        (|e| e.sequence_number = 1, "uq_ves_events_sequence"),
        (|e| e.sequence_number = u64::MAX, "more than a database can hold"),
        (
            |e| e.event.created_at = "yesterday".into(),
            "not an RFC 3339 time",
        ),
        (
            |e| e.event.payload = ves::Payload::Plain("{\"a\":\"\\u0000\"}".into()),
            "unsupported Unicode",
        ),
        (
            |e| e.event.entity_type = "x".repeat(129),
            "character varying(128)",
        ),
    ];
    for (change, expected) in harms {
        let error = attempt(change).await;
        assert!(
            matches!(error, LogError::Refused { .. } | LogError::RefusedRow { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(expected), "{error}");
    }
    let mut repair = log.repair(&all[1], SOON).await.unwrap();
    let other: Vec<_> = entries.into_iter().map(Into::into).collect();
    assert!(message(repair.insert_events(&other).await).contains("is not the stream"));
    drop(repair);
    assert_eq!(dump(&url), before);
}

#[tokio::test]
async fn a_view_is_of_one_moment_and_writes_nothing() {
    let Some(server) = Server::start() else { return };
    let url = server.load("recovered", RECOVERED);
    let log = open(&target(&url)).await;
    let mut view = log.view().await.unwrap();
    let before = everything(&mut view).await;
    let _ = test_support::query(
        &url,
        "UPDATE ves_sequence_counters SET current_sequence = 9999;
         DELETE FROM ves_sequencer_receipts; DELETE FROM agent_signing_keys",
    );
    assert_eq!(everything(&mut view).await, before);
    assert_ne!(everything_at(log.target()).await, before);
}

#[tokio::test]
async fn what_is_no_log_is_told_apart() {
    let Some(server) = Server::start() else { return };
    let missing = Log::open(&target(&server.server.database_url("nowhere"))).await;
    assert!(matches!(missing, Err(LogError::Connect { .. })), "{missing:?}");
    assert!(message(missing).contains("does not exist"));
    let nobody = Log::open(&target("postgres://me:s3cret@127.0.0.1:1/log")).await;
    assert!(matches!(nobody, Err(LogError::Connect { .. })));
    assert!(!message(nobody).contains("s3cret"));

    let empty = Log::open(&target(&server.server.create_database("blank"))).await;
    let text = message(empty);
    assert!(text.contains("table ves_events is missing"), "{text}");
    assert!(!text.contains("commitments"), "{text}");

    let url = server.empty("altered");
    let _ = test_support::query(
        &url,
        "ALTER TABLE ves_events DROP COLUMN base_version;
         DROP TABLE sequence_counters, commitments, event_command_dedupe, x402_sequence_counters",
    );
    let altered = Log::open(&target(&url)).await;
    assert!(matches!(altered, Err(LogError::Schema { .. })));
    let text = message(altered);
    assert!(
        text.contains("column ves_events.base_version is missing"),
        "{text}"
    );

    // Without the older log it is still one, and so is its snapshot.
    let url = server.load("newer", RECOVERED);
    let _ = test_support::query(&url, "DROP TABLE sequence_counters, commitments");
    let log = open(&target(&url)).await;
    let (_folder, path) = snapshot_of(&log).await;
    assert_eq!(
        everything_at(&file(&path)).await,
        everything_at(log.target()).await
    );
}

#[tokio::test]
async fn odd_values_survive_and_impossible_ones_are_named() {
    let Some(server) = Server::start() else { return };
    let url = server.empty("odd");
    let log = open(&target(&url)).await;
    let stream = StreamKey::new(uuid::Uuid::from_u128(1).into(), uuid::Uuid::from_u128(2).into());
    let payloads = [
        r#"{"n": 1e16, "m": 10000000000000000000000, "x": 1.10, "z": -0.0, "tiny": 5e-324, "half": 0.1}"#,
        r#"{"é": "😀 \u007f \b\f\n\r\t\"\\ \u0001", "": [], "deep": {"a": {}}, "b": null, "a": [true, false]}"#,
        r#"{"long": 1, "b": 2, "aa": 3, "b": 4}"#,
        r#""just text""#,
        "17",
    ];
    let mut repair = log.repair(&stream, SOON).await.unwrap();
    let events: Vec<_> = payloads
        .iter()
        .zip(1..)
        .map(|(json, n)| odd_event(stream, n, json))
        .collect();
    repair.insert_events(&events).await.unwrap();
    repair.set_counter(5).await.unwrap();
    repair.commit().await.unwrap();
    let (_folder, path) = snapshot_of(&log).await;
    let there = everything_at(log.target()).await;
    assert_eq!(everything_at(&file(&path)).await, there);
    for (entry, (restored, json)) in there.entries[&stream].iter().zip(events.iter().zip(payloads)) {
        assert_eq!(entry.event.entity_id, restored.event.entity_id);
        assert_eq!(entry.event.created_at, restored.event.created_at);
        if !json.contains("\"b\": 4") {
            assert_eq!(
                ves::jcs::canonicalize(entry.event.payload.json()).unwrap(),
                ves::jcs::canonicalize(json).unwrap()
            );
        }
    }

    // The same events written into a snapshot come out in PostgreSQL's rendering too.
    let folder = tempfile::tempdir().unwrap();
    let direct = folder.path().join("direct.db");
    let mut snapshot = Snapshot::create(&direct).unwrap();
    snapshot.insert_events(&events).unwrap();
    snapshot.insert_counters(&[(stream, 5)], Timestamp(0)).unwrap();
    snapshot.finish().unwrap();
    assert_eq!(everything_at(&file(&direct)).await.entries, there.entries);

    let _ = test_support::query(
        &url,
        "ALTER TABLE ves_events DROP CONSTRAINT ves_events_event_signing_hash_check;
         UPDATE ves_events SET event_signing_hash = '\\x00' WHERE sequence_number = 2;
         UPDATE ves_events SET sequenced_at = 'infinity' WHERE sequence_number = 3;
         UPDATE ves_events SET agent_key_id = -1 WHERE sequence_number = 4",
    );
    let mut view = log.view().await.unwrap();
    let rows = view.entries(&stream, 1..=9).await.unwrap();
    assert_eq!(rows.rows.len(), 2);
    let place = format!("ves_events, stream {stream}, sequence");
    assert_eq!(
        common::unreadable(&rows),
        [
            format!("{place} 2: event_signing_hash: 1 bytes instead of 32"),
            format!("{place} 3: sequenced_at: an infinite time"),
            format!("{place} 4: agent_key_id: -1 is out of range"),
        ]
    );

    // What cannot be understood is copied as it is, and cannot be understood there either.
    let copy = folder.path().join("copy.db");
    let copied = write_snapshot(&mut log.view().await.unwrap(), log.target(), &copy, &NoProgress)
        .await
        .unwrap();
    assert_eq!(copied.left_out.count, 0);
    let mut view = open(&file(&copy)).await.view().await.unwrap();
    assert_eq!(
        common::unreadable(&view.entries(&stream, 1..=9).await.unwrap()),
        common::unreadable(&rows)
    );
}

fn odd_event(stream: StreamKey, n: u64, json: &str) -> RestoredEvent {
    let event = ves::Event {
        event_id: EventId(uuid::Uuid::from_u128(n.into())),
        stream,
        ves_version: 1,
        source_agent_id: uuid::Uuid::from_u128(4).into(),
        agent_key_id: 1,
        entity_type: "Auftrag".into(),
        entity_id: format!("№{n} 'quoted' \\ ; -- 😀\u{301}"),
        event_type: "order.created".into(),
        created_at: "2025-11-01T00:48:43.123456789+02:00".into(),
        payload: ves::Payload::Plain(json.into()),
        payload_plain_hash: ves::payload::plain_hash(json).unwrap_or(ves::Hash32::ZERO),
        payload_cipher_hash: ves::Hash32::ZERO,
        agent_signature: ves::SignatureBytes([n as u8; 64]),
        agent_signature_scheme: ves::SignatureScheme(3),
        agent_signature_bundle: Some(vec![0, 1, 255]),
        command_id: Some(uuid::Uuid::from_u128(100 + u128::from(n)).into()),
        base_version: Some(-5),
    };
    RestoredEvent {
        event_signing_hash: event.signing_hash(),
        event,
        sequence_number: n,
        sequenced_at: Timestamp(-1),
    }
}

/// JSON texts as no serialiser writes them.
fn any_json() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let number = "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?";
    let string =
        "\"([^\"\\\\\\x00-\\x1f]|\\\\[\"\\\\/bfnrt]|\\\\u0[1-9a-fA-F]{3}|\\\\ud83d\\\\ude0[0-9a-f]){0,8}\"";
    let leaf = prop_oneof![
        4 => number,
        4 => string,
        1 => Just("null".to_owned()),
        1 => any::<bool>().prop_map(|b| b.to_string()),
    ];
    leaf.prop_recursive(4, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|items| format!("[{}]", items.join("\n,"))),
            prop::collection::vec((string, inner), 0..6).prop_map(|members| {
                let members: Vec<String> = members.into_iter().map(|(n, v)| format!("{n}\t:{v}")).collect();
                format!("{{ {}}}", members.join(" ,"))
            }),
        ]
    })
}

#[tokio::test]
async fn a_snapshot_renders_json_as_postgresql_does() {
    use proptest::strategy::{Strategy as _, ValueTree as _};
    use proptest::test_runner::TestRunner;

    let Some(server) = Server::start() else { return };
    let log = open(&target(&server.empty("json"))).await;
    let stream = StreamKey::new(uuid::Uuid::from_u128(1).into(), uuid::Uuid::from_u128(2).into());
    let mut runner = TestRunner::deterministic();
    let events: Vec<_> = (1..=3000)
        .map(|n| odd_event(stream, n, &any_json().new_tree(&mut runner).unwrap().current()))
        .collect();
    let mut repair = log.repair(&stream, SOON).await.unwrap();
    assert_eq!(repair.insert_events(&events).await.unwrap(), 3000);
    repair.set_counter(3000).await.unwrap();
    repair.commit().await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    let mut snapshot = Snapshot::create(&path).unwrap();
    snapshot.insert_events(&events).unwrap();
    snapshot.finish().unwrap();
    let there = log
        .view()
        .await
        .unwrap()
        .entries(&stream, 1..=3000)
        .await
        .unwrap()
        .all()
        .unwrap();
    let here = open(&file(&path))
        .await
        .view()
        .await
        .unwrap()
        .entries(&stream, 1..=3000)
        .await
        .unwrap()
        .all()
        .unwrap();
    for (there, here) in there.iter().zip(&here) {
        assert_eq!(here, there);
    }
    assert_eq!((there.len(), here.len()), (3000, 3000));
}
