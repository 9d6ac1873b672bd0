//! Which numbers are there: counting says the same as looking at every row, in both databases, whatever the table holds.

use crate::common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Server, file, open, target};
use event_log::{Snapshot, StreamFilter, View};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use uuid::Uuid;
use ves::StreamKey;

const TENANT: u128 = 1;

fn stream(store: u128) -> StreamKey {
    StreamKey::new(Uuid::from_u128(TENANT).into(), Uuid::from_u128(store).into())
}

/// The numbers of a stream; `None` is NULL.
type Numbers = Vec<Option<i64>>;

/// What a stream may hold: long runs with few holes, scattered numbers, and what no sequencer writes.
fn numbers(hostile: bool) -> BoxedStrategy<Numbers> {
    let run = (
        1_i64..4,
        1_i64..60_000,
        prop::collection::btree_set(1_i64..60_000, 0..30),
    )
        .prop_map(|(first, length, holes)| {
            (first..first + length)
                .filter(|n| !holes.contains(n))
                .map(Some)
                .collect::<Numbers>()
        });
    let scattered = prop::collection::btree_set(1_i64..500, 0..200)
        .prop_map(|numbers| numbers.into_iter().map(Some).collect::<Numbers>());
    // Far more blocks than rows.
    let far = prop::collection::btree_set(prop_oneof![1..i64::MAX, i64::MAX - 9..=i64::MAX, 1..9_i64], 0..40)
        .prop_map(|numbers| numbers.into_iter().map(Some).collect::<Numbers>());
    if !hostile {
        return prop_oneof![2 => run, 2 => scattered, 1 => far].boxed();
    }
    let odd = prop::collection::vec(
        prop_oneof![
            4 => (1_i64..9).prop_map(Some),
            1 => (-3_i64..1).prop_map(Some),
            1 => Just(None),
            1 => Just(Some(i64::MIN)),
            1 => Just(Some(i64::MAX)),
        ],
        0..12,
    );
    (prop_oneof![odd.clone(), scattered], odd)
        .prop_map(|(mut all, more)| {
            all.extend(more);
            all
        })
        .boxed()
}

/// Ranges, how many rows are below 1, and how many are there again.
type Present = (Vec<(u64, u64)>, u64, u64);

/// As looking at every row would have it: the ranges, how many are below 1, and how many are there again.
fn plainly(numbers: &Numbers) -> Present {
    let there = numbers.iter().flatten().copied();
    let below = there.clone().filter(|n| *n < 1).count() as u64;
    let good: Vec<u64> = there.filter(|n| *n >= 1).map(i64::unsigned_abs).collect();
    let distinct: BTreeSet<u64> = good.iter().copied().collect();
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for n in &distinct {
        match ranges.last_mut() {
            Some(last) if last.1 + 1 == *n => last.1 = *n,
            _ => ranges.push((*n, *n)),
        }
    }
    (ranges, below, (good.len() - distinct.len()) as u64)
}

async fn found(view: &mut View) -> BTreeMap<StreamKey, Present> {
    let found = view
        .presence(&StreamFilter::default())
        .await
        .unwrap()
        .all()
        .unwrap();
    let mut all = BTreeMap::new();
    for found in found {
        let ranges = found.ranges.iter().map(|r| (*r.start(), *r.end())).collect();
        all.insert(found.stream, (ranges, found.misnumbered, found.repeated));
    }
    all
}

fn array(numbers: &Numbers) -> String {
    let one = |n: &Option<i64>| n.map_or("NULL".to_owned(), |n| n.to_string());
    numbers.iter().map(one).collect::<Vec<_>>().join(",")
}

/// As the guides would look for gaps.
const BY_LAG: &str = "SELECT store_id, previous + 1, sequence_number - 1 FROM (
     SELECT store_id, sequence_number, LAG(sequence_number, 1, 0::int8) OVER (
         PARTITION BY store_id ORDER BY sequence_number) AS previous FROM ves_events) AS n
     WHERE sequence_number > previous + 1 ORDER BY store_id, sequence_number";

fn expected(worlds: &[Numbers]) -> BTreeMap<StreamKey, Present> {
    let streams = worlds.iter().zip(0_u128..);
    streams
        .filter(|(numbers, _)| !numbers.is_empty())
        .map(|(numbers, store)| (stream(store), plainly(numbers)))
        .collect()
}

const HASH: &str = "decode(repeat('00', 32), 'hex')";

/// Inserts the rows of a stream.
fn rows_of(store: u128, numbers: &Numbers) -> String {
    format!(
        "INSERT INTO ves_events SELECT gen_random_uuid(), NULL, 1, '{}', '{}', '{}', 1, 'order', 'o',
         'e', now(), 'now', now(), 0, '{{}}', NULL, {HASH}, {HASH}, {HASH}, {HASH} || {HASH}, n, NULL, 1
         FROM unnest('{{{}}}'::int8[]) AS n;\n",
        Uuid::from_u128(TENANT),
        Uuid::from_u128(store),
        Uuid::from_u128(9),
        array(numbers)
    )
}

