//! One scene from its beginning to its end.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use event_log::OpenOptions;
use fixtures::{Rng, World};
use sequencer_recovery::stream::survey::SurveyInput;
use ves::StreamKey;

use crate::check::{self, Held, Side};
use crate::faults::{Fault, Meter, copy_with_journal};
use crate::figures::Figures;
use crate::ledger::Ledger;
use crate::operator::{Operator, Plan};
use crate::owed::owed;
use crate::scene::Scene;
use crate::sequencer::run_on;
use crate::stage::{Stage, claimed};
use crate::tables::Tables;

/// Plays a scene.
///
/// # Errors
/// The rule that was broken, and how.
pub fn play(scene: &Scene) -> Result<Figures, String> {
    let world = World::generate(&scene.world());
    let stage = Stage::set(scene, &world)?;
    let mut play = Play {
        scene,
        operator: Operator::new(scene, &world)?,
        ledger: Ledger::of(&world),
        rng: Rng::new(scene.seed, "play"),
        figures: Figures {
            scenes: 1,
            lost: world.truth().lost_events() as u64,
            ..Figures::default()
        },
        world: &world,
        stage: &stage,
    };
    play.all()?;
    Ok(play.figures)
}

struct Play<'a> {
    scene: &'a Scene,
    world: &'a World,
    stage: &'a Stage,
    operator: Operator<'a>,
    ledger: Ledger,
    rng: Rng,
    figures: Figures,
}

/// A repair that was made.
struct Repaired {
    plan: Plan,
    /// The log as it was.
    before: Tables,
    /// The log with the repair.
    log: PathBuf,
    after: Tables,
    bundle: PathBuf,
    /// How many steps and commits the apply took.
    counted: (u64, u64),
}

