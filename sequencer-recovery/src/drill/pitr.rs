//! The drill on a real server: a sequencer's database is filled, backed up, destroyed, restored to a point in time and
//! repaired, and the sequencer goes on.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Duration;

use cli_common::{Cancel, DbTarget, Progress};
use event_log::Log;
use fixtures::{Step, World};
use scratch_postgres::{Binaries, Listen, Patience, ScratchPlace, Server};
use ves::Timestamp;

use super::backup::Backup;
use super::checks::{self, check};
use super::double::{Double, DoubleError, Present, present};
use super::go_on::go_on;
use super::outcome::RepairOutcome;
use super::phases::{Begun, Phases};
use super::walk::{DrillWalk, Files, Repair};
use super::{DrillError, DrillFault, DrillOptions, Ended, PitrOptions, plan_options, versions};
use crate::dr_report::{Check, DrReport, Versions};
use crate::error::RecoveryError;
use crate::plan::PlanSummary;
use crate::plan::plan_file::PlanFile;

/// How long one step of the server or the backup tool may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// The phases that count for the recovery time: from the disaster to the verified repair.
const COUNTED: [&str; 7] = [
    "restore", "promote", "audit", "migrate", "plan", "apply", "verify",
];

/// The database of the server.
const DATABASE: &str = "postgres";

/// What the phases are done by.
const SERVER: &str = "postgresql";
const DOUBLE: &str = "sequencer double";

/// The server with its backups, and what is asked of it.
struct Cluster<'a> {
    server: Server,
    backup: Backup,
    world: &'a World,
    options: &'a DrillOptions,
    patience: Patience<'a>,
    cancel: &'a Cancel,
    /// The time that it is recovered to.
    target_time: String,
}

/// What is known of the disaster once the log is back.
struct Recovered {
    versions: Versions,
    timelines: (u32, u32),
    checks: Vec<Check>,
}

/// What is to be drilled.
#[derive(Clone, Copy)]
pub(super) struct PitrDrill<'a> {
    pub(super) options: &'a DrillOptions,
    pub(super) pitr: &'a PitrOptions,
    pub(super) started_at: Timestamp,
}

pub(super) async fn run(
    dir: &Path,
    asked: PitrDrill<'_>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<DrReport, DrillError> {
    let (options, pitr) = (asked.options, asked.pitr);
    let stopped = || cancel.is_cancelled();
    let patience = Patience::new(PATIENCE, &stopped);
    let binaries = Binaries::find(&pitr.search)?;
    let place = ScratchPlace::new(pitr.scratch.as_deref(), &pitr.search.path)?;
    let world = World::generate(&options.spec());
    let files = Files::write(dir, &world, options)?;
    let mut phases = Phases::new(&options.targets.phases);
    progress.start("making a server", None);
    let mut server = Server::create(&place, &binaries, "data", Listen::Socket, &patience)?;
    server.override_with(&["fsync=off"]);
    let backup = Backup::prepare(&server, pitr)?;
    let mut cluster = Cluster {
        server,
        backup,
        world: &world,
        options,
        patience,
        cancel,
        target_time: String::new(),
    };
    let drilled = cluster.drill(&files, progress, &mut phases).await;
    progress.finish();
    // Of a drill that could not go on, too.
    let kept = cluster.keep(dir);
    let (seen, recovered, outcome) = drilled?;
    kept?;
    let mut scenario = options.described();
    scenario.backup = Some(cluster.backup.version());
    scenario.timelines = Some(recovered.timelines);
    Ok(Ended {
        options,
        world: &world,
        truth: &world.truth(),
        repair: &seen.repair,
        outcome,
        undecided: seen.undecided,
        before_migration: seen.before_migration,
        first: seen.first,
        phases,
        counted: &COUNTED,
        started_at: asked.started_at,
        scenario,
        versions: recovered.versions,
        checks: recovered.checks,
        not_checked: vec![
            "how long yours takes: this database is small, and on this machine's own disk".into(),
        ],
    }
    .report())
}

/// What came of the repair.
struct Walked {
    repair: Repair,
    undecided: Option<PlanSummary>,
    before_migration: Option<String>,
    first: Option<RepairOutcome>,
}

