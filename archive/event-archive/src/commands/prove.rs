//! `event-archive prove`: the inclusion proof of one event, out of an archive.

use std::path::PathBuf;

use anchor_verify::Existing;
use anchor_verify::commands::{PinArgs, cancel_on_signals, cli_error as verify_error, read_anchors};
use anchor_verify::proof::{Detail, Proved, Wanted, prove};
use archive_format::find::Finder;
use clap::Args;
use cli_common::provenance::Inputs;
use cli_common::{CliError, CommandLine, ExitStatus, Frame, GlobalArgs, Next, file_hint, stderr_progress};
use serde::Serialize;
use ves::{BatchId, EventId, StreamKey};

use super::{ArchiveArgs, print_not_checked, provenance};

/// Write a small file that proves one event to be at its place in an anchored batch
///
/// `anchor-verify check` reads it. An event is found by the filters on event ids in the objects: name its stream, and
/// only the objects of that stream are asked. Ends with 0 if the file was written, 4 if no anchored batch covers the event
/// or the archive is not what was anchored, 8 if the archive cannot be read or has no such event.
#[derive(Debug, Args)]
pub struct ProveArgs {
    #[command(flatten)]
    archive: ArchiveArgs,

    /// The event
    #[arg(
        long,
        value_name = "ID",
        required_unless_present = "sequence",
        conflicts_with = "sequence"
    )]
    event: Option<EventId>,

    /// The event's stream
    #[arg(long, value_name = "TENANT/STORE")]
    stream: Option<StreamKey>,

    /// The event's number
    #[arg(long, value_name = "N", requires = "stream")]
    sequence: Option<u64>,

    /// Anchors files; may be given several times
    #[arg(long = "anchors", value_name = "FILE", required = true)]
    anchors: Vec<PathBuf>,

    #[command(flatten)]
    pins: PinArgs,

    /// The proof to write
    #[arg(long, value_name = "PROOF")]
    out: PathBuf,

    /// Replace the file that --out names, if it is there
    #[arg(long)]
    force: bool,

    /// Put the signed fields of the event into the proof, so that it tells what the event is
    #[arg(long)]
    with_event: bool,

    /// Put the payload into the proof too
    #[arg(long)]
    with_payload: bool,
}

const SCHEMA: &str = "event-archive-prove/1";

#[derive(Serialize)]
struct Report {
    schema: &'static str,
    archive: String,
    out: String,
    #[serde(flatten)]
    stream: StreamKey,
    sequence_number: u64,
    batch_id: BatchId,
    /// How often the store was asked.
    requests: u64,
    not_checked: Vec<String>,
}

/// Runs the command.
pub fn run(args: &ProveArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let existing = if args.force {
        Existing::Replace
    } else {
        Existing::Keep
    };
    let not_written = |error: std::io::Error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AlreadyExists => "--force replaces it; or give --out another name".into(),
            _ => file_hint(&args.out, &error),
        };
        CliError::io(format!("{} was not written", args.out.display()))
            .with_hint(hint)
            .with_source(error)
    };
    anchor_verify::files::may_write(&args.out, existing).map_err(not_written)?;
    let mut inputs = Inputs::default();
    let mut anchors = read_anchors(&args.anchors, &mut inputs)?.unwrap_or_default();
    let mut not_checked = vec![
        "that the anchor is on the chain; `anchor-verify check` says what the proof is worth".to_owned(),
    ];
    not_checked.extend(args.pins.apply(&mut anchors)?);
    let cancel = cancel_on_signals()?;
    let progress = stderr_progress(global);
    let archive = args.archive.open()?;
    let name = archive.store().name();
    let mut finder = Finder::new(archive, args.stream.into_iter().collect());
    let proved = prove(
        &mut finder,
        args.wanted()?,
        args.detail(),
        &anchors,
        progress.as_ref(),
        &cancel,
    );
    drop(progress);
    let proof = match proved.map_err(verify_error)? {
        Proved::Yes(proof) => proof,
        Proved::No(failures) => {
            for failure in failures {
                CliError::input(format!("{}: {}", failure.code, failure.what)).report(global);
            }
            return Ok(ExitStatus::PROBLEMS);
        }
    };
    proof.write(&args.out, existing).map_err(not_written)?;
    global.recorder.file("proof", &args.out);
    not_checked.extend(args.archive.not_checked());
    let report = Report {
        schema: SCHEMA,
        archive: name,
        out: args.out.display().to_string(),
        stream: proof.stream,
        sequence_number: proof.sequence_number,
        batch_id: proof.batch.batch_id,
        requests: finder.requests(),
        not_checked,
    };
    print(&report, inputs, global)?;
    Ok(ExitStatus::OK)
}

fn print(report: &Report, inputs: Inputs, global: &GlobalArgs) -> Result<(), CliError> {
    let check = CommandLine::new("anchor-verify check").arg(&report.out);
    let frame = Frame {
        schema: SCHEMA,
        provenance: &provenance(inputs),
        next: &Next::run(&check),
    };
    frame.print(
        global,
        report,
        |out| {
            out.line(&format!(
                "{} proves event {} of {} in batch {}.",
                report.out, report.sequence_number, report.stream, report.batch_id
            ))?;
            out.line(&format!("The archive was asked {} times.", report.requests))?;
            print_not_checked(out, &report.not_checked)
        },
        |lines| {
            lines.not_checked(&report.not_checked)?;
            lines.one("summary", report)
        },
    )
}

impl ProveArgs {
    fn wanted(&self) -> Result<Wanted, CliError> {
        match (self.event, self.stream, self.sequence) {
            (Some(event), ..) => Ok(Wanted::Event(event)),
            (None, Some(stream), Some(sequence)) => Ok(Wanted::Place(stream, sequence)),
            _ => Err(CliError::usage(
                "name the event by --event, or by --stream and --sequence",
            )),
        }
    }

    fn detail(&self) -> Detail {
        match (self.with_payload, self.with_event) {
            (true, _) => Detail::Payload,
            (false, true) => Detail::Event,
            (false, false) => Detail::Leaf,
        }
    }
}
