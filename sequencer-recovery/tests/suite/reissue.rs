//! Numbers that were given out twice: the counter was rewound, the sequencer went on, and then the operator came.

use crate::common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use common::writer::Writer;
use common::{Db, Dump, Server, apply, args, assert_same, get, hex, run, text};
use fixtures::{Cut, StreamTruth, Truth, World, WorldSpec};
use serde_json::Value;
use tempfile::TempDir;

/// Every outbox is there and right, so that all of the anchored history can be found again.
fn spec(seed: u64) -> WorldSpec {
    WorldSpec {
        cut: Cut::Fraction(0.3),
        tenants: 1,
        reissued_per_stream: 12,
        repushed_per_stream: 4,
        ..WorldSpec::honest(seed)
    }
}

struct Stage {
    folder: TempDir,
    truth: Truth,
    world: World,
    key: PathBuf,
}

impl Stage {
    fn of(spec: &WorldSpec) -> Self {
        let world = World::generate(spec);
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        world.write_recovered(&path("recovered.db")).unwrap();
        world.write_recovered_copy(&path("recovered.sql")).unwrap();
        world.write_anchors(&path("anchors.json")).unwrap();
        world.write_outboxes(&path("outboxes")).unwrap();
        let key = path("key");
        std::fs::write(&key, hex(&world.sequencer_key().to_bytes())).unwrap();
        Self {
            truth: world.truth(),
            key,
            folder,
            world,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn snapshot(&self) -> Db {
        let copy = self.path("work.db");
        std::fs::copy(self.path("recovered.db"), &copy).unwrap();
        Db::Snapshot(copy)
    }

    fn witnesses(&self) -> Vec<String> {
        let path = |name: &str| text(&self.path(name));
        vec![
            "--outbox".into(),
            path("outboxes"),
            "--anchors".into(),
            path("anchors.json"),
        ]
    }

    fn plan(&self, db: &Db, name: &str, more: &[&str]) -> (PathBuf, common::Ran) {
        let out = self.path(name);
        let mut all = self.witnesses();
        all.extend(more.iter().map(|s| (*s).to_owned()));
        let ran = common::plan(db, &out, &all);
        (out, ran)
    }

    fn audit(&self, db: &Db) -> (i32, Value) {
        let ran = run(args(
            ["audit", "--format", "json", "--db", &db.arg()],
            &self.witnesses(),
        ));
        (ran.code, ran.json())
    }
}

/// Position → event of one stream.
fn events(dump: &Dump, store: &str) -> BTreeMap<u64, String> {
    let rows = dump.of_store("ves_events", store);
    rows.into_iter()
        .map(|row| {
            (
                get(row, "sequence_number").parse().unwrap(),
                get(row, "event_id").to_owned(),
            )
        })
        .collect()
}

fn of_stream<'a>(list: &'a Value, stream: &StreamTruth) -> &'a Value {
    let store = stream.stream.store_id.to_string();
    list.as_array()
        .unwrap()
        .iter()
        .find(|s| s["store_id"] == store)
        .unwrap()
}

/// The numbers of a stream that two events have had. An event that was pushed again may have got its own number again.
fn twice(stream: &StreamTruth) -> Vec<&fixtures::Reissued> {
    let anchored = last_anchored(stream);
    stream
        .reissued
        .iter()
        .filter(|r| r.was != Some(r.number) || r.number > anchored)
        .collect()
}

fn last_anchored(stream: &StreamTruth) -> u64 {
    let ends = stream
        .commitments
        .iter()
        .filter(|c| c.anchored)
        .map(|c| c.sequence_end);
    ends.max().unwrap_or(0)
}

