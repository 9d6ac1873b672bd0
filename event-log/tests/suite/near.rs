//! However receipts lie in their table, each event comes with its own; and where they lie beside each other, they are not looked
//! up one by one.

use crate::common;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use common::{Server, target};
use event_log::{LeafEntry, Log, LogEntry, OpenOptions, RowError, View};
use uuid::Uuid;
use ves::StreamKey;

const EVENTS: usize = 20_000;

fn stream(store: usize) -> StreamKey {
    let store = u128::try_from(store).unwrap();
    StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(store).into())
}

/// A database with so many streams, each with numbers from 1 on, written in turn; and their receipts, in the order of the
/// statement's words, where those words have them.
fn fill(server: &Server, name: &str, streams: usize, receipts: &str) -> String {
    let url = server.empty(name);
    let hash = "decode(repeat('00', 32), 'hex')";
    let tenant = Uuid::from_u128(1);
    let sql = format!(
        "INSERT INTO ves_events SELECT gen_random_uuid(), NULL, 1, '{tenant}', lpad(to_hex(1 + n % {streams}), 32, '0')::uuid,
             '{tenant}', 1, 'order', 'o', 'e', now(), 'now', now(), 0, '{{}}', NULL, {hash}, {hash}, {hash},
             {hash} || {hash}, 1 + n / {streams}, NULL, 1
             FROM generate_series(0, {EVENTS} - 1) n ORDER BY n;
         INSERT INTO ves_sequencer_receipts SELECT event_id, '{tenant}', sequence_number, now(), sha256(uuid_send(event_id))
             FROM ves_events {receipts};
         ANALYZE ves_events, ves_sequencer_receipts"
    );
    let _ = test_support::query(&url, &sql);
    url
}

/// What PostgreSQL itself says of a stream: a line for each event, with its receipt's hash.
fn expected(url: &str, store: usize) -> Vec<String> {
    let store = stream(store).store_id;
    let sql = format!(
        "SELECT e.sequence_number, e.event_id, COALESCE(encode(r.receipt_hash, 'hex'), 'none')
             FROM ves_events e LEFT JOIN ves_sequencer_receipts r USING (event_id)
             WHERE e.store_id = '{store}' ORDER BY e.sequence_number, 3"
    );
    test_support::query(url, &sql)
        .lines()
        .map(|line| line.replace('|', " "))
        .collect()
}

/// A view that reads over so many connections.
async fn view(url: &str, connections: usize) -> View {
    let options = OpenOptions {
        connections: Some(connections),
        ..OpenOptions::default()
    };
    let log = Log::open_with(&target(url), &options).await.unwrap();
    log.view().await.unwrap()
}

/// How much is read of each event.
#[derive(Debug, Clone, Copy)]
enum Depth {
    Rows,
    Leaves,
}

/// A row as [`expected`] has it, and of one that cannot be read its number.
fn told(row: Result<LeafEntry, RowError>) -> String {
    match row {
        Ok(LeafEntry { input, receipt }) => {
            let receipt = receipt.map_or("none".into(), |r| hex::encode(r.receipt_hash.0));
            format!("{} {} {receipt}", input.sequence_number, input.event_id)
        }
        Err(error) => format!("{} unreadable", error.sequence.unwrap()),
    }
}

