//! The drill: a small world is made, its log is cut at a point in time, and the whole way is walked: audit,
//! plan, apply, verify. The outcome is held against the truth, which a drill knows and a disaster does not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use cli_common::{Cancel, DbTarget, Progress};
use event_log::Log;
use fixtures::{HeldClass, Truth, World, WorldSpec};
use serde::Serialize;
use ves::{EventId, StreamKey, Timestamp};

use crate::apply::{AppliedStream, ApplyOptions, ApplyReport, StreamStatus, apply};
use crate::error::RecoveryError;
use crate::finding::Code;
use crate::grade::Grade;
use crate::plan::plan_file::PlanFile;
use crate::plan::{PlanOptions, PlanRequest, PlanSummary, plan};
use crate::report::audit::{AuditReport, audit};
use crate::stream::batches::BatchVerdict;
use crate::stream::survey::SurveyInput;
use crate::witness::Inputs;

/// The report's name and version; documented in docs/drill.md.
pub const SCHEMA: &str = "dr-report/1";

/// What the drill is measured against; seconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Objectives {
    /// Recovery time objective.
    pub rto_seconds: Option<f64>,
    /// Recovery point objective.
    pub rpo_seconds: Option<f64>,
}

/// What to drill.
#[derive(Debug, Clone, Default)]
pub struct DrillOptions {
    /// The world.
    pub world: WorldSpec,
    /// What to accept, and which floor.
    pub plan: PlanOptions,
    /// What to reach.
    pub objectives: Objectives,
}

/// The outcome of a drill.
#[derive(Debug, Serialize)]
pub struct DrillReport {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// What ran it, with its version.
    pub tool: String,
    /// When it was run.
    pub started_at: Timestamp,
    /// Where all variation of the world comes from: the same seed drills the same disaster.
    pub seed: u64,
    /// `PASS` or `FAIL`.
    pub result: DrillResult,
    /// The parts, in order, with the seconds that they took.
    pub phases: Vec<Phase>,
    /// What became of the events.
    pub events: EventCounts,
    /// Recovery time and point, reached and wanted.
    pub objectives: Reached,
    /// Batches after the repair, by verdict.
    pub integrity: Integrity,
    /// What had to hold, and whether it did.
    pub checks: Vec<Check>,
    /// By stream.
    pub streams: Vec<StreamOutcome>,
    /// How often somebody had to step in: never, in this drill.
    pub manual_interventions: u64,
    /// What was not checked, and why.
    pub not_checked: Vec<String>,
}

/// `PASS` or `FAIL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DrillResult {
    /// Every check held.
    Pass,
    /// One did not.
    Fail,
}

/// A part of the drill.
#[derive(Debug, Clone, Serialize)]
pub struct Phase {
    /// Its name.
    pub name: &'static str,
    /// How long it took.
    pub seconds: f64,
}

/// What became of the events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EventCounts {
    /// In the log at the disaster.
    pub before: u64,
    /// Lost by the recovery.
    pub lost: u64,
    /// Brought back.
    pub restored: u64,
    /// Not brought back, though somebody may have them.
    pub unresolved: u64,
    /// Of the unresolved: held by nobody who is left.
    pub held_by_nobody: u64,
    /// At a position that was never theirs.
    pub misplaced: u64,
}

/// Recovery time and point.
#[derive(Debug, Clone, Serialize)]
pub struct Reached {
    /// From the first look to the verified repair.
    pub rto_seconds_reached: f64,
    /// What was wanted.
    pub rto_seconds_wanted: Option<f64>,
    /// From the last event before the first one that the recovery lost to the disaster, in the worst stream.
    pub rpo_seconds_before_repair: f64,
    /// Events that the recovery lost.
    pub rpo_events_before_repair: u64,
    /// The same for what is still missing after the repair; 0 if nothing is.
    pub rpo_seconds_reached: f64,
    /// Events that are still missing.
    pub rpo_events_reached: u64,
    /// What was wanted.
    pub rpo_seconds_wanted: Option<f64>,
}

/// Batches after the repair.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Integrity {
    /// Roots equal to the anchored ones.
    pub batches_matching_anchors: u64,
    /// Roots equal to the log's own commitments, not anchored.
    pub batches_matching_database: u64,
    /// Roots that differ.
    pub batches_failed: u64,
    /// Batches that still lack events.
    pub batches_not_checked: u64,
    /// Share of the batches with a verdict that match, from 0 to 1.
    pub pass_rate: f64,
}

