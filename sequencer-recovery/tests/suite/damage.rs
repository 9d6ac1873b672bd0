//! Damaged databases, truly damaged: indexes that lack rows, rows that are there twice, values that are gone. Nothing that
//! is there may be called lost, and everything else is still read.

use crate::common;

use std::fs;
use std::path::PathBuf;

use common::{Data, Db, Ran, Server, args, run, text};
use rusqlite::Connection;
use serde_json::Value;
use test_support::query;

/// The findings of a code, each as `(store, from, to, message)`.
fn of_code(report: &Value, code: &str) -> Vec<(String, Option<u64>, Option<u64>, String)> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .filter(|f| f["code"] == code)
        .map(|f| {
            (
                f["store_id"].as_str().unwrap_or_default().to_owned(),
                f["from"].as_u64(),
                f["to"].as_u64(),
                f["message"].as_str().unwrap().to_owned(),
            )
        })
        .collect()
}

fn codes(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings.map(|f| f["code"].as_str().unwrap()).collect()
}

fn audit(db: &Db) -> Ran {
    run(["audit", "--format", "json", "--db", &db.arg()])
}

fn plan(db: &Db, out: &std::path::Path) -> Ran {
    run(["plan", "--format", "json", "--db", &db.arg(), "--out", &text(out)])
}

fn not_checked(report: &Value) -> String {
    report["not_checked"].to_string()
}

/// A golden log on a server of its own, and one of its streams.
struct World {
    server: Server,
    data: Data,
    name: &'static str,
    store: String,
    head: u64,
}

impl World {
    fn new(name: &'static str) -> Option<Self> {
        let data = Data::golden();
        let server = Server::start()?;
        let db = server.load(name, &data.dir.join("log.copy.sql"));
        let longest = query(
            &db.arg(),
            "SELECT store_id, count(*) FROM ves_events GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1",
        );
        let (store, head) = longest.split_once('|').unwrap();
        let (store, head) = (store.to_owned(), head.trim().parse().unwrap());
        Some(Self {
            server,
            data,
            name,
            store,
            head,
        })
    }

    fn db(&self) -> Db {
        Db::Postgres(self.server.0.database_url(self.name))
    }

    fn sql(&self, sql: &str) -> String {
        query(&self.db().arg(), sql)
    }

    /// Leaves an index of the tables as it was before the last three events of the stream were written: they are in the
    /// tables and not in it.
    fn make_stale(&mut self, index: &str) {
        // An index of the same columns would answer in its place.
        self.sql("DROP INDEX idx_ves_events_tenant_store_seq");
        let of = |table: &str| {
            format!(
                "SELECT * FROM {table} WHERE event_id IN (SELECT event_id FROM ves_events WHERE store_id = '{}' AND \
                 sequence_number > {})",
                self.store,
                self.head - 3
            )
        };
        let (events, receipts) = (of("ves_events"), of("ves_sequencer_receipts"));
        self.sql(&format!(
            "CREATE SCHEMA kept; CREATE TABLE kept.receipts AS {receipts}; CREATE TABLE kept.events AS {events};
             CREATE TABLE kept.proofs AS SELECT * FROM ves_compliance_proofs WHERE event_id IN (SELECT event_id FROM \
             kept.events);
             DELETE FROM ves_sequencer_receipts WHERE event_id IN (SELECT event_id FROM kept.events);
             DELETE FROM ves_events WHERE event_id IN (SELECT event_id FROM kept.events);"
        ));
        self.sql("VACUUM ves_events; ");
        self.sql("VACUUM ves_sequencer_receipts");
        self.sql("CHECKPOINT");
        let path: PathBuf = self.server.0.data_dir().join(
            self.sql(&format!("SELECT pg_relation_filepath('{index}')"))
                .trim(),
        );
        let old = fs::read(&path).unwrap();
        // New rows go to the end, so that no entry of the old file points to one by chance.
        self.sql(
            "INSERT INTO ves_events SELECT * FROM kept.events;
             INSERT INTO ves_sequencer_receipts SELECT * FROM kept.receipts;
             INSERT INTO ves_compliance_proofs SELECT * FROM kept.proofs;
             DROP SCHEMA kept CASCADE; CHECKPOINT",
        );
        self.server.0.stop();
        let owner = fs::metadata(&path).unwrap();
        fs::write(&path, old).unwrap();
        std::os::unix::fs::chown(
            &path,
            Some(std::os::unix::fs::MetadataExt::uid(&owner)),
            Some(std::os::unix::fs::MetadataExt::gid(&owner)),
        )
        .unwrap();
        self.server.0.restart();
    }
}

