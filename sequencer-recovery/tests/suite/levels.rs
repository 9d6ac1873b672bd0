//! The tool at the sequencer's own database, as its migrations made it, at every age.

use crate::common;

use std::path::Path;

use common::{Data, Db, Server, apply, args, assert_same, plan, run, text};
use serde_json::Value;
use test_support::level::{load_copy_file_at, load_copy_file_into, load_level, load_level_into, migrate};
use test_support::query;

/// A database of a level with a file of real data in it.
fn at_level(server: &Server, name: &str, level: u32, file: &Path) -> Db {
    let url = server.0.create_database(name);
    load_level(&url, level);
    load_copy_file_at(&url, level, file);
    Db::Postgres(url)
}

fn audit(db: &Db, more: &[String]) -> common::Ran {
    run(args(["audit", "--format", "json", "--db", &db.arg()], more))
}

fn codes(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().map(|f| f["code"].as_str().unwrap()).collect()
}

/// Scenario-1 goes the whole way in the real schema as it does in ours, and back.
#[test]
fn the_whole_journey_in_the_real_schema() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let recovered = data.dir.join("recovered.copy.sql");
    let ours = server.load("ours", &recovered);
    let real = at_level(&server, "real", 16, &recovered);
    let gaps = run(["gaps", "--format", "json", "--db", &real.arg()]);
    let place = &gaps.json()["place"];
    assert_eq!(
        (&place["schema"], &place["level"]["number"]),
        (&"public".into(), &16.into())
    );
    let before = real.dump();
    let [(ours_plan, ours_applied), (real_plan, real_applied)] =
        [("ours", &ours), ("real", &real)].map(|(name, db)| {
            assert_eq!(
                audit(db, &data.witnesses()).expect(4).json()["totals"]["events"],
                504
            );
            let path = data.path(&format!("{name}.plan"));
            let planned = plan(db, &path, &data.witnesses()).expect(4).json();
            assert_eq!(planned["hindrances"], Value::Null);
            let undo = text(&data.path(&format!("{name}.undo")));
            let applied = apply(db, &path, &["--undo", &undo]).expect(5).json();
            (planned, applied)
        });
    assert_eq!(real_plan["totals"], ours_plan["totals"]);
    for (real, ours) in real_applied["streams"]
        .as_array()
        .unwrap()
        .iter()
        .zip(ours_applied["streams"].as_array().unwrap())
    {
        assert_eq!(
            (&real["events"], &real["counter_after"], &real["status"]),
            (&ours["events"], &ours["counter_after"], &ours["status"])
        );
    }
    let after = audit(&real, &data.witnesses()).expect(4).json();
    assert_eq!(after["totals"]["missing"], real_plan["totals"]["open"]);
    run(["counters", "--db", &real.arg()]).expect(0);
    run(["undo", &text(&data.path("real.undo")), "--db", &real.arg()]).expect(1);
    // That a row was touched stays to be seen.
    let [before, back] = [before, real.dump()].map(|mut dump| {
        dump.0
            .retain(|table, _| table.starts_with("ves_") || table == "entity_versions");
        dump.0.values_mut().flatten().for_each(|row| {
            row.remove("updated_at");
        });
        dump.0.values_mut().for_each(|rows| rows.sort());
        dump
    });
    assert_same(&before, &back);
}

