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
use common::{Ran, Section, read_plan, run};
use event_log::Log;
use fixtures::{CheckpointSpec, Cut, HeldClass, Truth, World, WorldSpec};
use sequencer_recovery::grade::Grade;
use sequencer_recovery::place::placement::Budget;
use sequencer_recovery::plan::{PlanOptions, PlanRequest, plan};
use sequencer_recovery::stream::survey::SurveyInput;
use sequencer_recovery::witness::Inputs;
use sha2::{Digest as _, Sha256};

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

/// The files of a drill, and the program.
struct Drilled(tempfile::TempDir);

impl Drilled {
    fn new(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keep = folder.path().join("drill");
        let report = folder.path().join("report.json");
        let mut arguments = vec![
            "drill",
            "--keep",
            keep.to_str().unwrap(),
            "--report",
            report.to_str().unwrap(),
        ];
        arguments.extend_from_slice(more);
        run(arguments).expect(0);
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0
            .path()
            .join("drill")
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    }

    /// A command about the recovered log, by the outboxes and the checkpoints.
    fn run(&self, command: &[&str], key: &str) -> Ran {
        let (db, outboxes, checkpoints) = (
            self.path("recovered.db"),
            self.path("outboxes"),
            self.path("checkpoints"),
        );
        let witnesses = [
            "--db",
            &db,
            "--outbox",
            &outboxes,
            "--checkpoints",
            &checkpoints,
            "--checkpoint-key",
            key,
        ];
        run(command.iter().copied().chain(witnesses).collect::<Vec<_>>())
    }
}

fn codes(report: &serde_json::Value) -> BTreeSet<String> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| finding["code"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_lost_tail_is_known_by_number_and_by_root() {
    let drilled = Drilled::new(&[]);
    let key = drilled.path("checkpoints/checkpoint.vkey");
    let audit = drilled.run(&["audit", "--format", "json"], &key).expect(4).json();
    assert!(codes(&audit).contains("checkpoint.behind"), "{:?}", codes(&audit));
    let lost = audit["streams"]
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["missing"] != 0)
        .unwrap();
    assert_eq!(lost["head_known"]["grade"], "checkpointed");
    assert_eq!(lost["head_known"]["sequence"], 100);
    assert!(
        lost["head_known"]["who"]
            .as_str()
            .unwrap()
            .contains("signed by drill.example+")
    );
    assert_eq!(
        (&lost["proof"]["checkpointed_to"], &lost["proof"]["unproven"]),
        (&100.into(), &0.into())
    );
    assert_eq!(audit["totals"]["proof"]["unproven"], 0);
    let out = drilled.path("plan-by-checkpoints.ndjson");
    let plan = drilled
        .run(&["plan", "--format", "json", "--out", &out], &key)
        .json();
    assert_eq!(
        plan["totals"]["by_grade"]["checkpointed"], 140,
        "{}",
        plan["totals"]
    );
    assert_eq!(plan["totals"]["open"], 0);
    let counters = drilled
        .run(&["counters", "--format", "json"], &key)
        .expect(4)
        .json();
    let behind = counters["streams"]
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["state"] == "behind")
        .unwrap();
    assert_eq!(
        (&behind["floor"], &behind["witness"]["grade"]),
        (&100.into(), &"checkpointed".into())
    );
    let floor = drilled.run(&["counters", "--floor", "99"], &key).expect(16);
    assert!(floor.stderr.contains("would be below 100"), "{}", floor.stderr);
    let table = drilled.run(&["plan", "--out", &drilled.path("again.ndjson")], &key);
    assert!(
        table
            .stdout
            .contains("What is checkpointed rests on what was signed by drill.example+"),
        "{}",
        table.stdout
    );
}

