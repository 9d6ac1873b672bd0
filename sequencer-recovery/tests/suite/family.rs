//! The sequences beside the VES log: gaps and counters, on both sides, and nothing else touched.

use crate::common;

use std::collections::BTreeSet;
use std::path::PathBuf;

use common::writer::Writer;
use common::{ALPHA_STORE, Data, Db, Dump, Ran, Server, assert_same, get, run};
use fixtures::{World, WorldSpec};
use serde_json::{Value, json};

const TENANT: &str = "00000000-0000-4000-8000-000000000001";
const STORE: &str = "00000000-0000-4000-8000-000000000002";
const OTHER: &str = "00000000-0000-4000-8000-000000000003";
const NOW: &str = "2026-01-02T03:04:05.678901Z";

/// A generated log on both sides, as far as there is a server.
struct Both {
    folder: tempfile::TempDir,
    server: Option<Server>,
    dbs: Vec<Db>,
}

impl Both {
    fn new() -> Self {
        let world = World::generate(&WorldSpec {
            tenants: 1,
            stores_per_tenant: 1,
            events_per_stream: 20,
            batch_size: 8,
            ..WorldSpec::honest(3)
        });
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        world.write_recovered(&path("log.db")).unwrap();
        world.write_recovered_copy(&path("log.copy.sql")).unwrap();
        let server = Server::start();
        let mut dbs = vec![Db::Snapshot(path("log.db"))];
        dbs.extend(server.as_ref().map(|s| s.load("log", &path("log.copy.sql"))));
        Self { folder, server, dbs }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Runs a statement that is written for a snapshot.
fn execute(db: &Db, sql: &str) {
    match db {
        Db::Snapshot(_) => db.execute(sql),
        Db::Postgres(_) => db.execute(&sql.replace("x'00'", "'\\x00'::bytea")),
    }
}

fn id(kind: u8, store: &str, number: i64) -> String {
    format!("{kind:08x}-0000-4000-8000-{}{:08x}", &store[32..], number as u32)
}

fn add_events(db: &Db, store: &str, numbers: impl IntoIterator<Item = i64>) {
    for n in numbers {
        let id = id(1, store, n);
        execute(
            db,
            &format!(
                "INSERT INTO events VALUES ('{id}', NULL, {n}, '{TENANT}', '{store}', 'order', '1', 'order.made', x'00', \
                 x'00', NULL, '{id}', NULL, '{NOW}', '{NOW}')"
            ),
        );
    }
}

fn add_intents(db: &Db, store: &str, numbers: impl IntoIterator<Item = Option<i64>>) {
    for (at, n) in numbers.into_iter().enumerate() {
        let id = id(2, store, at as i64);
        let n = n.map_or("NULL".to_owned(), |n| n.to_string());
        execute(
            db,
            &format!(
                "INSERT INTO x402_payment_intents (intent_id, tenant_id, store_id, sequence_number) \
                 VALUES ('{id}', '{TENANT}', '{store}', {n})"
            ),
        );
    }
}

fn set_counter(db: &Db, table: &str, store: &str, counter: i64) {
    execute(db, &format!("DELETE FROM {table} WHERE store_id = '{store}'"));
    execute(
        db,
        &format!("INSERT INTO {table} VALUES ('{TENANT}', '{store}', {counter}, '{NOW}')"),
    );
}

fn ask(db: &Db, verb: &str, family: &str, more: &[&str]) -> Ran {
    let db = db.arg();
    let mut all = vec![verb, "--format", "json", "--family", family, "--db", &db];
    all.extend(more);
    run(all)
}

fn codes(report: &Value, store: &str) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .filter(|f| f["store_id"] == store)
        .map(|f| {
            let place = f["from"]
                .as_u64()
                .map_or(String::new(), |from| format!(" {from}-{}", f["to"]));
            format!(
                "{} {}{place}",
                f["family"].as_str().unwrap(),
                f["code"].as_str().unwrap()
            )
        })
        .collect()
}

fn counter(dump: &Dump, table: &str, store: &str) -> Option<String> {
    let rows = dump.of_store(table, store);
    rows.first().map(|row| get(row, "current_sequence").to_owned())
}

/// Nothing but these counters differs.
#[track_caller]
fn assert_same_but_counters(before: &Dump, after: &Dump, counters: &[&str]) {
    let without = |dump: &Dump| {
        let mut dump = dump.clone();
        for table in counters {
            dump.0.remove(*table);
        }
        dump
    };
    assert_same(&without(before), &without(after));
}

#[test]
fn gaps_and_counters_of_each_family_on_both_sides() {
    let both = Both::new();
    for db in &both.dbs {
        add_events(db, STORE, (3..=9).chain(12..=20));
        set_counter(db, "sequence_counters", STORE, 18);
        execute(
            db,
            &format!(
                "INSERT INTO commitments VALUES ('{}', '{TENANT}', '{STORE}', x'00', x'00', x'00', 13, 24, 12, '{NOW}', NULL)",
                id(3, STORE, 1)
            ),
        );
        add_events(db, OTHER, 1..=4);
        add_intents(db, STORE, [Some(1), Some(2), None, Some(4), None]);
        set_counter(db, "x402_sequence_counters", STORE, 7);
        add_intents(db, OTHER, [Some(1), Some(2)]);
        set_counter(db, "x402_sequence_counters", OTHER, 1);
        let before = db.dump();

        let report = ask(db, "audit", "all", &[]).expect(4).json();
        assert_eq!(
            codes(&report, STORE),
            [
                "events gap.leading 1-2",
                "events gap.interior 10-11",
                "events gap.tail 21-24",
                "events counter.behind 19-24",
                "x402 gap.interior 3-3",
                "x402 gap.tail 5-7",
                "x402 counter.ahead 5-7"
            ]
        );
        assert_eq!(
            codes(&report, OTHER),
            ["events counter.missing", "x402 counter.behind 2-2"]
        );
        let families = report["families"].as_array().unwrap();
        assert_eq!(families.len(), 2);
        assert_eq!(families[0]["streams"][0]["missing"], 8);
        assert_eq!(
            families[0]["streams"][0]["head_known"]["who"],
            "the older log's commitments"
        );
        assert!(!report["streams"].as_array().unwrap().is_empty());

        // Each alone.
        let report = ask(db, "audit", "x402", &[]).expect(4).json();
        assert_eq!(
            codes(&report, STORE),
            [
                "x402 gap.interior 3-3",
                "x402 gap.tail 5-7",
                "x402 counter.ahead 5-7"
            ]
        );
        assert_eq!(report["families"][0]["streams"][0]["rows"], 3);
        assert_eq!(report["streams"], json!([]));
        let not_checked = report["not_checked"].to_string();
        assert!(not_checked.contains("neither verified nor repaired") && not_checked.contains("the VES log"));
        let report = ask(db, "audit", "ves", &[]).json();
        assert!(report.get("families").is_none());
        assert!(report["not_checked"].to_string().contains("--family all"));
        let text = run(["audit", "--family", "all", "--db", &db.arg()])
            .expect(4)
            .stdout;
        assert!(
            text.contains("family events: events")
                && text.contains("events: 2 stream(s), 20 numbered row(s), 8 missing.")
        );
        let lines = run([
            "audit",
            "--family",
            "all",
            "--format",
            "ndjson",
            "--db",
            &db.arg(),
        ])
        .expect(4)
        .stdout;
        assert_eq!(lines.matches("\"type\":\"family_stream\"").count(), 4);

        // Looking changes nothing.
        let report = ask(db, "counters", "events", &[]).expect(4).json();
        assert_same(&before, &db.dump());
        let floors: Vec<(&Value, &Value)> = report["streams"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| (&s["floor"], &s["state"]))
            .collect();
        assert_eq!(
            floors,
            [(&json!(24), &json!("behind")), (&json!(4), &json!("behind"))]
        );
        // Below what binds is refused.
        let ran = ask(db, "counters", "events", &["--floor", "23", "--apply"]).expect(16);
        ran.says(&["below 24", "the older log's commitments"]);
        assert_same(&before, &db.dump());

        // Raised: those of the family, and no other.
        ask(db, "counters", "events", &["--apply"]).expect(1);
        let after = db.dump();
        assert_same_but_counters(&before, &after, &["sequence_counters"]);
        assert_eq!(counter(&after, "sequence_counters", STORE).as_deref(), Some("24"));
        assert_eq!(counter(&after, "sequence_counters", OTHER).as_deref(), Some("4"));
        ask(db, "counters", "events", &["--apply"]).expect(0);
        assert_same(&after, &db.dump());
        ask(db, "counters", "x402", &["--apply"]).expect(1);
        let last = db.dump();
        assert_same_but_counters(&after, &last, &["x402_sequence_counters"]);
        assert_eq!(
            counter(&last, "x402_sequence_counters", OTHER).as_deref(),
            Some("2")
        );
        // One that is ahead stays.
        assert_eq!(
            counter(&last, "x402_sequence_counters", STORE).as_deref(),
            Some("7")
        );
        let report = ask(db, "counters", "all", &[]).json();
        let families: BTreeSet<&str> = report["streams"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["family"].as_str().unwrap())
            .collect();
        assert_eq!(families, BTreeSet::from(["ves", "events", "x402"]));
        // Above what is known, if the operator says so.
        ask(
            db,
            "counters",
            "x402",
            &["--floor", "9", "--apply", "--store", STORE],
        )
        .expect(1);
        assert_eq!(
            counter(&db.dump(), "x402_sequence_counters", STORE).as_deref(),
            Some("9")
        );
        // A row with a number below 1 is told.
        add_events(db, STORE, [-5]);
        let report = ask(db, "audit", "events", &[]).expect(4).json();
        assert!(codes(&report, STORE).contains(&"events event.unreadable".to_owned()));
    }
    ask(&both.dbs[0], "audit", "sequence_counters", &[]).expect(16);
}

#[test]
fn tables_that_are_not_there_are_not_checked_and_older_snapshots_are_read() {
    let both = Both::new();
    for db in &both.dbs {
        add_intents(db, STORE, [Some(1), Some(3)]);
        set_counter(db, "x402_sequence_counters", STORE, 3);
        if let Db::Postgres(_) = db {
            // A snapshot takes the numbers along.
            let file = db.snapshot(both.path("copy.db"));
            let report = ask(&file, "audit", "x402", &[]).expect(4).json();
            assert_eq!(codes(&report, STORE), ["x402 gap.interior 2-2"]);
            db.execute("ALTER TABLE x402_payment_intents RENAME COLUMN intent_id TO id");
            ask(db, "audit", "x402", &[]).expect(0).json();
            db.snapshot(both.path("unfit.db"));
        }
        execute(db, "DROP TABLE x402_payment_intents");
        let before = db.dump();
        let report = ask(db, "audit", "x402", &[]).expect(0).json();
        assert!(
            report["not_checked"]
                .to_string()
                .contains("table x402_payment_intents is not there")
        );
        assert_eq!(report["families"][0]["streams"], json!([]));
        let report = ask(db, "counters", "x402", &["--apply"]).expect(0).json();
        assert!(
            report["not_checked"]
                .to_string()
                .contains("nothing of family x402")
        );
        let ran = run(["audit", "--db", &db.arg()]);
        assert!(ran.code == 0 || ran.code == 4, "{}", ran.stderr);
        assert_same(&before, &db.dump());
        if let Db::Postgres(_) = db {
            db.execute("DROP TABLE commitments, sequence_counters");
            let report = ask(db, "audit", "events", &[]).expect(0).json();
            let not_checked = report["not_checked"].to_string();
            assert!(
                not_checked.contains("table sequence_counters") && not_checked.contains("table commitments")
            );
        }
    }
}

#[test]
fn a_counter_that_another_holds_is_waited_for() {
    let both = Both::new();
    if both.server.is_none() {
        return;
    }
    let db = &both.dbs[1];
    add_events(db, STORE, 1..=3);
    set_counter(db, "sequence_counters", STORE, 1);
    let before = db.dump();
    let mut holder = Writer::connect(&db.arg(), 1);
    holder.execute("BEGIN; SELECT 1 FROM sequence_counters FOR UPDATE");
    let ran = ask(db, "counters", "events", &["--apply", "--lock-timeout", "1"]).expect(12);
    ran.says(&["locked by another", "--lock-timeout"]);
    holder.execute("ROLLBACK");
    let now = db.dump();
    assert_eq!(before.table("sequence_counters"), now.table("sequence_counters"));
    ask(db, "counters", "events", &["--apply"]).expect(1);
    assert_eq!(
        counter(&db.dump(), "sequence_counters", STORE).as_deref(),
        Some("3")
    );
}

/// The older log of the real data: whole before the disaster, gone without a trace after it.
#[test]
fn the_real_older_log() {
    let data = Data::scenario();
    let Some(server) = Server::start() else { return };
    let truth = server.load("truth", &data.dir.join("truth.copy.sql"));
    let recovered = server.load("recovered", &data.dir.join("recovered.copy.sql"));
    for (name, truth, recovered) in [
        (
            "file",
            truth.snapshot(data.path("t.db")),
            recovered.snapshot(data.path("r.db")),
        ),
        ("server", truth, recovered),
    ] {
        let report = ask(&truth, "audit", "events", &[]).expect(0).json();
        let stream = &report["families"][0]["streams"][0];
        assert_eq!(stream["store_id"], ALPHA_STORE);
        assert_eq!(
            (
                &stream["rows"],
                &stream["head"],
                &stream["counter"],
                &stream["missing"]
            ),
            (&json!(34), &json!(34), &json!(34), &json!(0))
        );
        ask(&truth, "counters", "events", &["--apply"]).expect(0);
        // The cut was before its first event, and its own tables are all that is asked: it cannot know.
        let report = ask(&recovered, "audit", "events", &[]).expect(0).json();
        assert_eq!(report["families"][0]["streams"], json!([]));
        assert!(
            report["not_checked"]
                .to_string()
                .contains("outboxes and the chain"),
            "{name}"
        );

        truth.execute(
            "DELETE FROM events WHERE sequence_number IN (1, 2, 17, 33, 34); \
             UPDATE sequence_counters SET current_sequence = 30",
        );
        let report = ask(&truth, "audit", "events", &[]).expect(4).json();
        assert_eq!(
            codes(&report, ALPHA_STORE),
            [
                "events gap.leading 1-2",
                "events gap.interior 17-17",
                "events counter.behind 31-32"
            ]
        );
        let before = truth.dump();
        ask(&truth, "counters", "events", &["--apply"]).expect(1);
        let after = truth.dump();
        assert_same_but_counters(&before, &after, &["sequence_counters"]);
        assert_eq!(
            counter(&after, "sequence_counters", ALPHA_STORE).as_deref(),
            Some("32")
        );
    }
}
