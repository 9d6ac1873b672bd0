//! The operator: plans, applies and takes back, by the code that the tool runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cli_common::{Cancel, DbTarget, NoProgress};
use event_log::{Log, OpenOptions};
use fixtures::World;
use sequencer_recovery::apply::undo::{UndoOptions, UndoReport, undo};
use sequencer_recovery::apply::undo_file::UndoFile;
use sequencer_recovery::apply::{ApplyOptions, ApplyReport, apply};
use sequencer_recovery::error::RecoveryError;
use sequencer_recovery::plan::append::AppendOptions;
use sequencer_recovery::plan::plan_file::PlanFile;
use sequencer_recovery::plan::planned::{
    PlanLine, PlannedAppend, PlannedCommitment, PlannedEvent, PlannedMove, PlannedOpen, PlannedStream,
    PlannedTombstone,
};
use sequencer_recovery::plan::tombstone::TombstoneOptions;
use sequencer_recovery::plan::{OnReissue, PlanOptions, PlanRequest, plan};
use sequencer_recovery::report::audit::{AuditReport, audit};
use sequencer_recovery::stream::survey::SurveyInput;
use ves::StreamKey;

use crate::scene::Scene;

/// How long anybody waits for a lock; nobody else is there.
const WAIT: Duration = Duration::from_millis(200);

/// Who repairs, and with what.
pub struct Operator<'a> {
    scene: &'a Scene,
    world: &'a World,
    runtime: tokio::runtime::Runtime,
}

/// A plan as it stands in its file.
#[derive(Debug)]
pub struct Plan {
    /// The file.
    pub path: PathBuf,
    /// How many witnesses it names that could not be read to their end.
    pub unread: usize,
    /// What it has for each stream.
    pub sections: BTreeMap<StreamKey, Section>,
}

/// A stream's section.
#[derive(Debug, PartialEq)]
pub struct Section {
    /// Its first line.
    pub header: PlannedStream,
    /// Events that go back.
    pub events: Vec<PlannedEvent>,
    /// Events that get another number.
    pub moves: Vec<PlannedMove>,
    /// Events that get a number for the first time.
    pub appended: Vec<PlannedAppend>,
    /// Tombstones.
    pub tombstones: Vec<PlannedTombstone>,
    /// Commitments.
    pub commitments: Vec<PlannedCommitment>,
    /// What stays open.
    pub open: Vec<PlannedOpen>,
}