/// The anchored history is back, and the newcomers stand behind everything, in the order in which they stood.
fn check_kept_anchored(stage: &Stage, before: &Dump, after: &Dump, planned: &Value) {
    for stream in &stage.truth.streams {
        let store = stream.stream.store_id.to_string();
        let (was, is) = (events(before, &store), events(after, &store));
        let counter_before_move = of_stream(&planned["streams"], stream)["floor"]["counter"]
            .as_u64()
            .unwrap();
        let anchored = last_anchored(stream);
        for event in stream.events.iter().filter(|e| e.number <= anchored) {
            assert_eq!(
                is.get(&event.number),
                Some(&event.event_id.to_string()),
                "{store} {}",
                event.number
            );
        }
        // No event is lost, none is there twice.
        let ids: BTreeSet<&String> = is.values().collect();
        assert_eq!(ids.len(), is.len());
        assert!(was.values().all(|id| ids.contains(id)), "{store}");
        // Those that are new stand at the end, without a hole, in their order.
        let brought_back: BTreeSet<String> = stream
            .reissued
            .iter()
            .filter(|r| {
                r.was
                    .is_some_and(|was| is.get(&was) == Some(&r.event_id.to_string()))
            })
            .map(|r| r.event_id.to_string())
            .collect();
        let newcomers: Vec<String> = stream
            .reissued
            .iter()
            .map(|r| r.event_id.to_string())
            .filter(|id| !brought_back.contains(id))
            .collect();
        assert!(!newcomers.is_empty());
        let tail: Vec<(u64, String)> = is
            .range(counter_before_move + 1..)
            .map(|(n, e)| (*n, e.clone()))
            .collect();
        let expected: Vec<(u64, String)> = (counter_before_move + 1..).zip(newcomers).collect();
        assert_eq!(tail, expected, "{store}");
        assert_eq!(after.counter(&store), tail.last().map(|(n, _)| *n), "{store}");
        // What was anchored is committed as it was, and nothing else is.
        let committed: BTreeSet<(String, String)> = after
            .of_store("ves_commitments", &store)
            .into_iter()
            .map(|c| (get(c, "batch_id").to_owned(), get(c, "new_state_root").to_owned()))
            .collect();
        for c in stream.commitments.iter().filter(|c| c.anchored) {
            let root = format!("\\x{}", hex(&c.new_state_root.0));
            assert!(
                committed.contains(&(c.batch_id.to_string(), root)),
                "{store} {}",
                c.batch_id
            );
        }
        let known: BTreeSet<String> = stream
            .commitments
            .iter()
            .map(|c| c.batch_id.to_string())
            .collect();
        assert!(committed.iter().all(|(id, _)| known.contains(id)), "{store}");
        // Every event has the receipt of the number that it has.
        let receipts: BTreeMap<&str, u64> = after
            .table("ves_sequencer_receipts")
            .iter()
            .map(|r| (get(r, "event_id"), get(r, "sequence_number").parse().unwrap()))
            .collect();
        for (number, id) in &is {
            assert_eq!(receipts.get(id.as_str()), Some(number), "{store}");
        }
    }
}

