//! `sequencer-recovery epoch`: draws up the recovery epoch of a repair that was applied.

use std::path::{Path, PathBuf};

use checkpoints::CheckpointArgs;
use clap::Args;
use cli_common::keys::read_signing_key;
use cli_common::{CliError, DbArg, ExitStatus, Frame, GlobalArgs, Next, Output};
use outbox_sync::epoch::RecoveryEpoch;
use sequencer_recovery::checkpoint::generation::add_generations;
use sequencer_recovery::error::RecoveryError;
use sequencer_recovery::new_file::NewFile;
use sequencer_recovery::plan::plan_file::PlanFile;
use sequencer_recovery::report::epoch::{epoch, epoch_of_journal};
use serde::Serialize;
use ves::Hash32;

use super::{HashedInputs, block_on, cancel_on_signals, made, made_from, new_file, open};

/// Write the recovery epoch of a repair that was applied
///
/// Agents set their outboxes right by it (docs/epoch.md). It is made from the plan, or from the log's journal of
/// repairs, and is the same as `apply --epoch` writes: for when that could not be written.
///
/// With --checkpoints it says too of which streams not all came back that was signed: a new generation of their trees
/// begins with it (docs/checkpoints.md).
///
/// Ends with 0 if it was written.
#[derive(Debug, Args)]
pub struct EpochArgs {
    #[command(flatten)]
    db: DbArg,

    /// Where it goes; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// The plan that was applied. Without it the journal of repairs is asked, for the plan that was applied last
    #[arg(long, value_name = "FILE", conflicts_with = "plan_id")]
    plan: Option<PathBuf>,

    /// Another plan of the journal
    #[arg(long, value_name = "HEX")]
    plan_id: Option<Hash32>,

    /// Sign the epoch with this key: a file with an Ed25519 seed in hex
    #[arg(long, value_name = "FILE")]
    epoch_key: Option<PathBuf>,

    #[command(flatten)]
    checkpoints: CheckpointArgs,

    /// The certificate of what is lost for good: a generation that begins with this epoch names it
    #[arg(long, value_name = "FILE", requires = "checkpoint_paths")]
    loss_certificate: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &EpochArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let plan = args.plan.as_deref().map(PlanFile::open);
    let plan = plan.transpose().map_err(RecoveryError::from)?;
    let key = args.epoch_key.as_deref().map(read_signing_key).transpose()?;
    let provenance = match &args.plan {
        Some(plan) => made_from("plan", plan),
        None => made(HashedInputs::default()),
    };
    let history = args.checkpoints.files()?.map(|given| given.read()).transpose();
    let history = history.map_err(|(path, source)| RecoveryError::Io { path, source })?;
    let loss = args.loss_certificate.as_deref().map(sha256).transpose()?;
    let cancel = cancel_on_signals()?;
    let file = new_file(&args.out, 0)?;
    let (holes, generations) = block_on(async {
        let (log, _) = open(&args.db, &cancel).await?;
        let mut drawn = match &plan {
            Some(plan) => epoch(&log, plan).await?,
            None => epoch_of_journal(&log, args.plan_id).await?,
        };
        if let Some(history) = &history {
            add_generations(&log, &mut drawn, history, loss, &cancel).await?;
        }
        let said = (holes(&drawn), generations(&drawn));
        write_epoch(Ok(drawn), key.as_ref(), file)?;
        Ok(said)
    })?;
    global.recorder.file("epoch", &args.out);
    let report = Report {
        schema: "recovery-epoch-report/1",
        out: args.out.display().to_string(),
        signed: key.is_some(),
        open: holes,
        generations,
    };
    let frame = Frame {
        schema: report.schema,
        provenance: &provenance,
        next: &Next::nothing(format!(
            "hand {} to the agents: each sets its outbox right with `outbox-sync reconcile OUTBOX --epoch FILE`",
            report.out
        )),
    };
    frame.print(
        global,
        &report,
        |out| print_table(out, &report),
        |lines| lines.one("epoch", &report),
    )?;
    Ok(ExitStatus::OK)
}

/// Where the epoch is, and what it means.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) schema: &'static str,
    pub(super) out: String,
    pub(super) signed: bool,
    /// What must not be committed while this epoch is handed out.
    pub(super) open: Vec<String>,
    /// The generations of streams' trees that begin with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) generations: Vec<String>,
}

pub(super) fn print_table<W: std::io::Write>(out: &mut Output<W>, report: &Report) -> Result<(), CliError> {
    let signed = if report.signed {
        "signed"
    } else {
        "NOT signed (--epoch-key)"
    };
    out.line(&format!("The epoch is in {}, {signed}.", report.out))?;
    let shown = out.shown(report.open.len());
    for line in &report.open[..shown] {
        out.line(line)?;
    }
    out.more(0, report.open.len() - shown, "stream(s) with open numbers")?;
    let shown = out.shown(report.generations.len());
    for line in &report.generations[..shown] {
        out.line(line)?;
    }
    out.more(
        0,
        report.generations.len() - shown,
        "stream(s) with a new generation",
    )
}

/// Signs an epoch, if there is a key, and writes it to its file.
pub(super) fn write_epoch(
    drawn: Result<RecoveryEpoch, RecoveryError>,
    key: Option<&ed25519_dalek::SigningKey>,
    file: NewFile,
) -> Result<(), CliError> {
    let mut epoch = drawn?;
    if let Some(key) = key {
        epoch.sign(key).map_err(CliError::io)?;
    }
    let json = epoch.to_json().map_err(CliError::io)?;
    Ok(file.fill(&json)?)
}

/// The generations that begin with an epoch.
fn generations(epoch: &RecoveryEpoch) -> Vec<String> {
    let begun = epoch.streams.iter().filter_map(|stream| {
        let generation = stream.generation?;
        Some(format!(
            "{}: generation {} of its tree begins behind {} event(s), the last that were signed and stand",
            stream.stream, generation.number, generation.common_size
        ))
    });
    begun.collect()
}

fn sha256(path: &Path) -> Result<Hash32, CliError> {
    use sha2::Digest as _;
    let bytes = std::fs::read(path).map_err(|e| CliError::input(format!("{}: {e}", path.display())))?;
    Ok(Hash32(sha2::Sha256::digest(&bytes).into()))
}

/// What must not be committed while this epoch is handed out.
pub(super) fn holes(epoch: &RecoveryEpoch) -> Vec<String> {
    let open = epoch.streams.iter().filter_map(|stream| {
        let above = stream.counter - stream.recovered_head;
        let missing = above.saturating_sub(stream.restored.len() as u64);
        (missing > 0).then(|| {
            format!(
                "{}: {missing} number(s) between {} and {} are open: commit nothing across them; wait for agents that were \
                 not heard, or fill them (docs/runbook.md)",
                stream.stream,
                stream.recovered_head + 1,
                stream.counter
            )
        })
    });
    open.collect()
}