/// Something that had to hold.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// Whether it did.
    pub passed: bool,
    /// What was seen.
    pub detail: String,
}

/// One stream.
#[derive(Debug, Clone, Serialize)]
pub struct StreamOutcome {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// Its head at the disaster.
    pub head_before: u64,
    /// Its head as recovered.
    pub head_recovered: u64,
    /// Its head after the repair.
    pub head_repaired: u64,
    /// Its counter after the repair.
    pub counter: Option<u64>,
    /// Events brought back.
    pub restored: u64,
    /// Events not brought back.
    pub unresolved: u64,
}

/// Runs a drill in an empty folder, which keeps its files: `log.db` (the repaired log), `recovered.db` (as the
/// recovery gave it back), `outboxes/`, `anchors.json`, `plan.ndjson`, `truth.json`.
///
/// # Errors
/// A folder that cannot be written, [`RecoveryError::Cancelled`]. A repair that goes wrong is a failed drill,
/// not an error.
pub async fn drill(
    dir: &Path,
    options: &DrillOptions,
    started_at: Timestamp,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<DrillReport, RecoveryError> {
    let mut phases = Phases(Vec::new());
    let world = phases.run("prepare the world", || World::generate(&options.world));
    let prepared = phases.run("cut the log", || Prepared::write(dir, &world))?;
    let target = DbTarget::Snapshot(prepared.log.clone());
    let log = Log::open(&target).await?;
    let walk = Walk {
        log: &log,
        target: &target,
        prepared: &prepared,
        progress,
        cancel,
    };
    let clock = Instant::now();
    let found = walk.audit().await?;
    phases.end("audit", clock);

    let clock = Instant::now();
    let planned = walk.plan(options).await?;
    phases.end("plan", clock);

    let clock = Instant::now();
    let plan = PlanFile::open(&prepared.plan)?;
    let applied = walk.apply(&plan, &world).await?;
    phases.end("apply", clock);

    let clock = Instant::now();
    let after = walk.audit().await?;
    let again = walk.apply(&plan, &world).await?;
    phases.end("verify", clock);

    let truth = world.truth();
    let outcome = Outcome::read(&log, &truth).await?;
    let (before, reached) = (
        Lost::by_recovery(&truth, &world),
        Lost::of(&outcome.missing, &world),
    );
    let objectives = Reached {
        rto_seconds_reached: phases.sum(&["audit", "plan", "apply", "verify"]),
        rto_seconds_wanted: options.objectives.rto_seconds,
        rpo_seconds_before_repair: before.seconds,
        rpo_events_before_repair: before.events,
        rpo_seconds_reached: reached.seconds,
        rpo_events_reached: reached.events,
        rpo_seconds_wanted: options.objectives.rpo_seconds,
    };
    let mut checks = vec![
        check_found(&found, &truth),
        check_applied(&applied),
        check_placed(&outcome),
        check_provable(&outcome, &truth, &planned),
        check_counters(&outcome, &truth),
        check_after(&after),
        check_again(&again),
    ];
    checks.extend(check_objectives(&objectives));
    let passed = checks.iter().all(|c| c.passed);
    Ok(DrillReport {
        schema: SCHEMA,
        tool: TOOL.into(),
        started_at,
        seed: options.world.seed,
        result: if passed {
            DrillResult::Pass
        } else {
            DrillResult::Fail
        },
        phases: phases.0,
        events: outcome.counts.clone(),
        objectives,
        integrity: integrity(&after),
        checks,
        streams: outcome.streams,
        manual_interventions: 0,
        not_checked: after.not_checked,
    })
}

/// What made the report.
const TOOL: &str = concat!("sequencer-recovery ", env!("CARGO_PKG_VERSION"));

/// The files of a drill.
struct Prepared {
    log: PathBuf,
    plan: PathBuf,
    input: SurveyInput,
}

impl Prepared {
    /// Writes the world as it is after the recovery.
    fn write(dir: &Path, world: &World) -> Result<Self, RecoveryError> {
        let failed = |path: &Path, source: std::io::Error| RecoveryError::Io {
            path: path.to_owned(),
            source,
        };
        let (outboxes, anchors) = (dir.join("outboxes"), dir.join("anchors.json"));
        let (log, recovered) = (dir.join("log.db"), dir.join("recovered.db"));
        let written = |path: &Path, done: Result<(), fixtures::WriteError>| {
            done.map_err(|e| failed(path, std::io::Error::other(e)))
        };
        std::fs::create_dir_all(&outboxes).map_err(|e| failed(&outboxes, e))?;
        let outbox_files = world
            .write_outboxes(&outboxes)
            .map_err(|e| failed(&outboxes, std::io::Error::other(e)))?;
        written(&anchors, world.write_anchors(&anchors))?;
        written(dir, world.write_truth(&dir.join("truth.json")))?;
        written(&recovered, world.write_recovered(&recovered))?;
        std::fs::copy(&recovered, &log).map_err(|e| failed(&log, e))?;
        let input = SurveyInput {
            witnesses: Inputs {
                outboxes: outbox_files,
                sequencer_keys: world.sequencer_public_key().into(),
                ..Inputs::default()
            },
            anchors: vec![anchors],
            ..SurveyInput::default()
        };
        Ok(Self {
            log,
            plan: dir.join("plan.ndjson"),
            input,
        })
    }
}

/// The way that an operator walks.
struct Walk<'a> {
    log: &'a Log,
    target: &'a DbTarget,
    prepared: &'a Prepared,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
}

