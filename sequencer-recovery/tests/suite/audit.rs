//! Audits of real logs: a whole one, and one that a recovery gave back.

use crate::common;

use std::collections::BTreeMap;

use common::{ALPHA_STORE, CHARLIE_STORE, Data, Db, ECHO_STORE, GOLF_STORE, Server, args, assert_same, run};
use fixtures::{Cut, World, WorldSpec};
use serde_json::{Value, json};

fn audit(db: &Db, more: &[String]) -> common::Ran {
    run(args(["audit", "--format", "json", "--db", &db.arg()], more))
}

fn codes(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().map(|f| f["code"].as_str().unwrap()).collect()
}

#[test]
fn a_whole_log_is_whole_on_both_sides() {
    let data = Data::golden();
    let Some(server) = Server::start() else { return };
    let db = server.load("golden", &data.dir.join("log.copy.sql"));
    let file = db.snapshot(data.path("golden.db"));
    let (before, file_before) = (db.dump(), file.dump());
    let anchors = ["--anchors".into(), common::text(&data.anchors)];

    let mut report = audit(&db, &anchors).expect(0).json();
    assert_eq!(report["schema"], "recovery-audit/1");
    assert_eq!(report["no_problem_found"], true);
    let totals = &report["totals"];
    assert_eq!((&totals["streams"], &totals["events"]), (&json!(6), &json!(2061)));
    assert_eq!((&totals["missing"], &totals["problems"]), (&json!(0), &json!(0)));
    assert_eq!(
        totals["batches"],
        json!({"matches_anchors": 39, "matches_database": 0, "failed": 0, "not_checked": 0})
    );
    for stream in report["streams"].as_array().unwrap() {
        assert_eq!(stream["gaps"], json!([]));
        assert_eq!(stream["first"], 1);
        assert_eq!(stream["head"], stream["counter"]);
        assert_eq!(stream["head"], stream["head_known"]["sequence"]);
        assert_eq!(stream["receipts_matching"], stream["events"]);
        // Every signature, the 15 of ML-DSA-65 and of both too.
        assert_eq!(stream["signatures_valid"], stream["events"]);
        assert!(stream["signatures_not_checked"].is_null(), "{stream}");
    }
    // Not a bare OK: what was not looked at is said.
    let not_checked = report["not_checked"].to_string();
    for what in ["encrypted payload", "receipt signature", "outbox", "blocks"] {
        assert!(not_checked.contains(what), "{what:?} is not in {not_checked}");
    }

    let mut on_file = audit(&file, &anchors).expect(0).json();
    for report in [&mut report, &mut on_file] {
        report["db"].take();
        report["place"].take();
        without_indexes(report);
    }
    common::assert_json(&report, &on_file, "report");

    // No output mode changes the verdict.
    for format in ["table", "ndjson"] {
        let ran = run(args(["audit", "--format", format, "--db", &file.arg()], &anchors)).expect(0);
        ran.shows(&["MATCHES ANCHORS"]);
    }
    // Without anchors the database's own word is all there is, and is called so.
    let alone = audit(&file, &[]).expect(0).json();
    assert_eq!(alone["totals"]["batches"]["matches_database"], 39);
    assert_eq!(alone["totals"]["batches"]["matches_anchors"], 0);
    assert!(alone["not_checked"].to_string().contains("--anchors"));
    assert_same(&before, &db.dump());
    assert_same(&file_before, &file.dump());
}

/// Takes out which indexes were not compared: SQLite has other ones.
fn without_indexes(report: &mut Value) {
    let not_checked = report["not_checked"].as_array_mut().unwrap();
    not_checked.retain(|what| {
        let what = what.as_str().unwrap();
        !what.contains("index(es) that the server does not choose here") && !what.starts_with("the index of ")
    });
}

