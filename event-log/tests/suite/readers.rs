//! Reading over several connections gives what reading over one gives, in the same order and of the same moment.

use crate::common;

use std::ops::ControlFlow;

use common::{Server, target};
use event_log::{Log, OpenOptions, View};
use test_support::PgBouncer;
use uuid::Uuid;
use ves::StreamKey;

const HASH: &str = "decode(repeat('00', 32), 'hex')";

fn stream(store: u128) -> StreamKey {
    StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(store).into())
}

/// Events of a stream, with receipts for every other.
fn fill(url: &str, store: u128, numbers: &str) {
    let (tenant, store) = (Uuid::from_u128(1), Uuid::from_u128(store));
    let sql = format!(
        "INSERT INTO ves_events SELECT gen_random_uuid(), NULL, 1, '{tenant}', '{store}', '{tenant}', 1, 'order', 'o',
             'e', now(), 'now', now(), 0, '{{}}', NULL, {HASH}, {HASH}, {HASH}, {HASH} || {HASH}, n, NULL, 1
             FROM ({numbers}) AS numbers (n);
         INSERT INTO ves_sequencer_receipts SELECT event_id, '{tenant}', sequence_number, now(), {HASH}
             FROM ves_events e WHERE store_id = '{store}' AND sequence_number % 2 = 0
             AND NOT EXISTS (SELECT 1 FROM ves_sequencer_receipts r WHERE r.event_id = e.event_id);
         ANALYZE"
    );
    let _ = test_support::query(url, &sql);
}

async fn view(url: &str, connections: usize) -> View {
    let options = OpenOptions {
        connections: Some(connections),
        ..OpenOptions::default()
    };
    let log = Log::open_with(&target(url), &options).await.unwrap();
    log.view().await.unwrap()
}

/// What is read, a line for each row, up to so many rows.
async fn read(view: &mut View, store: u128, most: usize) -> Vec<String> {
    let mut found = Vec::new();
    let each = &mut |rows: Vec<_>| {
        for row in rows {
            found.push(match row {
                Ok(entry) => format!("{entry:?}"),
                Err(error) => format!("{error}"),
            });
        }
        match found.len() < most {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    };
    let range = 1..=i64::MAX.unsigned_abs();
    let read = view.for_each_entry(&stream(store), range, each).await;
    read.unwrap();
    found
}

/// How many sessions of ours the server has.
fn sessions(url: &str) -> usize {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'ves-toolkit%'";
    test_support::query(url, sql).parse().unwrap()
}

#[tokio::test]
async fn several_connections_see_what_one_sees() {
    let Some(server) = Server::start() else { return };
    let url = server.empty("log");
    // With a large hole, and one at the edge of a piece.
    fill(
        &url,
        1,
        "SELECT n FROM generate_series(1, 40000) n WHERE n NOT BETWEEN 9000 AND 30000 AND n <> 2048",
    );
    fill(&url, 2, "SELECT generate_series(1, 20000)");
    // Few numbers, far from each other.
    fill(&url, 3, "VALUES (1), (2), (1000000), (9000000000000000000)");
    // A payload that cannot be read.
    let _ = test_support::query(
        &url,
        "UPDATE ves_events SET sequenced_at = 'infinity' WHERE sequence_number = 4100",
    );
    let (mut one, mut several) = (view(&url, 1).await, view(&url, 3).await);
    let before = sessions(&url);
    // Nobody sees what comes after the views were taken.
    fill(&url, 2, "SELECT generate_series(20001, 20500)");
    for (store, rows) in [(1, 18_998), (2, 20_000), (3, 4)] {
        let found = read(&mut several, store, usize::MAX).await;
        assert_eq!(found.len(), rows);
        assert!(found == read(&mut one, store, usize::MAX).await, "stream {store}");
    }
    assert_eq!(sessions(&url), before + 2);
    // Who stops early can go on with something else.
    let some = read(&mut several, 2, 5000).await;
    assert!((5000..8000).contains(&some.len()), "{}", some.len());
    assert_eq!(several.entries(&stream(2), 1..=5).await.unwrap().rows.len(), 5);
    assert_eq!(read(&mut several, 2, usize::MAX).await.len(), 20_000);
}

#[tokio::test]
async fn numbers_that_are_there_many_times_are_all_read() {
    let Some(server) = Server::start() else { return };
    let url = server.empty("log");
    let _ = test_support::query(
        &url,
        "ALTER TABLE ves_events DROP CONSTRAINT uq_ves_events_sequence",
    );
    fill(
        &url,
        1,
        "SELECT generate_series(1, 9000) UNION ALL SELECT 3000 FROM generate_series(1, 20000)",
    );
    let mut found = read(&mut view(&url, 3).await, 1, usize::MAX).await;
    let mut expected = read(&mut view(&url, 1).await, 1, usize::MAX).await;
    assert_eq!(found.len(), 29_000);
    // Rows of one number have no order of their own.
    found.sort_unstable();
    expected.sort_unstable();
    assert!(found == expected);
}

#[tokio::test]
async fn a_pooler_that_gives_no_more_connections_costs_no_row() {
    let Some(server) = Server::start() else { return };
    if !test_support::pgbouncer_available() {
        return test_support::skipped("pgbouncer is not installed");
    }
    let url = server.empty("log");
    fill(&url, 1, "SELECT generate_series(1, 20000)");
    let pooler = PgBouncer::start(&server.server, "transaction");
    let mut view = view(&pooler.database_url("log"), 4).await;
    assert_eq!(read(&mut view, 1, usize::MAX).await.len(), 20_000);
}