#[test]
fn checkpoints_count_by_the_key_that_is_trusted_and_by_no_other() {
    let drilled = Drilled::new(&["--events", "60"]);
    let key = drilled.path("checkpoints/checkpoint.vkey");
    let right = std::fs::read_to_string(&key).unwrap();
    let other = World::generate(&WorldSpec {
        seed: 99,
        ..of_the_drill(99)
    })
    .checkpoint_vkey()
    .to_string();
    let audit = drilled
        .run(&["audit", "--format", "json"], &other)
        .expect(4)
        .json();
    let found = codes(&audit);
    assert!(
        found.contains("checkpoint.none") && found.contains("checkpoint.refused"),
        "{found:?}"
    );
    let grades = audit["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["head_known"]["grade"].as_str().unwrap());
    assert!(
        grades.clone().all(|grade| grade != "checkpointed"),
        "{:?}",
        grades.collect::<Vec<_>>()
    );
    // A character that is wrong is no other key.
    let mut wrong = right.trim().to_owned();
    let last = if wrong.ends_with('o') { 'q' } else { 'o' };
    wrong.pop();
    wrong.push(last);
    let refused = drilled.run(&["audit"], &wrong).expect(8);
    assert!(
        refused.stderr.contains("a character may be wrong"),
        "{}",
        refused.stderr
    );
    // Without a key there is nothing that they could be checked with.
    let (db, checkpoints) = (drilled.path("recovered.db"), drilled.path("checkpoints"));
    run(["audit", "--db", &db, "--checkpoints", &checkpoints]).expect(16);
    // Witnesses that nobody heard of have not cosigned.
    let witness = checkpoints::VerifierKey::new(
        "w.example/1",
        checkpoints::note::KeyKind::Witness,
        ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key(),
    );
    let witness = witness.unwrap().to_string();
    let asked = drilled
        .run(&["audit", "--format", "json", "--witness-key", &witness], &key)
        .expect(4)
        .json();
    assert!(codes(&asked).contains("checkpoint.none"), "{:?}", codes(&asked));
    let both = drilled.run(
        &[
            "audit",
            "--format",
            "json",
            "--witness-key",
            &witness,
            "--witnesses",
            "0",
        ],
        &key,
    );
    assert!(!codes(&both.json()).contains("checkpoint.none"));
}

#[test]
fn a_log_that_was_written_again_is_found_out_by_checkpoints_alone() {
    let drilled = Drilled::new(&["--fault", "ran-on"]);
    let key = drilled.path("checkpoints/checkpoint.vkey");
    let audit = drilled.run(&["audit", "--format", "json"], &key).expect(4).json();
    let found = codes(&audit);
    assert!(
        found.contains("reissue") && found.contains("checkpoint.mismatch"),
        "{found:?}"
    );
    let signs = audit["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["code"] == "reissue")
        .unwrap();
    assert!(
        signs["message"]
            .as_str()
            .unwrap()
            .contains("another than that of the checkpoint"),
        "{signs}"
    );
    let out = drilled.path("plan-by-checkpoints.ndjson");
    let plan = drilled.run(
        &[
            "plan",
            "--format",
            "json",
            "--on-reissue",
            "keep-anchored",
            "--out",
            &out,
        ],
        &key,
    );
    let plan = plan.json();
    assert!(
        plan["totals"]["moves"].as_u64().unwrap() > 0 && plan["totals"]["open"] == 0,
        "{}",
        plan["totals"]
    );
}

#[test]
fn two_histories_that_were_both_signed_are_told_and_not_used() {
    let drilled = Drilled::new(&["--events", "60"]);
    let key = drilled.path("checkpoints/checkpoint.vkey");
    let mine = drilled.path("checkpoints/all.checkpoints");
    // The same key signed another root for 40 events of the first stream.
    let world = World::generate(&WorldSpec {
        events_per_stream: 60,
        ..of_the_drill(1)
    });
    assert_eq!(
        std::fs::read_to_string(&key).unwrap().trim(),
        world.checkpoint_vkey().to_string()
    );
    let text = std::fs::read_to_string(&mine).unwrap();
    let mut reader = checkpoints::file::EntryReader::new(text.as_bytes(), 0);
    let mut forged = loop {
        let entry = reader.next_entry().unwrap().unwrap().entry.unwrap();
        if entry.checkpoint.size == 40 {
            break entry;
        }
    };
    forged.checkpoint.root = ves::Hash32([9; 32]);
    (forged.leaves, forged.peaks) = (None, Vec::new());
    forged.note = forged.checkpoint.sign(&world.checkpoint_key());
    std::fs::write(drilled.path("checkpoints/other.checkpoints"), forged.to_text()).unwrap();
    let audit = drilled.run(&["audit", "--format", "json"], &key).expect(4).json();
    assert!(
        codes(&audit).contains("checkpoint.two_roots"),
        "{:?}",
        codes(&audit)
    );
    let stream = forged.checkpoint.origin.stream;
    let of = audit["streams"]
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["store_id"] == stream.store_id.to_string());
    let of = of.unwrap();
    assert_eq!(of["proof"]["checkpointed_to"], 20);
    // The numbers were signed all the same, and nobody may give them out again.
    let claims = of["witnesses"].as_array().unwrap().iter();
    let contested = claims
        .clone()
        .find(|w| w["who"].as_str().unwrap().starts_with("a contested checkpoint"));
    assert_eq!(
        (&contested.unwrap()["sequence"], &contested.unwrap()["grade"]),
        (&60.into(), &"claimed".into())
    );
}

/// A key that the log does not know says nothing against an event whose signature's bytes a checkpoint binds; a plan that
/// was altered does.
#[test]
fn an_event_whose_key_is_lost_goes_back_as_the_checkpoint_binds_it() {
    let spec = (1..400)
        .map(|seed| WorldSpec {
            lost_key: true,
            anchored_fraction: 0.0,
            ..of_the_drill(seed)
        })
        .find(|spec| has_events_of_lost_keys(&World::generate(spec)))
        .unwrap();
    let world = World::generate(&spec);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    world.write_recovered(Path::new(&path("recovered.db"))).unwrap();
    world.write_outboxes(Path::new(&path("outboxes"))).unwrap();
    let every = CheckpointSpec {
        every: EVERY,
        leaves: true,
    };
    world
        .write_checkpoints(Path::new(&path("checkpoints")), every)
        .unwrap();
    let (db, out) = (path("recovered.db"), path("plan.ndjson"));
    let (outboxes, checkpoints) = (path("outboxes"), path("checkpoints"));
    let key = path("checkpoints/checkpoint.vkey");
    let arguments = [
        "plan",
        "--db",
        &db,
        "--outbox",
        &outboxes,
        "--checkpoints",
        &checkpoints,
        "--checkpoint-key",
        &key,
        "--out",
        &out,
    ];
    assert_eq!(run(arguments).code & 8, 0);
    let lines = std::fs::read_to_string(&out).unwrap();
    assert!(
        lines.contains("signature bound by the root, NOT CHECKED"),
        "no key is lost"
    );
    let altered = path("altered.ndjson");
    let is_unchecked = |line: &str| line.contains("signature bound by the root, NOT CHECKED");
    let line = lines.lines().find(|line| is_unchecked(line)).unwrap();
    let mut event: serde_json::Value = serde_json::from_str(line).unwrap();
    let signature = event["event"]["agent_signature"].as_str().unwrap().to_owned();
    let other = format!(
        "{}{}",
        if signature.starts_with('0') { '1' } else { '0' },
        &signature[1..]
    );
    event["event"]["agent_signature"] = other.into();
    std::fs::write(&altered, sealed(&lines.replace(line, &event.to_string()))).unwrap();
    let refused = run(["apply", &altered, "--db", &db, "--dry-run"]);
    assert_eq!(refused.code & 4, 4, "{}", refused.stdout);
    assert!(refused.stderr.contains("is not registered"), "{}", refused.stderr);
    let applied = run(["apply", &out, "--db", &db]);
    assert_eq!(applied.code & 8, 0, "{}\n{}", applied.stdout, applied.stderr);
    assert!(!applied.stdout.contains("FAILED"), "{}", applied.stdout);
}

fn has_events_of_lost_keys(world: &World) -> bool {
    let truth = world.truth();
    let lost: BTreeSet<&str> = truth.lost_keys.iter().map(|key| key.agent.as_str()).collect();
    let events = truth.streams.iter().flat_map(|stream| &stream.events);
    let mut held = events.filter(|e| !e.in_recovered && e.class == HeldClass::RestorableExact);
    held.any(|event| lost.contains(event.agent.as_str()))
}

/// A plan's text with the digest that it has now.
fn sealed(plan: &str) -> String {
    let (lines, _) = plan.trim_end().rsplit_once('\n').unwrap();
    let lines = format!("{lines}\n");
    let sha256 = ves::Hash32(Sha256::digest(lines.as_bytes()).into());
    let count = lines.lines().count();
    format!("{lines}{{\"type\":\"end\",\"lines\":{count},\"sha256\":\"{sha256}\"}}\n")
}
