//! Each rule is broken on purpose, and says so.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use fixtures::World;
use rusqlite::Connection;
use sequencer_recovery::apply::{ApplyReport, StreamStatus};
use sequencer_recovery::grade::Grade;

use crate::check;
use crate::figures::Figures;
use crate::ledger::Ledger;
use crate::operator::{Operator, Plan};
use crate::scene::Scene;
use crate::stage::Stage;
use crate::tables::Tables;

/// A scene in which much comes back and something stays open, with nothing else going wrong.
fn scene() -> Scene {
    let mut scene = Scene::of(3);
    while let Some(simpler) = scene.simpler().into_iter().next() {
        scene = simpler;
    }
    for choice in [
        "events=40",
        "agents=2",
        "lost-percent=50",
        "anchored-percent=100",
        "lost-outboxes=1",
        "anchors-heard=1",
        "outboxes-heard=1",
        "replica=1",
        "replica-behind=12",
    ] {
        scene.set(choice).unwrap();
    }
    scene
}

struct Repaired {
    world: World,
    stage: Stage,
    plan: Plan,
    report: ApplyReport,
    before: Tables,
    after: Tables,
}

impl Repaired {
    fn new() -> Self {
        let scene = scene();
        let world = World::generate(&scene.world());
        let stage = Stage::set(&scene, &world).unwrap();
        let operator = Operator::new(&scene, &world).unwrap();
        let quiet = event_log::OpenOptions::default();
        let before = Tables::read(&stage.recovered).unwrap();
        let plan = operator
            .plan(&stage.recovered, &stage.input, &stage.path("plan"), &quiet)
            .unwrap();
        let log = stage.path("repaired");
        std::fs::copy(&stage.recovered, &log).unwrap();
        let report = operator.apply(&log, &plan.path, None, &quiet).unwrap();
        let after = Tables::read(&log).unwrap();
        let repaired = Self {
            world,
            stage,
            plan,
            report,
            before,
            after,
        };
        repaired.holds();
        repaired
    }

    fn ledger(&self) -> Ledger {
        Ledger::of(&self.world)
    }

    /// All rules hold, and not for want of events.
    fn holds(&self) {
        let mut figures = Figures::default();
        check::nothing_misplaced(&self.plan, &self.ledger(), &mut figures).unwrap();
        check::certified(&self.plan).unwrap();
        check::sound(&self.plan, &self.before, &self.after, &self.ledger()).unwrap();
        check::nothing_forgotten(&self.plan, &self.after, &self.after.counters(), &mut figures).unwrap();
        let strong = figures
            .placed
            .range(Grade::Receipted..)
            .map(|(_, (all, _))| all)
            .sum::<u64>();
        assert!(strong > 0, "{figures}");
        assert!(figures.open > 0, "{figures}");
    }

    /// The repaired log after a change.
    fn changed(&self, sql: &str) -> Tables {
        let log = self.stage.path("changed");
        std::fs::copy(self.stage.path("repaired"), &log).unwrap();
        change(&log, sql);
        Tables::read(&log).unwrap()
    }

    #[track_caller]
    fn breaks(&self, rule: &str, sql: &str) {
        let broken = check::sound(&self.plan, &self.before, &self.changed(sql), &self.ledger());
        assert_eq!(
            broken.as_ref().map_err(|e| crate::rule(e)),
            Err(rule),
            "{broken:?}"
        );
    }
}