/// A whole log goes the way too: what it lost after a cut comes back from a copy, and an undo takes it away again.
#[test]
fn golden_is_brought_back_in_the_real_schema() {
    let Some(server) = Server::start() else { return };
    let data = Data::golden();
    let whole = at_level(&server, "whole", 16, &data.dir.join("log.copy.sql"));
    let report = audit(&whole, &[]).expect(0).json();
    assert_eq!(report["totals"]["events"], 2061);
    assert_eq!(report["totals"]["missing"], 0);
    assert_eq!(report["totals"]["batches"]["failed"], 0);
    run(["gaps", "--db", &whole.arg()]).expect(0);
    let copy = whole.snapshot(data.path("whole.db"));
    assert_eq!(audit(&copy, &[]).expect(0).json()["totals"], report["totals"]);

    let cut = server.copy("cut", &whole);
    cut.execute(
        "CREATE TEMPORARY TABLE lost AS SELECT event_id FROM ves_events WHERE sequence_number % 5 = 2;
         DELETE FROM ves_compliance_proofs WHERE event_id IN (SELECT event_id FROM lost);
         DELETE FROM ves_sequencer_receipts WHERE event_id IN (SELECT event_id FROM lost);
         DELETE FROM ves_command_dedupe d USING ves_events e WHERE d.command_id = e.command_id
             AND d.store_id = e.store_id AND e.event_id IN (SELECT event_id FROM lost);
         DELETE FROM ves_events WHERE event_id IN (SELECT event_id FROM lost)",
    );
    run(["gaps", "--db", &cut.arg()]).expect(4);
    let before = audit(&cut, &[]).expect(4).json();
    let path = data.path("cut.plan");
    let witness = ["--witness", &copy.arg(), "--accept", "claimed"].map(str::to_owned);
    let planned = plan(&cut, &path, &witness).expect(0).json();
    assert_eq!(planned["totals"]["events"], before["totals"]["missing"]);
    assert_eq!(planned["totals"]["open"], 0);
    let mut was = cut.dump();
    let undo = text(&data.path("cut.undo"));
    let applied = apply(&cut, &path, &["--undo", &undo]).expect(1).json();
    let streams = applied["streams"].as_array().unwrap();
    assert!(streams.iter().all(|stream| stream["status"] == "applied"));
    let sorted = |db: &Db, table: &str| {
        let mut rows = db.dump().0.remove(table).unwrap();
        rows.sort();
        rows
    };
    for table in ["ves_events", "ves_command_dedupe", "ves_commitments"] {
        assert_eq!(sorted(&cut, table).len(), sorted(&whole, table).len(), "{table}");
    }
    assert_eq!(sorted(&cut, "ves_events"), sorted(&whole, "ves_events"));
    assert_eq!(
        audit(&cut, &[]).json()["totals"]["batches"],
        report["totals"]["batches"]
    );
    run(["undo", &undo, "--db", &cut.arg()]).expect(1);
    let mut was = was.0.remove("ves_events").unwrap();
    was.sort();
    assert_eq!(sorted(&cut, "ves_events"), was);
}

/// A log of any level is read; what is missing is the same.
#[test]
fn every_level_is_audited_snapshotted_and_exported() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let recovered = data.dir.join("recovered.copy.sql");
    for level in 2..=16 {
        let db = at_level(&server, &format!("level_{level}"), level, &recovered);
        // Without witnesses nothing is known to be missing.
        let thoroughly = [2, 7, 9, 14].contains(&level);
        let (witnesses, status) = if thoroughly {
            (data.witnesses(), 4)
        } else {
            (Vec::new(), 0)
        };
        let report = audit(&db, &witnesses).expect(status).json();
        assert_eq!(report["place"]["level"]["number"], level);
        assert_eq!(report["totals"]["events"], 504, "{level}");
        let known = [
            "gap.",
            "counter.",
            "commitment.missing",
            "claim.",
            "witness.",
            "event.key",
            "hindrance.level",
        ];
        for code in codes(&report) {
            assert!(
                known.iter().any(|known| code.starts_with(known)),
                "{level}: {code}"
            );
        }
        assert_eq!(codes(&report).contains(&"hindrance.level"), level < 15, "{level}");
        if !thoroughly {
            continue;
        }
        let gaps = run(["gaps", "--db", &db.arg()]);
        gaps.shows(&[&format!("level {level} ")]);
        let snapshot = db.snapshot(data.path(&format!("{level}.db")));
        run([
            "export",
            "--db",
            &db.arg(),
            "--out",
            &text(&data.path(&format!("{level}.ndjson"))),
        ])
        .expect(0);
        assert_eq!(
            audit(&snapshot, &data.witnesses()).expect(4).json()["totals"],
            report["totals"]
        );
        for db in [&db, &snapshot] {
            let refused = plan(db, &data.path("refused.plan"), &data.witnesses()).expect(8);
            assert!(!data.path("refused.plan").exists());
            refused.says(&[
                &format!("level {level} "),
                "015_pqc_key_algorithm",
                "run the sequencer's",
            ]);
        }
    }
}

