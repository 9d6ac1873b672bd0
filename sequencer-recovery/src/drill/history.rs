//! Reports of drills and incidents side by side: whether recovery gets better or worse.

use std::fs;
use std::path::Path;

use serde::Serialize;
use ves::Timestamp;

use crate::dr_report::{DrReport, PassFail, ReportKind};
use crate::error::RecoveryError;

/// The document's name and version; documented in docs/drill.md.
pub const SCHEMA: &str = "drill-history/1";

/// A report is smaller than this; what is larger is none.
const LARGEST: u64 = 64 << 20;

/// The reports of a folder, oldest first.
#[derive(Debug, Serialize)]
pub struct DrillHistory {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The folder.
    pub folder: String,
    /// The reports.
    pub reports: Vec<Entry>,
    /// Files that are no reports of drills or incidents, and why.
    pub not_read: Vec<NotRead>,
}

/// A report in one line.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// The file's name.
    pub file: String,
    /// Which one.
    pub id: String,
    /// A drill or an incident.
    pub kind: ReportKind,
    /// When it began.
    pub started_at: Timestamp,
    /// The scenario and the faults.
    pub scenario: String,
    /// Whether every check held.
    pub result: PassFail,
    /// Recovery time reached; seconds.
    pub rto_seconds: Option<f64>,
    /// Whether it was within what was wanted.
    pub rto_met: Option<bool>,
    /// Recovery point reached; seconds.
    pub rpo_seconds: Option<f64>,
    /// Whether it was within what was wanted.
    pub rpo_met: Option<bool>,
    /// From 0 to 1.
    pub pass_rate: Option<f64>,
    /// Events lost by the recovery.
    pub lost: Option<u64>,
    /// Events brought back.
    pub restored: u64,
    /// Against the one before of the same kind and scenario, which for drills has the same seed and size.
    pub change: Option<Change>,
    /// What has to be the same for two reports to be compared.
    #[serde(skip)]
    world: (Option<u64>, Option<u64>, Option<u64>, Option<String>),
}

/// What changed against the report before of the same kind and scenario (seed and size included).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Change {
    /// Recovery time; seconds, less is better.
    pub rto_seconds: Option<f64>,
    /// Recovery point; seconds, less is better.
    pub rpo_seconds: Option<f64>,
    /// Pass rate; more is better.
    pub pass_rate: Option<f64>,
    /// Whether it passed before and fails now.
    pub newly_failed: bool,
}

/// A file that is no report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotRead {
    /// The file's name.
    pub file: String,
    /// Why.
    pub why: String,
}

impl DrillHistory {
    /// Reads the reports (`*.json`) of a folder. What is no report is named, and stops nothing.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn read(folder: &Path) -> Result<Self, RecoveryError> {
        let failed = |source| RecoveryError::Io {
            path: folder.to_owned(),
            source,
        };
        let mut history = Self {
            schema: SCHEMA,
            folder: folder.display().to_string(),
            reports: Vec::new(),
            not_read: Vec::new(),
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
        }
        names.sort();
        for name in names {
            let path = folder.join(&name);
            let file = name.to_string_lossy().into_owned();
            if path.extension().is_none_or(|ending| ending != "json") {
                continue;
            }
            match read(&path) {
                Ok(report) => history.reports.push(Entry::of(file, &report)),
                Err(why) => history.not_read.push(NotRead { file, why }),
            }
        }
        history
            .reports
            .sort_by(|a, b| (a.started_at, &a.file).cmp(&(b.started_at, &b.file)));
        history.compare();
        Ok(history)
    }

    fn compare(&mut self) {
        for at in 1..self.reports.len() {
            let (before, now) = self.reports.split_at(at);
            let Some(now) = now.first() else { continue };
            let same = |entry: &&Entry| {
                (entry.kind, &entry.scenario, &entry.world) == (now.kind, &now.scenario, &now.world)
            };
            let change = before.iter().rev().find(same).map(|before| now.against(before));
            self.reports[at].change = change;
        }
    }
}

impl Entry {
    fn of(file: String, report: &DrReport) -> Self {
        let faults = report.scenario.faults.iter().map(|fault| format!(" +{fault}"));
        Self {
            file,
            id: report.id.clone(),
            kind: report.kind,
            started_at: report.started_at,
            scenario: format!("{}{}", report.scenario.name, faults.collect::<String>()),
            result: report.result,
            rto_seconds: report.objectives.rto.seconds_reached,
            rto_met: report.objectives.rto.met,
            rpo_seconds: report.objectives.rpo.seconds_reached,
            rpo_met: report.objectives.rpo.met,
            pass_rate: report.integrity.pass_rate,
            lost: report.events.lost,
            restored: report.events.restored,
            change: None,
            world: (
                report.scenario.seed,
                report.scenario.streams,
                report.scenario.events_per_stream,
                report.scenario.lost.clone(),
            ),
        }
    }

    fn against(&self, before: &Self) -> Change {
        let difference = |now: Option<f64>, before: Option<f64>| Some(now? - before?);
        Change {
            rto_seconds: difference(self.rto_seconds, before.rto_seconds),
            rpo_seconds: difference(self.rpo_seconds, before.rpo_seconds),
            pass_rate: difference(self.pass_rate, before.pass_rate),
            newly_failed: self.result == PassFail::Fail && before.result == PassFail::Pass,
        }
    }
}

fn read(path: &Path) -> Result<DrReport, String> {
    let told = |error: std::io::Error| error.to_string();
    let meta = fs::metadata(path).map_err(told)?;
    if !meta.is_file() {
        return Err("not a file".to_owned());
    }
    if meta.len() > LARGEST {
        return Err(format!("{} bytes: no report is so large", meta.len()));
    }
    DrReport::read(&fs::read(path).map_err(told)?)
}