#[test]
fn rows_that_an_index_lacks_are_not_lost() {
    let Some(mut world) = World::new("stale") else {
        return;
    };
    let before = audit(&world.db()).json();
    let (sound, untouched) = (world.data.path("sound.db"), world.data.path("plan-before.ndjson"));
    world.db().snapshot(sound);
    plan(&world.db(), &untouched);
    world.make_stale("uq_ves_events_sequence");
    // As PostgreSQL answers by the index.
    let by_index = format!(
        "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off; SELECT sequence_number FROM ves_events \
         WHERE tenant_id = (SELECT tenant_id FROM ves_sequence_counters WHERE store_id = '{0}') AND store_id = '{0}' \
         ORDER BY sequence_number DESC LIMIT 1",
        world.store
    );
    assert_eq!(world.sql(&by_index).trim(), (world.head - 3).to_string());

    for amcheck in [false, true] {
        if amcheck {
            world.sql("CREATE EXTENSION amcheck");
        }
        let ran = audit(&world.db()).expect(4);
        let report = ran.json();
        let found = of_code(&report, "index.incomplete");
        assert_eq!(found.len(), 1, "{found:?}");
        let (store, from, to, message) = &found[0];
        assert_eq!(
            (store, *from, *to),
            (&world.store, Some(world.head - 2), Some(world.head))
        );
        assert!(message.contains("uq_ves_events_sequence"), "{message}");
        let next = report["findings"].to_string();
        assert!(
            next.contains("REINDEX INDEX CONCURRENTLY public.uq_ves_events_sequence"),
            "{next}"
        );
        assert!(
            !codes(&report).iter().any(|code| code.starts_with("gap.")),
            "{:?}",
            codes(&report)
        );
        assert_eq!(report["totals"]["events"], before["totals"]["events"]);
        assert_eq!(report["totals"]["missing"], 0);
        assert_eq!(report["totals"]["batches"], before["totals"]["batches"]);
    }

    // No plan for that stream, and no apply of one that was made before.
    let out = world.data.path("plan.ndjson");
    let planned = plan(&world.db(), &out).expect(4).json();
    let left = planned["not_planned"].as_array().unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["store_id"].as_str(), Some(world.store.as_str()));
    assert!(
        left[0]["why"]
            .as_str()
            .unwrap()
            .contains("REINDEX INDEX CONCURRENTLY")
    );
    let certificate = world.data.path("certificate.json");
    let certified = run(["certify", &text(&out), "--out", &text(&certificate)]).expect(4);
    certified.shows(&["nothing is certified"]);

    // Copies are whole, and their indexes sound.
    let copy = world.data.path("copy.db");
    run(["snapshot", "--db", &world.db().arg(), "--out", &text(&copy)]).expect(4);
    let report = audit(&Db::Snapshot(copy)).json();
    assert_eq!(report["totals"], before["totals"]);
    let export = world.data.path("export.ndjson");
    let exported = run([
        "export",
        "--format",
        "json",
        "--db",
        &world.db().arg(),
        "--out",
        &text(&export),
    ])
    .expect(4);
    assert_eq!(exported.json()["events"], before["totals"]["events"]);

    world.sql("REINDEX INDEX CONCURRENTLY uq_ves_events_sequence");
    let after = audit(&world.db()).json();
    assert_eq!(codes(&after), codes(&before));
}

/// Leaves the last three events of the stream out of an index: they are in the table, and in every other index.
fn hide_last(world: &World, db: &Db, index: &str) {
    let psql = |sql: &str| query(&db.arg(), sql);
    let of = |table: &str| {
        format!(
            "SELECT * FROM {table} WHERE event_id IN (SELECT event_id FROM ves_events WHERE store_id = '{}' AND \
             sequence_number > {})",
            world.store,
            world.head - 3
        )
    };
    psql(&format!(
        "CREATE SCHEMA kept; CREATE TABLE kept.receipts AS {}; CREATE TABLE kept.events AS {};
         DELETE FROM ves_compliance_proofs WHERE event_id IN (SELECT event_id FROM kept.events);
         DELETE FROM ves_sequencer_receipts WHERE event_id IN (SELECT event_id FROM kept.events);
         DELETE FROM ves_events WHERE event_id IN (SELECT event_id FROM kept.events)",
        of("ves_sequencer_receipts"),
        of("ves_events")
    ));
    psql("VACUUM ves_events");
    let ready = |ready: bool| {
        psql(&format!(
            "UPDATE pg_index SET indisready = {ready}, indisvalid = {ready} WHERE indexrelid = '{index}'::regclass"
        ))
    };
    ready(false);
    psql(
        "INSERT INTO ves_events SELECT * FROM kept.events;
         INSERT INTO ves_sequencer_receipts SELECT * FROM kept.receipts",
    );
    ready(true);
}