/// Damage that a whole log can have, and the finding that must follow.
#[test]
fn every_damage_is_found() {
    let world = World::generate(&WorldSpec {
        tenants: 1,
        stores_per_tenant: 1,
        events_per_stream: 40,
        batch_size: 10,
        cut: Cut::None,
        encrypted_rate: 0.0,
        command_id_rate: 1.0,
        ..WorldSpec::honest(5)
    });
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    world.write_log(&path("whole.db")).unwrap();
    world.write_anchors(&path("anchors.json")).unwrap();
    let anchors = ["--anchors".into(), common::text(&path("anchors.json"))];
    let whole = Db::Snapshot(path("whole.db"));
    let report = audit(&whole, &anchors).expect(0).json();
    assert_eq!(
        (report["totals"]["problems"].clone(), codes(&report)),
        (json!(0), vec![])
    );

    let event = "event_id = (SELECT event_id FROM ves_events WHERE sequence_number = 5)";
    let zeros =
        |table: &str, column: &str| format!("UPDATE {table} SET {column} = zeroblob(length({column}))");
    let of_event = |table: &str, column: &str| format!("{} WHERE {event}", zeros(table, column));
    let damages: Vec<(&str, String)> = vec![
        ("event.signing_hash", of_event("ves_events", "event_signing_hash")),
        (
            "event.payload_hash",
            format!("UPDATE ves_events SET payload = '{{\"a\": 2}}' WHERE {event}"),
        ),
        ("event.signature", of_event("ves_events", "agent_signature")),
        ("event.key", "DELETE FROM agent_signing_keys".into()),
        (
            "receipt.missing",
            format!("DELETE FROM ves_sequencer_receipts WHERE {event}"),
        ),
        (
            "receipt.mismatch",
            of_event("ves_sequencer_receipts", "receipt_hash"),
        ),
        ("gap.interior", format!("DELETE FROM ves_events WHERE {event}")),
        (
            "gap.leading",
            "DELETE FROM ves_events WHERE sequence_number = 1".into(),
        ),
        (
            "gap.tail",
            "DELETE FROM ves_events WHERE sequence_number = 40".into(),
        ),
        ("counter.missing", "DELETE FROM ves_sequence_counters".into()),
        (
            "counter.behind",
            "UPDATE ves_sequence_counters SET current_sequence = current_sequence - 1".into(),
        ),
        ("commitment.root", zeros("ves_commitments", "merkle_root")),
        (
            "commitment.state_root",
            zeros("ves_commitments", "new_state_root"),
        ),
        (
            "commitment.missing",
            "DELETE FROM ves_commitments WHERE sequence_start > 20".into(),
        ),
        (
            "commitment.gap",
            "DELETE FROM ves_commitments WHERE sequence_start = 11".into(),
        ),
        ("dedupe.missing", "DELETE FROM ves_command_dedupe".into()),
        ("dedupe.orphan", "UPDATE ves_events SET command_id = NULL".into()),
        (
            "version.drift",
            "UPDATE entity_versions SET version = version + 1".into(),
        ),
        ("anchor.conflict", zeros("ves_commitments", "merkle_root")),
        ("reissue", of_event("ves_events", "agent_signature")),
        (
            "projection.ahead",
            "UPDATE projection_checkpoints SET last_projected_sequence = 41".into(),
        ),
    ];
    for (n, (code, sql)) in damages.iter().enumerate() {
        let db = whole.file_copy(path(&format!("{n}.db")));
        db.execute(sql);
        let ran = audit(&db, &anchors);
        let report = ran.json();
        assert!(
            codes(&report).contains(code),
            "{code} is not among {:?}",
            codes(&report)
        );
        let finding = report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .find(|f| f["code"] == *code)
            .unwrap();
        let problem = finding["severity"] == "problem";
        assert!(ran.code == 4 || !problem, "{code}: {}", ran.code);
        assert_eq!(report["no_problem_found"], ran.code == 0, "{code}");
    }
    // A hole before it is used is a hole: the counter that is ahead is told, whatever it is called.
    let db = whole.file_copy(path("ahead.db"));
    db.execute("UPDATE ves_sequence_counters SET current_sequence = 43");
    let report = audit(&db, &anchors).json();
    assert!(codes(&report).contains(&"counter.ahead"));
    assert_eq!(gaps(&report).into_values().collect::<Vec<_>>(), [vec![(41, 43)]]);
}

/// The gaps of each stream as `(from, to)`, by store.
fn gaps(report: &Value) -> BTreeMap<String, Vec<(u64, u64)>> {
    let streams = report["streams"].as_array().unwrap();
    let range = |gap: &Value| (gap["from"].as_u64().unwrap(), gap["to"].as_u64().unwrap());
    streams
        .iter()
        .map(|s| {
            let gaps = s["gaps"].as_array().unwrap().iter().map(range).collect();
            (s["store_id"].as_str().unwrap().to_owned(), gaps)
        })
        .collect()
}

