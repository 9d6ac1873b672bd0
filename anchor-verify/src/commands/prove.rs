//! `anchor-verify prove`: the inclusion proof of one event.

pub(super) mod under_checkpoint;

use std::path::PathBuf;

use crate::proof::{Detail, Proved, Wanted, prove};
use crate::verify::LogSource as _;
use checkpoints::CheckpointArgs;
use clap::Args;
use cli_common::provenance::{Inputs, Provenance};
use cli_common::{
    CliError, CommandLine, DbArg, DbTarget, ExitStatus, GlobalArgs, Next, Output, again, print_report,
    stderr_progress,
};
use event_log::{Place, Scope};
use serde::Serialize;
use ves::{BatchId, EventId, StreamKey};

use super::{
    ForceArg, PinArgs, add_log, cancel_on_signals, cli_error, not_written, open_db, print_head,
    print_not_checked, provenance, read_anchors, some_anchors,
};

/// Write a small file that proves one event to be at its place in an anchored batch, or under a signed checkpoint
///
/// With --checkpoints the file is a C2SP tlog-proof with the event beside it; without a log (--db) it is made from the
/// leaves that are kept with the checkpoints, and proves the leaf alone. Ends with 0 if the file was written, 4 if no
/// anchored batch or checkpoint covers the event or the log is not what was anchored or signed, 8 if the log cannot be
/// read or has no such event.
#[derive(Debug, Args)]
pub struct ProveArgs {
    /// The event
    #[arg(
        long,
        value_name = "ID",
        required_unless_present = "stream",
        conflicts_with = "stream"
    )]
    event: Option<EventId>,

    /// The event's stream
    #[arg(long, value_name = "TENANT/STORE", requires = "sequence")]
    stream: Option<StreamKey>,

    /// The event's number
    #[arg(long, value_name = "N", requires = "stream")]
    sequence: Option<u64>,

    #[command(flatten)]
    db: DbArg,

    /// Anchors files; may be given several times
    #[arg(
        long = "anchors",
        value_name = "FILE",
        required_unless_present = "checkpoint_paths",
        conflicts_with = "checkpoint_paths"
    )]
    anchors: Vec<PathBuf>,

    #[command(flatten)]
    checkpoints: CheckpointArgs,

    #[command(flatten)]
    pins: PinArgs,

    /// The proof to write
    #[arg(long, value_name = "PROOF")]
    out: PathBuf,

    #[command(flatten)]
    force: ForceArg,

    /// Put the signed fields of the event into the proof, so that it tells what the event is
    #[arg(long)]
    with_event: bool,

    /// Put the payload into the proof too
    #[arg(long)]
    with_payload: bool,
}

/// Runs the command.
pub fn run(args: &ProveArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    args.force.check(&args.out)?;
    let wanted = args.wanted()?;
    let mut inputs = Inputs::default();
    if let Some(given) = args.checkpoints.files()? {
        return under_checkpoint::run(args, &given, wanted, inputs, global);
    }
    let mut anchors = read_anchors(&args.anchors, &mut inputs)?.unwrap_or_default();
    let mut not_checked = vec![
        "that the anchor is on the chain; `anchor-verify check` says what the proof is worth".to_owned(),
    ];
    not_checked.extend(args.pins.apply(&mut anchors)?);
    some_anchors(&anchors, &args.pins)?;
    let progress = stderr_progress(global);
    let cancel = cancel_on_signals()?;
    let target = args.db.target()?;
    add_log(&mut inputs, &target);
    let (proved, place) = again(&cancel, || {
        let mut source = open_db(&target, &Scope::default(), &cancel)?;
        let proved = prove(
            &mut source,
            wanted,
            args.detail(),
            &anchors,
            progress.as_ref(),
            &cancel,
        );
        Ok((proved.map_err(cli_error)?, source.place().cloned()))
    })?;
    drop(progress);
    let proof = match proved {
        Proved::Yes(proof) => proof,
        Proved::No(failures) => {
            for failure in failures {
                CliError::input(format!("{}: {}", failure.code, failure.what))
                    .with_hint(args.after_failure(&failure.code, &target))
                    .report(global);
            }
            return Ok(ExitStatus::PROBLEMS);
        }
    };
    proof
        .write(&args.out, args.force.existing())
        .map_err(|error| not_written(&args.out, error))?;
    global.recorder.file("proof", &args.out);
    let check = CommandLine::new("anchor-verify check").arg(args.out.display());
    let report = Report {
        schema: "prove-report/1",
        place,
        out: args.out.display().to_string(),
        stream: proof.stream,
        sequence_number: proof.sequence_number,
        batch_id: proof.batch.batch_id,
        leaf_index: proof.batch.leaf_index,
        range: (proof.batch.sequence_start, proof.batch.sequence_end),
        steps: proof.batch.proof_path.len(),
        not_checked,
        provenance: provenance(inputs),
        next: Next::run(&args.pins.again(check)),
    };
    print_report(
        global,
        &report,
        |out| print_table(out, &report),
        |out| out.ndjson([&report]),
    )?;
    Ok(ExitStatus::OK)
}

impl ProveArgs {
    /// Which event.
    fn wanted(&self) -> Result<Wanted, CliError> {
        match (self.event, self.stream, self.sequence) {
            (Some(event), ..) => Ok(Wanted::Event(event)),
            (None, Some(stream), Some(sequence)) => Ok(Wanted::Place(stream, sequence)),
            _ => Err(CliError::usage("give --event, or --stream and --sequence")),
        }
    }

    /// What to do where the event cannot be proved.
    fn after_failure(&self, code: &str, target: &DbTarget) -> String {
        let anchors = || self.anchors.iter().map(|path| path.display());
        if code == "commitment.unanchored" {
            return "give --anchors a file that covers the event, if it was anchored since; nobody can prove it before"
                .to_owned();
        }
        let audit = CommandLine::new("sequencer-recovery audit").db(target);
        format!(
            "`{}` says what is wrong with the batch",
            audit.options("--anchors", anchors())
        )
    }

    /// How much of it goes into the proof.
    fn detail(&self) -> Detail {
        match (self.with_payload, self.with_event) {
            (true, _) => Detail::Payload,
            (false, true) => Detail::Event,
            (false, false) => Detail::Leaf,
        }
    }
}

#[derive(Serialize)]
pub(super) struct Report {
    pub(super) schema: &'static str,
    pub(super) place: Option<Place>,
    pub(super) out: String,
    pub(super) stream: StreamKey,
    pub(super) sequence_number: u64,
    pub(super) batch_id: BatchId,
    pub(super) leaf_index: u64,
    /// The numbers that the batch covers.
    #[serde(skip)]
    pub(super) range: (u64, u64),
    pub(super) steps: usize,
    pub(super) not_checked: Vec<String>,
    pub(super) provenance: Provenance,
    pub(super) next: Next,
}

pub(super) fn print_table(out: &mut Output<impl std::io::Write>, report: &Report) -> Result<(), CliError> {
    print_head(out, Some(&report.provenance), report.place.as_ref())?;
    let (first, last) = report.range;
    out.line(&format!(
        "{}: event {} of stream {}, place {} of batch {} ({first} to {last}), {} steps to the anchored root",
        report.out, report.sequence_number, report.stream, report.leaf_index, report.batch_id, report.steps
    ))?;
    print_not_checked(out, &report.not_checked)?;
    report.next.print(out)
}
