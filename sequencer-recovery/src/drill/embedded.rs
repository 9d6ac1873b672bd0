//! The drill on a snapshot file: the log is cut at a point in time, as if it had been restored.

use std::path::{Path, PathBuf};

use cli_common::{Cancel, DbTarget, Progress};
use event_log::Log;
use fixtures::World;
use ves::Timestamp;

use super::outcome::RepairOutcome;
use super::phases::{Begun, Phases};
use super::walk::{DrillWalk, Files, Repair, failed};
use super::{DrillError, DrillFault, DrillOptions, Ended, plan_options, versions};
use crate::dr_report::DrReport;
use crate::error::RecoveryError;
use crate::plan::PlanOptions;

/// The log as the recovery gave it back.
const RECOVERED: &str = "recovered.db";

/// The phases that count for the recovery time.
const COUNTED: [&str; 4] = ["audit", "plan", "apply", "verify"];

pub(super) async fn run(
    dir: &Path,
    options: &DrillOptions,
    started_at: Timestamp,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<DrReport, DrillError> {
    let mut phases = Phases::new(&options.targets.phases);
    let begun = Begun::now();
    let world = World::generate(&options.spec());
    phases.end("load", "the drill", begun);
    cancel.check().map_err(RecoveryError::from)?;
    let begun = Begun::now();
    let files = Files::write(dir, &world, options)?;
    let recovered = dir.join(RECOVERED);
    world.write_recovered(&recovered).map_err(failed(&recovered))?;
    let path = dir.join("log.db");
    copy(&recovered, &path)?;
    phases.end("disaster", "the drill", begun);

    let truth = world.truth();
    let target = DbTarget::Snapshot(path.clone());
    let log = Log::open(&target).await.map_err(RecoveryError::from)?;
    let walk = DrillWalk {
        log: &log,
        target: &target,
        files: &files,
        world: &world,
        progress,
        cancel,
    };
    let decided = plan_options(options);
    let undecided = match options.faults.contains(&DrillFault::RanOn) {
        true => Some(walk.plan("plan-undecided.ndjson", &options.plan).await?),
        false => None,
    };
    let mut repair = walk.repair("plan.ndjson", &decided, &mut phases).await?;
    let mut outcome = RepairOutcome::read(&log, &truth, &repair.applied).await?;
    let mut first = None;
    if options.faults.contains(&DrillFault::SecondRecovery) {
        let (again, second) = recover_again(walk, &decided, &mut phases).await?;
        repair = again;
        first = Some(std::mem::replace(&mut outcome, second));
    }
    Ok(Ended {
        options,
        world: &world,
        truth: &truth,
        repair: &repair,
        outcome,
        undecided,
        before_migration: None,
        first,
        phases,
        counted: &COUNTED,
        started_at,
        scenario: options.described(),
        versions: versions(),
        checks: Vec::new(),
        not_checked: Vec::new(),
    }
    .report())
}

/// The log is recovered to the same point a second time, and repaired again.
async fn recover_again(
    walk: DrillWalk<'_>,
    decided: &PlanOptions,
    phases: &mut Phases<'_>,
) -> Result<(Repair, RepairOutcome), RecoveryError> {
    let begun = Begun::now();
    let dir = &walk.files.dir;
    // Files of SQLite's own may lie beside the log: the recovered one is another file.
    let path = dir.join("log-2.db");
    copy(&dir.join(RECOVERED), &path)?;
    let target = DbTarget::Snapshot(path);
    let log = Log::open(&target).await?;
    phases.end("recover-again", "the drill", begun);
    let walk = DrillWalk {
        log: &log,
        target: &target,
        ..walk
    };
    let repair = walk.repair("plan-2.ndjson", decided, phases).await?;
    let outcome = RepairOutcome::read(&log, &walk.world.truth(), &repair.applied).await?;
    Ok((repair, outcome))
}

fn copy(from: &PathBuf, to: &Path) -> Result<(), RecoveryError> {
    let copied = std::fs::copy(from, to).map(drop);
    copied.map_err(|source| RecoveryError::Io {
        path: to.to_owned(),
        source,
    })
}