#[test]
fn a_recovered_log_lacks_what_the_truth_says_up_to_what_a_witness_knows() {
    let data = Data::scenario();
    let Some(server) = Server::start() else { return };
    let db = server.load("recovered", &data.dir.join("recovered.copy.sql"));
    let file = db.snapshot(data.path("recovered.db"));

    // From truth.json: the ranges of what is missing.
    let mut expected: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    for (store, missing) in data.truth().missing() {
        let ranges = expected.entry(store).or_default();
        for number in missing.into_keys() {
            match ranges.last_mut() {
                Some((_, to)) if *to + 1 == number => *to = number,
                _ => ranges.push((number, number)),
            }
        }
    }
    assert_eq!(expected[ALPHA_STORE], [(131, 228)]);
    assert_eq!(expected[CHARLIE_STORE], [(137, 203)]);
    assert_eq!(expected[GOLF_STORE], [(115, 217)]);
    // The event at 191 was foxtrot's, whose outbox is gone: no claim, receipt, commitment or anchor that is left
    // reaches beyond 190, so no audit can know that 191 was given out. The truth calls it unrestorable.
    assert_eq!(expected[ECHO_STORE], [(125, 191)]);
    assert_eq!(data.truth().missing()[ECHO_STORE][&191].class, "unrestorable");
    expected.insert(ECHO_STORE.into(), vec![(125, 190)]);

    let mut reports = Vec::new();
    for db in [&db, &file] {
        let mut report = audit(db, &data.witnesses()).expect(4).json();
        assert_eq!(gaps(&report), expected);
        assert_eq!(report["totals"]["missing"], 98 + 67 + 66 + 103);
        for stream in report["streams"].as_array().unwrap() {
            let store = stream["store_id"].as_str().unwrap();
            let truth = data.truth();
            let truth = truth.stream(store);
            assert_eq!(stream["head"], truth["head_recovered"]);
            assert_eq!(stream["counter"], truth["head_recovered"]);
            assert_eq!(stream["gaps"][0]["kind"], "tail");
            let head = if store == ECHO_STORE {
                json!(190)
            } else {
                truth["head_truth"].clone()
            };
            assert_eq!(stream["head_known"]["sequence"], head, "{store}");
            // Charlie and delta agree on 203; of the others' heads one agent alone knows.
            let grade = if store == CHARLIE_STORE {
                "corroborated"
            } else {
                "claimed"
            };
            assert_eq!(stream["head_known"]["grade"], grade, "{store}");
            // The witnesses' heads, each by its name.
            let of = |who: &str| {
                let all = stream["witnesses"].as_array().unwrap();
                all.iter()
                    .find(|w| w["who"].as_str().unwrap().starts_with(who))
                    .map(|w| w["sequence"].clone())
            };
            assert_eq!(of("the log's events"), Some(truth["head_recovered"].clone()));
            let lost = truth["commitments_lost"].as_array().unwrap();
            let anchored = lost.last().unwrap();
            let batch = format!("anchored batch {}", anchored["batch_id"].as_str().unwrap());
            if let Some(sequence) = of("anchored batch") {
                assert!(of(&batch).is_none_or(|s| s == sequence));
            }
            let agents: &[(&str, u64)] = match store {
                ALPHA_STORE => &[("alpha.db", 228), ("bravo.db", 227)],
                CHARLIE_STORE => &[("charlie.db", 203)],
                ECHO_STORE => &[("echo.db", 190)],
                _ => &[("hotel.db", 217)],
            };
            for (agent, head) in agents {
                let heads = stream["witnesses"].as_array().unwrap().iter();
                let highest = heads
                    .filter(|w| w["who"].as_str().unwrap().starts_with(agent))
                    .map(|w| w["sequence"].as_u64().unwrap())
                    .max();
                assert_eq!(highest, Some(*head), "{store} {agent}");
            }
        }
        let codes = codes(&report);
        for code in ["gap.tail", "counter.behind", "commitment.missing"] {
            assert!(codes.contains(&code), "{code}");
        }
        report["db"].take();
        report["place"].take();
        without_indexes(&mut report);
        reports.push(report);
    }
    common::assert_json(&reports[0], &reports[1], "report");

    // A tail is invisible to the log alone: no gap is found, and what would tell is NOT CHECKED.
    let alone = audit(&db, &[]).expect(0).json();
    assert!(gaps(&alone).values().all(Vec::is_empty));
    let not_checked = alone["not_checked"].to_string();
    assert!(
        not_checked.contains("--outbox") && not_checked.contains("--anchors"),
        "{not_checked}"
    );
    let table = run(["audit", "--db", &db.arg()]).expect(0);
    assert!(table.stdout.contains("NOT CHECKED") && table.stdout.contains("--outbox"));

    // The chain alone knows as far as it was told.
    let chain = audit(&db, &["--anchors".into(), common::text(&data.anchors)])
        .expect(4)
        .json();
    for (store, gaps) in gaps(&chain) {
        let truth = data.truth();
        let head = truth.stream(&store)["head_recovered"].as_u64().unwrap();
        let streams = chain["streams"].as_array().unwrap();
        let known =
            streams.iter().find(|s| s["store_id"] == store.as_str()).unwrap()["head_known"]["sequence"]
                .clone();
        let known = known.as_u64().unwrap();
        let expected: Vec<(u64, u64)> = if known > head {
            vec![(head + 1, known)]
        } else {
            vec![]
        };
        assert_eq!(gaps, expected, "{store}");
    }

    // One stream alone.
    let mut one = data.witnesses();
    one.extend(["--store".into(), ECHO_STORE.into()]);
    let one = audit(&file, &one).expect(4).json();
    assert_eq!(
        gaps(&one),
        BTreeMap::from([(ECHO_STORE.to_owned(), vec![(125, 190)])])
    );
}
