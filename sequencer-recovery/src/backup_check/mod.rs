//! The check of a backup: restored beside everything else, started, audited; what it lacks, who holds that, and what would
//! come back of it if the disaster were now. Writes to nothing but its own scratch place.

pub mod failure;
pub mod lacks;
mod production;
mod restore;
mod room;
pub mod source;

use std::io::BufWriter;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use cli_common::{Cancel, DbTarget, PrivateDir, Progress};
use event_log::{Log, OpenOptions, Place};
use serde::Serialize;
use ves::Timestamp;

use crate::error::RecoveryError;
use crate::finding::{Code, Finding, Severity};
use crate::plan::plan_file::PlanFile;
use crate::plan::{PlanOptions, PlanRequest, plan};
use crate::report::audit::{AuditReport, audit};
use crate::stream::survey::SurveyInput;
use crate::witness::Incomplete;
use failure::CheckFailure;
use lacks::{Holder, Planned, Repair, StreamLacks};
use source::{Broken, Origin, Restored, Scratch, Source, StepTime, Way};

/// The report's name and version; documented in docs/backup-check.md.
pub const SCHEMA: &str = "backup-check/1";

/// What comes of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum BackupResult {
    /// It can be restored, and what it lacks would come back.
    #[serde(rename = "GOOD")]
    Good,
    /// It can be restored, and nobody was asked what it lacks.
    #[serde(rename = "RESTORED ONLY")]
    RestoredOnly,
    /// It can be restored, and something would be lost, is wrong with its log, or takes too long.
    #[serde(rename = "NOT ENOUGH")]
    NotEnough,
    /// It cannot be restored, or what was restored cannot be read.
    #[serde(rename = "BROKEN")]
    Broken,
}

/// What a backup is worth.
#[derive(Debug, Serialize)]
pub struct BackupCheck {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Which backup.
    pub backup: Origin,
    /// What comes of it.
    pub result: BackupResult,
    /// What is broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<Broken>,
    /// Where its log was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The live log that it was held against, without secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// How long each step took.
    pub steps: Vec<StepTime>,
    /// What was reached, and what was wanted.
    pub objectives: Objectives,
    /// Events in the backup.
    pub events: u64,
    /// The newest event of the backup, over all streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_event_at: Option<Timestamp>,
    /// What is missing, over all streams.
    pub lacks: u64,
    /// What each stream lacks, by tenant and store.
    pub streams: Vec<StreamLacks>,
    /// What would come back of it.
    pub repair: Repair,
    /// Who holds it.
    pub holders: Vec<Holder>,
    /// What is wrong with the log of the backup that is not merely older.
    pub problems: Vec<Finding>,
    /// Witnesses that could not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<Incomplete>,
    /// What was not checked, and why.
    pub not_checked: Vec<String>,
}

/// What was reached, and what was wanted, in seconds.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub struct Objectives {
    /// From the backup to a log that is planned for: all steps.
    pub rto_seconds_reached: f64,
    /// No more than this was wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rto_seconds_wanted: Option<f64>,
    /// How far back the worst stream would be if the disaster were now and nothing were repaired: 0 if nobody knows of an
    /// event that is missing; `None` if nobody was asked.
    pub rpo_seconds_before_repair: Option<f64>,
    /// The same of the streams that stay open after the repair.
    pub rpo_seconds_reached: Option<f64>,
    /// No more than this was wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpo_seconds_wanted: Option<f64>,
}

impl Objectives {
    /// Whether more was wanted.
    pub fn missed(&self) -> bool {
        let over = |reached: Option<f64>, wanted: Option<f64>| matches!((reached, wanted), (Some(r), Some(w)) if r > w);
        over(Some(self.rto_seconds_reached), self.rto_seconds_wanted)
            || over(self.rpo_seconds_reached, self.rpo_seconds_wanted)
    }
}

