//! Many small worlds in which everything goes wrong that goes wrong with real outboxes: what is planned by default is
//! true in each of them, whatever is accepted.
//!
//! `RECOVERY_WORLDS=500` makes more of them, `RECOVERY_FIRST_WORLD=…` other ones.

use crate::common;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cli_common::{Cancel, DbTarget, NoProgress};
use common::{Compared, Db, Section, read_plan};
use event_log::Log;
use fixtures::{Cut, HeldClass, StreamTruth, Truth, World, WorldSpec};
use sequencer_recovery::apply::{ApplyOptions, ApplyReport, apply};
use sequencer_recovery::grade::{Accept, Grade};
use sequencer_recovery::plan::plan_file::PlanFile;
use sequencer_recovery::plan::planned::PlannedOpen;
use sequencer_recovery::plan::{PlanOptions, PlanRequest, PlanSummary, plan};
use sequencer_recovery::stream::survey::SurveyInput;
use sequencer_recovery::witness::Inputs;
use tempfile::TempDir;
use ves::StreamKey;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Another world for each seed, most things wrong in each.
fn spec(seed: u64) -> WorldSpec {
    let pick = |choices: u64, salt: u64| {
        (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(salt as u32) >> 7) % choices
    };
    WorldSpec {
        seed,
        tenants: 1 + pick(2, 1) as usize,
        stores_per_tenant: 1,
        agents_per_stream: 1 + pick(3, 3) as usize,
        events_per_stream: 40 + 10 * pick(4, 5) as usize,
        batch_size: 4 + 4 * pick(3, 7) as usize,
        cut: Cut::Fraction([0.0, 0.2, 0.5, 0.9, 1.0][pick(5, 9) as usize]),
        anchored_fraction: [0.0, 0.5, 1.0][pick(3, 11) as usize],
        wrong_claim_rate: [0.0, 0.2, 0.6][pick(3, 13) as usize],
        rejected_rate: 0.1,
        lost_answer_rate: 0.1,
        lost_outboxes: pick(2, 15) as usize,
        pruned_outboxes: pick(2, 17) as usize,
        pulling_rate: [0.0, 0.5, 1.0][pick(3, 19) as usize],
        unsigned_pulled_rate: [0.0, 0.5, 1.0][pick(3, 21) as usize],
        legacy_pulled_rows: pick(3, 23) as usize,
        tampered_rows: pick(4, 25) as usize,
        lost_key: pick(2, 27) == 1,
        interior_holes: pick(4, 29) as usize,
        leading_hole: pick(3, 31) as usize,
        counters_behind: pick(3, 33),
        ..WorldSpec::default()
    }
}

/// A world as files.
struct Files {
    folder: TempDir,
    input: SurveyInput,
    truth: Truth,
}