#[test]
fn gaps_calls_nothing_missing_that_the_table_has_whichever_of_two_indexes_lacks_it() {
    let Some(world) = World::new("twins") else { return };
    let gaps = |db: &Db, status: i32| {
        run(["gaps", "--format", "json", "--db", &db.arg()])
            .expect(status)
            .json()
    };
    // One stream is enough to be audited.
    let audit = |db: &Db| {
        run([
            "audit",
            "--format",
            "json",
            "--store",
            &world.store,
            "--db",
            &db.arg(),
        ])
    };
    let before = gaps(&world.db(), 0);
    for (n, index) in ["idx_ves_events_tenant_store_seq", "uq_ves_events_sequence"]
        .into_iter()
        .enumerate()
    {
        let db = world.server.copy(&format!("twins_{n}"), &world.db());
        hide_last(&world, &db, index);
        // The server takes the younger of two that are as good.
        let chosen = n == 0;
        let report = gaps(&db, if chosen { 4 } else { 0 });
        assert_eq!(report["streams"], before["streams"], "{index}");
        let found = of_code(&report, "index.incomplete");
        assert_eq!(found.len(), usize::from(chosen), "{found:?}");
        let report = audit(&db).json();
        assert!(!codes(&report).iter().any(|code| code.starts_with("gap.")));
        let found = of_code(&report, "index.incomplete");
        let said = if chosen {
            assert_eq!((found[0].1, found[0].2), (Some(world.head - 2), Some(world.head)));
            found[0].3.clone()
        } else {
            not_checked(&report)
        };
        assert!(said.contains(index), "{said}");
        // What was not compared is one short line.
        let lines = report["not_checked"].as_array().unwrap().iter();
        let lines: Vec<&str> = lines.map(|line| line.as_str().unwrap()).collect();
        assert_eq!(lines.iter().filter(|line| line.contains("amcheck,")).count(), 1);
        assert!(lines.iter().all(|line| line.len() < 300), "{lines:?}");
        // Amcheck compares every one.
        db.execute("CREATE EXTENSION amcheck");
        let found = of_code(&audit(&db).expect(4).json(), "index.incomplete");
        assert!(found.iter().any(|found| found.3.contains(index)), "{found:?}");
    }
    // What is truly missing is missing all the same, and no index is blamed.
    let db = world.server.copy("missing", &world.db());
    db.execute(
        "DELETE FROM ves_compliance_proofs; DELETE FROM ves_sequencer_receipts WHERE sequence_number = 7;
         DELETE FROM ves_events WHERE sequence_number = 7",
    );
    let report = gaps(&db, 4);
    assert_eq!(report["findings"], Value::Array(Vec::new()));
    assert!(report["streams"].to_string().contains("interior"));
}

#[test]
fn an_apply_refuses_what_was_planned_before_an_index_was_damaged() {
    let data = Data::scenario();
    let Some(mut server) = Server::start() else { return };
    let db = server.load("late", &data.dir.join("recovered.copy.sql"));
    let out = data.path("plan.ndjson");
    let more = data.witnesses();
    run(args(["plan", "--db", &db.arg(), "--out", &text(&out)], &more)).expect(4);
    // The receipts' key loses its rows: an index file of another, empty table.
    let path = |name: &str| {
        server
            .0
            .data_dir()
            .join(query(&db.arg(), &format!("SELECT pg_relation_filepath('{name}')")).trim())
    };
    let _ = query(
        &db.arg(),
        "CREATE TABLE empty (event_id uuid PRIMARY KEY); CHECKPOINT",
    );
    let (receipts, empty) = (path("ves_sequencer_receipts_pkey"), path("empty_pkey"));
    server.0.stop();
    let bytes = fs::read(empty).unwrap();
    let file = fs::File::options()
        .write(true)
        .truncate(true)
        .open(&receipts)
        .unwrap();
    std::io::Write::write_all(&mut &file, &bytes).unwrap();
    drop(file);
    server.0.restart();
    let db = Db::Postgres(server.0.database_url("late"));
    let before = db.dump();
    let report = run(args(["audit", "--format", "json", "--db", &db.arg()], &more))
        .expect(4)
        .json();
    let found = of_code(&report, "index.incomplete");
    assert!(
        found.iter().all(|f| f.3.contains("ves_sequencer_receipts_pkey")),
        "{found:?}"
    );
    // Every stream has receipts.
    assert_eq!(found.len(), report["streams"].as_array().unwrap().len());
    assert!(
        !codes(&report).contains(&"receipt.missing"),
        "{:?}",
        codes(&report)
    );
    let applied = run(["apply", &text(&out), "--db", &db.arg(), "--no-journal"]);
    assert_eq!(applied.code & 1, 0, "{}\n{}", applied.stdout, applied.stderr);
    let applied = applied.says(&["REINDEX INDEX CONCURRENTLY", "ves_sequencer_receipts_pkey"]);
    assert_ne!(applied.code, 0);
    assert_eq!(db.dump(), before);
}