/// A recovery that landed before a migration is brought to its end.
#[test]
fn a_recovery_to_level_9_is_migrated_planned_and_applied() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let recovered = data.dir.join("recovered.copy.sql");
    let db = at_level(&server, "landed", 9, &recovered);
    let Db::Postgres(url) = &db else { unreachable!() };
    // The counters that numbered VES streams then are what the audit compares.
    let report = audit(&db, &data.witnesses()).expect(4).json();
    let newest = server.load("newest", &recovered);
    let expected = audit(&newest, &data.witnesses()).json();
    for (stream, same) in report["streams"]
        .as_array()
        .unwrap()
        .iter()
        .zip(expected["streams"].as_array().unwrap())
    {
        assert_eq!(
            (&stream["counter"], &stream["missing"]),
            (&same["counter"], &same["missing"])
        );
    }
    assert!(
        report["not_checked"]
            .to_string()
            .contains("010_ves_sequence_counters")
    );
    run(args(
        ["counters", "--apply", "--db", &db.arg()],
        &data.witnesses(),
    ))
    .expect(12)
    .says(&["010_ves_sequence_counters"]);

    // A plan of the newest level is refused here, before anything is written.
    let early = data.path("early.plan");
    plan(&newest, &early, &data.witnesses()).expect(4);
    let before = query(url, "SELECT count(*) FROM ves_events");
    apply(&db, &early, &[])
        .expect(8)
        .says(&["level 9 ", "010_ves_sequence_counters"]);
    assert_eq!(query(url, "SELECT count(*) FROM ves_events"), before);

    migrate(url, 9, 16);
    let path = data.path("landed.plan");
    let planned = plan(&db, &path, &data.witnesses()).expect(4).json();
    assert_eq!(planned["totals"]["missing"], expected["totals"]["missing"]);
    let applied = apply(&db, &path, &[]).expect(5).json();
    assert!(
        applied["streams"]
            .as_array()
            .unwrap()
            .iter()
            .all(|s| s["status"] == "applied")
    );
    let after = audit(&db, &data.witnesses()).expect(4).json();
    assert_eq!(after["totals"]["missing"], planned["totals"]["open"]);
    assert_eq!(after["place"]["level"]["number"], 16);
}

/// What stands in the way: what makes it, the finding, and what is said of it.
const HINDRANCES: [(&str, &str, &[&str]); 4] = [
    (
        "ALTER TABLE ves_events ADD region text NOT NULL DEFAULT 'x'; ALTER TABLE ves_events ALTER region DROP DEFAULT",
        "hindrance.column",
        &["column region", "SET DEFAULT"],
    ),
    (
        "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.sequenced_at = now(); RETURN NEW; END';
         CREATE TRIGGER late BEFORE INSERT ON ves_sequencer_receipts FOR EACH ROW EXECUTE FUNCTION late()",
        "hindrance.trigger",
        &["trigger late", "DISABLE TRIGGER late", "--with-triggers"],
    ),
    (
        "CREATE RULE elsewhere AS ON INSERT TO ves_command_dedupe DO INSTEAD NOTHING",
        "hindrance.trigger",
        &["rule elsewhere", "DISABLE RULE elsewhere"],
    ),
    (
        "CREATE SCHEMA hidden; ALTER TABLE entity_versions SET SCHEMA hidden;
         CREATE VIEW entity_versions AS SELECT * FROM hidden.entity_versions",
        "hindrance.table",
        &["entity_versions is a view"],
    ),
];

#[test]
fn what_apply_will_meet_is_said_before() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let recovered = at_level(&server, "recovered", 16, &data.dir.join("recovered.copy.sql"));
    let sound = data.path("sound.plan");
    plan(&recovered, &sound, &data.witnesses()).expect(4);
    for (n, (sql, code, said)) in HINDRANCES.iter().enumerate() {
        let db = server.copy(&format!("hindered_{n}"), &recovered);
        db.execute(sql);
        let before = db.dump();
        // Without a witness nothing is wrong with this log: what apply will meet is no problem of it.
        let report = audit(&db, &[]).expect(0).json();
        let findings = report["findings"].as_array().unwrap();
        let finding = findings.iter().find(|f| f["code"] == *code).unwrap().to_string();
        assert!(said.iter().all(|said| finding.contains(said)), "{finding}");
        let planned = plan(&db, &data.path(&format!("{n}.plan")), &data.witnesses())
            .expect(4)
            .json();
        assert_eq!(planned["hindrances"][0]["code"], *code);
        apply(&db, &sound, &[]).expect(8).says(said);
        assert_same(&before, &db.dump());
    }
}

