//! Setting outboxes right, on the real disaster: against the repaired log, the recovered one, and an epoch alone.

use crate::common;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use common::Scenario;
use common::writer::Writer;
use outbox_sync::epoch::{EpochStream, RecoveryEpoch, RestoredNumber};
use outbox_sync::known::KnownLog;
use outbox_sync::reconcile::{LogKnowledge, ReconcileError, apply, plan};
use outbox_sync::{KeyBook, Origin, Outbox, OutboxStatus};
use rusqlite::Connection;
use serde_json::Value;
use ves::StreamKey;

/// The state and number of every row of an agent's own events, by event.
fn own_rows(path: &Path) -> BTreeMap<String, (OutboxStatus, Option<u64>)> {
    let mut rows = BTreeMap::new();
    for row in common::rows(&Outbox::open(path).unwrap()) {
        let row = row.unwrap();
        if let Origin::Outbox { status, .. } = row.origin {
            let number = row.claimed_sequence.or(row.older_log_sequence);
            rows.insert(row.event_id.to_string(), (status, number));
        }
    }
    rows
}

fn pulled_rows(path: &Path) -> BTreeMap<u64, String> {
    let mut rows = BTreeMap::new();
    for row in common::rows(&Outbox::open(path).unwrap()) {
        let row = row.unwrap();
        if matches!(row.origin, Origin::Pulled) {
            rows.insert(row.claimed_sequence.unwrap(), row.event_id.to_string());
        }
    }
    rows
}

fn outboxes(scenario: &Scenario) -> Vec<std::path::PathBuf> {
    let folder = scenario.path().join("outboxes");
    let found = outbox_sync::expand_inputs(&[folder.to_str().unwrap()], &[], outbox_sync::Purpose::Change);
    found.unwrap().files
}

#[test]
fn against_the_repaired_log_every_state_and_number_becomes_true() {
    let Some(scenario) = Scenario::load() else { return };
    let folder = scenario.path().join("outboxes");
    let untouched = common::fingerprint(&folder);
    let before: BTreeMap<_, _> = outboxes(&scenario)
        .into_iter()
        .map(|p| (p.clone(), own_rows(&p)))
        .collect();
    let inputs = ["reconcile", "outboxes", "older", "--db", "truth.log"];
    let (code, document, err) = scenario.json(&inputs);
    assert_eq!((code, err.as_str()), (4, ""));
    assert_eq!(
        common::fingerprint(&folder),
        untouched,
        "a dry run changes no byte"
    );
    let planned: usize = document["outboxes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o["changes"].as_array().unwrap().len())
        .sum();
    assert!(planned > 66 + 18 + 52, "{planned}");

    std::fs::create_dir(scenario.path().join("backups")).unwrap();
    let with_apply = [&inputs[..], &["--apply", "--backup-dir", "backups"]].concat();
    let (code, document, err) = scenario.json(&with_apply);
    assert_eq!((code, err.as_str()), (1, ""), "{document}");
    let events = scenario.truth["events"].as_object().unwrap();
    for (path, before) in &before {
        let after = own_rows(path);
        assert_eq!(after.len(), before.len());
        for (event, (status, number)) in after {
            let was = before[&event];
            let expected = match events[&event]["sequence_truth"].as_u64() {
                Some(number) => (OutboxStatus::Synced, Some(number)),
                None if was.0 == OutboxStatus::Synced => (OutboxStatus::Pending, None),
                None => was,
            };
            assert_eq!((status, number), expected, "{} {event}", path.display());
        }
        for (number, event) in pulled_rows(path) {
            assert_eq!(
                events[&event]["sequence_truth"],
                number,
                "{} {event}",
                path.display()
            );
        }
        // The backup is the outbox as it was.
        let done = document["outboxes"].as_array().unwrap().iter();
        let done = done
            .into_iter()
            .find(|o| path.ends_with(o["path"].as_str().unwrap()))
            .unwrap();
        if let Some(backup) = done["backup"].as_str() {
            assert_eq!(own_rows(&scenario.path().join(backup)), *before);
        }
    }
    // The older shape too: what its acknowledgements say is true now; rows of the older log are as they were.
    for (event, (status, number)) in own_rows(&scenario.path().join("older/foxtrot-ves.db")) {
        let truth = events.get(&event).and_then(|e| e["sequence_truth"].as_u64());
        let expected = truth.map_or((OutboxStatus::Pending, None), |n| (OutboxStatus::Synced, Some(n)));
        assert_eq!((status, number), expected, "{event}");
    }
    assert_eq!(
        own_rows(&scenario.path().join("older/legacy-agent.db"))
            .values()
            .filter(|(s, _)| *s == OutboxStatus::Synced)
            .count(),
        31
    );

    let settled = common::fingerprint(&folder);
    let (code, document, err) = scenario.json(&with_apply);
    assert_eq!((code, err.as_str()), (0, ""), "{document}");
    assert_eq!(
        common::fingerprint(&folder),
        settled,
        "a second run changes nothing"
    );
}

#[test]
fn against_the_recovered_log_lost_events_are_pending_again_and_cursors_clipped() {
    let Some(scenario) = Scenario::load() else { return };
    let (code, _, err) = scenario.json(&["reconcile", "outboxes", "--db", "recovered.log", "--apply"]);
    assert_eq!((code, err.as_str()), (1, ""));
    let events = scenario.truth["events"].as_object().unwrap();
    let heads: HashMap<String, u64> = scenario.truth["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| {
            (
                s["store_id"].as_str().unwrap().to_owned(),
                s["head_recovered"].as_u64().unwrap(),
            )
        })
        .collect();
    for path in outboxes(&scenario) {
        for (event, (status, number)) in own_rows(&path) {
            if events[&event]["in_recovered"].as_bool().unwrap() {
                assert_eq!(
                    (status, number),
                    (OutboxStatus::Synced, events[&event]["sequence_truth"].as_u64())
                );
            } else {
                assert!(status != OutboxStatus::Synced && number.is_none(), "{event}");
            }
        }
        let outbox = Outbox::open(&path).unwrap();
        let meta = outbox.meta();
        let head = heads[&meta.store_id.unwrap().to_string()];
        assert!(meta.head_sequence.unwrap() <= head && meta.last_pushed_sequence.unwrap() <= head);
        assert!(meta.last_pulled_sequence.unwrap() <= head + 1);
        assert!(pulled_rows(&path).keys().all(|number| *number <= head));
        let connection = Connection::open(&path).unwrap();
        let aside: i64 = connection
            .query_row(
                "SELECT count(*) FROM sqlite_schema WHERE name = '_ves_set_aside_events'",
                [],
                |r| r.get(0),
            )
            .unwrap();
        let had_pulled = ["alpha", "bravo", "echo", "hotel"]
            .iter()
            .any(|n| path.ends_with(format!("{n}.db")));
        assert_eq!(aside == 1, had_pulled, "{}", path.display());
    }
    let (code, _, _) = scenario.json(&["reconcile", "outboxes", "--db", "recovered.log", "--apply"]);
    assert_eq!(code, 0);
    // Then the log is repaired: the same command sets them right again.
    let (code, _, _) = scenario.json(&["reconcile", "outboxes", "--db", "truth.log", "--apply"]);
    assert_eq!(code, 1);
}

