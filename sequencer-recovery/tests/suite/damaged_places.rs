//! Rows of events that do not say where they stand: a column of their place is gone. Witnesses have those events too, and
//! they are in the log all the same: never missing, never put back, and nothing else is stopped by them.

use crate::common;

use std::fs;

use common::{ALPHA_STORE, Data, Db, Ran, Server, args, run, text};
use serde_json::Value;
use test_support::query;

/// The messages of the findings of a code, each with its range.
fn of_code(report: &Value, code: &str) -> Vec<(Option<u64>, Option<u64>, String)> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .filter(|f| f["code"] == code)
        .map(|f| {
            let message = f["message"].as_str().unwrap().to_owned();
            (f["from"].as_u64(), f["to"].as_u64(), message)
        })
        .collect()
}

/// The recovered log of the scenario, its witnesses, and one of its events that an outbox holds.
struct World {
    server: Server,
    data: Data,
    whole: Db,
    event: String,
    command: String,
}

/// The number of that event.
const NUMBER: u64 = 100;

impl World {
    fn new() -> Option<Self> {
        let server = Server::start()?;
        let data = Data::scenario();
        let whole = server.load("whole", &data.dir.join("recovered.copy.sql"));
        let event = query(
            &whole.arg(),
            &format!(
                "SELECT event_id, command_id FROM ves_events WHERE store_id = '{ALPHA_STORE}' AND sequence_number = {NUMBER}"
            ),
        );
        let (event, command) = event.trim().split_once('|').unwrap();
        let (event, command) = (event.to_owned(), command.to_owned());
        Some(Self {
            server,
            data,
            whole,
            event,
            command,
        })
    }

    /// A copy of the log in which a column of the event's row is NULL.
    fn without(&self, column: &str) -> Db {
        let db = self.server.copy(&format!("without_{column}"), &self.whole);
        db.execute(&format!(
            "ALTER TABLE ves_events ALTER {column} DROP NOT NULL;
             UPDATE ves_events SET {column} = NULL WHERE event_id = '{}'",
            self.event
        ));
        db
    }

    /// The outboxes, and the one stream that is looked at.
    fn outboxes(&self) -> Vec<String> {
        ["--outbox", &self.data.outboxes(), "--store", ALPHA_STORE]
            .map(str::to_owned)
            .to_vec()
    }

    fn audit(&self, db: &Db, more: &[String]) -> Ran {
        run(args(["audit", "--format", "json", "--db", &db.arg()], more))
    }

    fn plan(&self, db: &Db, out: &str, more: &[String]) -> (Value, String) {
        let out = text(&self.data.path(out));
        let db = db.arg();
        let arguments = [
            "plan", "--format", "json", "--accept", "claimed", "--db", &db, "--out", &out,
        ];
        let ran = run(args(arguments, more));
        // Whether there is something to repair or not, it could be looked at.
        assert_eq!(ran.code & !4, 0, "{}\n{}", ran.stdout, ran.stderr);
        (ran.json(), fs::read_to_string(out).unwrap())
    }
}

/// What a plan says of the stream.
fn stream(plan: &Value) -> &Value {
    let mut streams = plan["streams"].as_array().unwrap().iter();
    streams.find(|s| s["store_id"] == ALPHA_STORE).unwrap()
}

#[test]
fn an_event_whose_row_names_no_stream_is_there_whatever_an_outbox_says() {
    let Some(world) = World::new() else { return };
    let more = world.outboxes();
    let before = world.audit(&world.whole, &more).expect(4).json();
    let (whole, whole_lines) = world.plan(&world.whole, "whole.ndjson", &more);
    for column in ["tenant_id", "store_id"] {
        let db = world.without(column);
        let report = world.audit(&db, &more).expect(4).json();
        let found = of_code(&report, "event.unreadable");
        let told = found.iter().find(|f| f.2.contains(&world.event)).unwrap();
        assert_eq!((told.0, told.1), (Some(NUMBER), Some(NUMBER)), "{found:#?}");
        let words = ["ves_events", &format!("{column} is NULL")];
        assert!(words.iter().all(|word| told.2.contains(word)), "{}", told.2);
        assert_eq!(
            report["totals"]["missing"], before["totals"]["missing"],
            "{column}"
        );
        let gaps = of_code(&report, "gap.interior");
        assert_eq!(gaps, of_code(&before, "gap.interior"), "{column}");
        // The command of the event is its own, and the sequencer must not take it again.
        assert_eq!(
            of_code(&report, "dedupe.orphan"),
            of_code(&before, "dedupe.orphan")
        );

        let (planned, lines) = world.plan(&db, &format!("{column}.ndjson"), &more);
        for what in ["missing", "counter_after"] {
            assert_eq!(stream(&planned)[what], stream(&whole)[what], "{column} {what}");
        }
        assert!(!lines.contains(&world.event), "the event is planned");
        let events = |lines: &str| lines.matches("\"type\":\"event\"").count();
        assert!(events(&lines) > 0, "nothing is planned");
        assert_eq!(events(&lines), events(&whole_lines));

        let plan = text(&world.data.path(&format!("{column}.ndjson")));
        let applied = run(["apply", &plan, "--db", &db.arg()]);
        assert_eq!(applied.code & 8, 0, "{}\n{}", applied.stdout, applied.stderr);
        let left = query(
            &db.arg(),
            &format!(
                "SELECT (SELECT count(*) FROM ves_events WHERE event_id = '{}'),
                        (SELECT count(*) FROM ves_events WHERE store_id = '{ALPHA_STORE}' AND sequence_number = {NUMBER} AND \
                         event_id <> '{}'),
                        (SELECT count(*) FROM ves_command_dedupe WHERE command_id = '{}')",
                world.event, world.event, world.command
            ),
        );
        assert_eq!(left.trim(), "1|0|1", "{column}");
    }
}