#[test]
fn rows_that_are_there_twice_are_named_and_compared() {
    let Some(world) = World::new("twice") else { return };
    let before = audit(&world.db()).json();
    let store = &world.store;
    world.sql(&format!(
        "ALTER TABLE ves_events DROP CONSTRAINT uq_ves_events_sequence;
         ALTER TABLE ves_events DROP CONSTRAINT ves_events_pkey CASCADE;
         ALTER TABLE ves_sequencer_receipts DROP CONSTRAINT ves_sequencer_receipts_pkey;
         ALTER TABLE agent_signing_keys DROP CONSTRAINT agent_signing_keys_pkey;
         ALTER TABLE ves_sequence_counters DROP CONSTRAINT ves_sequence_counters_pkey;
         INSERT INTO ves_events SELECT * FROM ves_events WHERE store_id = '{store}' AND sequence_number = 3;
         CREATE TEMPORARY TABLE other AS SELECT * FROM ves_events WHERE store_id = '{store}' AND sequence_number = 5;
         UPDATE other SET event_id = '00000000-0000-4000-8000-000000000005', entity_id = 'another';
         INSERT INTO ves_events SELECT * FROM other;
         INSERT INTO ves_sequencer_receipts SELECT r.* FROM ves_sequencer_receipts r JOIN ves_events e USING (event_id) WHERE \
         store_id = '{store}' AND e.sequence_number = 7;
         INSERT INTO ves_sequence_counters SELECT tenant_id, store_id, current_sequence - 1, updated_at FROM \
         ves_sequence_counters WHERE store_id = '{store}'"
    ));
    let report = audit(&world.db()).expect(4).json();
    let found = of_code(&report, "event.duplicate");
    let message = |number: u64, words: &[&str]| {
        let there = found.iter().any(|(at, from, to, message)| {
            at == store
                && (*from, *to) == (Some(number), Some(number))
                && words.iter().all(|word| message.contains(word))
        });
        assert!(there, "{number} {words:?} is not in {found:#?}");
    };
    message(
        3,
        &[
            "share their tenant_id, store_id, sequence_number",
            "the copies are equal",
        ],
    );
    message(3, &["share their event_id", "the copies are equal"]);
    message(
        5,
        &[
            "differ in event_id, entity_id",
            "00000000-0000-4000-8000-000000000005",
        ],
    );
    message(7, &["ves_sequencer_receipts", "the copies are equal"]);
    assert!(
        found
            .iter()
            .any(|f| f.3.contains("the counter") && f.3.contains("differ in current_sequence")),
        "{found:#?}"
    );
    // The same by the tables alone, where no plain index beside the lost one can tell.
    world.sql("DROP INDEX idx_ves_events_tenant_store_seq, idx_ves_receipts_event");
    let by_tables = audit(&world.db()).expect(4).json();
    assert_eq!(of_code(&by_tables, "event.duplicate"), found);
    assert_eq!(report["totals"]["missing"], before["totals"]["missing"]);
    assert!(
        !codes(&report).contains(&"commitment.root"),
        "{:?}",
        codes(&report)
    );

    let planned = plan(&world.db(), &world.data.path("plan.ndjson"))
        .expect(4)
        .json();
    assert_eq!(
        planned["not_planned"][0]["store_id"].as_str(),
        Some(store.as_str())
    );

    let copy = world.data.path("copy.db");
    let ran = run(["snapshot", "--db", &world.db().arg(), "--out", &text(&copy)]);
    assert_eq!(ran.code, 8 | 4, "{}", ran.stderr);
    ran.shows(&["it is there more than once"]);
    let report = audit(&Db::Snapshot(copy.clone())).expect(4).json();
    let found = of_code(&report, "event.duplicate");
    assert!(
        found.iter().any(|f| f.0 == *store && f.1 == Some(5)),
        "{found:#?}"
    );
    assert!(
        not_checked(&report).contains("the snapshot does not have"),
        "{}",
        not_checked(&report)
    );
    assert_eq!(report["totals"]["missing"], before["totals"]["missing"]);
    let planned = plan(&Db::Snapshot(copy), &world.data.path("plan2.ndjson"))
        .expect(4)
        .json();
    assert_eq!(
        planned["not_planned"][0]["store_id"].as_str(),
        Some(store.as_str())
    );
}

