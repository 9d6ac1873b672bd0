//! The way that an operator walks, by the same functions as the commands.

use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use checkpoints::{CheckpointFiles, Policy};
use cli_common::{Cancel, DbTarget, Progress};
use event_log::Log;
use fixtures::{CheckpointSpec, World, WriteError};

use super::phases::{Begun, Phases};
use super::{DrillFault, DrillOptions};
use crate::apply::{ApplyOptions, ApplyReport, apply};
use crate::error::RecoveryError;
use crate::plan::plan_file::PlanFile;
use crate::plan::{PlanOptions, PlanRequest, PlanSummary, plan};
use crate::report::audit::{AuditReport, audit};
use crate::stream::survey::SurveyInput;
use crate::witness::Inputs;

/// What made the report.
pub(super) const TOOL: &str = concat!("sequencer-recovery ", env!("CARGO_PKG_VERSION"));

/// The files that agents, the chain and the truth leave in the drill's folder.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) dir: PathBuf,
    pub(super) input: SurveyInput,
}

impl Files {
    /// Writes the world's outboxes, anchors, checkpoints and truth. Without anchors they are written, and not shown to
    /// anybody.
    pub(super) fn write(dir: &Path, world: &World, options: &DrillOptions) -> Result<Self, RecoveryError> {
        let with_anchors = !options.faults.contains(&DrillFault::MissingAnchors);
        let (outboxes, anchors) = (dir.join("outboxes"), dir.join("anchors.json"));
        std::fs::create_dir_all(&outboxes).map_err(|source| RecoveryError::Io {
            path: outboxes.clone(),
            source,
        })?;
        let outbox_files = world.write_outboxes(&outboxes).map_err(failed(&outboxes))?;
        world.write_anchors(&anchors).map_err(failed(&anchors))?;
        let truth = dir.join("truth.json");
        world.write_truth(&truth).map_err(failed(&truth))?;
        let input = SurveyInput {
            witnesses: Inputs {
                outboxes: outbox_files,
                sequencer_keys: world.sequencer_public_key().into(),
                ..Inputs::default()
            },
            anchors: if with_anchors { vec![anchors] } else { Vec::new() },
            checkpoints: checkpoints(dir, world, options.checkpoint_every)?,
            ..SurveyInput::default()
        };
        Ok(Self {
            dir: dir.to_owned(),
            input,
        })
    }

    /// The same without the checkpoints; `None` if there are none.
    fn without_checkpoints(&self) -> Option<Self> {
        self.input.checkpoints.as_ref()?;
        Some(Self {
            dir: self.dir.clone(),
            input: SurveyInput {
                checkpoints: None,
                ..self.input.clone()
            },
        })
    }
}

/// The world's checkpoints, and whose signature makes them count.
fn checkpoints(dir: &Path, world: &World, every: u64) -> Result<Option<CheckpointFiles>, RecoveryError> {
    if every == 0 {
        return Ok(None);
    }
    let folder = dir.join("checkpoints");
    let spec = CheckpointSpec { every, leaves: true };
    let file = world.write_checkpoints(&folder, spec).map_err(failed(&folder))?;
    let policy = Policy::new(vec![world.checkpoint_vkey()], Vec::new(), 0);
    let policy = policy.map_err(|error| RecoveryError::Io {
        path: folder,
        source: std::io::Error::other(error),
    })?;
    let files = vec![file];
    Ok(Some(CheckpointFiles { files, policy }))
}

/// A file of the drill that could not be written.
pub(super) fn failed(path: &Path) -> impl Fn(WriteError) -> RecoveryError + '_ {
    move |error| RecoveryError::Io {
        path: path.to_owned(),
        source: std::io::Error::other(error),
    }
}

/// The log that is worked on, and with what.
#[derive(Clone, Copy)]
pub(super) struct DrillWalk<'a> {
    pub(super) log: &'a Log,
    pub(super) target: &'a DbTarget,
    pub(super) files: &'a Files,
    pub(super) world: &'a World,
    pub(super) progress: &'a dyn Progress,
    pub(super) cancel: &'a Cancel,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Repair {
    /// Before.
    pub(super) found: AuditReport,
    /// What was planned.
    pub(super) planned: PlanSummary,
    /// What was written.
    pub(super) applied: ApplyReport,
    /// After.
    pub(super) after: AuditReport,
    /// What applying the plan a second time wrote.
    pub(super) again: ApplyReport,
    /// How many events would go back by a plan without the checkpoints, if there are any.
    pub(super) without_checkpoints: Option<u64>,
}

const TOOL_NAME: &str = "sequencer-recovery";

impl DrillWalk<'_> {
    pub(super) async fn audit(&self) -> Result<AuditReport, RecoveryError> {
        let mut view = self.log.view().await?;
        let (db, input) = (self.target.to_string(), &self.files.input);
        audit(&mut view, db, input, self.progress, self.cancel).await
    }

    /// Makes a plan in a file of this name.
    pub(super) async fn plan(&self, name: &str, options: &PlanOptions) -> Result<PlanSummary, RecoveryError> {
        let path = self.files.dir.join(name);
        let file = std::fs::File::create_new(&path).map_err(|source| RecoveryError::Io {
            path: path.clone(),
            source,
        })?;
        let request = PlanRequest {
            provenance: None,
            witness_options: Vec::new(),
            db: self.target.to_string(),
            tool: TOOL,
            input: &self.files.input,
            options,
        };
        let mut view = self.log.view().await?;
        plan(
            &mut view,
            &request,
            BufWriter::new(file),
            self.progress,
            self.cancel,
        )
        .await
    }

    pub(super) async fn apply(&self, plan: &PlanFile) -> Result<ApplyReport, RecoveryError> {
        let options = ApplyOptions {
            lock_timeout: Duration::from_secs(10),
            sequencer_keys: self.world.sequencer_key().clone().into(),
            sequencer_id: Some(self.world.sequencer_id()),
            undo: None,
            dry_run: false,
            journal: true,
            with_triggers: false,
            provenance: None,
        };
        let db = self.target.to_string();
        apply(self.log, db, plan, &options, self.progress, self.cancel).await
    }

    /// Audit, plan, apply, verify.
    pub(super) async fn repair(
        &self,
        name: &str,
        options: &PlanOptions,
        phases: &mut Phases<'_>,
    ) -> Result<Repair, RecoveryError> {
        let begun = Begun::now();
        let found = self.audit().await?;
        phases.end("audit", TOOL_NAME, begun);
        // What checkpoints are worth; it is no part of a recovery, and its time does not count.
        let without_checkpoints = match self.files.without_checkpoints() {
            Some(files) => {
                let walk = DrillWalk {
                    files: &files,
                    ..*self
                };
                let planned = walk.plan(&format!("without-checkpoints-{name}"), options).await?;
                Some(planned.totals.events)
            }
            None => None,
        };
        let begun = Begun::now();
        let planned = self.plan(name, options).await?;
        phases.end("plan", TOOL_NAME, begun);
        let begun = Begun::now();
        let plan = PlanFile::open(&self.files.dir.join(name))?;
        let applied = self.apply(&plan).await?;
        phases.end("apply", TOOL_NAME, begun);
        let begun = Begun::now();
        let after = self.audit().await?;
        let again = self.apply(&plan).await?;
        phases.end("verify", TOOL_NAME, begun);
        Ok(Repair {
            found,
            planned,
            applied,
            after,
            again,
            without_checkpoints,
        })
    }
}
