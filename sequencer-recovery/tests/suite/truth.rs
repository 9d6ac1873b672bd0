//! A hundred worlds, planned in every way and compared with what really happened: more agents and fewer, more streams,
//! more wrong claims, fewer anchors, longer histories. Never is an event planned for a position that was not its own.
//!
//! `RECOVERY_SEEDS=1000` makes more of them, `RECOVERY_FIRST_SEED=…` other ones.

use crate::common;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::File;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use cli_common::{Cancel, DbTarget, NoProgress};
use common::{Section, read_plan};
use event_log::Log;
use fixtures::{Cut, StreamTruth, Truth, World, WorldSpec};
use sequencer_recovery::grade::Grade;
use sequencer_recovery::place::placement::Budget;
use sequencer_recovery::plan::plan_file::PlanFile;
use sequencer_recovery::plan::planned::PlannedOpen;
use sequencer_recovery::plan::{PlanOptions, PlanRequest, plan};
use sequencer_recovery::report::loss;
use sequencer_recovery::stream::survey::SurveyInput;
use sequencer_recovery::witness::Inputs;

pub(crate) fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().unwrap())
}

pub(crate) fn spec(seed: u64) -> WorldSpec {
    let pick = |choices: u64, salt: u64| {
        (seed.wrapping_mul(0xd134_2543_de82_ef95).rotate_left(salt as u32) >> 9) % choices
    };
    // In every fifth world the histories are so long, and mistakes so rare, that agents earn some trust.
    let long = seed.is_multiple_of(5);
    WorldSpec {
        seed,
        tenants: 1 + pick(2, 1) as usize,
        stores_per_tenant: if long { 1 } else { 1 + pick(2, 3) as usize },
        agents_per_stream: 1 + pick(5, 5) as usize,
        events_per_stream: if long { 240 } else { 30 + 15 * pick(4, 7) as usize },
        max_push: 3 + pick(8, 9) as usize,
        batch_size: 4 + 6 * pick(3, 11) as usize,
        cut: Cut::Fraction([0.0, 0.2, 0.35, 0.5, 0.9, 1.0][pick(6, 13) as usize]),
        anchored_fraction: [0.0, 0.3, 0.7, 1.0][pick(4, 15) as usize],
        wrong_claim_rate: if long {
            [0.02, 0.05, 0.1][pick(3, 17) as usize]
        } else {
            [0.0, 0.1, 0.3, 0.8][pick(4, 17) as usize]
        },
        rejected_rate: [0.0, 0.1, 0.3][pick(3, 19) as usize],
        lost_answer_rate: [0.0, 0.1][pick(2, 21) as usize],
        base_version_rate: [0.0, 0.3][pick(2, 23) as usize],
        command_id_rate: [0.0, 0.4][pick(2, 25) as usize],
        lost_outboxes: pick(3, 27) as usize,
        pruned_outboxes: pick(2, 29) as usize,
        pulling_rate: [0.0, 0.5, 1.0][pick(3, 31) as usize],
        unsigned_pulled_rate: [0.0, 0.5, 1.0][pick(3, 33) as usize],
        legacy_pulled_rows: pick(3, 35) as usize,
        tampered_rows: pick(4, 37) as usize,
        lost_key: pick(3, 39) == 0,
        interior_holes: pick(4, 41) as usize,
        leading_hole: pick(3, 43) as usize,
        counters_behind: pick(3, 45),
        ..WorldSpec::default()
    }
}

/// What happened in all worlds together, so that a test in which nothing happens is noticed.
#[derive(Default)]
struct Tally {
    lost: AtomicU64,
    placed: [AtomicU64; 3],
    on_claims: AtomicU64,
    contested: AtomicU64,
    certified: AtomicU64,
    commitments: AtomicU64,
}

fn add(to: &AtomicU64, count: usize) {
    to.fetch_add(count as u64, Ordering::Relaxed);
}

