//! The dry run, and the journal of repairs: what apply says before it writes, and what it leaves behind of itself.

use crate::common;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use common::{
    Data, Db, ECHO_STORE, Ran, Server, apply, assert_json, assert_same, plan, run, text, unwrapped,
};
use serde_json::{Value, json};

struct Stage {
    data: Data,
    server: Server,
    recovered: Db,
    file: Db,
    plan: PathBuf,
}

impl Stage {
    fn set() -> Option<Self> {
        let data = Data::scenario();
        let server = Server::start()?;
        let recovered = server.load("recovered", &data.dir.join("recovered.copy.sql"));
        let file = recovered.snapshot(data.path("recovered.db"));
        let path = data.path("plan");
        plan(&recovered, &path, &data.witnesses()).expect(4);
        Some(Self {
            data,
            server,
            recovered,
            file,
            plan: path,
        })
    }
}

/// The entries of the journal, oldest first, as `state|counts`.
fn entries(db: &Db) -> Vec<String> {
    match db {
        Db::Postgres(url) => {
            if test_support::query(url, "SELECT to_regnamespace('sequencer_recovery')").is_empty() {
                return Vec::new();
            }
            let sql =
                "SELECT state, tool, counts->>'events' FROM sequencer_recovery.journal ORDER BY written_at";
            let rows = test_support::query(url, sql);
            rows.lines().map(str::to_owned).collect()
        }
        Db::Snapshot(path) => {
            let db = rusqlite::Connection::open(path).unwrap();
            let sql = "SELECT state || '|' || tool || '|' || (counts ->> 'events') FROM sequencer_recovery_journal \
                       ORDER BY written_at";
            let Ok(mut statement) = db.prepare(sql) else {
                return Vec::new();
            };
            let rows = statement.query_map([], |row| row.get(0)).unwrap();
            rows.map(Result::unwrap).collect()
        }
    }
}

fn audit(db: &Db) -> Value {
    run(["audit", "--db", &db.arg(), "--format", "json"]).json()
}

fn table(db: &Db, plan: &std::path::Path, more: &[&str]) -> Ran {
    let (plan, db) = (text(plan), db.arg());
    let mut all = vec!["apply", plan.as_str(), "--db", db.as_str(), "--wide"];
    all.extend(more);
    run(all)
}

#[test]
fn a_dry_run_says_what_the_run_will_say_and_writes_nothing() {
    let Some(stage) = Stage::set() else { return };
    for db in [&stage.recovered, &stage.file] {
        let before = db.dump();
        let bytes = match db {
            Db::Snapshot(path) => fs::read(path).unwrap(),
            Db::Postgres(_) => Vec::new(),
        };
        let rehearsed = apply(db, &stage.plan, &["--dry-run"]).expect(5).json();
        let shown = unwrapped(&table(db, &stage.plan, &["--dry-run"]).expect(5).stdout);
        assert!(shown.contains("DRY RUN: nothing was written"), "{shown}");
        assert!(shown.contains("would apply"), "{shown}");
        assert_same(&before, &db.dump());
        assert_eq!(entries(db), Vec::<String>::new(), "not even a journal");
        if let Db::Snapshot(path) = db {
            assert_eq!(fs::read(path).unwrap(), bytes);
        }
        let mut done = apply(db, &stage.plan, &[]).expect(5).json();
        assert_eq!(rehearsed["dry_run"], json!(true));
        assert_eq!(done["dry_run"], json!(false));
        done["dry_run"] = json!(true);
        assert_json(&rehearsed, &done, "report");
        // Where there is nothing to do, a dry run says that too.
        let again = apply(db, &stage.plan, &["--dry-run"]).expect(4).json();
        let streams = again["streams"].as_array().unwrap();
        assert!(streams.iter().all(|s| s["status"] == "already_applied"));
    }
    // What fails, fails in rehearsal as well.
    let moved = stage.server.copy("moved", &stage.recovered);
    moved.execute("DELETE FROM ves_commitments");
    apply(&moved, &stage.plan, &["--dry-run"])
        .expect(4 | 8)
        .says(&["has changed since the plan was made"]);
    let undo = text(&stage.data.path("undo"));
    apply(&moved, &stage.plan, &["--dry-run", "--undo", &undo]).expect(16);
    assert!(!stage.data.path("undo").exists());
}