#[test]
fn an_event_whose_row_has_no_number_is_there_too() {
    let Some(world) = World::new() else { return };
    let more = world.outboxes();
    let db = world.without("sequence_number");
    let report = world.audit(&db, &more).expect(4).json();
    let found = of_code(&report, "event.unreadable");
    assert!(
        found
            .iter()
            .any(|f| f.2.contains(&world.event) && f.2.contains("sequence_number is NULL")),
        "{found:#?}"
    );
    // Without a witness the log itself tells of the row.
    let alone = world.audit(&db, &[]).expect(4).json();
    let found = of_code(&alone, "event.unreadable");
    assert!(found.iter().any(|f| f.2.contains("no number")), "{found:#?}");
    let (_, lines) = world.plan(&db, "plan.ndjson", &more);
    let planned = lines.lines().filter(|line| {
        line.contains(&world.event)
            && ["event", "append"]
                .iter()
                .any(|kind| line.contains(&format!("\"type\":\"{kind}\"")))
    });
    assert_eq!(planned.count(), 0, "the event is planned");
}

#[test]
fn a_row_that_does_not_say_which_event_it_has_keeps_its_place() {
    let Some(world) = World::new() else { return };
    let more = world.outboxes();
    let before = world.audit(&world.whole, &more).expect(4).json();
    let db = world.server.copy("nameless", &world.whole);
    db.execute(&format!(
        "ALTER TABLE ves_events DROP CONSTRAINT ves_events_pkey CASCADE;
         ALTER TABLE ves_events ALTER event_id DROP NOT NULL;
         UPDATE ves_events SET event_id = NULL WHERE event_id = '{}'",
        world.event
    ));
    let report = world.audit(&db, &more).expect(4).json();
    let found = of_code(&report, "event.unreadable");
    assert_eq!(
        found.iter().filter(|f| f.0 == Some(NUMBER)).count(),
        1,
        "{found:#?}"
    );
    assert_eq!(report["totals"]["missing"], before["totals"]["missing"]);
    let (_, lines) = world.plan(&db, "plan.ndjson", &more);
    assert!(!lines.contains(&world.event), "the event is planned");
}

#[test]
fn another_copy_of_the_log_makes_no_event_missing_that_is_there() {
    let Some(world) = World::new() else { return };
    let export = world.data.path("whole.jsonl");
    run(["export", "--db", &world.whole.arg(), "--out", &text(&export)]).expect(0);
    let copy = world.data.path("whole.db");
    world.whole.snapshot(copy.clone());
    let db = world.without("tenant_id");
    // A snapshot holds text, and so a uuid that is none.
    let path = world.data.path("damaged.db");
    let snapshot = Db::Snapshot(copy.clone()).file_copy(path);
    snapshot.execute(&format!(
        "UPDATE ves_events SET tenant_id = 'none' WHERE event_id = '{}'",
        world.event
    ));
    for (db, why) in [
        (db, "tenant_id is NULL"),
        (snapshot, "not a lower-case hyphenated uuid"),
    ] {
        for witness in [&copy, &export] {
            let more = ["--witness".to_owned(), text(witness)];
            let report = world.audit(&db, &more).expect(4).json();
            let found = of_code(&report, "event.unreadable");
            let told = found.iter().find(|f| f.2.contains(&world.event));
            let told = told.unwrap_or_else(|| panic!("{} {found:#?}", witness.display()));
            assert_eq!((told.0, told.2.contains(why)), (Some(NUMBER), true), "{told:?}");
            assert_eq!(of_code(&report, "gap.interior"), []);
            let (_, lines) = world.plan(&db, "copy.ndjson", &more);
            assert!(!lines.contains(&world.event), "the event is planned");
            fs::remove_file(world.data.path("copy.ndjson")).unwrap();
        }
    }
}
