//! Many worlds with a checkpoint every 20 events, planned with their leaves and with their roots alone, and compared with what
//! really happened: never is an event misplaced, and with leaves every event that somebody holds comes back up to the last
//! checkpoint.
//!
//! `CHECKPOINT_SEEDS=1000` makes more of them, `CHECKPOINT_FIRST_SEED=…` other ones.

use crate::common;
use crate::truth::{number, spec};

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use checkpoints::{CheckpointFiles, Policy};
use cli_common::{Cancel, DbTarget, NoProgress};
use common::{Section, read_plan};
use event_log::Log;
use fixtures::{CheckpointSpec, Cut, HeldClass, Truth, World, WorldSpec};
use sequencer_recovery::grade::Grade;
use sequencer_recovery::place::placement::Budget;
use sequencer_recovery::plan::{PlanOptions, PlanRequest, plan};
use sequencer_recovery::stream::survey::SurveyInput;
use sequencer_recovery::witness::Inputs;

/// One each time that a stream has grown by so many events.
const EVERY: u64 = 20;

/// What came back in all worlds together.
#[derive(Default)]
struct Tally {
    lost: AtomicU64,
    without: AtomicU64,
    with_roots: AtomicU64,
    with_leaves: AtomicU64,
    checkpointed: AtomicU64,
}

/// Plans a world, by default evidence.
async fn planned(input: &SurveyInput, folder: &Path, name: &str) -> BTreeMap<String, Section> {
    let log = Log::open(&DbTarget::Snapshot(folder.join("recovered.db")))
        .await
        .unwrap();
    let mut view = log.view().await.unwrap();
    let options = PlanOptions {
        budget: Budget {
            tries: 300,
            ..Budget::default()
        },
        ..PlanOptions::default()
    };
    let out = folder.join(name);
    let request = PlanRequest {
        provenance: None,
        witness_options: Vec::new(),
        db: "log.db".into(),
        tool: "test",
        input,
        options: &options,
    };
    let file = File::create_new(&out).unwrap();
    let (none, never) = (NoProgress, Cancel::new());
    plan(&mut view, &request, file, &none, &never).await.unwrap();
    read_plan(&out)
}

/// How many events are planned, all of them where they belong.
fn count(truth: &Truth, sections: &BTreeMap<String, Section>, context: &str) -> (u64, u64) {
    let (mut all, mut checkpointed) = (0, 0);
    for stream in &truth.streams {
        let own: BTreeMap<u64, String> = stream
            .events
            .iter()
            .map(|e| (e.number, e.event_id.to_string()))
            .collect();
        let section = sections.get(&stream.stream.store_id.to_string());
        for event in section.iter().flat_map(|s| &s.events) {
            let id = event.event.event_id.to_string();
            assert_eq!(
                own.get(&event.sequence),
                Some(&id),
                "{context}: {} {}",
                event.grade,
                event.basis
            );
            all += 1;
            if event.grade == Grade::Checkpointed {
                checkpointed += 1;
                assert!(
                    event.basis.contains("drill.example") && event.basis.contains("alone"),
                    "{}",
                    event.basis
                );
            }
        }
    }
    (all, checkpointed)
}

async fn check_world(spec: WorldSpec, tally: &Tally) {
    let world = World::generate(&spec);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    world.write_recovered(&path("recovered.db")).unwrap();
    world.write_anchors(&path("anchors.json")).unwrap();
    let outboxes = world.write_outboxes(&path("outboxes")).unwrap();
    let with = |leaves: Option<bool>| {
        let checkpoints = leaves.map(|leaves| {
            let spec = CheckpointSpec { every: EVERY, leaves };
            let file = world
                .write_checkpoints(&path(&format!("leaves-{leaves}")), spec)
                .unwrap();
            CheckpointFiles {
                files: vec![file],
                policy: Policy::new(vec![world.checkpoint_vkey()], Vec::new(), 0).unwrap(),
            }
        });
        SurveyInput {
            witnesses: Inputs {
                outboxes: outboxes.clone(),
                ..Inputs::default()
            },
            anchors: vec![path("anchors.json")],
            checkpoints,
            ..SurveyInput::default()
        }
    };
    let truth = world.truth();
    let context = format!("seed {}", spec.seed);
    let without = planned(&with(None), folder.path(), "without").await;
    let roots = planned(&with(Some(false)), folder.path(), "roots").await;
    let leaves = planned(&with(Some(true)), folder.path(), "leaves").await;
    let (without, _) = count(&truth, &without, &format!("{context}, without"));
    let (with_roots, _) = count(&truth, &roots, &format!("{context}, roots"));
    let (with_leaves, checkpointed) = count(&truth, &leaves, &format!("{context}, leaves"));
    assert!(
        without <= with_roots && with_roots <= with_leaves,
        "{context}: {without} {with_roots} {with_leaves}"
    );
    for stream in &truth.streams {
        let covered = stream.head / EVERY * EVERY;
        let section = leaves.get(&stream.stream.store_id.to_string());
        let back: BTreeSet<u64> = section
            .iter()
            .flat_map(|s| &s.events)
            .map(|e| e.sequence)
            .collect();
        for event in &stream.events {
            let held = event.class <= HeldClass::HeldPositionUnknownOrWrong;
            if !event.in_recovered && event.number <= covered && held {
                assert!(
                    back.contains(&event.number),
                    "{context}: {} of {} stays open",
                    event.number,
                    stream.stream
                );
            }
        }
        let counter = section.and_then(|s| s.header.counter_after);
        assert!(
            counter.is_none_or(|counter| counter >= covered),
            "{context}: {counter:?} {covered}"
        );
    }
    for (to, value) in [
        (&tally.lost, truth.lost_events() as u64),
        (&tally.without, without),
        (&tally.with_roots, with_roots),
        (&tally.with_leaves, with_leaves),
        (&tally.checkpointed, checkpointed),
    ] {
        to.fetch_add(value, Ordering::Relaxed);
    }
}

/// The world of the default drill, with other seeds.
fn of_the_drill(seed: u64) -> WorldSpec {
    WorldSpec {
        seed,
        tenants: 2,
        stores_per_tenant: 2,
        agents_per_stream: 2,
        events_per_stream: 100,
        cut: Cut::Fraction(0.35),
        batch_size: 8,
        anchored_fraction: 1.0,
        ..WorldSpec::default()
    }
}

#[test]
fn with_checkpoints_every_event_that_is_held_comes_back_and_none_is_misplaced() {
    let (first, seeds) = (number("CHECKPOINT_FIRST_SEED", 1), number("CHECKPOINT_SEEDS", 40));
    let tally = Tally::default();
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(1, 8));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    let spec = if seed.is_multiple_of(2) {
                        of_the_drill(seed)
                    } else {
                        spec(seed)
                    };
                    runtime.block_on(check_world(spec, &tally));
                }
            });
        }
    });
    let value = |of: &AtomicU64| of.load(Ordering::Relaxed);
    eprintln!(
        "{} lost; planned without checkpoints {}, with their roots {}, with their leaves {} ({} of them checkpointed)",
        value(&tally.lost),
        value(&tally.without),
        value(&tally.with_roots),
        value(&tally.with_leaves),
        value(&tally.checkpointed)
    );
    assert!(value(&tally.without) < value(&tally.with_roots));
    assert!(value(&tally.with_roots) < value(&tally.with_leaves));
}