/// What is read of a stream, up to so many rows.
async fn read_some(view: &mut View, store: usize, depth: Depth, most: usize) -> Vec<String> {
    let mut found = Vec::new();
    let mut take = |rows: &mut dyn Iterator<Item = Result<LeafEntry, RowError>>| {
        found.extend(rows.map(told));
        match found.len() < most {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    };
    let (stream, all) = (stream(store), 1..=i64::MAX.unsigned_abs());
    let read = match depth {
        Depth::Leaves => {
            let each = &mut |rows: Vec<_>| take(&mut rows.into_iter());
            view.for_each_leaf_entry(&stream, all, each).await
        }
        Depth::Rows => {
            let each = &mut |rows: Vec<Result<LogEntry, _>>| {
                take(&mut rows.into_iter().map(|row| row.map(LeafEntry::from)))
            };
            view.for_each_entry(&stream, all, each).await
        }
    };
    read.unwrap();
    found
}

async fn read(url: &str, store: usize, depth: Depth, connections: usize) -> Vec<String> {
    read_some(&mut view(url, connections).await, store, depth, usize::MAX).await
}

/// How many receipts were looked up by the sessions that have ended, once another one has ended.
fn lookups(url: &str, before: i64) -> i64 {
    let sql = "SELECT sum(idx_scan) FROM pg_stat_user_indexes WHERE relname = 'ves_sequencer_receipts'";
    let begun = Instant::now();
    loop {
        let now: i64 = test_support::query(url, sql).parse().unwrap();
        if now > before || begun.elapsed() > Duration::from_secs(20) {
            return now - before;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

async fn is_read(url: &str, streams: usize, depth: Depth, connections: usize) {
    for store in [1, streams] {
        let found = read(url, store, depth, connections).await;
        assert!(
            found == expected(url, store),
            "{url}, stream {store}, {depth:?}, {connections} connections"
        );
    }
}

#[test]
fn both_ways_to_read_receipts_as_they_lie_differ_in_their_columns_alone() {
    let without_columns = |sql: &str| -> String {
        let lines = sql.lines().filter(|line| !line.starts_with("--"));
        let is_column = |line: &&str| {
            ["NULL", "e.", "r."]
                .iter()
                .any(|c| line.trim_start().starts_with(c))
        };
        lines.filter(|line| !is_column(line)).collect()
    };
    let rows = without_columns(include_str!("../../../sql/event-log/postgres/entries_near.sql"));
    let leaves = without_columns(include_str!(
        "../../../sql/event-log/postgres/leaf_entries_near.sql"
    ));
    assert_eq!(rows, leaves);
    assert!(
        rows.contains("FROM ves_events e") && !rows.contains("payload"),
        "{rows}"
    );
}

#[tokio::test]
async fn receipts_beside_each_other_are_not_looked_up_one_by_one() {
    let Some(server) = Server::start() else { return };
    for (name, streams, receipts) in [
        ("alone", 1, "ORDER BY sequence_number"),
        ("backwards", 1, "ORDER BY sequence_number DESC"),
        ("in_turn", 3, "ORDER BY sequence_number, store_id"),
    ] {
        let url = fill(&server, name, streams, receipts);
        for (depth, connections) in [(Depth::Rows, 1), (Depth::Leaves, 1), (Depth::Rows, 3)] {
            let before = lookups(&url, -1) - 1;
            is_read(&url, streams, depth, connections).await;
            // The ends of each piece are. What psql asks for reads the table as it lies.
            let looked_up = lookups(&url, before);
            assert!(looked_up <= 200, "{name}: {looked_up} receipts were looked up");
        }
    }
}

#[tokio::test]
async fn receipts_anywhere_are_found() {
    let Some(server) = Server::start() else { return };
    for (name, streams, receipts) in [
        ("shuffled", 1, "ORDER BY sha256(uuid_send(event_id))"),
        ("many_streams", 40, "ORDER BY sequence_number, store_id"),
        (
            "most",
            1,
            "WHERE sequence_number % 701 <> 0 ORDER BY sequence_number",
        ),
        ("few", 1, "WHERE sequence_number % 7 = 0 ORDER BY sequence_number"),
        (
            "from_some_number_on",
            1,
            "WHERE sequence_number > 9000 ORDER BY sequence_number",
        ),
        ("none", 1, "WHERE false"),
        // Written again, as after a repair.
        (
            "behind",
            2,
            "ORDER BY sequence_number BETWEEN 3000 AND 3100, sequence_number, store_id",
        ),
    ] {
        let url = fill(&server, name, streams, receipts);
        for (depth, connections) in [(Depth::Rows, 1), (Depth::Leaves, 1), (Depth::Leaves, 3)] {
            is_read(&url, streams, depth, connections).await;
        }
    }
}

/// Who stops early leaves statements of other connections in the middle.
#[tokio::test]
async fn who_stops_early_can_read_again() {
    let Some(server) = Server::start() else { return };
    let url = fill(&server, "early", 1, "ORDER BY sequence_number");
    let wanted = expected(&url, 1);
    for connections in [1, 3] {
        let mut view = view(&url, connections).await;
        for most in (100..EVENTS).step_by(1900) {
            let found = read_some(&mut view, 1, Depth::Rows, most).await;
            assert!(found.len() >= most && found == wanted[..found.len()], "{most}");
        }
        assert!(read_some(&mut view, 1, Depth::Leaves, usize::MAX).await == wanted);
    }
}

#[tokio::test]
async fn receipts_that_are_there_twice_come_twice() {
    let Some(server) = Server::start() else { return };
    let url = fill(&server, "twice", 1, "ORDER BY sequence_number");
    let _ = test_support::query(
        &url,
        "ALTER TABLE ves_sequencer_receipts DROP CONSTRAINT ves_sequencer_receipts_pkey;
         INSERT INTO ves_sequencer_receipts SELECT event_id, sequencer_id, sequence_number, now(), sha256(receipt_hash)
             FROM ves_sequencer_receipts WHERE sequence_number = 8000",
    );
    let mut wanted = expected(&url, 1);
    wanted.sort_unstable();
    for depth in [Depth::Rows, Depth::Leaves] {
        let mut found = read(&url, 1, depth, 1).await;
        assert_eq!(found.len(), EVENTS + 1);
        found.sort_unstable();
        assert!(found == wanted, "{depth:?}");
    }
}

#[tokio::test]
async fn what_is_around_a_row_that_cannot_be_read_is_read() {
    let Some(mut server) = Server::start() else { return };
    let url = fill(&server, "torn", 1, "ORDER BY sequence_number");
    let wanted = expected(&url, 1);
    // A value that was stored beside its row, and is gone.
    let _ = test_support::query(
        &url,
        "UPDATE ves_sequencer_receipts SET receipt_signature_bundle = (
             SELECT string_agg(sha256(n::text::bytea), '') FROM generate_series(1, 400) n) WHERE sequence_number = 7001;
         UPDATE ves_events SET agent_signature_bundle = (
             SELECT string_agg(sha256(n::text::bytea), '') FROM generate_series(1, 400) n) WHERE sequence_number = 15001",
    );
    let toast = "CHECKPOINT; SELECT pg_relation_filepath(reltoastrelid) FROM pg_class
        WHERE relname IN ('ves_events', 'ves_sequencer_receipts')";
    let files: Vec<_> = (test_support::query(&url, toast).lines())
        .filter(|line| line.contains('/'))
        .map(|file| server.server.data_dir().join(file))
        .collect();
    server.server.stop();
    for file in &files {
        let length = file.metadata().unwrap().len();
        assert!(length > 0);
        let file = std::fs::File::options().write(true).open(file).unwrap();
        file.set_len(0).unwrap();
        file.set_len(length).unwrap();
    }
    server.server.restart();
    let url = server.server.database_url("torn");
    for (depth, connections) in [(Depth::Rows, 1), (Depth::Rows, 3), (Depth::Leaves, 1)] {
        let found = read(&url, 1, depth, connections).await;
        assert_eq!(found.len(), EVENTS);
        for (found, wanted) in found.iter().zip(&wanted) {
            let number = wanted.split(' ').next().unwrap();
            match (number, depth) {
                // A leaf has nothing of what is lost of that event.
                ("15001", Depth::Leaves) => assert_eq!(found, wanted),
                ("7001" | "15001", _) => assert_eq!(*found, format!("{number} unreadable")),
                _ => assert_eq!(found, wanted),
            }
        }
    }
}