#[test]
fn a_role_without_a_right_hears_what_to_grant() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let db = at_level(&server, "rights", 16, &data.dir.join("recovered.copy.sql"));
    db.execute(
        "CREATE ROLE operator LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO operator;
         GRANT INSERT ON ves_events, ves_sequencer_receipts, ves_command_dedupe, ves_commitments TO operator;
         GRANT INSERT, UPDATE ON ves_sequence_counters TO operator",
    );
    // Its sessions have a name of their own, and are still known as the tool's.
    let operator = db.arg().replace("postgres@", "operator@");
    let operator = Db::Postgres(format!("{operator}?application_name=stateset-sequencer-night"));
    let report = audit(&operator, &[]).json();
    let findings = report["findings"].as_array().unwrap();
    let finding = findings.iter().find(|f| f["code"] == "hindrance.right").unwrap();
    assert!(
        finding["next"]
            .as_str()
            .unwrap()
            .contains("GRANT INSERT ON public.entity_versions TO operator"),
        "{finding}"
    );
    assert!(
        !finding.to_string().contains("INSERT ON public.ves_events"),
        "{finding}"
    );
    let path = data.path("rights.plan");
    plan(&operator, &path, &data.witnesses()).expect(4);
    let before = db.dump();
    apply(&operator, &path, &["--no-journal"])
        .expect(8)
        .says(&["GRANT UPDATE ON public.entity_versions TO operator"]);
    assert_same(&before, &db.dump());
    db.execute("GRANT INSERT, UPDATE ON entity_versions TO operator");
    let bundle = text(&data.path("rights.undo"));
    apply(&operator, &path, &["--no-journal", "--undo", &bundle]).expect(5);
    // The way back needs other rights, and says so before it begins.
    let applied = db.dump();
    let undo = || run(["undo", &bundle, "--db", &operator.arg()]);
    undo()
        .expect(8)
        .says(&["GRANT DELETE ON public.ves_events TO operator"]);
    assert_same(&applied, &db.dump());
    db.execute(
        "GRANT UPDATE ON ves_events, ves_commitments TO operator; GRANT DELETE ON ves_events, ves_sequencer_receipts, \
         ves_command_dedupe, ves_commitments, entity_versions, ves_sequence_counters TO operator;
         CREATE RULE keep AS ON DELETE TO ves_command_dedupe DO INSTEAD NOTHING",
    );
    undo().expect(8).says(&["DISABLE RULE keep", "--with-triggers"]);
    run(["undo", &bundle, "--with-triggers", "--db", &operator.arg()])
        .expect(8)
        .says(&["commands instead of"]);
    assert_same(&applied, &db.dump());
    db.execute("DROP RULE keep ON ves_command_dedupe");
    undo().expect(1);
    // `updated_at` of what was changed and put back tells the time of the undo.
    let after = db.dump();
    for table in [
        "ves_events",
        "ves_sequencer_receipts",
        "ves_commitments",
        "ves_command_dedupe",
    ] {
        assert_eq!(before.table(table), after.table(table), "{table}");
    }
}

/// Triggers that change what is written, each in another column.
const MEDDLERS: [(&str, &str, &str); 9] = [
    ("ves_events", "INSERT", "NEW.sequenced_at = now()"),
    ("ves_events", "INSERT", "NEW.created_at = now()"),
    ("ves_events", "INSERT", "NEW.command_id = NULL"),
    ("ves_sequencer_receipts", "INSERT", "NEW.sequenced_at = now()"),
    (
        "ves_sequencer_receipts",
        "INSERT",
        "NEW.sequencer_key_version = 7",
    ),
    ("ves_commitments", "INSERT", "NEW.committed_at = now()"),
    ("ves_command_dedupe", "INSERT", "NEW.created_at = now()"),
    (
        "entity_versions",
        "INSERT OR UPDATE",
        "NEW.version = NEW.version + 1",
    ),
    (
        "ves_sequence_counters",
        "UPDATE",
        "NEW.current_sequence = NEW.current_sequence + 1",
    ),
];