impl Walk<'_> {
    async fn audit(&self) -> Result<AuditReport, RecoveryError> {
        let mut view = self.log.view().await?;
        let input = &self.prepared.input;
        audit(
            &mut view,
            self.target.to_string(),
            input,
            self.progress,
            self.cancel,
        )
        .await
    }

    async fn plan(&self, options: &DrillOptions) -> Result<PlanSummary, RecoveryError> {
        let path = &self.prepared.plan;
        let file = std::fs::File::create_new(path).map_err(|source| RecoveryError::Io {
            path: path.clone(),
            source,
        })?;
        let request = PlanRequest {
            provenance: None,
            witness_options: Vec::new(),
            db: self.target.to_string(),
            tool: TOOL,
            input: &self.prepared.input,
            options: &options.plan,
        };
        let mut view = self.log.view().await?;
        let out = std::io::BufWriter::new(file);
        plan(&mut view, &request, out, self.progress, self.cancel).await
    }

    async fn apply(&self, plan: &PlanFile, world: &World) -> Result<ApplyReport, RecoveryError> {
        let options = ApplyOptions {
            lock_timeout: std::time::Duration::from_secs(10),
            sequencer_keys: world.sequencer_key().clone().into(),
            sequencer_id: Some(world.sequencer_id()),
            undo: None,
            dry_run: false,
            journal: true,
            with_triggers: false,
            provenance: None,
        };
        apply(
            self.log,
            self.target.to_string(),
            plan,
            &options,
            self.progress,
            self.cancel,
        )
        .await
    }
}

fn check_again(again: &ApplyReport) -> Check {
    let same = |s: &AppliedStream| s.status == StreamStatus::AlreadyApplied;
    Check {
        name: "applying the plan again changes nothing",
        passed: again.streams.iter().all(same),
        detail: format!("{} stream(s) were as the plan leaves them", again.streams.len()),
    }
}

struct Phases(Vec<Phase>);

impl Phases {
    fn run<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let clock = Instant::now();
        let done = work();
        self.end(name, clock);
        done
    }

    fn end(&mut self, name: &'static str, clock: Instant) {
        self.0.push(Phase {
            name,
            seconds: clock.elapsed().as_secs_f64(),
        });
    }

    fn sum(&self, names: &[&str]) -> f64 {
        self.0
            .iter()
            .filter(|p| names.contains(&p.name))
            .map(|p| p.seconds)
            .sum()
    }
}

/// The repaired log, held against the truth.
struct Outcome {
    counts: EventCounts,
    streams: Vec<StreamOutcome>,
    /// Positions that are still missing, by stream.
    missing: BTreeMap<StreamKey, BTreeSet<u64>>,
}