impl Cluster<'_> {
    fn is(&self, fault: DrillFault) -> bool {
        self.options.faults.contains(&fault)
    }

    async fn drill(
        &mut self,
        files: &Files,
        progress: &dyn Progress,
        phases: &mut Phases<'_>,
    ) -> Result<(Walked, Recovered, RepairOutcome), DrillError> {
        self.load(progress, phases).await?;
        let mut recovered = self.recover(phases).await?;
        progress.start("repairing", None);
        let truth = self.world.truth();
        let mut walked = self.walk(files, "plan.ndjson", progress, phases).await?;
        let (log, _) = self.open().await?;
        let mut outcome = RepairOutcome::read(&log, &truth, &walked.repair.applied).await?;
        drop(log);
        if self.is(DrillFault::SecondRecovery) {
            let begun = Begun::now();
            self.backup.destroy(&mut self.server)?;
            self.backup
                .restore(&self.server, &self.target_time, &self.patience)?;
            self.server.start(&self.patience)?;
            let mut double = Double::connect(&self.server, self.world).await?;
            self.after_restore(&mut double).await?;
            recovered.timelines.1 = self.server.timeline()?;
            phases.end("recover-again", self.backup.component(), begun);
            let mut again = self.walk(files, "plan-2.ndjson", progress, phases).await?;
            let (log, _) = self.open().await?;
            let second = RepairOutcome::read(&log, &truth, &again.repair.applied).await?;
            again.first = Some(std::mem::replace(&mut outcome, second));
            walked = Walked {
                undecided: walked.undecided,
                before_migration: walked.before_migration,
                ..again
            };
        }
        let begun = Begun::now();
        let mut double = Double::connect(&self.server, self.world).await?;
        recovered
            .checks
            .extend(go_on(&mut double, self.world, &mut outcome).await?);
        phases.end("go-on", DOUBLE, begun);
        recovered
            .checks
            .push(self.check_after_going_on(files, progress).await?);
        Ok((walked, recovered, outcome))
    }

    /// The sequencer writes the world's history; backups are taken meanwhile. Then comes the disaster.
    async fn load(&mut self, progress: &dyn Progress, phases: &mut Phases<'_>) -> Result<(), DrillError> {
        let steps = self.world.steps();
        let (before, after) = steps.split_at(self.world.steps_kept());
        progress.start("loading the log", Some(steps.len() as u64));
        let begun = Begun::now();
        self.server.start(&self.patience)?;
        let mut double = Double::connect(&self.server, self.world).await?;
        double.create_tables().await?;
        if self.is(DrillFault::BeforeMigration) {
            double.undo_migrations().await?;
        }
        let third = before.len() / 3;
        self.write(&mut double, &before[..third], progress).await?;
        phases.end("load", DOUBLE, begun);
        let begun = Begun::now();
        self.backup.take_full(&self.server, &self.patience)?;
        phases.end("backup", self.backup.component(), begun);
        let begun = Begun::now();
        self.write(&mut double, &before[third..2 * third], progress)
            .await?;
        phases.end("load", DOUBLE, begun);
        let begun = Begun::now();
        self.backup.take_more(&self.server, &self.patience)?;
        phases.end("backup", self.backup.component(), begun);
        let begun = Begun::now();
        self.write(&mut double, &before[2 * third..], progress).await?;
        self.target_time = double.clock().await?;
        if self.is(DrillFault::BeforeMigration) {
            double.migrate().await?;
        }
        self.write(&mut double, after, progress).await?;
        phases.end("load", DOUBLE, begun);
        progress.finish();
        progress.start("restoring the server", None);
        let begun = Begun::now();
        let last = double.switch_wal().await?;
        self.wait_for_archive(&mut double, &last).await?;
        drop(double);
        self.backup.destroy(&mut self.server)?;
        phases.end("disaster", "the drill", begun);
        Ok(())
    }

    async fn write(
        &self,
        double: &mut Double,
        steps: &[Step],
        progress: &dyn Progress,
    ) -> Result<(), DrillError> {
        for step in steps {
            self.cancel.check().map_err(RecoveryError::from)?;
            double.step(step).await?;
            progress.advance(1);
        }
        Ok(())
    }

    /// What was not archived would be lost whatever is recovered to.
    async fn wait_for_archive(&self, double: &mut Double, segment: &str) -> Result<(), DrillError> {
        let begun = std::time::Instant::now();
        while !double.archived(segment).await? {
            self.cancel.check().map_err(RecoveryError::from)?;
            if begun.elapsed() > PATIENCE {
                return Err(DrillError::Double(format!(
                    "the server does not archive {segment}"
                )));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Restores to the point in time and promotes; then comes what the faults do to a restored log.
    async fn recover(&mut self, phases: &mut Phases<'_>) -> Result<Recovered, DrillError> {
        let begun = Begun::now();
        self.backup
            .restore(&self.server, &self.target_time, &self.patience)?;
        phases.end("restore", self.backup.component(), begun);
        let begun = Begun::now();
        self.server.start(&self.patience)?;
        let timelines = (1, self.server.timeline()?);
        phases.end("promote", SERVER, begun);
        let mut double = Double::connect(&self.server, self.world).await?;
        let expected = present(&self.world.restored());
        let given_back = self.read().await?;
        let mut known = versions();
        known.server = Some(format!("PostgreSQL {}", double.server_version().await?));
        known.backup = Some(self.backup.version());
        let checks = vec![
            check(
                "the restore gave back the log as it was at the target time, and nothing after it",
                given_back == expected,
                format!(
                    "{} event(s), {} expected",
                    given_back.values().map(BTreeSet::len).sum::<usize>(),
                    expected.values().map(BTreeSet::len).sum::<usize>()
                ),
            ),
            check(
                "the promoted server is on a new timeline",
                timelines.1 > timelines.0,
                format!("timeline {} before, {} after", timelines.0, timelines.1),
            ),
        ];
        self.after_restore(&mut double).await?;
        Ok(Recovered {
            versions: known,
            timelines,
            checks,
        })
    }

    async fn after_restore(&self, double: &mut Double) -> Result<(), DoubleError> {
        double.bring_to(&self.world.restored(), self.world).await
    }

    /// Which events the restored log has.
    async fn read(&self) -> Result<Present, DrillError> {
        let (log, _) = self.open().await?;
        let mut view = log.view().await.map_err(RecoveryError::from)?;
        let mut found = Present::new();
        for stream in self.world.log().streams.keys() {
            let entries = view.entries(stream, 1..=i64::MAX as u64).await;
            let entries = entries
                .and_then(event_log::Rows::all)
                .map_err(RecoveryError::from)?;
            if !entries.is_empty() {
                let numbered = entries.into_iter().map(|e| (e.sequence_number, e.event.event_id));
                found.insert(*stream, numbered.collect());
            }
        }
        Ok(found)
    }

    async fn open(&self) -> Result<(Log, DbTarget), DrillError> {
        let url = self.server.url(DATABASE);
        let target =
            DbTarget::parse(OsStr::new(&url)).map_err(|error| DrillError::Double(error.to_string()))?;
        let log = Log::open(&target).await.map_err(RecoveryError::from)?;
        Ok((log, target))
    }

    async fn walk(
        &self,
        files: &Files,
        name: &str,
        progress: &dyn Progress,
        phases: &mut Phases<'_>,
    ) -> Result<Walked, DrillError> {
        let decided = plan_options(self.options);
        let mut before_migration = None;
        if self.is(DrillFault::BeforeMigration) {
            before_migration = Some(self.refused_before_migration(files, name, progress).await?);
            let begun = Begun::now();
            Double::connect(&self.server, self.world).await?.migrate().await?;
            phases.end("migrate", DOUBLE, begun);
        }
        let (log, target) = self.open().await?;
        let walk = self.walker(&log, &target, files, progress);
        let undecided = match self.is(DrillFault::RanOn) {
            true => Some(
                walk.plan(&format!("undecided-{name}"), &self.options.plan)
                    .await?,
            ),
            false => None,
        };
        Ok(Walked {
            repair: walk.repair(name, &decided, phases).await?,
            undecided,
            before_migration,
            first: None,
        })
    }

    fn walker<'a>(
        &'a self,
        log: &'a Log,
        target: &'a DbTarget,
        files: &'a Files,
        progress: &'a dyn Progress,
    ) -> DrillWalk<'a> {
        DrillWalk {
            log,
            target,
            files,
            world: self.world,
            progress,
            cancel: self.cancel,
        }
    }

    /// What `apply` says of a log of an older level: with what it refuses.
    async fn refused_before_migration(
        &self,
        files: &Files,
        name: &str,
        progress: &dyn Progress,
    ) -> Result<String, DrillError> {
        let (log, target) = self.open().await?;
        let walk = self.walker(&log, &target, files, progress);
        let name = format!("before-migration-{name}");
        walk.plan(&name, &plan_options(self.options)).await?;
        let plan = PlanFile::open(&files.dir.join(&name)).map_err(RecoveryError::from)?;
        Ok(match walk.apply(&plan).await {
            Err(refusal) => refusal.to_string(),
            Ok(report) => match report.errors.first() {
                Some(error) => error.to_string(),
                None => "apply did not refuse it".to_owned(),
            },
        })
    }

    /// The sequencer's own writes must not bring anything to light.
    async fn check_after_going_on(
        &self,
        files: &Files,
        progress: &dyn Progress,
    ) -> Result<Check, DrillError> {
        let (log, target) = self.open().await?;
        let audited = self.walker(&log, &target, files, progress).audit().await?;
        let mut check = checks::after(&audited);
        check.name = "after the sequencer went on nothing is wrong but what stays open".to_owned();
        Ok(check)
    }

    /// Keeps the server's log and what there was to restore from.
    fn keep(&self, dir: &Path) -> Result<(), DrillError> {
        let path = dir.join("server.log");
        let failed = |source| RecoveryError::Io {
            path: path.clone(),
            source,
        };
        if self.server.log_file().exists() {
            fs::copy(self.server.log_file(), &path).map_err(failed)?;
        }
        let path = dir.join("backup.json");
        let described = self.backup.described(&self.patience)?;
        fs::write(&path, described).map_err(|source| RecoveryError::Io { path, source })?;
        Ok(())
    }
}