impl<'a> Operator<'a> {
    /// One who decides as the scene says.
    ///
    /// # Errors
    /// There is no runtime.
    pub fn new(scene: &'a Scene, world: &'a World) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| e.to_string())?;
        Ok(Self {
            scene,
            world,
            runtime,
        })
    }

    fn options(&self) -> Result<PlanOptions, String> {
        let accept = ["receipted", "committed", "corroborated", "claimed"];
        let accept = accept[self.scene.count("accept") % accept.len()].parse()?;
        let on_reissue = match self.scene.get("on-reissue") {
            0 => None,
            1 => Some(OnReissue::KeepAnchored),
            _ => Some(OnReissue::KeepCurrent),
        };
        let append = self.scene.has("append").then(AppendOptions::default);
        let fill = self.scene.has("fill").then(|| TombstoneOptions {
            key: ed25519_dalek::SigningKey::from_bytes(&[7; 32]).into(),
            key_name: "recovery.seed".into(),
            agent: Some(ves::AgentId(uuid::Uuid::from_u128(7))),
            register: true,
            undecided: false,
            root_will_not_match: false,
        });
        Ok(PlanOptions {
            accept,
            on_reissue,
            append,
            fill,
            ..PlanOptions::default()
        })
    }

    /// Plans the repair of a log into a file.
    ///
    /// # Errors
    /// As [`plan`], or the file is not one.
    pub fn plan(
        &self,
        log: &Path,
        input: &SurveyInput,
        out: &Path,
        open: &OpenOptions,
    ) -> Result<Plan, String> {
        let options = self.options()?;
        let file = File::create_new(out).map_err(|e| format!("{}: {e}", out.display()))?;
        let planned = self.runtime.block_on(async {
            let log = Log::open_with(&DbTarget::Snapshot(log.into()), open).await?;
            let mut view = log.view().await?;
            let request = PlanRequest {
                db: "log.db".into(),
                tool: "simulation",
                provenance: None,
                witness_options: Vec::new(),
                input,
                options: &options,
            };
            plan(&mut view, &request, file, &NoProgress, &Cancel::new()).await
        });
        planned.map_err(|error| told(&error))?;
        read(out)
    }

    /// Audits a log.
    ///
    /// # Errors
    /// As [`audit`].
    pub fn audit(&self, log: &Path, input: &SurveyInput, open: &OpenOptions) -> Result<AuditReport, String> {
        let audited = self.runtime.block_on(async {
            let log = Log::open_with(&DbTarget::Snapshot(log.into()), open).await?;
            let mut view = log.view().await?;
            audit(&mut view, "log.db".into(), input, &NoProgress, &Cancel::new()).await
        });
        audited.map_err(|error| told(&error))
    }

    /// Applies a plan to a log, and says in `bundle` how to take it back.
    ///
    /// # Errors
    /// As [`apply`].
    pub fn apply(
        &self,
        log: &Path,
        plan: &Path,
        bundle: Option<&Path>,
        open: &OpenOptions,
    ) -> Result<ApplyReport, String> {
        let options = ApplyOptions {
            lock_timeout: WAIT,
            sequencer_keys: self.world.sequencer_key().clone().into(),
            sequencer_id: Some(self.world.sequencer_id()),
            undo: bundle.map(Path::to_owned),
            dry_run: false,
            journal: true,
            with_triggers: false,
            provenance: None,
        };
        let plan = PlanFile::open(plan).map_err(|e| e.to_string())?;
        let applied = self.runtime.block_on(async {
            let log = Log::open_with(&DbTarget::Snapshot(log.into()), open).await?;
            apply(
                &log,
                "log.db".into(),
                &plan,
                &options,
                &NoProgress,
                &Cancel::new(),
            )
            .await
        });
        applied.map_err(|error| told(&error))
    }

    /// Takes an apply back.
    ///
    /// # Errors
    /// As [`undo`].
    pub fn undo(&self, log: &Path, bundle: &Path, open: &OpenOptions) -> Result<UndoReport, String> {
        let options = UndoOptions {
            lock_timeout: WAIT,
            still_only: false,
            with_triggers: false,
        };
        let bundle = UndoFile::open(bundle, true).map_err(|e| e.to_string())?;
        let undone = self.runtime.block_on(async {
            let log = Log::open_with(&DbTarget::Snapshot(log.into()), open).await?;
            undo(
                &log,
                "log.db".into(),
                &bundle,
                options,
                &NoProgress,
                &Cancel::new(),
            )
            .await
        });
        undone.map_err(|error| told(&error))
    }
}

/// An error with what it comes from.
fn told(error: &RecoveryError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Reads a plan's file.
///
/// # Errors
/// It is not one.
pub fn read(path: &Path) -> Result<Plan, String> {
    let file = PlanFile::open(path).map_err(|e| e.to_string())?;
    let mut sections: BTreeMap<StreamKey, Section> = BTreeMap::new();
    let mut current: Option<Section> = None;
    let mut keep = |section: Option<Section>| {
        if let Some(section) = section {
            sections.insert(section.header.stream, section);
        }
    };
    file.read(|line| {
        if let PlanLine::Stream(header) = line {
            keep(current.take());
            current = Some(Section {
                header: *header,
                events: Vec::new(),
                moves: Vec::new(),
                appended: Vec::new(),
                tombstones: Vec::new(),
                commitments: Vec::new(),
                open: Vec::new(),
            });
        } else if let Some(section) = &mut current {
            match line {
                PlanLine::Event(event) => section.events.push(*event),
                PlanLine::Move(moved) => section.moves.push(*moved),
                PlanLine::Append(appended) => section.appended.push(*appended),
                PlanLine::Tombstone(tombstone) => section.tombstones.push(*tombstone),
                PlanLine::Commitment(commitment) => section.commitments.push(*commitment),
                PlanLine::Open(open) => section.open.push(open),
                _ => {}
            }
        }
        Ok(())
    })
    .map_err(|e| e.to_string())?;
    keep(current);
    let unread = file.header().incomplete.len();
    Ok(Plan {
        path: path.to_owned(),
        unread,
        sections,
    })
}