impl Outcome {
    async fn read(log: &Log, truth: &Truth) -> Result<Self, RecoveryError> {
        let mut view = log.view().await?;
        let mut outcome = Self {
            counts: EventCounts::default(),
            streams: Vec::new(),
            missing: BTreeMap::new(),
        };
        for stream in &truth.streams {
            let stored: BTreeMap<u64, EventId> = view
                .entries(&stream.stream, 1..=i64::MAX as u64)
                .await?
                .all()?
                .into_iter()
                .map(|e| (e.sequence_number, e.event.event_id))
                .collect();
            let mut here = StreamOutcome {
                stream: stream.stream,
                head_before: stream.head,
                head_recovered: stream.recovered_head,
                head_repaired: stored.keys().next_back().copied().unwrap_or(0),
                counter: view.counter(&stream.stream).await?,
                restored: 0,
                unresolved: 0,
            };
            let mut right = 0;
            for event in &stream.events {
                outcome.counts.before += 1;
                let there = stored.get(&event.number) == Some(&event.event_id);
                right += u64::from(there);
                if event.in_recovered {
                    continue;
                }
                outcome.counts.lost += 1;
                if there {
                    here.restored += 1;
                } else {
                    here.unresolved += 1;
                    outcome.counts.held_by_nobody += u64::from(event.class == HeldClass::Unrestorable);
                    outcome
                        .missing
                        .entry(stream.stream)
                        .or_default()
                        .insert(event.number);
                }
            }
            // Whatever stands in the log and not at its true place.
            outcome.counts.misplaced += stored.len() as u64 - right - stream.reissued.len() as u64;
            outcome.counts.restored += here.restored;
            outcome.counts.unresolved += here.unresolved;
            outcome.streams.push(here);
        }
        Ok(outcome)
    }
}

/// What is lost, measured from the last position before each stream's first hole: so it never grows by a repair.
struct Lost {
    /// To the disaster, in the worst stream.
    seconds: f64,
    events: u64,
}

impl Lost {
    fn of(missing: &BTreeMap<StreamKey, BTreeSet<u64>>, world: &World) -> Self {
        let mut lost = Self {
            seconds: 0.0,
            events: 0,
        };
        for (stream, missing) in missing {
            let (Some(first), Some(log)) = (missing.first(), world.log().streams.get(stream)) else {
                continue;
            };
            lost.events += missing.len() as u64;
            let reached = log.events.range(..first).next_back().map(|(_, e)| e.sequenced_at);
            let reached = reached.or_else(|| log.events.values().next().map(|e| e.sequenced_at));
            if let Some(at) = reached {
                lost.seconds = lost.seconds.max(world.disaster_at().seconds_since(at));
            }
        }
        lost
    }

    /// What the recovery to a point in time lost.
    fn by_recovery(truth: &Truth, world: &World) -> Self {
        let missing = truth.streams.iter().map(|stream| {
            let lost = stream.events.iter().filter(|e| !e.in_recovered);
            (stream.stream, lost.map(|e| e.number).collect())
        });
        Self::of(&missing.collect(), world)
    }
}

/// The audit must find what is missing as far as any witness knows, and nothing that is not.
fn check_found(found: &AuditReport, truth: &Truth) -> Check {
    let mut wrong = Vec::new();
    for stream in &truth.streams {
        let reported: BTreeSet<u64> = found
            .streams
            .iter()
            .filter(|s| s.stream == stream.stream)
            .flat_map(|s| s.gaps.iter().flat_map(crate::gap::Gap::range))
            .collect();
        let known = found
            .streams
            .iter()
            .find(|s| s.stream == stream.stream)
            .and_then(|s| s.head_known.as_ref())
            .map_or(0, |w| w.sequence);
        let expected: BTreeSet<u64> = stream
            .events
            .iter()
            .filter(|e| !e.in_recovered && e.number <= known)
            .map(|e| e.number)
            .collect();
        // A false claim beyond the true head is a gap that nobody can tell from a true one.
        let beyond = reported.range(stream.head + 1..).count();
        if !expected.is_subset(&reported) || reported.len() - beyond != expected.len() {
            wrong.push(stream.stream.to_string());
        }
    }
    Check {
        name: "the audit found every missing position that a witness knows of, and no other",
        passed: wrong.is_empty(),
        detail: if wrong.is_empty() {
            format!("{} position(s)", found.totals.missing)
        } else {
            format!("not in {}", wrong.join(", "))
        },
    }
}

fn check_applied(applied: &ApplyReport) -> Check {
    let streams = &applied.streams;
    let failed: Vec<&str> = streams.iter().filter_map(|s| s.error.as_deref()).collect();
    Check {
        name: "every stream of the plan was repaired",
        passed: streams.iter().all(|s| s.status == StreamStatus::Applied),
        detail: if failed.is_empty() {
            format!("{} stream(s)", streams.len())
        } else {
            failed.join("; ")
        },
    }
}

fn check_placed(outcome: &Outcome) -> Check {
    Check {
        name: "no event stands at a position that was never its own",
        passed: outcome.counts.misplaced == 0,
        detail: format!("{} misplaced", outcome.counts.misplaced),
    }
}