async fn check_world(seed: u64, tally: &Tally) {
    let world = World::generate(&spec(seed));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    world.write_recovered(&path("recovered.db")).unwrap();
    world.write_anchors(&path("anchors.json")).unwrap();
    let input = SurveyInput {
        witnesses: Inputs {
            outboxes: world.write_outboxes(&path("outboxes")).unwrap(),
            ..Inputs::default()
        },
        anchors: vec![path("anchors.json")],
        ..SurveyInput::default()
    };
    let truth = world.truth();
    add(&tally.lost, truth.lost_events());
    for (way, accept) in ["receipted", "corroborated", "claimed"].into_iter().enumerate() {
        let log = Log::open(&DbTarget::Snapshot(path("recovered.db")))
            .await
            .unwrap();
        let mut view = log.view().await.unwrap();
        let options = PlanOptions {
            accept: accept.parse().unwrap(),
            // What takes longer to find stays open, which is no less true.
            budget: Budget {
                tries: 300,
                ..Budget::default()
            },
            ..PlanOptions::default()
        };
        let out = path(accept);
        let (none, never) = (NoProgress, Cancel::new());
        let file = File::create_new(&out).unwrap();
        let request = PlanRequest {
            provenance: None,
            witness_options: Vec::new(),
            db: "log.db".into(),
            tool: "test",
            input: &input,
            options: &options,
        };
        let planned = plan(&mut view, &request, file, &none, &never);
        planned.await.unwrap();
        let sections = read_plan(&out);
        let context = format!("seed {seed}, --accept {accept}");
        check_plan(&truth, &sections, &context, way, tally);
        check_certificate(&out, &sections, &context, tally);
    }
}

fn check_plan(truth: &Truth, sections: &BTreeMap<String, Section>, context: &str, way: usize, tally: &Tally) {
    for stream in &truth.streams {
        let context = format!("{context}, {}", stream.stream);
        let Some(section) = sections.get(&stream.stream.store_id.to_string()) else {
            let lacking = stream
                .events
                .iter()
                .filter(|e| !e.in_recovered && e.number <= stream.recovered_head);
            assert_eq!(lacking.count(), 0, "{context}: nothing is planned");
            continue;
        };
        let numbers: BTreeMap<u64, String> = stream
            .events
            .iter()
            .map(|e| (e.number, e.event_id.to_string()))
            .collect();
        for event in &section.events {
            let id = event.event.event_id.to_string();
            assert_eq!(
                numbers.get(&event.sequence),
                Some(&id),
                "{context}: {} is planned for {}, {}, {}",
                id,
                event.sequence,
                event.grade,
                event.basis
            );
            assert!(event.grade >= Grade::Claimed, "{context}");
            add(&tally.on_claims, usize::from(event.grade <= Grade::Corroborated));
        }
        add(&tally.placed[way], section.events.len());
        check_open(stream, section, &context, tally);
        check_commitments(stream, section, &context, tally);
        let floor = section.header.floor.as_ref().map(|f| f.counter);
        assert!(section.header.counter_after >= floor, "{context}");
        assert!(
            section.header.counter_after >= Some(known_head(stream)),
            "{context}"
        );
    }
}

/// Every lost number that anybody knows of is planned or listed, once; who is named for it is said.
fn check_open(stream: &StreamTruth, section: &Section, context: &str, tally: &Tally) {
    let planned: BTreeSet<u64> = section.events.iter().map(|e| e.sequence).collect();
    for event in stream.events.iter().filter(|e| !e.in_recovered) {
        let listed: Vec<_> = section
            .open
            .iter()
            .filter(|o| o.range().contains(&event.number))
            .collect();
        if planned.contains(&event.number) {
            assert!(listed.is_empty(), "{context}: {}", event.number);
            continue;
        }
        if section.header.counter_after < Some(event.number) {
            continue;
        }
        assert_eq!(
            listed.len(),
            1,
            "{context}: {} is listed {listed:?}",
            event.number
        );
        let open = listed[0];
        if open.grade == Grade::Contested {
            assert!(!open.rivals.is_empty(), "{context}: {open:?}");
            add(&tally.contested, 1);
        }
        // Whoever holds it and says the right number is heard.
        if event.holders.iter().any(|row| row.intact && row.is_right()) {
            assert!(
                open.rivals.contains(&event.event_id),
                "{context}: {} {open:?}",
                event.event_id
            );
        }
        if event.holders.is_empty() {
            assert!(!open.rivals.contains(&event.event_id), "{context}");
        }
    }
}