/// What is to be checked, and by whom.
#[derive(Debug)]
pub struct CheckRequest<'a> {
    /// The backup.
    pub source: &'a Source,
    /// Where it is restored to.
    pub scratch: Scratch<'a>,
    /// The live log, which is only read.
    pub against: Option<&'a DbTarget>,
    /// All that may know what is missing, the live log among them.
    pub everybody: &'a SurveyInput,
    /// Those who would be there after a disaster.
    pub survivors: &'a SurveyInput,
    /// What the operator would decide.
    pub plan: &'a PlanOptions,
    /// RTO and RPO that are wanted, in seconds.
    pub wanted: (Option<f64>, Option<f64>),
    /// What makes the plan, with its version.
    pub tool: &'a str,
}

/// What an audit of any backup finds, since it is older than its witnesses.
const OLDER: [Code; 3] = [Code::GapTail, Code::CounterBehind, Code::CommitmentMissing];

/// What says that the database itself is damaged.
const DAMAGE: [Code; 4] = [
    Code::EventUnreadable,
    Code::EventDuplicate,
    Code::IndexIncomplete,
    Code::IndexMissing,
];

/// Restores the backup. Blocks.
///
/// # Errors
/// It could not be tried.
pub fn restored(
    request: &CheckRequest<'_>,
    check: &mut BackupCheck,
    cancel: &Cancel,
) -> Result<Option<Restored>, CheckFailure> {
    let mut way = Way::default();
    let restored = restore::restore(
        request.source,
        &request.scratch,
        &mut check.backup,
        &mut way,
        cancel,
    );
    check.steps.append(&mut way.steps);
    check.not_checked.append(&mut way.not_checked);
    match restored? {
        Ok(restored) => Ok(Some(restored)),
        Err(broken) => {
            check.breaks(broken);
            Ok(None)
        }
    }
}

impl BackupCheck {
    /// A check that has not begun.
    pub fn new(request: &CheckRequest<'_>) -> Self {
        Self {
            schema: SCHEMA,
            backup: request.source.origin(),
            result: BackupResult::RestoredOnly,
            broken: None,
            place: None,
            against: request.against.map(ToString::to_string),
            steps: Vec::new(),
            objectives: Objectives {
                rto_seconds_wanted: request.wanted.0,
                rpo_seconds_wanted: request.wanted.1,
                ..Objectives::default()
            },
            events: 0,
            newest_event_at: None,
            lacks: 0,
            streams: Vec::new(),
            repair: Repair::default(),
            holders: Vec::new(),
            problems: Vec::new(),
            incomplete: Vec::new(),
            not_checked: Vec::new(),
        }
    }

    fn breaks(&mut self, broken: Broken) {
        self.result = BackupResult::Broken;
        self.broken = Some(broken);
    }

    fn timed(&mut self, name: &'static str, begun: Instant) {
        let seconds = begun.elapsed().as_secs_f64();
        self.steps.push(StepTime { name, seconds });
    }

    /// Looks at what was restored.
    ///
    /// # Errors
    /// The log or a witness cannot be asked.
    pub async fn look(
        &mut self,
        restored: &Restored,
        request: &CheckRequest<'_>,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<(), CheckFailure> {
        let options = OpenOptions::stopped_by(cancel);
        let live = match request.against {
            Some(target) => Some(Log::open_with(target, &options).await?),
            None => None,
        };
        let Some((log, target)) = self.open(restored, &options, request.source).await? else {
            return Ok(());
        };
        if let Source::Copy { is_a_copy: false, .. } = request.source {
            self.not_checked
                .extend(production::check(&log, live.as_ref()).await?);
        }
        let begun = Instant::now();
        let audited = audit(
            &mut log.view().await?,
            target.to_string(),
            request.everybody,
            progress,
            cancel,
        )
        .await?;
        self.timed("audit", begun);
        self.place = Some(audited.place.clone());
        let begun = Instant::now();
        let planned = would_come_back(&log, &target, request, progress, cancel).await?;
        self.timed("plan", begun);
        self.take(&audited, &planned);
        if let Some(live) = &live {
            lacks::ask_times(live, &mut self.streams).await?;
        }
        self.judge(&audited, request);
        Ok(())
    }