#[test]
fn the_journal_tells_what_was_done_and_taken_back() {
    let Some(stage) = Stage::set() else { return };
    for (name, db) in [("postgres", &stage.recovered), ("snapshot", &stage.file)] {
        assert_eq!(audit(db)["journal"], Value::Null);
        let bundle = text(&stage.data.path(&format!("{name}.undo")));
        let done = apply(db, &stage.plan, &["--undo", &bundle]).expect(5).json();
        assert_eq!(done["journal"], json!(true));
        let streams = done["streams"].as_array().unwrap();
        let changed: Vec<&Value> = streams.iter().filter(|s| s["status"] == "applied").collect();
        assert!(
            changed.iter().all(|s| s.get("journal").is_none()),
            "nothing before"
        );
        let expected: Vec<String> = changed
            .iter()
            .map(|s| {
                format!(
                    "applied|sequencer-recovery {}|{}",
                    env!("CARGO_PKG_VERSION"),
                    s["events"]
                )
            })
            .collect();
        assert_eq!(entries(db), expected);

        let told = audit(db)["journal"].as_array().unwrap().clone();
        assert_eq!(told.len(), changed.len());
        for (entry, stream) in told.iter().rev().zip(&changed) {
            assert_eq!(entry["plan_id"], done["plan_id"]);
            for field in ["tenant_id", "store_id", "counter_before", "counter_after"] {
                assert_eq!(entry[field], stream[field], "{field}");
            }
            for field in ["events", "receipts", "commands", "entity_versions", "commitments"] {
                assert_eq!(entry["counts"][field], stream[field], "{field}");
            }
        }
        // Only that stream's.
        let one = run([
            "audit",
            "--db",
            &db.arg(),
            "--store",
            ECHO_STORE,
            "--format",
            "json",
        ])
        .json();
        assert!(
            one["journal"]
                .as_array()
                .unwrap()
                .iter()
                .all(|e| e["store_id"] == ECHO_STORE)
        );
        let shown = run(["audit", "--db", &db.arg()]).stdout;
        assert!(shown.contains("JOURNAL OF REPAIRS"), "{shown}");

        // A plan that is known already.
        let again = table(db, &stage.plan, &[]).expect(4).stdout;
        assert!(again.contains("This plan was applied here before"), "{again}");
        assert_eq!(entries(db), expected, "and no further entry");

        let undone = run(["undo", &bundle, "--db", &db.arg(), "--format", "json"])
            .expect(1)
            .json();
        let before = &undone["streams"][0]["journal"];
        assert_eq!(before[0]["state"], "applied");
        let mut with_undo = expected.clone();
        with_undo.extend(expected.iter().map(|e| e.replace("applied", "undone")));
        assert_eq!(entries(db), with_undo);

        // Applied again: both are told, and a third is written.
        let third = apply(db, &stage.plan, &[]).expect(5).json();
        let notes = third["streams"]
            .as_array()
            .unwrap()
            .iter()
            .find(|s| s["status"] == "applied");
        let states: Vec<&Value> = notes.unwrap()["journal"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| &e["state"])
            .collect();
        assert_eq!(states, ["applied", "undone"]);
        assert_eq!(entries(db).len(), 3 * changed.len());
    }
    // A snapshot of a database takes the journal along.
    let copy = stage.recovered.snapshot(stage.data.path("copy.db"));
    assert_eq!(entries(&copy), entries(&stage.recovered));
    assert_eq!(audit(&copy)["journal"], audit(&stage.recovered)["journal"]);
}

#[test]
fn a_role_that_may_not_make_the_journal_is_told_before_anything_is_done() {
    let Some(stage) = Stage::set() else { return };
    let Db::Postgres(url) = &stage.recovered else {
        return;
    };
    stage.recovered.execute(
        "CREATE ROLE repairer LOGIN;
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO repairer",
    );
    let as_repairer = Db::Postgres(url.replace("postgres://postgres@", "postgres://repairer@"));
    let before = stage.recovered.dump();
    for more in [&[][..], &["--dry-run"]] {
        let ran = apply(&as_repairer, &stage.plan, more).expect(8).says(&[
            "role repairer may not make the schema sequencer_recovery",
            "--no-journal",
        ]);
        assert_eq!(ran.stdout, "");
    }
    assert_same(&before, &stage.recovered.dump());
    let dry = apply(&as_repairer, &stage.plan, &["--no-journal", "--dry-run"])
        .expect(5)
        .json();
    assert_eq!(dry["journal"], json!(false));
    // Somebody who may has made it: then it is used, and audits by a role without rights say that they could not look.
    apply(&stage.recovered, &stage.plan, &[]).expect(5);
    let told = audit(&as_repairer);
    assert!(
        told["not_checked"]
            .to_string()
            .contains("this role may not read it"),
        "{told}"
    );
    // What else has that name is left alone.
    let other = stage.server.copy("other", &stage.recovered);
    other.execute("DROP TABLE sequencer_recovery.journal; CREATE TABLE sequencer_recovery.journal (x int)");
    apply(&other, &stage.plan, &[])
        .expect(8)
        .says(&["is not the table that this tool makes"]);
}

