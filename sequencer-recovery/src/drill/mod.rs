//! The drill: a small world is made, its log is recovered to a point in time, and the whole way is walked: audit, plan,
//! apply, verify. The outcome is held against the truth, which a drill knows and a disaster does not.
//!
//! It is drilled on a snapshot file that is cut (`embedded`), which needs nothing but this program, or on a real server
//! that is backed up and restored to a point in time (`pitr`).

mod backup;
mod checks;
mod double;
mod embedded;
mod fault;
mod fault_checks;
mod go_on;
pub mod history;
mod options;
mod outcome;
mod phases;
mod pitr;
pub mod tabletop;
mod walk;

use std::path::Path;

use cli_common::{Cancel, Progress};
use fixtures::{Truth, World};
use ves::Timestamp;

pub use fault::DrillFault;
pub use options::{
    BackupTool, DrillOptions, EMBEDDED_PHASES, MOST_EVENTS, MOST_STREAMS, PITR_PHASES, PitrOptions, Targets,
};

use crate::dr_report::{
    Check, DrReport, EventCounts, Integrity, Objectives, PassFail as Verdict, RecoveryPoint, RecoveryTime,
    ReportKind, SCHEMA, Scenario, Versions,
};
use crate::error::RecoveryError;
use crate::plan::{OnReissue, PlanOptions, PlanSummary};
use crate::report::audit::AuditReport;
use fault_checks::{Seen, judge};
use outcome::{Lost, RepairOutcome};
use phases::Phases;
use walk::{Repair, TOOL};

/// The exit status of a drill that failed.
const PROBLEMS: u8 = 4;

/// Why a drill could not be run. A repair that goes wrong is a failed drill, not an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DrillError {
    /// What was asked for cannot be drilled.
    #[error("{0}")]
    Refused(String),
    /// The library that is drilled.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The scratch server.
    #[error(transparent)]
    Scratch(#[from] scratch_postgres::ScratchError),
    /// The double of the sequencer.
    #[error("the sequencer double: {0}")]
    Double(String),
}

impl From<double::DoubleError> for DrillError {
    fn from(error: double::DoubleError) -> Self {
        Self::Double(error.to_string())
    }
}

/// Runs a drill in an empty folder, which keeps its files: `outboxes/`, `anchors.json`, `plan.ndjson`, `truth.json`, and
/// `recovered.db` (as the recovery gave it back) with `log.db` (repaired), or `server.log` and `backup.json`.
///
/// # Errors
/// [`DrillError`]: a folder that cannot be written, programs that are not installed, a drill that was cancelled.
pub async fn drill(
    dir: &Path,
    options: &DrillOptions,
    started_at: Timestamp,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<DrReport, DrillError> {
    if let Some(refusal) = options.refusal() {
        return Err(DrillError::Refused(refusal));
    }
    match &options.pitr {
        None => embedded::run(dir, options, started_at, progress, cancel).await,
        Some(pitr) => {
            let asked = pitr::PitrDrill {
                options,
                pitr,
                started_at,
            };
            pitr::run(dir, asked, progress, cancel).await
        }
    }
}

/// What the plan is to decide: numbers that were given out twice need a word, and it is what is anchored that is kept.
fn plan_options(options: &DrillOptions) -> PlanOptions {
    let mut plan = options.plan.clone();
    if options.faults.contains(&DrillFault::RanOn) && plan.on_reissue.is_none() {
        plan.on_reissue = Some(OnReissue::KeepAnchored);
    }
    plan
}

/// What a drill has to tell at its end.
struct Ended<'a> {
    options: &'a DrillOptions,
    world: &'a World,
    truth: &'a Truth,
    repair: &'a Repair,
    outcome: RepairOutcome,
    undecided: Option<PlanSummary>,
    before_migration: Option<String>,
    first: Option<RepairOutcome>,
    phases: Phases<'a>,
    /// The phases between the disaster and the repaired log.
    counted: &'a [&'a str],
    started_at: Timestamp,
    scenario: Scenario,
    versions: Versions,
    /// What the kind of drill itself has to check.
    checks: Vec<Check>,
    not_checked: Vec<String>,
}

