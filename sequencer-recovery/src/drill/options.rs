//! What to drill.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use fixtures::{Cut, WorldSpec};
use scratch_postgres::Search;

use super::fault::{DrillFault, contradiction};
use crate::dr_report::Scenario;
use crate::plan::PlanOptions;

/// What the drill is measured against; seconds.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    /// Recovery time objective.
    pub rto_seconds: Option<f64>,
    /// Recovery point objective.
    pub rpo_seconds: Option<f64>,
    /// How long each phase may take, by its name.
    pub phases: BTreeMap<String, f64>,
}

/// What to drill.
#[derive(Debug, Clone, Default)]
pub struct DrillOptions {
    /// The world, before the faults change it.
    pub world: WorldSpec,
    /// What to accept, and which floor.
    pub plan: PlanOptions,
    /// What to reach.
    pub targets: Targets,
    /// A checkpoint each time that a stream has grown by so many events; 0 for none.
    pub checkpoint_every: u64,
    /// What goes wrong besides the loss.
    pub faults: BTreeSet<DrillFault>,
    /// Whether, and how, it is drilled on a real server; otherwise on a snapshot file.
    pub pitr: Option<PitrOptions>,
}

/// How to drill on a real server.
#[derive(Debug, Clone, Default)]
pub struct PitrOptions {
    /// Where the server's programs are.
    pub search: Search,
    /// What takes and restores the backup; the better one that is installed, if it is not said.
    pub backup: Option<BackupTool>,
    /// The folder for the scratch servers; the system's temporary folder, if it is not said.
    pub scratch: Option<PathBuf>,
}

/// What takes and restores a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupTool {
    /// `pgbackrest`: a full and an incremental backup, restored with `--delta` over what is left.
    PgBackRest,
    /// `pg_basebackup` and an archive of the WAL.
    PgBaseBackup,
}

impl BackupTool {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PgBackRest => "pgbackrest",
            Self::PgBaseBackup => "pg_basebackup",
        }
    }
}

impl fmt::Display for BackupTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for BackupTool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::PgBackRest, Self::PgBaseBackup]
            .into_iter()
            .find(|tool| tool.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not one of pgbackrest, pg_basebackup"))
    }
}

/// The most streams that a drill's world has.
pub const MOST_STREAMS: usize = 10_000;

/// The most events that a drill's world has: it is made in memory.
pub const MOST_EVENTS: usize = 2_000_000;

/// The parts of a drill on a snapshot file, in order.
pub const EMBEDDED_PHASES: [&str; 7] = [
    "load",
    "disaster",
    "audit",
    "plan",
    "apply",
    "verify",
    "recover-again",
];

/// The parts of a drill on a real server, in order.
pub const PITR_PHASES: [&str; 12] = [
    "load",
    "backup",
    "disaster",
    "restore",
    "promote",
    "audit",
    "migrate",
    "plan",
    "apply",
    "verify",
    "recover-again",
    "go-on",
];

impl DrillOptions {
    /// The name of the scenario.
    pub fn scenario(&self) -> &'static str {
        if self.pitr.is_some() { "pitr" } else { "embedded" }
    }

    /// The parts that such a drill has.
    pub fn phases(&self) -> &'static [&'static str] {
        match &self.pitr {
            Some(_) => &PITR_PHASES,
            None => &EMBEDDED_PHASES,
        }
    }

    /// Why this cannot be drilled; `None` if it can.
    pub fn refusal(&self) -> Option<String> {
        if self.world.streams() > MOST_STREAMS || self.world.events() > MOST_EVENTS {
            return Some(format!(
                "a drill's world has at most {MOST_STREAMS} streams and {MOST_EVENTS} events, and this would have {} and {}",
                self.world.streams(),
                self.world.events()
            ));
        }
        let phases = self.phases();
        let unknown = self
            .targets
            .phases
            .keys()
            .find(|name| !phases.contains(&name.as_str()));
        if let Some(name) = unknown {
            return Some(format!(
                "this drill has no phase {name:?}; it has {}",
                phases.join(", ")
            ));
        }
        contradiction(&self.faults, self.pitr.is_some())
    }

    /// The world with what the faults make of it.
    pub(super) fn spec(&self) -> WorldSpec {
        let mut spec = self.world.clone();
        for fault in &self.faults {
            fault.change(&mut spec);
        }
        spec
    }

    /// For the report.
    pub(super) fn described(&self) -> Scenario {
        let spec = &self.world;
        Scenario {
            name: self.scenario().to_owned(),
            backup: None,
            faults: self.faults.iter().map(DrillFault::to_string).collect(),
            seed: Some(spec.seed),
            streams: Some(spec.streams() as u64),
            agents: Some((spec.streams() * spec.agents_per_stream.max(1)) as u64),
            events_per_stream: Some(spec.events_per_stream as u64),
            lost: Some(match spec.cut {
                Cut::None => "nothing".to_owned(),
                Cut::Fraction(share) => format!("{}%", (share * 10_000.0).round() / 100.0),
                Cut::Events(count) => format!("{count} events"),
            }),
            timelines: None,
        }
    }
}