/// The epoch of a repair that restored everything, as the operator would write it.
fn epoch(scenario: &Scenario) -> RecoveryEpoch {
    let streams = scenario.truth["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| EpochStream {
            stream: StreamKey::new(
                s["tenant_id"].as_str().unwrap().parse().unwrap(),
                s["store_id"].as_str().unwrap().parse().unwrap(),
            ),
            recovered_head: s["head_recovered"].as_u64().unwrap(),
            head: s["head_truth"].as_u64().unwrap(),
            counter: s["head_truth"].as_u64().unwrap() + 10,
            generation: None,
            restored: s["missing"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(number, missing)| RestoredNumber {
                    sequence_number: number.parse().unwrap(),
                    event_id: missing["event_id"].as_str().unwrap().parse().unwrap(),
                })
                .collect(),
        });
    let at = "2026-11-20T08:00:00Z".parse().unwrap();
    RecoveryEpoch::new(uuid::Uuid::from_u128(7), at, streams.collect()).unwrap()
}

#[test]
fn an_epoch_alone_tells_an_agent_what_it_can() {
    let Some(scenario) = Scenario::load() else { return };
    let key = ed25519_dalek::SigningKey::from_bytes(&[5; 32]);
    let mut signed = epoch(&scenario);
    signed.sign(&key).unwrap();
    signed.write(&scenario.path().join("epoch.json")).unwrap();
    let public = hex::encode(key.verifying_key().to_bytes());
    let base = [
        "reconcile",
        "outboxes",
        "--epoch",
        "epoch.json",
        "--epoch-public-key",
    ];
    let other = "00".repeat(31) + "01";
    for wrong in [&*other, &public[..62]] {
        let (code, _, err) = common::run(scenario.path(), &[&base[..], &[wrong]].concat());
        assert!(code == 8 && err.contains("epoch"), "{err}");
    }
    let (code, document, err) = scenario.json(&[&base[..], &[&public, "--apply"]].concat());
    assert_eq!((code, err.as_str()), (1, ""), "{document}");
    let not_checked = document["not_checked"].to_string();
    assert!(
        not_checked.contains("at or below the recovered head"),
        "{not_checked}"
    );
    let events = scenario.truth["events"].as_object().unwrap();
    for path in outboxes(&scenario) {
        let outbox = Outbox::open(&path).unwrap();
        assert_eq!(
            outbox.meta().recovery_epoch.as_deref(),
            Some("00000000-0000-0000-0000-000000000007")
        );
        drop(outbox);
        for (event, (status, number)) in own_rows(&path) {
            let truth = events[&event]["sequence_truth"].as_u64();
            let in_recovered = events[&event]["in_recovered"].as_bool().unwrap();
            if truth.is_some() && !in_recovered {
                assert_eq!((status, number), (OutboxStatus::Synced, truth), "{event}");
            }
            // Whatever it could not know it did not invent: a number above the head is true.
            if let Some(number) = number.filter(|_| !in_recovered) {
                assert!(
                    truth == Some(number) || number <= 136,
                    "{event} {number} {truth:?}"
                );
            }
        }
    }
    let (code, _, _) = scenario.json(&[&base[..], &[&public, "--apply"]].concat());
    assert_eq!(code, 0);
}