#[test]
fn a_row_that_the_database_refuses_is_named_with_its_line_in_the_plan() {
    let Some(stage) = Stage::set() else { return };
    let content = fs::read_to_string(&stage.plan).unwrap();
    let (line, event) = content
        .lines()
        .zip(1..)
        .filter_map(|(line, n)| {
            let value: Value = serde_json::from_str(line).unwrap();
            (value["type"] == "event").then_some((n, value))
        })
        .nth(7)
        .unwrap();
    let (sequence, id) = (&event["sequence"], event["event"]["event_id"].as_str().unwrap());
    let store = event["event"]["store_id"].as_str().unwrap();
    stage.recovered.execute(&format!(
        "ALTER TABLE ves_events ADD CONSTRAINT not_this_one CHECK (event_id <> '{id}')"
    ));
    let before = stage.recovered.dump();
    let ran = apply(&stage.recovered, &stage.plan, &["--dry-run"]).says(&[
        store,
        &format!("sequence {sequence}"),
        id,
        "not_this_one",
        &format!("line {line} of the plan"),
    ]);
    assert_eq!(ran.code & 8, 8);
    assert_same(&before, &stage.recovered.dump());
}

/// The counters of a log with what they rest on, by store: the counter, the floor, its grade, who says so.
fn floors(db: &Db, more: &[&str]) -> BTreeMap<String, (u64, u64, String, String)> {
    let db = db.arg();
    let mut all = vec!["counters", "--db", db.as_str(), "--format", "json"];
    all.extend(more);
    let report = run(all).json();
    let streams = report["streams"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    streams
        .iter()
        .filter(|s| s["family"] == "ves")
        .map(|s| {
            let (counter, floor) = (
                s["counter"].as_u64().unwrap_or(0),
                s["floor"].as_u64().unwrap_or(0),
            );
            let said = (
                counter,
                floor,
                text(&s["witness"]["grade"]),
                text(&s["witness"]["who"]),
            );
            (text(&s["store_id"]), said)
        })
        .collect()
}

#[test]
fn a_counter_that_we_wrote_stays_the_claim_that_it_rested_on() {
    let Some(stage) = Stage::set() else { return };
    let witnesses = stage.data.witnesses();
    let heard: Vec<&str> = witnesses.iter().map(String::as_str).collect();
    let alone = stage.server.copy("alone", &stage.recovered);
    let before = floors(&stage.recovered, &heard);
    let claimed: Vec<&String> = before
        .iter()
        .filter(|(_, (counter, floor, grade, _))| counter < floor && grade == "claimed")
        .map(|(store, _)| store)
        .collect();
    assert!(!claimed.is_empty(), "{before:?}");
    // By a plan, and by `counters --apply` alone, on a server and in a file.
    apply(&stage.recovered, &stage.plan, &[]).expect(5);
    apply(&stage.file, &stage.plan, &[]).expect(5);
    let mut raise = vec!["counters", "--apply", "--db"];
    let url = alone.arg();
    raise.push(&url);
    raise.extend(&heard);
    run(raise).expect(1);
    for (db, by) in [
        (&stage.recovered, "plan "),
        (&stage.file, "plan "),
        (&alone, "this toolkit, which raised the counters alone at "),
    ] {
        let after = floors(db, &[]);
        for store in &claimed {
            let ((was, floor, ..), (counter, still, grade, who)) = (&before[*store], &after[*store]);
            assert_eq!((counter, still), (floor, floor), "{store}");
            assert_eq!(grade, "claimed", "{store}: {who}");
            assert!(who.starts_with(by), "{who}");
            // What is certain is what the sequencer left, and what the log has.
            let (_, certain, grade, who) = &floors(db, &["--floor", "committed"])[*store];
            assert!(certain >= was && certain < counter, "{store}: {certain} by {who}");
            assert_ne!(grade, "claimed");
        }
        let audit = audit(db);
        for store in &claimed {
            let streams = audit["streams"].as_array().unwrap();
            let stream = streams.iter().find(|s| s["store_id"] == store.as_str()).unwrap();
            let witnesses = stream["witnesses"].as_array().unwrap();
            let own = witnesses.iter().filter(|w| w["who"] == "the log's counter");
            assert!(
                own.map(|w| w["sequence"].as_u64().unwrap())
                    .all(|n| n < before[*store].1)
            );
        }
    }
    // To raise counters is no plan: nobody is told that one was applied.
    let told = run(["audit", "--wide", "--db", &url, "--witness", &url]).stdout;
    assert!(
        told.contains("none of these witnesses holds what is missing"),
        "{told}"
    );
    // Planned again with the same witnesses nothing more would come back: the audit does not send round in a circle.
    let repaired = stage.recovered.arg();
    let mut audit = vec!["audit", "--wide", "--db", &repaired];
    audit.extend(&heard);
    let told = run(audit.clone()).stdout;
    assert!(
        told.contains("with the same witnesses another brings nothing more"),
        "{told}"
    );
    audit[3] = &url;
    let told = run(audit).stdout;
    assert!(told.contains("NEXT: plan the repair"), "{told}");
    // It is no plan that agents could be told of.
    let out = text(&stage.data.path("epoch"));
    let of_counters = run(["epoch", "--db", &url, "--out", &out]);
    of_counters.says(&["the journal of repairs tells of no plan that was applied"]);
}