impl Files {
    fn of(world: &World) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        world.write_recovered(&path("recovered.db")).unwrap();
        world.write_log(&path("truth.db")).unwrap();
        world.write_anchors(&path("anchors.json")).unwrap();
        let outboxes = world.write_outboxes(&path("outboxes")).unwrap();
        Self {
            input: SurveyInput {
                witnesses: Inputs {
                    outboxes,
                    ..Inputs::default()
                },
                anchors: vec![path("anchors.json")],
                ..SurveyInput::default()
            },
            truth: world.truth(),
            folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn plan(&self, db: &Path, out: &Path, accept: Accept) -> PlanSummary {
        let log = Log::open(&DbTarget::Snapshot(db.into())).await.unwrap();
        let mut view = log.view().await.unwrap();
        let options = PlanOptions {
            accept,
            ..PlanOptions::default()
        };
        let file = File::create_new(out).unwrap();
        let request = PlanRequest {
            provenance: None,
            witness_options: Vec::new(),
            db: "log.db".into(),
            tool: "test",
            input: &self.input,
            options: &options,
        };
        plan(&mut view, &request, file, &NoProgress, &Cancel::new())
            .await
            .unwrap()
    }

    async fn apply(&self, db: &Path, plan: &Path, world: &World) -> ApplyReport {
        let log = Log::open(&DbTarget::Snapshot(db.into())).await.unwrap();
        let options = ApplyOptions {
            lock_timeout: Duration::from_secs(1),
            sequencer_keys: world.sequencer_key().clone().into(),
            sequencer_id: Some(world.sequencer_id()),
            undo: None,
            dry_run: false,
            journal: true,
            with_triggers: false,
            provenance: None,
        };
        let plan = PlanFile::open(plan).unwrap();
        apply(
            &log,
            "log.db".into(),
            &plan,
            &options,
            &NoProgress,
            &Cancel::new(),
        )
        .await
        .unwrap()
    }
}

/// The highest true number that somebody who is heard knows: an anchor, an outbox, or the log itself.
fn highest_known(truth: &StreamTruth) -> u64 {
    let anchored = truth
        .commitments
        .iter()
        .filter(|c| c.anchored || c.in_recovered)
        .map(|c| c.sequence_end)
        .max();
    let claimed = truth
        .events
        .iter()
        .flat_map(|e| &e.holders)
        .filter(|row| row.is_right())
        .filter_map(|row| row.claim);
    [
        anchored,
        claimed.max(),
        Some(truth.recovered_head),
        Some(truth.recovered_counter),
    ]
    .into_iter()
    .flatten()
    .max()
    .unwrap_or(0)
}

struct Outcome {
    restored: usize,
    /// Placed on a claim alone.
    on_claims: usize,
    /// Of these at a position that was never theirs.
    misled: usize,
    lost: usize,
}

async fn repair(world: &World, files: &Files, accept: Accept) -> Outcome {
    let seed = world.spec().seed;
    let name = accept.to_string();
    let db = files.path(&format!("{name}.db"));
    std::fs::copy(files.path("recovered.db"), &db).unwrap();
    let before = Db::Snapshot(db.clone()).dump();
    let out = files.path(&format!("{name}.plan"));
    let summary = files.plan(&db, &out, accept).await;
    let applied = files.apply(&db, &out, world).await;
    assert!(applied.errors.is_empty(), "seed {seed}: {:?}", applied.errors);
    let repaired = Db::Snapshot(db.clone()).dump();
    let sections = read_plan(&out);
    let truth = Db::Snapshot(files.path("truth.db")).dump();
    let compared = Compared {
        recovered: &before,
        repaired: &repaired,
        truth: &truth,
        plan: &sections,
    };
    let wrong = compared.wrong_positions();
    let placed: Vec<_> = sections.values().flat_map(|s| &s.events).collect();
    if wrong.is_empty() {
        compared.check_rows();
    }
    for event in &placed {
        let misled = wrong
            .iter()
            .any(|w| w.contains(&event.event.event_id.to_string()));
        assert!(
            !misled || event.grade < Grade::Committed,
            "seed {seed}: {wrong:?}"
        );
        // What holders disagree on is nobody's choice.
        assert!(event.grade >= Grade::Claimed, "seed {seed}");
        assert!(accept.admits(event.grade), "seed {seed}");
    }
    check_streams(world, &files.truth, &sections, &compared, wrong.is_empty());

    // What the first plan left undone, it left for want of evidence: a second one has nothing to do.
    let again = files
        .plan(&db, &files.path(&format!("{name}-again.plan")), accept)
        .await;
    let left = (again.totals.commitments, again.totals.counters);
    if wrong.is_empty() {
        assert_eq!(
            (again.totals.events, left),
            (0, (0, 0)),
            "seed {seed}, {name}: {again:?}"
        );
        assert_eq!(again.totals.open, summary.totals.open, "seed {seed}");
    }
    Outcome {
        restored: placed.len(),
        on_claims: placed.iter().filter(|e| e.grade < Grade::Committed).count(),
        misled: wrong.len(),
        lost: files.truth.lost_events(),
    }
}

fn check_streams(
    world: &World,
    truth: &Truth,
    sections: &BTreeMap<String, Section>,
    compared: &Compared<'_>,
    all_true: bool,
) {
    let seed = world.spec().seed;
    for stream in &truth.streams {
        let key: &StreamKey = &stream.stream;
        let store = key.store_id.to_string();
        let numbers = compared.repaired.numbers(&store);
        let counter = compared.repaired.counter(&store).unwrap_or(0);
        assert!(counter >= highest_known(stream), "seed {seed}, {key}: {counter}");
        assert!(
            counter >= numbers.last().copied().unwrap_or(0),
            "seed {seed}, {key}"
        );
        // A batch that is whole by a root has exactly the events that it had.
        let solved = sections
            .get(&store)
            .map_or(&[][..], |s| s.header.batches.as_slice());
        for batch in solved {
            let of_truth = stream
                .commitments
                .iter()
                .find(|c| c.batch_id == batch.batch_id)
                .unwrap();
            assert_eq!(batch.merkle_root, of_truth.merkle_root, "seed {seed}, {key}");
            assert!(
                (batch.sequence_start..=batch.sequence_end).all(|n| numbers.contains(&n)),
                "seed {seed}, {key}"
            );
        }
        // An anchored batch all of whose lost events are held intact under their right numbers comes back, unless
        // false claims outnumber what the search can try.
        if world.spec().wrong_claim_rate == 0.0 && world.spec().tampered_rows == 0 && all_true {
            for batch in stream.commitments.iter().filter(|c| c.anchored) {
                let range = batch.sequence_start..=batch.sequence_end;
                let held = stream
                    .events
                    .iter()
                    .filter(|e| range.contains(&e.number))
                    .all(|e| e.in_recovered || e.class <= HeldClass::RestorableExact);
                let whole = range.clone().all(|n| numbers.contains(&n));
                assert!(whole || !held, "seed {seed}, {key}: {range:?} does not come back");
            }
        }
        // Each lost number is back or listed, once, if anybody knows that it was given out.
        let listed: Vec<_> = sections
            .get(&store)
            .map_or(&[][..], |s| s.open.as_slice())
            .iter()
            .map(PlannedOpen::range)
            .collect();
        let listed: BTreeSet<u64> = listed
            .into_iter()
            .flat_map(|range| *range.start()..=(*range.end()).min(10_000))
            .collect();
        for event in stream.events.iter().filter(|e| e.number <= counter) {
            let there = numbers.contains(&event.number);
            assert!(
                there != listed.contains(&event.number),
                "seed {seed}, {key}: {} {there}",
                event.number
            );
        }
    }
}

#[test]
fn what_is_planned_is_true_in_every_world() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let first = number("RECOVERY_FIRST_WORLD", 1);
    let (mut by_default, mut claimed) = ((0, 0), (0, 0, 0));
    let mut lost = 0;
    for seed in first..first + number("RECOVERY_WORLDS", 24) {
        let world = World::generate(&spec(seed));
        let files = Files::of(&world);
        runtime.block_on(async {
            let outcome = repair(&world, &files, Accept::default()).await;
            // By default never, whatever anybody claims.
            assert_eq!((outcome.misled, outcome.on_claims), (0, 0), "seed {seed}");
            by_default.0 += outcome.restored;
            lost += outcome.lost;
            let outcome = repair(&world, &files, "claimed".parse().unwrap()).await;
            claimed.0 += outcome.restored;
            claimed.1 += outcome.on_claims;
            claimed.2 += outcome.misled;
            assert_eq!(outcome.misled, 0, "seed {seed}: of {} claims", outcome.on_claims);
        });
    }
    eprintln!(
        "{lost} lost; by default {} back, none wrong; with claims {} back, {} of them on claims, {} of those wrong",
        by_default.0, claimed.0, claimed.1, claimed.2
    );
    assert!(
        by_default.0 > 0 && claimed.1 > 0,
        "worlds in which nothing happens prove nothing"
    );
}

#[test]
fn a_repair_never_makes_the_recovery_point_worse() {
    let folder = tempfile::tempdir().unwrap();
    for seed in 1..=4 {
        let (report, seed) = (folder.path().join(format!("{seed}.json")), seed.to_string());
        let run = common::run([
            "drill",
            "--seed",
            &seed,
            "--events",
            "60",
            "--report",
            report.to_str().unwrap(),
        ]);
        assert_eq!(run.code & !4, 0, "{}", run.stderr);
        let report: serde_json::Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
        let number = |name: &str| report["objectives"]["rpo"][name].as_f64().unwrap();
        let events = &report["events"];
        assert_eq!(number("events_before_repair"), events["lost"].as_f64().unwrap());
        assert_eq!(number("events_reached"), events["unresolved"].as_f64().unwrap());
        for unit in ["seconds", "events"] {
            let before = number(&format!("{unit}_before_repair"));
            let after = number(&format!("{unit}_reached"));
            assert!(
                before > 0.0 && after <= before,
                "seed {seed}: {before} {unit}, then {after}"
            );
        }
    }
}