fn facts(log: &mut KnownLog) -> LogKnowledge<'_> {
    LogKnowledge {
        log: Some(log),
        epoch: None,
        receipts: HashMap::new(),
    }
}

#[test]
fn a_row_that_changed_since_the_plan_stops_everything() {
    let Some(scenario) = Scenario::load() else { return };
    let path = scenario.path().join("outboxes/bravo.db");
    let mut log = KnownLog::open(&cli_common::DbTarget::Snapshot(scenario.path().join("truth.log"))).unwrap();
    let planned = plan(&path, &mut facts(&mut log), &mut KeyBook::default()).unwrap();
    let last = planned.changes.iter().rev().find(|c| c.to.is_some()).unwrap();
    Connection::open(&path)
        .unwrap()
        .execute(
            "UPDATE _ves_outbox SET sync_status = 'failed' WHERE local_seq = ?1",
            [last.place.row],
        )
        .unwrap();
    let before = own_rows(&path);
    let error = apply(&planned, &scenario.path().join("a.bak")).unwrap_err();
    assert!(matches!(error, ReconcileError::Drift { .. }), "{error}");
    assert_eq!(own_rows(&path), before);
    // A backup that cannot be made stops it too.
    let again = plan(&path, &mut facts(&mut log), &mut KeyBook::default()).unwrap();
    let error = apply(&again, &scenario.path().join("no/such/folder.bak")).unwrap_err();
    assert!(matches!(error, ReconcileError::Backup(_)), "{error}");
    let error = apply(&again, &scenario.path().join("a.bak")).unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
    assert_eq!(own_rows(&path), before);
    apply(&again, &scenario.path().join("b.bak")).unwrap();
    assert!(
        plan(&path, &mut facts(&mut log), &mut KeyBook::default())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn the_wrong_log_and_hopeless_arguments_are_refused() {
    let Some(scenario) = Scenario::load() else { return };
    let snapshot = event_log::Snapshot::create(&scenario.path().join("empty.log")).unwrap();
    snapshot.finish().unwrap();
    let before = common::fingerprint(&scenario.path().join("outboxes"));
    let (code, document, err) = scenario.json(&["reconcile", "outboxes", "--db", "empty.log", "--apply"]);
    // An empty log is a problem of its own.
    assert_eq!(code, 8 | 4);
    assert!(err.contains("is it the right log?"), "{err}");
    assert_eq!(document["outboxes"], Value::Array(Vec::new()));
    assert_eq!(common::run(scenario.path(), &["reconcile", "outboxes"]).0, 16);
    let (code, _, _) = common::run(scenario.path(), &["reconcile", "outboxes", "--db", "none.log"]);
    assert_eq!(code, 8);
    assert_eq!(common::fingerprint(&scenario.path().join("outboxes")), before);
}

#[test]
fn two_contents_of_one_event_are_left_to_people() {
    let Some(scenario) = Scenario::load() else { return };
    let path = scenario.path().join("outboxes/charlie.db");
    Connection::open(&path)
        .unwrap()
        .execute(
            "UPDATE _ves_outbox SET entity_id = entity_id || 'x' \
             WHERE local_seq = (SELECT min(local_seq) FROM _ves_outbox WHERE sync_status = 'synced')",
            [],
        )
        .unwrap();
    let mut log = KnownLog::open(&cli_common::DbTarget::Snapshot(scenario.path().join("truth.log"))).unwrap();
    let planned = plan(&path, &mut facts(&mut log), &mut KeyBook::default()).unwrap();
    assert_eq!(planned.conflicts.len(), 1, "{:?}", planned.conflicts);
    assert!(planned.conflicts[0].contains("another content"));
}

#[test]
fn reconciling_and_backing_up_beside_a_live_agent() {
    let Some(scenario) = Scenario::load() else { return };
    let path = scenario.path().join("outboxes/alpha.db");
    let rows = own_rows(&path).len();
    let writer = Writer::start(&path, "wal");
    let mut log = KnownLog::open(&cli_common::DbTarget::Snapshot(scenario.path().join("truth.log"))).unwrap();
    for round in 0..5 {
        let out = scenario.path().join(format!("live-{round}.bak"));
        let done = outbox_sync::backup::backup(&path, &out, false).unwrap();
        assert_eq!(own_rows(&out).len() as u64, done.counts.total());
        assert!(done.counts.total() >= rows as u64);
    }
    let planned = plan(&path, &mut facts(&mut log), &mut KeyBook::default()).unwrap();
    apply(&planned, &scenario.path().join("live.bak")).unwrap();
    writer.stop();
    let events = scenario.truth["events"].as_object().unwrap();
    for (event, (status, number)) in own_rows(&path) {
        if let Some(truth) = events.get(&event).and_then(|e| e["sequence_truth"].as_u64()) {
            assert_eq!((status, number), (OutboxStatus::Synced, Some(truth)));
        }
    }
}

#[test]
fn a_backup_never_takes_the_place_of_a_better_one() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    drop(common::create(&at("a.db"), common::OUTBOX_V3, 200));
    assert_eq!(
        common::run(dir.path(), &["backup", "a.db", "--out", "a.bak"]).0,
        0
    );
    let good = std::fs::read(at("a.bak")).unwrap();
    assert_eq!(common::rows(&Outbox::open(&at("a.bak")).unwrap()).len(), 200);
    assert_eq!(
        common::run(dir.path(), &["backup", "a.db", "--out", "a.bak"]).0,
        8
    );
    assert_eq!(
        common::run(dir.path(), &["backup", "a.db", "--out", "a.db", "--replace"]).0,
        8
    );
    // A damaged outbox is no reason to lose the backup of the sound one.
    let mut bytes = std::fs::read(at("a.db")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].fill(0xa5);
    std::fs::write(at("a.db"), &bytes).unwrap();
    for cut in [bytes.len(), bytes.len() / 2, 0] {
        std::fs::write(at("a.db"), &bytes[..cut]).unwrap();
        let (code, _, err) = common::run(dir.path(), &["backup", "a.db", "--out", "a.bak", "--replace"]);
        assert!(code == 8 && err.contains("a.db"), "{err}");
        assert_eq!(std::fs::read(at("a.bak")).unwrap(), good);
    }
    let names = common::fingerprint(dir.path());
    assert_eq!(names.len(), 2, "nothing half is left: {names:?}");
    drop(common::create(&at("b.db"), common::OUTBOX_V3, 3));
    let (code, out, _) = common::run(dir.path(), &["backup", "b.db", "--out", "a.bak", "--replace"]);
    assert!(code == 0 && out.contains("3 own events"), "{out}");
}

#[test]
fn an_older_agent_that_waits_for_an_acknowledgement_sends_again() {
    let Some(scenario) = Scenario::load() else { return };
    let path = scenario.path().join("older/foxtrot-ves.db");
    let waiting = |path: &Path| -> i64 {
        let sql = "SELECT count(*) FROM outbox WHERE pushed_at IS NOT NULL AND acked_at IS NULL";
        Connection::open(path)
            .unwrap()
            .query_row(sql, [], |row| row.get(0))
            .unwrap()
    };
    Connection::open(&path)
        .unwrap()
        .execute_batch("UPDATE outbox SET pushed_at = '2026-11-20T05:58:11+00:00' WHERE acked_at IS NULL")
        .unwrap();
    assert_eq!(waiting(&path), 8);
    let base = [
        "reconcile",
        "older/foxtrot-ves.db",
        "--db",
        "recovered.log",
        "--apply",
    ];
    let (code, document, err) = scenario.json(&base);
    assert_eq!((code, err.as_str()), (1, ""), "{document}");
    assert_eq!(waiting(&path), 0);
    assert!(
        own_rows(&path)
            .values()
            .all(|row| *row == (OutboxStatus::Pending, None))
    );
    assert_eq!(scenario.json(&base).0, 0);
}