/// Takes the payloads of some events away as a torn page does: they are in no row, but in pages of their own.
fn lose_payloads(world: &World, numbers: &[u64]) {
    let list = numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    world.sql(&format!(
        "ALTER TABLE ves_events ALTER payload SET STORAGE EXTERNAL;
         UPDATE ves_events SET payload = jsonb_build_object('long', repeat('x', 20000)), payload_encrypted = NULL, payload_kind \
         = 0 WHERE store_id = '{}' AND sequence_number IN ({list})",
        world.store
    ));
    let toast = world.sql("SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'ves_events'::regclass");
    let toast = toast.trim();
    world.sql(&format!(
        "SET allow_system_table_mods = on;
         UPDATE pg_class SET relkind = 'r' WHERE oid = '{toast}'::regclass;
         DELETE FROM {toast} WHERE chunk_seq > 0;
         UPDATE pg_class SET relkind = 't' WHERE oid = '{toast}'::regclass"
    ));
}

#[test]
fn a_value_that_is_gone_costs_its_row_and_no_other() {
    let Some(world) = World::new("toast") else { return };
    let before = audit(&world.db()).json();
    let lost = [4, 5, world.head];
    lose_payloads(&world, &lost);
    let check = |db: &Db| -> Value {
        let report = audit(db).expect(4).json();
        let found = of_code(&report, "event.unreadable");
        let places: Vec<_> = found.iter().map(|f| (f.0.clone(), f.1, f.2)).collect();
        let expected = lost.map(|number| (world.store.clone(), Some(number), Some(number)));
        assert_eq!(places, expected, "{found:#?}");
        assert!(
            found
                .iter()
                .all(|f| f.3.contains("payload") && f.3.contains("pg_toast")),
            "{found:#?}"
        );
        assert!(
            !codes(&report)
                .iter()
                .any(|c| c.starts_with("gap.") || c.starts_with("counter."))
        );
        assert_eq!(report["totals"]["missing"], 0);
        assert_eq!(report["totals"]["events"], before["totals"]["events"]);
        let receipts = |report: &Value| -> u64 {
            let streams = report["streams"].as_array().unwrap().iter();
            streams.map(|s| s["receipts_matching"].as_u64().unwrap()).sum()
        };
        assert_eq!(receipts(&report), receipts(&before) - lost.len() as u64);
        assert!(
            not_checked(&report).contains("cannot be read"),
            "{}",
            not_checked(&report)
        );
        report
    };
    check(&world.db());

    let export = world.data.path("export.ndjson");
    let ran = run([
        "export",
        "--format",
        "json",
        "--db",
        &world.db().arg(),
        "--out",
        &text(&export),
    ])
    .expect(8);
    assert_eq!(ran.json()["unreadable"], 3);
    assert_eq!(
        ran.json()["events"].as_u64().unwrap(),
        before["totals"]["events"].as_u64().unwrap() - 3
    );

    // The snapshot has the rows in their places, and does not pass for whole.
    let copy = world.data.path("copy.db");
    let ran = run([
        "snapshot",
        "--format",
        "json",
        "--db",
        &world.db().arg(),
        "--out",
        &text(&copy),
    ])
    .expect(8);
    assert_eq!(ran.json()["left_out"]["count"], 3);
    assert_eq!(ran.json()["left_out"]["rows"][0]["in_part"], true);
    let copy = Db::Snapshot(copy);
    let report = check(&copy);
    assert!(
        not_checked(&report).contains("the snapshot does not have"),
        "{}",
        not_checked(&report)
    );
    let again = world.data.path("again.db");
    run(["snapshot", "--db", &copy.arg(), "--out", &text(&again)]).expect(8);
    check(&Db::Snapshot(again));
}