fn check_commitments(stream: &StreamTruth, section: &Section, context: &str, tally: &Tally) {
    for planned in &section.commitments {
        let known = stream
            .commitments
            .iter()
            .find(|c| c.batch_id == planned.batch_id)
            .unwrap();
        assert_eq!(
            (
                planned.sequence_start,
                planned.sequence_end,
                planned.merkle_root,
                planned.new_state_root
            ),
            (
                known.sequence_start,
                known.sequence_end,
                known.merkle_root,
                known.new_state_root
            ),
            "{context}"
        );
        assert!(known.anchored && !known.in_recovered, "{context}");
    }
    add(&tally.commitments, section.commitments.len());
}

fn check_certificate(plan: &Path, sections: &BTreeMap<String, Section>, context: &str, tally: &Tally) {
    let certificate = loss::certificate(&PlanFile::open(plan).unwrap()).unwrap();
    let open = |lost: bool| -> u64 {
        let all = sections.values().flat_map(|s| &s.open);
        all.filter(|o| (o.grade == Grade::Lost) == lost)
            .map(PlannedOpen::count)
            .sum()
    };
    assert_eq!(
        (certificate.lost, certificate.undecided),
        (open(true), open(false)),
        "{context}"
    );
    add(&tally.certified, certificate.lost as usize);
}

/// The highest true number that somebody who is heard knows: an anchor, an outbox, or the log itself.
fn known_head(stream: &StreamTruth) -> u64 {
    let anchored = stream
        .commitments
        .iter()
        .filter(|c| c.anchored || c.in_recovered)
        .map(|c| c.sequence_end);
    let rows = stream
        .events
        .iter()
        .flat_map(|e| &e.holders)
        .filter(|row| row.is_right());
    let claimed = rows.filter_map(|row| row.claim);
    anchored
        .chain(claimed)
        .chain([stream.recovered_head, stream.recovered_counter])
        .max()
        .unwrap_or(0)
}

#[test]
fn in_a_hundred_worlds_no_event_is_planned_for_a_position_that_was_not_its_own() {
    let (first, count) = (number("RECOVERY_FIRST_SEED", 1), number("RECOVERY_SEEDS", 100));
    let tally = Tally::default();
    let next = AtomicU64::new(first);
    let wrong: Mutex<Vec<String>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(1, 8));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    // Every seed is looked at, so that a failure says how many worlds it concerns.
                    let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        let runtime = tokio::runtime::Builder::new_current_thread()
                            .enable_all()
                            .build()
                            .unwrap();
                        runtime.block_on(check_world(seed, &tally));
                    }));
                    if run.is_err() {
                        wrong.lock().unwrap().push(format!("{seed}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    let value = |of: &AtomicU64| of.load(Ordering::Relaxed);
    let placed = tally.placed.each_ref().map(value);
    eprintln!(
        "{} lost; planned by default {}, with corroborated {}, with claimed {}; {} on holders' words; {} contested, {} \
         certified as lost, {} commitments; wrong in {} world(s)",
        value(&tally.lost),
        placed[0],
        placed[1],
        placed[2],
        value(&tally.on_claims),
        value(&tally.contested),
        value(&tally.certified),
        value(&tally.commitments),
        wrong.len()
    );
    assert_eq!(wrong, Vec::<String>::new(), "wrong in these worlds");
    // Worlds in which nothing happens prove nothing.
    assert!(placed[0] > 0 && placed[2] > placed[1] && placed[1] > placed[0]);
    assert!(
        [&tally.contested, &tally.certified, &tally.commitments]
            .into_iter()
            .all(|t| value(t) > 0)
    );
}