fn change(log: &Path, sql: &str) {
    Connection::open(log).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn a_misplaced_event_is_seen_if_its_evidence_was_strong() {
    let mut repaired = Repaired::new();
    let ledger = repaired.ledger();
    let section = repaired
        .plan
        .sections
        .values_mut()
        .find(|section| section.events.len() > 1)
        .unwrap();
    section.events[0].sequence += 1;
    let broken = check::nothing_misplaced(&repaired.plan, &ledger, &mut Figures::default()).unwrap_err();
    assert_eq!(crate::rule(&broken), "misplaced");

    // Weaker evidence is allowed to be wrong, and counted.
    for event in repaired
        .plan
        .sections
        .values_mut()
        .flat_map(|section| &mut section.events)
    {
        event.grade = Grade::Claimed;
    }
    let mut figures = Figures::default();
    check::nothing_misplaced(&repaired.plan, &ledger, &mut figures).unwrap();
    assert_eq!(figures.placed[&Grade::Claimed].1, 1);
}

#[test]
fn an_unsound_log_is_seen() {
    let repaired = Repaired::new();
    repaired.breaks(
        "changed",
        "UPDATE ves_events SET entity_id = 'other' WHERE sequence_number = 1",
    );
    repaired.breaks(
        "receipt",
        "UPDATE ves_sequencer_receipts SET sequence_number = sequence_number + 1",
    );
    repaired.breaks(
        "receipt",
        "DELETE FROM ves_sequencer_receipts WHERE sequence_number = (SELECT max(sequence_number) FROM ves_events)",
    );
    repaired.breaks(
        "counter-too-low",
        "UPDATE ves_sequence_counters SET current_sequence = 1",
    );
    repaired.breaks(
        "not-an-event",
        "PRAGMA foreign_keys = OFF;
         UPDATE ves_events SET event_id = '11111111-1111-4111-8111-111111111111'
         WHERE event_id = (SELECT event_id FROM ves_events ORDER BY sequence_number DESC LIMIT 1)",
    );
}

#[test]
fn a_number_that_is_forgotten_is_seen() {
    let mut repaired = Repaired::new();
    let mut known = repaired.after.counters();
    let figures = &mut Figures::default();
    for number in known.values_mut() {
        *number += 1;
    }
    let broken = check::nothing_forgotten(&repaired.plan, &repaired.after, &known, figures).unwrap_err();
    assert_eq!(crate::rule(&broken), "counter-too-low");

    for section in repaired.plan.sections.values_mut() {
        section.open.pop();
    }
    let known = repaired.after.counters();
    let broken = check::nothing_forgotten(&repaired.plan, &repaired.after, &known, figures).unwrap_err();
    assert_eq!(crate::rule(&broken), "not-certified");
    assert_eq!(
        crate::rule(&check::certified(&repaired.plan).unwrap_err()),
        "not-certified"
    );
}

/// By a copy of the log, by checkpoints' leaves (seed 4 is even: they have them), and by an anchored root.
#[test]
fn an_event_that_does_not_come_back_is_seen() {
    for (choices, by) in [
        (&["replica=1", "anchors-heard=0"][..], "another copy of the log"),
        (
            &["replica=0", "anchors-heard=0", "checkpoints-heard=1"],
            "a checkpoint's leaf",
        ),
        (&["replica=0", "anchors-heard=1"], "its batch's anchored root"),
    ] {
        let mut scene = Scene::of(4);
        while let Some(simpler) = scene.simpler().into_iter().next() {
            scene = simpler;
        }
        for choice in ["lost-percent=50", "anchored-percent=100"].iter().chain(choices) {
            scene.set(choice).unwrap();
        }
        let world = World::generate(&scene.world());
        let stage = Stage::set(&scene, &world).unwrap();
        let owed = crate::owed::owed(&scene, &world, &stage).unwrap();
        let named = owed.values().filter(|(_, who)| *who == by).count();
        assert!(named > 0, "{by}: {owed:?}");
        let unrepaired = Tables::read(&stage.recovered).unwrap();
        let mut figures = Figures::default();
        let broken = check::nothing_left_behind(&owed, &unrepaired, &mut figures).unwrap_err();
        assert_eq!(crate::rule(&broken), "left-behind");
        // In the whole log they are.
        let whole = stage.path("whole.db");
        world.write_log(&whole).unwrap();
        check::nothing_left_behind(&owed, &Tables::read(&whole).unwrap(), &mut figures).unwrap();
        assert_eq!(figures.owed, owed.len() as u64);
        crate::play(&scene).unwrap();
    }
}

#[test]
fn half_a_repair_is_seen_and_so_is_a_report_that_is_not_true() {
    let mut repaired = Repaired::new();
    let (before, after) = {
        let last = repaired.world.disaster_at();
        (
            repaired.before.clone().without_times(last),
            repaired.after.clone().without_times(last),
        )
    };
    let log = repaired.stage.path("repaired");
    let sides = check::whole(&repaired.world, &before, &after, &log).unwrap();
    check::honest(&repaired.report, &sides).unwrap();

    repaired.report.streams[0].status = StreamStatus::Failed;
    let broken = check::honest(&repaired.report, &sides).unwrap_err();
    assert_eq!(crate::rule(&broken), "dishonest");
    let untouched = check::whole(&repaired.world, &before, &after, &repaired.stage.recovered).unwrap();
    repaired.report.streams[0].status = StreamStatus::Applied;
    assert_eq!(
        crate::rule(&check::honest(&repaired.report, &untouched).unwrap_err()),
        "dishonest"
    );

    change(
        &log,
        "UPDATE ves_sequence_counters SET current_sequence = current_sequence - 1",
    );
    let broken = check::whole(&repaired.world, &before, &after, &log).unwrap_err();
    assert_eq!(crate::rule(&broken), "torn");
}

#[test]
fn what_is_said_to_match_and_does_not_is_seen() {
    let repaired = Repaired::new();
    let scene = scene();
    let operator = Operator::new(&scene, &repaired.world).unwrap();
    let log = repaired.stage.path("repaired");
    let report = operator
        .audit(&log, &repaired.stage.input, &event_log::OpenOptions::default())
        .unwrap();
    check::nothing_overstated(&report, &repaired.after, &repaired.world, &repaired.ledger()).unwrap();
    assert!(report.totals.batches.matches_anchors > 0);

    let without =
        repaired.changed("PRAGMA foreign_keys = OFF; DELETE FROM ves_events WHERE sequence_number = 2");
    let broken =
        check::nothing_overstated(&report, &without, &repaired.world, &repaired.ledger()).unwrap_err();
    assert_eq!(crate::rule(&broken), "overstated");
}