/// Applies a plan where a trigger does something, each on a copy of its own.
fn meddled(data: &Data, server: &Server, name: &str, meddlers: &[(&str, &str, &str)]) {
    let recovered = at_level(server, name, 16, &data.dir.join("recovered.copy.sql"));
    let sound = data.path("sound.plan");
    plan(&recovered, &sound, &data.witnesses()).expect(4);
    for (n, (table, when, does)) in meddlers.iter().enumerate() {
        let db = server.copy(&format!("{name}_{n}"), &recovered);
        db.execute(&format!(
            "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {does}; RETURN NEW; END';
             CREATE TRIGGER meddle BEFORE {when} ON {table} FOR EACH ROW EXECUTE FUNCTION meddle()"
        ));
        let before = db.dump();
        let ran = apply(&db, &sound, &["--with-triggers"]);
        assert_eq!(ran.code & 8, 8, "{table} {does}: {} {}", ran.stdout, ran.stderr);
        // Every stream of this plan writes events; not each writes commitments, commands or versions.
        if ["ves_events", "ves_sequencer_receipts", "ves_sequence_counters"].contains(table) {
            let report = ran.json();
            let mut streams = report["streams"].as_array().unwrap().iter();
            assert!(
                streams.all(|stream| stream["status"] != "applied"),
                "{table} {does}"
            );
            assert_same(&before, &db.dump());
        }
    }
}

#[test]
fn what_a_trigger_changes_is_found_before_the_commit() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    meddled(&data, &server, "changed", &MEDDLERS);
}

#[test]
fn a_row_that_a_trigger_drops_is_missed_before_the_commit() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let drop = |(table, when, _): &(&'static str, &'static str, &str)| (*table, *when, "RETURN NULL");
    let mut drops: Vec<_> = MEDDLERS.iter().map(drop).collect();
    drops.dedup();
    drops.push(("ves_events", "INSERT", "NEW.entity_type = upper(NEW.entity_type)"));
    meddled(&data, &server, "dropped", &drops);
}

#[test]
fn a_trigger_that_only_looks_on_is_let_act() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let db = at_level(&server, "watched", 16, &data.dir.join("recovered.copy.sql"));
    let sound = data.path("sound.plan");
    plan(&db, &sound, &data.witnesses()).expect(4);
    db.execute(
        "CREATE TABLE seen (id uuid);
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO seen VALUES (NEW.event_id); RETURN NULL; END';
         CREATE TRIGGER see AFTER INSERT ON ves_events FOR EACH ROW EXECUTE FUNCTION see()",
    );
    let applied = apply(&db, &sound, &["--with-triggers"]).expect(5).json();
    let streams = applied["streams"].as_array().unwrap().iter();
    let events: u64 = streams.map(|stream| stream["events"].as_u64().unwrap()).sum();
    assert_eq!(query(&db.arg(), "SELECT count(*) FROM seen"), events.to_string());
}

#[test]
fn a_log_in_two_schemas_is_a_question_and_an_empty_one_is_said_to_be() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let url = server.0.create_database("schemas");
    load_level(&url, 16);
    load_level_into(&url, 16, "restored");
    load_copy_file_into(&url, 16, "restored", &data.dir.join("recovered.copy.sql"));
    let _ = query(&url, "ALTER DATABASE schemas SET search_path = public, restored");
    for command in ["audit", "gaps", "counters"] {
        run([command, "--db", &url])
            .expect(16)
            .says(&["public, restored", "--schema"]);
    }
    let report = run(["audit", "--format", "json", "--db", &url, "--schema", "restored"])
        .expect(0)
        .json();
    assert_eq!(
        (&report["place"]["schema"], &report["totals"]["events"]),
        (&"restored".into(), &504.into())
    );
    let path = text(&data.path("restored.plan"));
    let planning = args(
        ["plan", "--db", &url, "--schema", "restored", "--out", &path],
        &data.witnesses(),
    );
    run(&planning).expect(4).shows(&["schema restored"]);
    run(["apply", &path, "--db", &url, "--schema", "restored"]).expect(5);
    assert_eq!(query(&url, "SELECT count(*) FROM public.ves_events"), "0");
    assert_ne!(query(&url, "SELECT count(*) FROM restored.ves_events"), "504");

    // The other is empty, and that is no pass.
    let report = run(["audit", "--format", "json", "--db", &url, "--schema", "public"])
        .expect(4)
        .json();
    assert_eq!(codes(&report), ["log.empty"]);
    run(["gaps", "--db", &url, "--schema", "public"])
        .expect(4)
        .shows(&["the log is empty"]);
    run(["counters", "--db", &url, "--schema", "public"])
        .expect(4)
        .shows(&["the log is empty"]);
    let out = text(&data.path("empty.plan"));
    run(["plan", "--db", &url, "--schema", "public", "--out", &out])
        .expect(4)
        .shows(&["the log is empty"]);
    let nobody = "00000000-0000-4000-8000-00000000dead";
    run(["audit", "--db", &url, "--schema", "restored", "--tenant", nobody])
        .expect(4)
        .shows(&["log.empty", nobody]);
}
