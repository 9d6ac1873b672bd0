//! The way that an operator walks, by the same functions as the commands.

use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cli_common::{Cancel, DbTarget, Progress};
use event_log::Log;
use fixtures::{World, WriteError};

use super::phases::{Begun, Phases};
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
    /// Writes the world's outboxes, anchors and truth. Without anchors they are written, and not shown to anybody.
    pub(super) fn write(dir: &Path, world: &World, with_anchors: bool) -> Result<Self, RecoveryError> {
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
            ..SurveyInput::default()
        };
        Ok(Self {
            dir: dir.to_owned(),
            input,
        })
    }
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
pub(super) struct Walk<'a> {
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
}

const TOOL_NAME: &str = "sequencer-recovery";

impl Walk<'_> {
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
        })
    }
}
