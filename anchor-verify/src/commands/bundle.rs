//! `anchor-verify bundle`: a part of a log with all that verifies it, in one file.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use anchor_verify::Verdict;
use anchor_verify::bundle::{CutBatches, cut_batches, write_bundle};
use anchor_verify::verify::LogSource as _;
use clap::{Args, ValueEnum};
use cli_common::{CliError, DbArg, ExitStatus, Format, GlobalArgs, Output, again, stderr_progress};
use event_log::{Place, Scope};
use serde_json::json;
use ves::StreamKey;

use super::{PinArgs, cancel_on_signals, cli_error, open_db, print_completeness, print_place, read_anchors};

/// Write events with their receipts, keys, commitments and anchors into one file, to be verified offline
///
/// The same log and options give the same bytes. Nothing is verified here: `anchor-verify verify BUNDLE` does.
#[derive(Debug, Args)]
pub struct BundleArgs {
    #[command(flatten)]
    db: DbArg,

    /// A stream; may be given several times. Without any, the whole log
    #[arg(long = "stream", value_name = "TENANT/STORE")]
    streams: Vec<StreamKey>,

    /// Only these numbers of the stream
    #[arg(long, value_name = "A-B", value_parser = range, requires = "streams")]
    range: Option<RangeInclusive<u64>>,

    /// Anchors files; may be given several times
    #[arg(long = "anchors", value_name = "FILE", required = true)]
    anchors: Vec<PathBuf>,

    #[command(flatten)]
    pins: PinArgs,

    /// Leave something out that must stay private; its hashes stay
    #[arg(long, value_enum, value_name = "WHAT")]
    redact: Vec<Redact>,

    /// The bundle to write; one that is there is replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Redact {
    /// Payloads, plain and encrypted.
    Payload,
}

fn range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let read = || {
        let (from, to) = text.split_once('-')?;
        Some((from.trim().parse().ok()?, to.trim().parse().ok()?))
    };
    match read() {
        Some((from, to)) if 1 <= from && from <= to => Ok(from..=to),
        _ => Err("give two numbers, the first from 1 up and the last not below it: 1-500".into()),
    }
}

/// Runs the command.
pub fn run(args: &BundleArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    if args.range.is_some() && args.streams.len() != 1 {
        return Err(CliError::usage(
            "--range counts in one stream, and several are named",
        ));
    }
    let mut anchors = read_anchors(&args.anchors)?.unwrap_or_default();
    let told = args.pins.apply(&mut anchors)?;
    let completeness = args.pins.complete(&mut anchors, None, &|_| true);
    let scope = Scope {
        streams: args.streams.clone(),
        range: args.range.clone(),
    };
    let progress = stderr_progress(global);
    let target = args.db.target()?;
    let cancel = cancel_on_signals()?;
    let redact = args.redact.contains(&Redact::Payload);
    let (cut, counts, place) = again(&cancel, || {
        let mut source = open_db(&target, &scope, &cancel)?;
        let cut = match (&args.streams[..], &args.range) {
            ([stream], Some(range)) => {
                cut_batches(&mut source, stream, range, &anchors).map_err(cli_error)?
            }
            _ => CutBatches::default(),
        };
        let counts = write_bundle(
            &mut source,
            &scope,
            &anchors,
            &cut.partial,
            redact,
            &args.out,
            progress.as_ref(),
        );
        Ok((cut, counts.map_err(cli_error)?, source.place().cloned()))
    })?;
    drop(progress);
    let size = std::fs::metadata(&args.out).map_or(0, |m| m.len());
    let mut not_checked = vec!["what is in the bundle: `anchor-verify verify` does that".to_owned()];
    let ranges = |ranges: &[(u64, u64)]| -> String {
        let ranges: Vec<String> = ranges.iter().map(|(a, b)| format!("{a} to {b}")).collect();
        ranges.join(", ")
    };
    let partial: Vec<(u64, u64)> = cut
        .partial
        .iter()
        .map(|part| (part.sequence_start, part.sequence_end))
        .collect();
    if !partial.is_empty() {
        not_checked.push(format!(
            "the other events of batches that the range cuts, for which hashes stand: {}",
            ranges(&partial)
        ));
    }
    if !cut.unverifiable.is_empty() {
        not_checked.push(format!(
            "the range holds these batches in part only, and the log does not have the rest, so that nobody can verify \
             them: {}",
            ranges(&cut.unverifiable)
        ));
    }
    not_checked.push(anchor_verify::bundle::unbound());
    not_checked.extend(told);
    not_checked.extend(completeness.not_checked());
    not_checked.extend(place.as_ref().and_then(Place::reservation));
    let mut out = Output::stdout();
    if global.format == Format::Table {
        print_place(&mut out, place.as_ref())?;
        let path = args.out.display().to_string();
        out.line(&format!(
            "{}: {} stream(s), {} event(s), {} commitment(s), {} key(s), {size} bytes{}",
            path,
            counts.streams,
            counts.events,
            counts.commitments,
            counts.keys,
            if redact { "; payloads left out" } else { "" }
        ))?;
        if counts.unreadable > 0 {
            out.line(&format!(
                "{} row(s) of the log cannot be read; the bundle says so",
                counts.unreadable
            ))?;
        }
        print_completeness(&mut out, Some(&completeness))?;
        for what in &not_checked {
            out.line(&format!("NOT CHECKED: {what}"))?;
        }
    } else {
        let document = json!({
            "schema": "bundle-report/1",
            "place": place,
            "out": args.out.display().to_string(),
            "bytes": size,
            "redacted": redact,
            "counts": counts,
            "completeness": completeness,
            "not_checked": not_checked,
        });
        if global.format == Format::Json {
            out.json(&document)?;
        } else {
            out.ndjson([document])?;
        }
    }
    out.finish()?;
    Ok(
        if counts.unreadable > 0 || completeness.verdict == Verdict::Failed {
            ExitStatus::PROBLEMS
        } else {
            ExitStatus::OK
        },
    )
}