fn keep_anchored(stage: &Stage, db: &Db) {
    let before = db.dump();
    let (code, audit) = stage.audit(db);
    assert_eq!(code, 4);
    for stream in &stage.truth.streams {
        let report = of_stream(&audit["streams"], stream);
        let anchored = last_anchored(stream);
        let by_number: BTreeMap<u64, &Value> = report["reissue"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| (r["sequence"].as_u64().unwrap(), r))
            .collect();
        // Both histories, number by number, and both are true.
        for reissued in twice(stream) {
            let shown = by_number[&reissued.number];
            assert_eq!(shown["now"], reissued.event_id.to_string());
            if reissued.number <= anchored {
                assert_eq!(shown["before"], reissued.promised_to.unwrap().to_string());
                assert_eq!(shown["before_grade"], "proven");
            }
        }
        assert_eq!(by_number.len(), twice(stream).len());
        let found = audit["findings"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|f| f["code"] == "reissue");
        assert!(found.count() >= stage.truth.streams.len());
    }

    let (path, planned) = stage.plan(db, "anchored.plan", &["--on-reissue", "keep-anchored"]);
    let planned = planned.json();
    let undo = stage.path("undo");
    let key = text(&stage.key);
    let applied = apply(db, &path, &["--undo", &text(&undo), "--sequencer-key", &key]);
    assert_eq!(applied.code & !4, 1, "{}{}", applied.stdout, applied.stderr);
    let after = db.dump();
    check_kept_anchored(stage, &before, &after, &planned);
    let public = hex(&stage.world.sequencer_public_key().to_bytes());
    let mut more = stage.witnesses();
    more.extend(["--sequencer-public-key".into(), public]);
    let audit = run(args(["audit", "--format", "json", "--db", &db.arg()], &more)).json();
    let codes: BTreeSet<&str> = audit["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["severity"] == "problem")
        .map(|f| f["code"].as_str().unwrap())
        .collect();
    // Only what lies behind the anchors and was not asked for is open.
    assert!(
        codes.iter().all(|c| ["gap.interior", "gap.tail"].contains(c)),
        "{codes:?} {audit:#}"
    );
    assert_eq!(audit["totals"]["batches"]["failed"], 0);

    // Again: nothing to do. Back: as it was, row by row.
    let again = apply(db, &path, &[]).json();
    for stream in again["streams"].as_array().unwrap() {
        assert_eq!(stream["status"], "already_applied", "{stream}");
    }
    run(["undo", &text(&undo), "--db", &db.arg()]).expect(1);
    assert_same(&without_times(before), &without_times(db.dump()));
}

/// An undo tells its own time.
fn without_times(mut dump: Dump) -> Dump {
    for row in dump.0.values_mut().flatten() {
        row.remove("updated_at");
    }
    dump.0.values_mut().for_each(|rows| rows.sort());
    dump
}

#[test]
fn the_anchored_history_comes_back_and_the_newcomers_go_behind_it_in_a_snapshot() {
    for seed in 1..=3 {
        let stage = Stage::of(&WorldSpec {
            reissue_commits: seed == 2,
            ..spec(seed)
        });
        keep_anchored(&stage, &stage.snapshot());
    }
}

#[test]
fn the_anchored_history_comes_back_and_the_newcomers_go_behind_it_in_postgresql() {
    let Some(server) = Server::start() else { return };
    let stage = Stage::of(&WorldSpec {
        reissue_commits: true,
        ..spec(4)
    });
    let db = server.load("reissue", &stage.path("recovered.sql"));
    keep_anchored(&stage, &db);
    // And on the way forward the sequencer goes on behind all of it.
    let (path, _) = stage.plan(
        &db,
        "again.plan",
        &["--on-reissue", "keep-anchored", "--accept", "claimed"],
    );
    apply(&db, &path, &[]);
    let dump = db.dump();
    let mut writer = Writer::connect(&db.arg(), 7);
    for stream in &stage.truth.streams {
        let counter = dump.counter(&stream.stream.store_id.to_string()).unwrap();
        assert_eq!(writer.append(&stream.stream).unwrap(), counter + 1);
    }
}

#[test]
fn without_a_decision_nothing_is_touched_but_the_counter_and_both_histories_are_shown() {
    let stage = Stage::of(&spec(5));
    for (name, decision) in [("stop", None), ("current", Some("keep-current"))] {
        let db = stage.snapshot();
        let before = db.dump();
        let more: Vec<&str> = decision.into_iter().flat_map(|d| ["--on-reissue", d]).collect();
        let (path, planned) = stage.plan(&db, name, &more);
        let planned = planned.expect(4).json();
        let (_, shown) = stage.plan(&db, &format!("{name}-table"), &more);
        apply(&db, &path, &[]).expect(5);
        let after = db.dump();
        for stream in &stage.truth.streams {
            let store = stream.stream.store_id.to_string();
            let of_plan = of_stream(&planned["streams"], stream);
            assert_eq!(of_plan["reissue"].as_array().unwrap().len(), twice(stream).len());
            let note = of_plan["reissue_note"].as_str().unwrap();
            assert!(
                note.contains(if decision.is_some() {
                    "SetRegistry refuses"
                } else {
                    "--on-reissue"
                }),
                "{note}"
            );
            let (was, is) = (events(&before, &store), events(&after, &store));
            assert!(
                was.iter().all(|(n, id)| is.get(n) == Some(id)),
                "{store}: nothing moves"
            );
            let first = stream.reissued[0].number;
            if decision.is_none() {
                assert!(
                    is.range(first..).eq(was.range(first..)),
                    "{store}: nothing is added behind"
                );
            }
            for event in stream.events.iter().filter(|e| !was.contains_key(&e.number)) {
                if let Some(id) = is.get(&event.number) {
                    assert_eq!(*id, event.event_id.to_string(), "{store}");
                }
            }
            assert!(after.counter(&store) >= Some(last_anchored(stream)), "{store}");
            assert!(after.counter(&store) >= is.keys().last().copied());
        }
        assert!(planned["totals"]["reissued_left"].as_u64().unwrap() > 0);
        drop(shown);
    }
}

#[test]
fn a_stream_that_was_only_cut_is_no_reissue() {
    let stage = Stage::of(&WorldSpec {
        reissued_per_stream: 0,
        repushed_per_stream: 0,
        wrong_claim_rate: 0.5,
        rejected_rate: 0.2,
        ..spec(6)
    });
    let db = stage.snapshot();
    let (_, audit) = stage.audit(&db);
    assert!(!audit.to_string().contains("given out twice"), "{audit:#}");
    let (path, planned) = stage.plan(&db, "plan", &["--on-reissue", "keep-anchored"]);
    assert_eq!(planned.json()["totals"]["moves"], 0);
    assert!(
        !std::fs::read_to_string(Path::new(&path))
            .unwrap()
            .contains("\"type\":\"move\"")
    );
}

#[test]
fn a_moved_log_is_refused_and_stays_as_it_was() {
    let stage = Stage::of(&spec(7));
    let db = stage.snapshot();
    let (path, _) = stage.plan(&db, "plan", &["--on-reissue", "keep-anchored"]);
    let store = stage.truth.streams[0].stream.store_id.to_string();
    let last = events(&db.dump(), &store).keys().last().copied().unwrap();
    db.execute(&format!(
        "DELETE FROM ves_sequencer_receipts WHERE sequence_number = {last}"
    ));
    let before = db.dump();
    let ran = apply(&db, &path, &[]);
    assert_eq!(ran.code & 8, 8);
    let after = db.dump();
    assert_eq!(events(&before, &store), events(&after, &store));
}

#[test]
fn without_block_times_the_root_alone_shows_from_where_on_numbers_were_given_out_again() {
    let stage = Stage::of(&WorldSpec {
        repushed_per_stream: 1,
        pulling_rate: 1.0,
        ..spec(8)
    });
    let file = stage.path("anchors.json");
    let mut anchors: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    for anchor in anchors["anchors"].as_array_mut().unwrap() {
        anchor.as_object_mut().unwrap().remove("block_timestamp");
    }
    std::fs::write(&file, anchors.to_string()).unwrap();
    keep_anchored(&stage, &stage.snapshot());
}