#[test]
fn a_log_with_rows_that_cannot_be_read_is_repaired_around_them() {
    let data = Data::scenario();
    let Some(server) = Server::start() else { return };
    let db = server.load("around", &data.dir.join("recovered.copy.sql"));
    let more = data.witnesses();
    let whole = run(args(
        [
            "plan",
            "--format",
            "json",
            "--db",
            &db.arg(),
            "--out",
            &text(&data.path("a.ndjson")),
        ],
        &more,
    ))
    .json();
    // The last event of the stream, so that what is behind it is what is missing.
    let _ = query(
        &db.arg(),
        &format!(
            "UPDATE ves_events SET sequenced_at = 'infinity' WHERE store_id = '{}' AND sequence_number = 130",
            common::ALPHA_STORE
        ),
    );
    let report = run(args(["audit", "--format", "json", "--db", &db.arg()], &more))
        .expect(4)
        .json();
    let found = of_code(&report, "event.unreadable");
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].1, found[0].3.contains("infinite")), (Some(130), true));
    let out = data.path("b.ndjson");
    let planned = run(args(
        [
            "plan",
            "--format",
            "json",
            "--db",
            &db.arg(),
            "--out",
            &text(&out),
        ],
        &more,
    ))
    .json();
    // 130 is there: it is not open, and no number below it is given out again.
    let stream = |plan: &Value| {
        let streams = plan["streams"].as_array().unwrap().clone();
        streams
            .into_iter()
            .find(|s| s["store_id"] == common::ALPHA_STORE)
            .unwrap()
    };
    assert_eq!(stream(&planned)["missing"], stream(&whole)["missing"]);
    assert_eq!(stream(&planned)["counter_after"], stream(&whole)["counter_after"]);
    let lines = fs::read_to_string(&out).unwrap();
    let of_stream = lines
        .lines()
        .skip_while(|line| !line.contains(common::ALPHA_STORE))
        .skip(1);
    let of_stream: Vec<&str> = of_stream
        .take_while(|line| !line.contains("\"type\":\"stream\""))
        .collect();
    assert!(
        of_stream.iter().any(|line| line.contains("\"type\":\"event\"")),
        "nothing is planned"
    );
    assert!(
        !of_stream.iter().any(|line| line.contains("\"sequence\":130,")),
        "130 is planned"
    );
    let applied = run(["apply", &text(&out), "--db", &db.arg()]);
    assert_eq!(applied.code & 8, 0, "{}\n{}", applied.stdout, applied.stderr);
    let report = run(args(["audit", "--format", "json", "--db", &db.arg()], &more)).json();
    assert_eq!(of_code(&report, "event.unreadable").len(), 1);
    let left = query(
        &db.arg(),
        &format!(
            "SELECT count(*), max(sequence_number) FROM ves_events WHERE store_id = '{}' AND sequence_number = 130",
            common::ALPHA_STORE
        ),
    );
    assert_eq!(left.trim(), "1|130");
}

#[test]
fn times_that_are_none_and_numbers_that_are_none_cost_their_row() {
    let Some(world) = World::new("times") else { return };
    let before = audit(&world.db()).json();
    let store = &world.store;
    let set = |column: &str, value: &str, number: u64| {
        world.sql(&format!(
            "UPDATE ves_events SET {column} = {value} WHERE store_id = '{store}' AND sequence_number = {number}"
        ));
    };
    set("sequenced_at", "'infinity'", 2);
    set("created_at", "'-infinity'", 3);
    set("sequenced_at", "'0044-03-15 12:00:00+00 BC'", 4);
    set("created_at", "'20000-01-01'", 5);
    world.sql("ALTER TABLE ves_events DROP CONSTRAINT ves_events_event_signing_hash_check");
    set("event_signing_hash", "'\\x0102'", 6);
    world.sql(&format!(
        "UPDATE ves_sequencer_receipts SET sequenced_at = '-infinity' WHERE event_id = (SELECT event_id FROM ves_events WHERE \
         store_id = '{store}' AND sequence_number = 8)"
    ));
    let copy = world.data.path("copy.db");
    // Nothing of these rows is left out: they are in the snapshot as they are.
    run(["snapshot", "--db", &world.db().arg(), "--out", &text(&copy)]).expect(0);
    for db in [world.db(), Db::Snapshot(copy)] {
        let report = audit(&db).expect(4).json();
        let found = of_code(&report, "event.unreadable");
        let numbers: Vec<_> = found.iter().map(|f| f.1.unwrap()).collect();
        assert_eq!(numbers, [2, 3, 4, 5, 6, 8], "{found:#?}");
        assert_eq!(report["totals"]["missing"], 0);
        assert_eq!(report["totals"]["events"], before["totals"]["events"]);
    }
    // A payload deeper than the sequencer's parser goes.
    let deep = format!("'{}1{}'", "[".repeat(300), "]".repeat(300));
    world.sql(&format!(
        "ALTER TABLE ves_events DROP CONSTRAINT chk_payload_kind_plaintext, DROP CONSTRAINT chk_payload_kind_encrypted;
         UPDATE ves_events SET payload_kind = 0, payload = {deep}, payload_encrypted = NULL WHERE store_id = '{store}' AND \
         sequence_number = 11"
    ));
    let report = audit(&world.db()).expect(4).json();
    let found = of_code(&report, "event.unreadable");
    assert!(
        found
            .iter()
            .any(|f| f.1 == Some(11) && f.3.contains("the payload cannot be read")),
        "{found:#?}"
    );
    // A number that no event can have: the row is there, and its own number is missing.
    set("sequence_number", "-9", 9);
    let report = audit(&world.db()).expect(4).json();
    assert!(
        of_code(&report, "event.unreadable")
            .iter()
            .any(|f| f.3.contains("below 1"))
    );
}

