//! `anchor-verify prove`: the inclusion proof of one event.

use std::path::PathBuf;

use anchor_verify::proof::{Detail, Proved, Wanted, prove};
use anchor_verify::verify::LogSource as _;
use clap::Args;
use cli_common::{CliError, DbArg, ExitStatus, Format, GlobalArgs, Output, again, stderr_progress};
use event_log::Scope;
use serde_json::json;
use ves::{EventId, StreamKey};

use super::{PinArgs, cancel_on_signals, cli_error, open_db, print_place, read_anchors};

/// Write a small file that proves one event to be at its place in an anchored batch
///
/// Ends with 0 if the file was written, 4 if the event is in no anchored batch or its batch is not what was anchored,
/// 8 if the log cannot be read or has no such event.
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
    #[arg(long = "anchors", value_name = "FILE", required = true)]
    anchors: Vec<PathBuf>,

    #[command(flatten)]
    pins: PinArgs,

    /// The proof to write; one that is there is replaced
    #[arg(long, value_name = "PROOF")]
    out: PathBuf,

    /// Put the signed fields of the event into the proof, so that it tells what the event is
    #[arg(long)]
    with_event: bool,

    /// Put the payload into the proof too
    #[arg(long)]
    with_payload: bool,
}

/// Runs the command.
pub fn run(args: &ProveArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let wanted = match (args.event, args.stream, args.sequence) {
        (Some(event), ..) => Wanted::Event(event),
        (None, Some(stream), Some(sequence)) => Wanted::Place(stream, sequence),
        _ => return Err(CliError::usage("give --event, or --stream and --sequence")),
    };
    let detail = match (args.with_payload, args.with_event) {
        (true, _) => Detail::Payload,
        (false, true) => Detail::Event,
        (false, false) => Detail::Leaf,
    };
    let mut anchors = read_anchors(&args.anchors)?.unwrap_or_default();
    let mut not_checked = vec![
        "that the anchor is on the chain; `anchor-verify check` says what the proof is worth".to_owned(),
    ];
    not_checked.extend(args.pins.apply(&mut anchors)?);
    let progress = stderr_progress(global);
    let cancel = cancel_on_signals()?;
    let target = args.db.target()?;
    let (proved, place) = again(&cancel, || {
        let mut source = open_db(&target, &Scope::default(), &cancel)?;
        let proved = prove(&mut source, wanted, detail, &anchors, progress.as_ref(), &cancel);
        Ok((proved.map_err(cli_error)?, source.place().cloned()))
    })?;
    drop(progress);
    let proof = match proved {
        Proved::Yes(proof) => proof,
        Proved::No(failures) => {
            for failure in failures {
                CliError::input(format!("{}: {}", failure.code, failure.what)).report(global);
            }
            return Ok(ExitStatus::PROBLEMS);
        }
    };
    proof
        .write(&args.out)
        .map_err(|e| CliError::io(format!("{} was not written", args.out.display())).with_source(e))?;
    let mut out = Output::stdout();
    let batch = &proof.batch;
    if global.format == Format::Table {
        print_place(&mut out, place.as_ref())?;
        let path = args.out.display().to_string();
        out.line(&format!(
            "{}: event {} of stream {}, place {} of batch {} ({} to {}), {} steps to the anchored root",
            path,
            proof.sequence_number,
            proof.stream,
            batch.leaf_index,
            batch.batch_id,
            batch.sequence_start,
            batch.sequence_end,
            batch.proof_path.len()
        ))?;
        for what in &not_checked {
            out.line(&format!("NOT CHECKED: {what}"))?;
        }
    } else {
        let document = json!({
            "schema": "prove-report/1",
            "place": place,
            "out": args.out.display().to_string(),
            "stream": proof.stream,
            "sequence_number": proof.sequence_number,
            "batch_id": batch.batch_id,
            "leaf_index": batch.leaf_index,
            "steps": batch.proof_path.len(),
            "not_checked": not_checked,
        });
        if global.format == Format::Json {
            out.json(&document)?;
        } else {
            out.ndjson([document])?;
        }
    }
    out.finish()?;
    Ok(ExitStatus::OK)
}