impl Play<'_> {
    fn all(&mut self) -> Held {
        let Some(first) = self.repair("first", &self.stage.recovered.clone(), &self.stage.input.clone())?
        else {
            return Ok(());
        };
        let owed = owed(self.scene, self.world, self.stage)?;
        check::nothing_left_behind(&owed, &first.after, &mut self.figures)?;
        self.apply_again(&first)?;
        if self.scene.has("undo") {
            self.take_back(&first)?;
        }
        for _ in 0..self.scene.count("faults") {
            self.fail(&first)?;
        }
        if self.scene.has("runs-on") {
            self.go_on(&first)?;
        }
        self.second(&first)
    }

    /// Audits, plans and applies, and checks what came of it; `None` if the plan is refused.
    fn repair(&mut self, name: &str, log: &Path, input: &SurveyInput) -> Result<Option<Repaired>, String> {
        let path = |file: &str| self.stage.path(&format!("{name}.{file}"));
        let quiet = OpenOptions::default();
        let before = Tables::read(log)?;
        let audited = self.operator.audit(log, input, &quiet)?;
        check::nothing_overstated(&audited, &before, self.world, &self.ledger)?;
        let plan = match self.operator.plan(log, input, &path("plan"), &quiet) {
            Ok(plan) => plan,
            Err(error) if is_a_decision(&error) => {
                let why = error.chars().filter(|c| !c.is_ascii_digit()).take(60).collect();
                *self.figures.refused.entry(why).or_default() += 1;
                return Ok(None);
            }
            Err(error) => return Err(format!("cannot-plan: {error}")),
        };
        check::nothing_misplaced(&plan, &self.ledger, &mut self.figures)?;
        check::certified(&plan)?;
        let (repaired, bundle, meter) = (path("repaired"), path("undo"), Meter::counting());
        copy_with_journal(log, &repaired)?;
        let report = self
            .operator
            .apply(&repaired, &plan.path, Some(&bundle), &meter.options());
        let report = report.map_err(|e| format!("cannot-apply: {e}"))?;
        if let Some(error) = report.errors.first().or(report.stopped.as_ref()) {
            return Err(format!("cannot-apply: {error}"));
        }
        self.figures.applies += 1;
        let after = Tables::read(&repaired)?;
        check::sound(&plan, &before, &after, &self.ledger)?;
        check::nothing_forgotten(&plan, &after, &self.known(input)?, &mut self.figures)?;
        let audited = self.operator.audit(&repaired, input, &quiet)?;
        let appended: Vec<_> = plan
            .sections
            .iter()
            .flat_map(|(stream, section)| {
                let moved = section.moves.iter().map(|m| (m.event_id, *stream, m.to));
                let new = section
                    .appended
                    .iter()
                    .map(|a| (a.event.event_id, *stream, a.sequence));
                moved.chain(new).collect::<Vec<_>>()
            })
            .collect();
        for (event, stream, number) in appended {
            // From now on these are promises, too.
            self.ledger.promise(event, stream, number);
        }
        for (stream, section) in &plan.sections {
            for tombstone in &section.tombstones {
                self.ledger
                    .promise(tombstone.event.event_id, *stream, tombstone.sequence);
            }
        }
        check::nothing_overstated(&audited, &after, self.world, &self.ledger)?;
        let counted = meter.counted();
        Ok(Some(Repaired {
            plan,
            before,
            log: repaired,
            after,
            bundle,
            counted,
        }))
    }

    /// The highest number of each stream that somebody who is heard knows.
    fn known(&self, input: &SurveyInput) -> Result<BTreeMap<StreamKey, u64>, String> {
        let mut known = if input.witnesses.outboxes.is_empty() {
            BTreeMap::new()
        } else {
            claimed(self.stage, |event, stream, number| {
                self.ledger.was(event, stream, number)
            })?
        };
        if !input.anchors.is_empty() {
            for anchor in self.world.anchors() {
                let batch = &anchor.commitment;
                let top: &mut u64 = known.entry(batch.stream).or_default();
                *top = (*top).max(batch.sequence_end);
            }
        }
        Ok(known)
    }

    /// The same plan again changes not a byte.
    fn apply_again(&mut self, first: &Repaired) -> Held {
        let report = self
            .operator
            .apply(&first.log, &first.plan.path, None, &OpenOptions::default())?;
        if let Some(error) = report.errors.first() {
            return Err(format!("not-idempotent: {error}"));
        }
        let now = Tables::read(&first.log)?;
        if now == first.after {
            return Ok(());
        }
        Err(format!("not-idempotent: {}", first.after.difference(&now)))
    }

    /// Taken back, the log is as it was.
    fn take_back(&mut self, first: &Repaired) -> Held {
        let log = self.copy(&first.log, "taken-back")?;
        self.operator.undo(&log, &first.bundle, &OpenOptions::default())?;
        let now = Tables::read(&log)?.without_times(self.world.disaster_at());
        let before = first.before.clone().without_times(self.world.disaster_at());
        if now != before {
            return Err(format!("undo: {}", before.difference(&now)));
        }
        self.figures.undone += 1;
        Ok(())
    }

    fn copy(&mut self, log: &Path, name: &str) -> Result<PathBuf, String> {
        let copy = self.stage.path(&format!("{}-{name}.db", self.rng.next()));
        copy_with_journal(log, &copy)?;
        Ok(copy)
    }

    /// Something fails within the repair, or within taking it back, or while it is planned.
    fn fail(&mut self, first: &Repaired) -> Held {
        match self.rng.below(8) {
            0 => self.fail_to_plan(first),
            1 | 2 => self.fail_to_take_back(first),
            _ => self.fail_to_apply(first),
        }
    }

    fn fault(&mut self, (steps, commits): (u64, u64)) -> Fault {
        let at = |rng: &mut Rng, all: u64| rng.below(all.max(1) as usize) as u64;
        match self.rng.below(5) {
            0 => Fault::Refuse(at(&mut self.rng, commits)),
            1 | 2 => Fault::Interrupt(at(&mut self.rng, steps)),
            _ => Fault::Kill(at(&mut self.rng, steps)),
        }
    }

    fn count(&mut self, fault: &Fault) {
        let kind = match fault {
            Fault::Interrupt(_) => "interrupted",
            Fault::Refuse(_) => "commit refused",
            Fault::Kill(_) => "killed",
        };
        *self.figures.faults.entry(kind).or_default() += 1;
    }

    fn fail_to_apply(&mut self, first: &Repaired) -> Held {
        let fault = self.fault(first.counted);
        let (log, image) = (
            self.copy(&self.stage.recovered.clone(), "failing")?,
            self.free("image.db"),
        );
        let (meter, bundle) = (Meter::failing(fault.clone(), &image), self.free("failed.undo"));
        let report = self
            .operator
            .apply(&log, &first.plan.path, Some(&bundle), &meter.options());
        if !meter.happened()? {
            return Ok(());
        }
        self.count(&fault);
        let (before, after) = (
            first.before.clone().without_times(self.world.disaster_at()),
            first.after.clone().without_times(self.world.disaster_at()),
        );
        let left = if matches!(fault, Fault::Kill(_)) {
            &image
        } else {
            &log
        };
        let sides =
            check::whole(self.world, &before, &after, left).map_err(|e| format!("{e} ({fault:?})"))?;
        if let (Ok(report), Fault::Interrupt(_) | Fault::Refuse(_)) = (&report, &fault) {
            check::honest(report, &sides).map_err(|e| format!("{e} ({fault:?})"))?;
        }
        // Once more, undisturbed: as if nothing had happened.
        let again = self
            .operator
            .apply(left, &first.plan.path, None, &OpenOptions::default());
        let again = again.map_err(|e| format!("cannot-go-on: {e} ({fault:?})"))?;
        if let Some(error) = again.errors.first() {
            return Err(format!("cannot-go-on: {error} ({fault:?})"));
        }
        let now = Tables::read(left)?.without_times(self.world.disaster_at());
        if now != after {
            return Err(format!("cannot-go-on: {} ({fault:?})", after.difference(&now)));
        }
        Ok(())
    }

    fn fail_to_take_back(&mut self, first: &Repaired) -> Held {
        let counting = Meter::counting();
        let log = self.copy(&first.log, "counted")?;
        self.operator.undo(&log, &first.bundle, &counting.options())?;
        let fault = self.fault(counting.counted());
        let (log, image) = (self.copy(&first.log, "failing")?, self.free("image.db"));
        let meter = Meter::failing(fault.clone(), &image);
        let _ = self.operator.undo(&log, &first.bundle, &meter.options());
        if !meter.happened()? {
            return Ok(());
        }
        self.count(&fault);
        let left = if matches!(fault, Fault::Kill(_)) {
            &image
        } else {
            &log
        };
        let (before, after) = (
            first.before.clone().without_times(self.world.disaster_at()),
            first.after.clone().without_times(self.world.disaster_at()),
        );
        let sides = check::whole(self.world, &before, &after, left)?;
        let (some, others) = (
            sides.values().any(|side| *side == Side::Before),
            sides.values().any(|side| *side == Side::After),
        );
        if some && others {
            return Err(format!(
                "torn: some streams were taken back, and some not ({fault:?})"
            ));
        }
        self.operator.undo(left, &first.bundle, &OpenOptions::default())?;
        let now = Tables::read(left)?.without_times(self.world.disaster_at());
        if now != before {
            return Err(format!("undo: {} ({fault:?})", before.difference(&now)));
        }
        Ok(())
    }

    /// A plan of which something could not be read is none, or the very plan.
    fn fail_to_plan(&mut self, first: &Repaired) -> Held {
        let log = self.copy(&self.stage.recovered.clone(), "read")?;
        let counting = Meter::counting();
        let (counted, failed) = (self.free("counted.plan"), self.free("failed.plan"));
        self.operator
            .plan(&log, &self.stage.input, &counted, &counting.options())?;
        let fault = Fault::Interrupt(self.rng.below(counting.counted().0.max(1) as usize) as u64);
        let meter = Meter::failing(fault.clone(), Path::new(""));
        let planned = self
            .operator
            .plan(&log, &self.stage.input, &failed, &meter.options());
        if !meter.happened()? {
            return Ok(());
        }
        self.count(&fault);
        match planned {
            // A witness that could not be read to its end is named in the plan.
            Ok(plan) if plan.sections != first.plan.sections && plan.unread == 0 => {
                let other = first
                    .plan
                    .sections
                    .iter()
                    .find(|(stream, section)| plan.sections.get(*stream) != Some(*section));
                let now = other.and_then(|(stream, _)| plan.sections.get(stream));
                Err(format!(
                    "quietly-other-plan: something could not be read ({fault:?}): {other:?} became {now:?}"
                ))
            }
            _ => Ok(()),
        }
    }

    fn free(&mut self, name: &str) -> PathBuf {
        self.stage.path(&format!("{}-{name}", self.rng.next()))
    }

    /// The sequencer goes on, and nothing that is known is given out again; the old plan and the old bundle no longer do
    /// anything.
    fn go_on(&mut self, first: &Repaired) -> Held {
        let known = first.after.counters();
        let given = run_on(&first.log, self.world, &mut self.rng, self.scene.count("runs-on"))
            .map_err(|e| format!("cannot-run: {e}"))?;
        for one in &given {
            self.figures.given += 1;
            if known.get(&one.stream).is_some_and(|known| one.number <= *known) {
                return Err(format!("number-twice: {} {}", one.stream, one.number));
            }
            let twice = self.ledger.promised(one.stream, one.number).is_some();
            self.figures.unknowable += u64::from(twice);
            self.ledger.promise(one.event, one.stream, one.number);
        }
        if given.is_empty() {
            return Ok(());
        }
        let now = Tables::read(&first.log)?;
        let report = self
            .operator
            .undo(&first.log, &first.bundle, &OpenOptions::default());
        let still = Tables::read(&first.log)?;
        if still != now {
            return Err(format!("undo-too-late: {} ({report:?})", now.difference(&still)));
        }
        let _ = self
            .operator
            .apply(&first.log, &first.plan.path, None, &OpenOptions::default());
        let still = Tables::read(&first.log)?;
        if still != now {
            return Err(format!("apply-too-late: {}", now.difference(&still)));
        }
        Ok(())
    }

    /// The log is recovered a second time, while the first repair is done or half done.
    fn second(&mut self, first: &Repaired) -> Held {
        let log = self.free("second.db");
        match self.scene.get("second-disaster") {
            0 => return Ok(()),
            1 => copy_with_journal(&self.stage.recovered, &log)?,
            2 => copy_with_journal(&first.log, &log)?,
            _ => {
                let at = self.rng.below(first.counted.0.max(1) as usize) as u64;
                let dying = self.copy(&self.stage.recovered.clone(), "dying")?;
                let meter = Meter::failing(Fault::Kill(at), &log);
                let _ = self
                    .operator
                    .apply(&dying, &first.plan.path, None, &meter.options());
                if !meter.happened()? {
                    return Ok(());
                }
            }
        }
        self.figures.second += 1;
        // What the first repair left is a witness, if anybody kept it.
        let mut input = self.stage.input.clone();
        if self.rng.chance(0.5) {
            let kept = self.free("kept.db");
            fs::copy(&first.log, &kept).map_err(|e| e.to_string())?;
            input.witnesses.logs.push(cli_common::DbTarget::Snapshot(kept));
        }
        let Some(second) = self.repair("second", &log, &input)? else {
            return Ok(());
        };
        self.apply_again(&second)?;
        if self.scene.has("undo") {
            self.take_back(&second)?;
        }
        Ok(())
    }
}

/// Whether a plan was refused for something that the operator has to decide about first.
fn is_a_decision(error: &str) -> bool {
    error.contains("recovery agent") || error.contains("floor")
}