#[test]
fn infinite_times_in_a_keys_window_are_no_bounds() {
    let Some(world) = World::new("keys") else { return };
    let before = audit(&world.db()).json();
    let valid = |report: &Value| -> u64 {
        let streams = report["streams"].as_array().unwrap().iter();
        streams.map(|s| s["signatures_valid"].as_u64().unwrap()).sum()
    };
    world.sql("ALTER TABLE agent_signing_keys DROP CONSTRAINT chk_grace_after_expiry, DROP CONSTRAINT chk_validity_window, DROP CONSTRAINT chk_revoked_consistent");
    world.sql("UPDATE agent_signing_keys SET valid_from = '-infinity', valid_to = 'infinity', expires_at = 'infinity', grace_until = '-infinity' WHERE valid_to IS NULL AND revoked_at IS NULL");
    world.sql("UPDATE agent_signing_keys SET valid_from = '0100-01-01 BC' WHERE valid_from = '-infinity' AND key_id = 1");
    let copy = world.data.path("copy.db");
    run(["snapshot", "--db", &world.db().arg(), "--out", &text(&copy)]).expect(0);
    for db in [world.db(), Db::Snapshot(copy)] {
        let report = audit(&db).json();
        assert_eq!(codes(&report), codes(&before));
        assert_eq!(valid(&report), valid(&before));
    }
    // One that never begins is never valid, and one revoked before all times neither.
    for (column, value) in [
        ("valid_from", "infinity"),
        ("valid_to", "-infinity"),
        ("revoked_at", "-infinity"),
    ] {
        let name = format!("keys_{column}");
        let db = world.server.copy(&name, &world.db());
        db.execute(&format!("UPDATE agent_signing_keys SET {column} = '{value}'"));
        let report = audit(&db).expect(4).json();
        assert_eq!(valid(&report), 0, "{column}");
        assert!(codes(&report).contains(&"event.key"), "{column}");
    }
}

#[test]
fn a_key_that_cannot_be_read_is_named_and_not_called_unregistered() {
    let Some(world) = World::new("unread_key") else {
        return;
    };
    let key = world.sql("SELECT agent_id, key_id FROM agent_signing_keys k WHERE EXISTS (SELECT 1 FROM ves_events e WHERE e.source_agent_id = k.agent_id AND e.agent_key_id = k.key_id) ORDER BY 1, 2 LIMIT 1");
    let (agent, id) = key.trim().split_once('|').unwrap();
    world.sql(&format!(
        "ALTER TABLE agent_signing_keys DROP CONSTRAINT IF EXISTS agent_signing_keys_public_key_check;
         UPDATE agent_signing_keys SET public_key = '\\x01' WHERE agent_id = '{agent}' AND key_id = {id}"
    ));
    let ran = audit(&world.db()).expect(4);
    let report = ran.json();
    let named = format!("key {id} of agent {agent}");
    let found = of_code(&report, "event.unreadable");
    assert!(found.iter().any(|f| f.3.contains(&named)), "{found:#?}");
    assert!(!ran.stdout.contains("is not registered"), "{}", ran.stdout);
    assert!(
        not_checked(&report).contains(&format!("the row of {named} cannot be read")),
        "{}",
        not_checked(&report)
    );
}

#[test]
fn bytes_that_are_no_text_cost_their_row() {
    let data = Data::golden();
    let Some(server) = Server::start() else { return };
    let _ = query(
        &server.0.url(),
        "CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'",
    );
    let db = Db::Postgres(server.0.database_url("ascii"));
    test_support::load_schema(&db.arg());
    test_support::load_copy_file(&db.arg(), &data.dir.join("log.copy.sql"));
    let before = audit(&db).json();
    let store = query(
        &db.arg(),
        "SELECT store_id FROM ves_events WHERE sequence_number = 5 ORDER BY 1 LIMIT 1",
    );
    let store = store.trim();
    db.execute(&format!(
        "SET client_encoding = 'SQL_ASCII';
         UPDATE ves_events SET entity_id = E'caf\\xe9' WHERE store_id = '{store}' AND sequence_number = 5;
         UPDATE ves_events SET payload = jsonb_build_object('a', E'caf\\xe9'), payload_encrypted = NULL, payload_kind = 0 \
         WHERE store_id = '{store}' AND sequence_number = 6"
    ));
    let copy = data.path("copy.db");
    run(["snapshot", "--db", &db.arg(), "--out", &text(&copy)]).expect(0);
    for db in [db, Db::Snapshot(copy)] {
        let report = audit(&db).expect(4).json();
        let found = of_code(&report, "event.unreadable");
        let places: Vec<_> = found.iter().filter_map(|f| f.1).collect();
        assert_eq!(places, [5, 6], "{found:#?}");
        assert_eq!(report["totals"]["missing"], 0);
        assert_eq!(report["totals"]["events"], before["totals"]["events"]);
    }
}