    /// Opens the database that has the log.
    async fn open(
        &mut self,
        restored: &Restored,
        options: &OpenOptions,
        source: &Source,
    ) -> Result<Option<(Log, DbTarget)>, CheckFailure> {
        let (mut failed, mut found) = (None, Vec::new());
        for target in &restored.candidates {
            match Log::open_with(target, options).await {
                Ok(log) => found.push((log, target.clone())),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if found.len() > 1 {
            let names = found.iter().filter_map(|(log, _)| log.place().server());
            let names: Vec<String> = names.map(|server| server.database.clone()).collect();
            return Err(CheckFailure::NoBackup {
                what: format!(
                    "several databases of it have a sequencer's log: {}",
                    names.join(", ")
                ),
                hint: "name one with --database",
            });
        }
        if let Some(found) = found.pop() {
            return Ok(Some(found));
        }
        match (source, failed) {
            (Source::Copy { .. }, Some(error)) => Err(error.into()),
            (_, failed) => {
                let why = failed.map_or_else(String::new, |error| format!(": {error}"));
                let what = format!("no database of it has a sequencer's log{why}");
                self.breaks(Broken { step: "audit", what });
                Ok(None)
            }
        }
    }

    fn take(&mut self, audited: &AuditReport, planned: &Planned) {
        self.events = audited.totals.events;
        self.newest_event_at = audited.streams.iter().filter_map(|s| s.head_sequenced_at).max();
        self.lacks = audited.totals.missing;
        (self.streams, self.repair) = lacks::lacks(audited, planned);
        self.holders = lacks::holders(audited, self.against.as_deref());
        let own = |f: &&Finding| f.severity == Severity::Problem && !OLDER.contains(&f.code);
        self.problems = audited.findings.iter().filter(own).cloned().collect();
        self.incomplete = audited.incomplete();
        self.not_checked.extend(audited.not_checked.iter().cloned());
    }

    fn judge(&mut self, audited: &AuditReport, request: &CheckRequest<'_>) {
        let asked = request.against.is_some() || audited.heard.iter().any(|h| h.error.is_none());
        let anchored = audited
            .streams
            .iter()
            .any(|s| s.batches.iter().any(|b| b.anchored));
        self.objectives.rto_seconds_reached = self.steps.iter().map(|step| step.seconds).sum();
        if asked || anchored {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let back = |open: bool| {
                let streams = self.streams.iter().filter(|s| !open || s.stay_open > 0);
                let worst = streams.filter_map(|s| s.head_sequenced_at).min();
                worst.map_or(0.0, |then| (now.as_secs_f64() - then.0 as f64 / 1e6).max(0.0))
            };
            self.objectives.rpo_seconds_before_repair = Some(back(false));
            self.objectives.rpo_seconds_reached = Some(back(true));
        } else {
            self.not_checked.push(
                "what the backup lacks: nobody was asked (--against, --outbox, --anchors, --witness)".into(),
            );
        }
        let damaged = self.problems.iter().find(|f| DAMAGE.contains(&f.code));
        if let Some(finding) = damaged {
            let what = format!("{}: {}", finding.code, finding.message);
            return self.breaks(Broken { step: "audit", what });
        }
        let enough = self.problems.is_empty() && self.repair.stay_open == 0 && !self.objectives.missed();
        self.result = match (enough, asked || anchored) {
            (false, _) => BackupResult::NotEnough,
            (true, true) => BackupResult::Good,
            (true, false) => BackupResult::RestoredOnly,
        };
    }
}

/// Plans the repair of the backup with those who would be there after a disaster.
async fn would_come_back(
    log: &Log,
    target: &DbTarget,
    request: &CheckRequest<'_>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Planned, CheckFailure> {
    let folder = PrivateDir::new().map_err(CheckFailure::io(&std::env::temp_dir()))?;
    let path = folder.path().join("plan.ndjson");
    let file = std::fs::File::create_new(&path).map_err(CheckFailure::io(&path))?;
    let of = PlanRequest {
        db: target.to_string(),
        tool: request.tool,
        provenance: None,
        witness_options: Vec::new(),
        input: request.survivors,
        options: request.plan,
    };
    plan(
        &mut log.view().await?,
        &of,
        BufWriter::new(file),
        progress,
        cancel,
    )
    .await?;
    read(&path).map_err(Into::into)
}

fn read(path: &Path) -> Result<Planned, RecoveryError> {
    lacks::planned(&PlanFile::open(path)?)
}