impl Ended<'_> {
    /// What had to hold but for times, and what could not be judged.
    fn checks(&self) -> (Vec<Check>, Vec<String>) {
        let (repair, truth, options) = (self.repair, self.truth, self.options);
        let mut not_judged = Vec::new();
        let mut checks = vec![
            checks::found(&repair.found, truth),
            checks::applied(&repair.applied),
            checks::placed(&self.outcome),
        ];
        if !options.faults.contains(&DrillFault::MissingAnchors) {
            checks.push(checks::provable(&self.outcome, truth, &repair.planned));
        }
        if options.checkpoint_every > 0 {
            checks.push(checks::checkpointed(
                &self.outcome,
                truth,
                options.checkpoint_every,
            ));
        }
        checks.push(checks::counters(&self.outcome, truth));
        checks.push(checks::after(&repair.after));
        checks.push(checks::again(&repair.again));
        checks.extend(self.checks.iter().cloned());
        let seen = Seen {
            world: self.world,
            truth,
            repair,
            outcome: &self.outcome,
            undecided: self.undecided.as_ref(),
            before_migration: self.before_migration.as_deref(),
            first: self.first.as_ref(),
        };
        for fault in &options.faults {
            match judge(*fault, &seen) {
                Ok(check) => checks.push(check),
                Err(why) => not_judged.push(why),
            }
        }
        (checks, not_judged)
    }

    fn report(self) -> DrReport {
        let (repair, truth, options) = (self.repair, self.truth, self.options);
        let (before, reached) = (
            Lost::by_recovery(truth, self.world),
            Lost::of(&self.outcome.missing, self.world),
        );
        let unproven = Lost::to_proof(&repair.found, self.world);
        let wanted = &options.targets;
        let objectives = Objectives {
            rto: RecoveryTime::new(Some(self.phases.sum(self.counted)), wanted.rto_seconds),
            rpo: RecoveryPoint {
                seconds_before_repair: Some(before.seconds),
                events_before_repair: Some(before.events),
                seconds_reached: Some(reached.seconds),
                events_reached: Some(reached.events),
                seconds_wanted: wanted.rpo_seconds,
                met: crate::dr_report::met(Some(reached.seconds), wanted.rpo_seconds),
                proof_seconds: Some(unproven.seconds),
                proof_events: Some(unproven.events),
            },
        };
        let mut not_checked = repair.after.not_checked.clone();
        let (mut checks, not_judged) = self.checks();
        not_checked.extend(self.not_checked);
        not_checked.extend(not_judged);
        checks.extend(checks::objectives(&objectives, self.phases.list()));
        let result = Verdict::of(&checks);
        DrReport {
            schema: SCHEMA.to_owned(),
            kind: ReportKind::Drill,
            id: id(&self.scenario.name, self.started_at),
            scenario: self.scenario,
            versions: self.versions,
            started_at: self.started_at,
            ended_at: phases::now(),
            result,
            exit_status: if result == Verdict::Pass { 0 } else { PROBLEMS },
            phases: self.phases.into_list(),
            integrity: integrity(&repair.after, &self.outcome),
            events: EventCounts {
                without_checkpoints: repair.without_checkpoints,
                ..self.outcome.counts
            },
            objectives,
            checks,
            streams: self.outcome.streams,
            manual_interventions: 0,
            interventions: Vec::new(),
            not_checked,
        }
    }
}

/// A drill's id: its kind and the time of day that it began.
pub fn id(scenario: &str, started_at: Timestamp) -> String {
    let time: String = started_at.to_string().chars().skip(11).take(8).collect();
    format!("{scenario}-{}", time.replace(':', ""))
}

fn versions() -> Versions {
    Versions {
        tool: TOOL.to_owned(),
        commit: cli_common::provenance::COMMIT.map(str::to_owned),
        ..Versions::default()
    }
}

fn integrity(after: &AuditReport, outcome: &RepairOutcome) -> Integrity {
    let batches = &after.totals.batches;
    let missing: usize = outcome
        .missing
        .values()
        .map(std::collections::BTreeSet::len)
        .sum();
    let expected = outcome.counts.before.unwrap_or(0);
    Integrity {
        positions_expected: Some(expected),
        positions_present: Some(expected.saturating_sub(missing as u64)),
        batches_matching_anchors: batches.matches_anchors,
        batches_matching_database: batches.matches_database,
        batches_failed: batches.failed,
        batches_not_checked: batches.not_checked,
        pass_rate: None,
    }
    .rated()
}