#[test]
fn a_snapshot_whose_index_lacks_rows_does_not_lose_them() {
    let Some(world) = World::new("snapshot") else {
        return;
    };
    let before = audit(&world.db()).json();
    let path = world.data.path("log.db");
    world.db().snapshot(path.clone());
    let db = Connection::open(&path).unwrap();
    // SQLite keeps the index of the constraint as it is while the schema does not speak of it.
    let (schema, root): (String, i64) = db
        .query_row(
            "SELECT (SELECT sql FROM sqlite_schema WHERE name = 'ves_events'), (SELECT rootpage FROM sqlite_schema WHERE name = \
             'sqlite_autoindex_ves_events_2')",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    let constraint = "    CONSTRAINT uq_ves_events_sequence UNIQUE (tenant_id, store_id, sequence_number),\n";
    assert!(schema.contains(constraint));
    db.execute_batch("PRAGMA foreign_keys = off; PRAGMA writable_schema = on")
        .unwrap();
    db.execute(
        "UPDATE sqlite_schema SET sql = ?1 WHERE name = 'ves_events'",
        [schema.replace(constraint, "")],
    )
    .unwrap();
    db.execute(
        "DELETE FROM sqlite_schema WHERE name = 'sqlite_autoindex_ves_events_2'",
        [],
    )
    .unwrap();
    drop(db);
    let db = Connection::open(&path).unwrap();
    db.execute_batch(&format!(
        "PRAGMA foreign_keys = off; PRAGMA ignore_check_constraints = on;
         CREATE TEMPORARY TABLE kept AS SELECT * FROM ves_events WHERE store_id = '{0}' AND sequence_number > {1};
         DELETE FROM ves_events WHERE store_id = '{0}' AND sequence_number > {1}; INSERT INTO ves_events SELECT * FROM kept;
         PRAGMA writable_schema = on",
        world.store,
        world.head - 3
    ))
    .unwrap();
    db.execute(
        "UPDATE sqlite_schema SET sql = ?1 WHERE name = 'ves_events'",
        [&schema],
    )
    .unwrap();
    db.execute(
        "INSERT INTO sqlite_schema (type, name, tbl_name, rootpage, sql) VALUES ('index', 'sqlite_autoindex_ves_events_2', \
         'ves_events', ?1, NULL)",
        [root],
    )
    .unwrap();
    drop(db);
    let bytes = fs::read(&path).unwrap();
    let ran = audit(&Db::Snapshot(path.clone())).expect(4);
    let report = ran.json();
    let found = of_code(&report, "index.incomplete");
    assert!(!found.is_empty(), "{}", ran.stdout);
    assert_eq!(report["totals"]["missing"], 0, "{:?}", codes(&report));
    assert_eq!(report["totals"]["events"], before["totals"]["events"]);
    let planned = plan(&Db::Snapshot(path.clone()), &world.data.path("plan.ndjson"))
        .expect(4)
        .json();
    let left = planned["not_planned"].as_array().unwrap();
    assert!(
        left.iter()
            .any(|s| s["store_id"].as_str() == Some(world.store.as_str())),
        "{left:?}"
    );
    assert_eq!(fs::read(&path).unwrap(), bytes, "the file was changed");
}

#[test]
fn indexes_that_are_marked_invalid_are_told() {
    let Some(world) = World::new("invalid") else {
        return;
    };
    let before = audit(&world.db()).json();
    // As a REINDEX CONCURRENTLY that was broken off leaves one behind.
    world.sql(
        "CREATE UNIQUE INDEX uq_ves_events_sequence_ccnew ON ves_events (tenant_id, store_id, sequence_number);
         UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'uq_ves_events_sequence_ccnew'::regclass",
    );
    let report = audit(&world.db()).json();
    let found = of_code(&report, "index.unused");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        report["findings"]
            .to_string()
            .contains("DROP INDEX CONCURRENTLY public.uq_ves_events_sequence_ccnew")
    );
    assert_eq!(report["totals"]["problems"], before["totals"]["problems"]);
    // The one that the sequencer relies on is another matter.
    world.sql(
        "DROP INDEX uq_ves_events_sequence_ccnew;
         UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'uq_ves_events_sequence'::regclass",
    );
    let report = audit(&world.db()).expect(4).json();
    assert_eq!(of_code(&report, "index.incomplete").len(), 1);
    assert_eq!(report["totals"]["missing"], before["totals"]["missing"]);
    let planned = plan(&world.db(), &world.data.path("plan.ndjson"))
        .expect(4)
        .json();
    assert_eq!(
        planned["not_planned"].as_array().unwrap().len(),
        report["streams"].as_array().unwrap().len()
    );
}