/// The same for a log whose streams are long, which is counted in blocks; with rows that no event can have.
async fn so_it_does_in_blocks(url: &str, mut worlds: Vec<Numbers>, round: usize) {
    let odd = vec![Some(-2), Some(0)];
    let long = "UPDATE pg_class SET reltuples = 1e9 WHERE oid = 'ves_events'::regclass";
    let _ = test_support::query(url, &format!("{}{long}", rows_of(0, &odd)));
    worlds[0].extend(odd);
    let mut view = open(&target(url)).await.view().await.unwrap();
    assert_eq!(
        found(&mut view).await,
        expected(&worlds),
        "round {round}, in blocks"
    );
    // As many streams as that are too many for it: they are counted one by one again.
    let short = "UPDATE pg_class SET reltuples = 2000 WHERE oid = 'ves_events'::regclass";
    let _ = test_support::query(url, short);
    let mut view = open(&target(url)).await.view().await.unwrap();
    assert_eq!(
        found(&mut view).await,
        expected(&worlds),
        "round {round}, too many"
    );
}

#[tokio::test]
async fn counting_says_what_looking_at_every_row_says() {
    let Some(server) = Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    for hostile in [false, true] {
        let url = server.empty(if hostile { "hostile" } else { "sound" });
        if hostile {
            let _ = test_support::query(
                &url,
                "ALTER TABLE ves_events DROP CONSTRAINT uq_ves_events_sequence;
                 ALTER TABLE ves_events ALTER COLUMN sequence_number DROP NOT NULL",
            );
        }
        let mut runner = TestRunner::deterministic();
        for round in 0..6 {
            let worlds: Vec<Numbers> = (0..4)
                .map(|_| numbers(hostile).new_tree(&mut runner).unwrap().current())
                .collect();
            let mut fill = "TRUNCATE ves_events CASCADE;\n".to_owned();
            for (numbers, store) in worlds.iter().zip(0..) {
                fill += &rows_of(store, numbers);
            }
            let script = folder.path().join("fill.sql");
            std::fs::write(&script, fill).unwrap();
            let _ = test_support::run_script(&url, &script, &[]);
            let log = open(&target(&url)).await;
            let mut view = log.view().await.unwrap();
            let expected = expected(&worlds);
            assert_eq!(
                found(&mut view).await,
                expected,
                "round {round}, hostile: {hostile}"
            );
            for (stream, (ranges, ..)) in &expected {
                let found = view.present_ranges(stream).await.unwrap();
                let found: Vec<_> = found.iter().map(|r| (*r.start(), *r.end())).collect();
                assert_eq!(&found, ranges);
            }
            if !hostile {
                let by_lag = test_support::query(&url, BY_LAG);
                let mut ours = String::new();
                for (stream, (ranges, ..)) in &expected {
                    let mut next = 1;
                    for (first, last) in ranges {
                        if *first > next {
                            ours += &format!("{}|{next}|{}\n", stream.store_id, first - 1);
                        }
                        next = last + 1;
                    }
                }
                assert_eq!(ours.trim_end(), by_lag, "round {round}");
                so_it_does_in_blocks(&url, worlds, round).await;
            }
        }
    }
}

#[tokio::test]
async fn so_it_does_in_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    for hostile in [false, true] {
        let mut runner = TestRunner::deterministic();
        for round in 0..8 {
            let worlds: Vec<Numbers> = (0..4)
                .map(|_| numbers(hostile).new_tree(&mut runner).unwrap().current())
                .collect();
            let path = folder.path().join(format!("{hostile}-{round}.db"));
            Snapshot::create(&path).unwrap().finish().unwrap();
            if hostile {
                // The table as a hostile hand would leave it: the same columns, and nothing that keeps order.
                let connection = rusqlite::Connection::open(&path).unwrap();
                let create: String = connection
                    .query_row(
                        "SELECT sql FROM sqlite_schema WHERE name = 'ves_events'",
                        [],
                        |r| r.get(0),
                    )
                    .unwrap();
                let loose = create
                    .replace(
                        "CONSTRAINT uq_ves_events_sequence UNIQUE (tenant_id, store_id, sequence_number),",
                        "",
                    )
                    .replace(
                        "sequence_number        INTEGER NOT NULL",
                        "sequence_number INTEGER",
                    );
                assert!(!loose.contains("UNIQUE") && loose.contains("sequence_number INTEGER"));
                connection
                    .execute_batch(&format!(
                        "PRAGMA foreign_keys = OFF; DROP TABLE ves_events; {loose};"
                    ))
                    .unwrap();
            }
            let mut connection = rusqlite::Connection::open(&path).unwrap();
            let transaction = connection.transaction().unwrap();
            let mut id = 0_u128;
            for (numbers, store) in worlds.iter().zip(0_u128..) {
                let mut insert = transaction
                    .prepare(
                        "INSERT INTO ves_events (event_id, ves_version, tenant_id, store_id, source_agent_id,
                         agent_key_id, entity_type, entity_id, event_type, created_at, created_at_str, sequenced_at,
                         payload_kind, payload, payload_plain_hash, payload_cipher_hash, event_signing_hash,
                         agent_signature, sequence_number, agent_signature_scheme)
                         VALUES (?1, 1, ?2, ?3, ?2, 1, 'order', 'o', 'e', 't', 't', 't', 0, '{}', zeroblob(32),
                         zeroblob(32), zeroblob(32), zeroblob(64), ?4, 1)",
                    )
                    .unwrap();
                for number in numbers {
                    id += 1;
                    let text = |id| Uuid::from_u128(id).to_string();
                    insert
                        .execute(rusqlite::params![text(id), text(TENANT), text(store), number])
                        .unwrap();
                }
            }
            transaction.commit().unwrap();
            drop(connection);
            let log = open(&file(&path)).await;
            let mut view = log.view().await.unwrap();
            let found = found(&mut view).await;
            assert_eq!(found, expected(&worlds), "round {round}, hostile: {hostile}");
        }
    }
}