/// Every anchored batch whose missing events are all held, with their numbers, must be whole again.
fn check_provable(outcome: &Outcome, truth: &Truth, planned: &PlanSummary) -> Check {
    let (mut provable, mut open) = (0, Vec::new());
    for stream in &truth.streams {
        let missing = outcome.missing.get(&stream.stream);
        for batch in stream
            .commitments
            .iter()
            .filter(|c| c.anchored && !c.in_recovered)
        {
            let range = batch.sequence_start..=batch.sequence_end;
            let lost = stream
                .events
                .iter()
                .filter(|e| !e.in_recovered && range.contains(&e.number));
            let all_held = lost.clone().all(|e| e.class == HeldClass::RestorableExact);
            if !all_held {
                continue;
            }
            provable += 1;
            if missing.is_some_and(|m| m.range(range).next().is_some()) {
                open.push(batch.batch_id.to_string());
            }
        }
    }
    let restored = planned.totals.by_grade.get(&Grade::Proven).copied().unwrap_or(0);
    Check {
        name: "every anchored batch whose events are all held is whole again",
        passed: open.is_empty(),
        detail: if open.is_empty() {
            format!("{provable} batch(es), {restored} event(s) proven")
        } else {
            format!("not {}", open.join(", "))
        },
    }
}

/// No counter may give out a number again that was given out, as far as a witness who is left knows.
fn check_counters(outcome: &Outcome, truth: &Truth) -> Check {
    let mut behind = Vec::new();
    for stream in &truth.streams {
        let counter = outcome
            .streams
            .iter()
            .find(|s| s.stream == stream.stream)
            .and_then(|s| s.counter);
        let known = stream.highest_claim.max(stream.recovered_head);
        if counter.is_none_or(|c| c < known) {
            behind.push(format!("{} is at {counter:?}, {known} is known", stream.stream));
        }
    }
    Check {
        name: "every counter is at its floor or above",
        passed: behind.is_empty(),
        detail: if behind.is_empty() {
            format!("{} counter(s)", outcome.streams.len())
        } else {
            behind.join("; ")
        },
    }
}

/// After the repair, only what could not be brought back may be wrong.
fn check_after(after: &AuditReport) -> Check {
    let open = [
        Code::GapLeading,
        Code::GapInterior,
        Code::GapTail,
        Code::CommitmentMissing,
        // A key that the cut took comes back with the agent, not with its events.
        Code::EventKey,
        Code::ProjectionAhead,
    ];
    let other: BTreeSet<&str> = after
        .findings
        .iter()
        .filter(|f| f.severity == crate::finding::Severity::Problem && !open.contains(&f.code))
        .map(|f| f.code.as_str())
        .collect();
    Check {
        name: "after the repair nothing is wrong but what stays open",
        passed: other.is_empty(),
        detail: if other.is_empty() {
            format!("{} position(s) stay open", after.totals.missing)
        } else {
            other.into_iter().collect::<Vec<_>>().join(", ")
        },
    }
}

fn check_objectives(reached: &Reached) -> Vec<Check> {
    let check = |name, reached: f64, wanted: Option<f64>| {
        let wanted = wanted?;
        let detail = format!("{reached:.3} s reached, {wanted} s wanted");
        Some(Check {
            name,
            passed: reached <= wanted,
            detail,
        })
    };
    [
        check(
            "the recovery time objective is met",
            reached.rto_seconds_reached,
            reached.rto_seconds_wanted,
        ),
        check(
            "the recovery point objective is met",
            reached.rpo_seconds_reached,
            reached.rpo_seconds_wanted,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn integrity(after: &AuditReport) -> Integrity {
    let count = |verdict: BatchVerdict| {
        after
            .streams
            .iter()
            .flat_map(|s| &s.batches)
            .filter(|b| b.verdict == verdict)
            .count() as u64
    };
    let matching = count(BatchVerdict::MatchesAnchors) + count(BatchVerdict::MatchesDatabase);
    let failed = count(BatchVerdict::Failed);
    Integrity {
        batches_matching_anchors: count(BatchVerdict::MatchesAnchors),
        batches_matching_database: count(BatchVerdict::MatchesDatabase),
        batches_failed: failed,
        batches_not_checked: count(BatchVerdict::NotChecked),
        pass_rate: if matching + failed == 0 {
            1.0
        } else {
            matching as f64 / (matching + failed) as f64
        },
    }
}
