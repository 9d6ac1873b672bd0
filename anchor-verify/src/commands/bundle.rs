//! `anchor-verify bundle`: a part of a log with all that verifies it, in one file.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::bundle::{BundleContents, Contents, CutBatches, cut_batches, write_bundle};
use crate::chain::Completeness;
use crate::verify::LogSource as _;
use crate::{AnchorsFile, Verdict};
use clap::{Args, ValueEnum};
use cli_common::provenance::{Inputs, Provenance};
use cli_common::{
    CliError, CommandLine, DbArg, DbTarget, ExitStatus, GlobalArgs, Next, Output, again, print_report,
    stderr_progress,
};
use event_log::{Place, Scope};
use serde::Serialize;
use ves::StreamKey;

use super::{
    ForceArg, PinArgs, add_log, cancel_on_signals, cli_error, open_db, print_completeness, print_head,
    print_not_checked, provenance, read_anchors, some_anchors,
};

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

    /// The bundle to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    #[command(flatten)]
    force: ForceArg,
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
    args.force.check(&args.out)?;
    let mut inputs = Inputs::default();
    let mut anchors = read_anchors(&args.anchors, &mut inputs)?.unwrap_or_default();
    let told = args.pins.apply(&mut anchors)?;
    let completeness = args.pins.complete(&mut anchors, None, &|_| true);
    some_anchors(&anchors, &args.pins)?;
    let target = args.db.target()?;
    add_log(&mut inputs, &target);
    let written = write(args, &target, &anchors, global)?;
    let mut not_checked = written.not_checked();
    not_checked.extend(told);
    not_checked.extend(completeness.not_checked());
    not_checked.extend(written.place.as_ref().and_then(Place::reservation));
    let unreadable = written.counts.log.unreadable > 0;
    global.recorder.file("bundle", &args.out);
    let report = Report {
        schema: "bundle-report/1",
        out: args.out.display().to_string(),
        bytes: std::fs::metadata(&args.out).map_or(0, |m| m.len()),
        redacted: args.redacts_payloads(),
        counts: written.counts,
        place: written.place,
        completeness,
        not_checked,
        provenance: provenance(inputs),
        next: Next::run(&match unreadable {
            true => CommandLine::new("sequencer-recovery audit").db(&target),
            false => {
                let verify = CommandLine::new("anchor-verify verify").arg(args.out.display());
                args.pins.again(verify)
            }
        }),
    };
    print_report(
        global,
        &report,
        |out| print_table(out, &report),
        |out| out.ndjson([&report]),
    )?;
    let left_out = report.completeness.verdict == Verdict::Failed;
    Ok(match unreadable || left_out || report.counts.anchors == 0 {
        true => ExitStatus::PROBLEMS,
        false => ExitStatus::OK,
    })
}

impl BundleArgs {
    fn redacts_payloads(&self) -> bool {
        self.redact.contains(&Redact::Payload)
    }
}

/// A bundle that was written.
struct Written {
    counts: BundleContents,
    cut: CutBatches,
    place: Option<Place>,
}

/// Writes the bundle, from the beginning again if the database asks for it.
fn write(
    args: &BundleArgs,
    target: &DbTarget,
    anchors: &AnchorsFile,
    global: &GlobalArgs,
) -> Result<Written, CliError> {
    let scope = Scope {
        streams: args.streams.clone(),
        range: args.range.clone(),
    };
    let progress = stderr_progress(global);
    let cancel = cancel_on_signals()?;
    again(&cancel, || {
        let mut source = open_db(target, &scope, &cancel)?;
        let cut = match (&args.streams[..], &args.range) {
            ([stream], Some(range)) => cut_batches(&mut source, stream, range, anchors).map_err(cli_error)?,
            _ => CutBatches::default(),
        };
        let contents = Contents {
            scope: &scope,
            anchors,
            partial: &cut.partial,
            redact: args.redacts_payloads(),
        };
        let existing = args.force.existing();
        let counts = write_bundle(&mut source, &contents, &args.out, existing, progress.as_ref());
        Ok(Written {
            counts: counts.map_err(cli_error)?,
            place: source.place().cloned(),
            cut,
        })
    })
}

impl Written {
    /// What is not checked of it here, and what nobody will be able to check.
    fn not_checked(&self) -> Vec<String> {
        let mut told = vec!["what is in the bundle: `anchor-verify verify` does that".to_owned()];
        if self.counts.anchors == 0 {
            told.push(
                "that anything in it is on a chain: no anchor is of these streams and numbers".to_owned(),
            );
        }
        let parts = self
            .cut
            .partial
            .iter()
            .map(|part| (part.sequence_start, part.sequence_end));
        if !self.cut.partial.is_empty() {
            told.push(format!(
                "the other events of batches that the range cuts, for which hashes stand: {}",
                ranges(parts)
            ));
        }
        if !self.cut.unverifiable.is_empty() {
            told.push(format!(
                "the range holds these batches in part only, and the log does not have the rest, so that nobody can \
                 verify them: {}",
                ranges(self.cut.unverifiable.iter().copied())
            ));
        }
        told.push(crate::bundle::unbound());
        told
    }
}

fn ranges(ranges: impl Iterator<Item = (u64, u64)>) -> String {
    let ranges: Vec<String> = ranges.map(|(first, last)| format!("{first} to {last}")).collect();
    ranges.join(", ")
}

#[derive(Serialize)]
pub(super) struct Report {
    pub(super) schema: &'static str,
    pub(super) place: Option<Place>,
    pub(super) out: String,
    pub(super) bytes: u64,
    pub(super) redacted: bool,
    pub(super) counts: BundleContents,
    pub(super) completeness: Completeness,
    pub(super) not_checked: Vec<String>,
    pub(super) provenance: Provenance,
    pub(super) next: Next,
}

pub(super) fn print_table(out: &mut Output<impl std::io::Write>, report: &Report) -> Result<(), CliError> {
    print_head(out, Some(&report.provenance), report.place.as_ref())?;
    let counts = &report.counts.log;
    out.line(&format!(
        "{}: {} stream(s), {} event(s), {} commitment(s), {} key(s), {} anchor(s), {} bytes{}",
        report.out,
        counts.streams,
        counts.events,
        counts.commitments,
        counts.keys,
        report.counts.anchors,
        report.bytes,
        if report.redacted {
            "; payloads left out"
        } else {
            ""
        }
    ))?;
    if counts.unreadable > 0 {
        out.line(&format!(
            "{} row(s) of the log cannot be read; the bundle says so",
            counts.unreadable
        ))?;
    }
    print_completeness(out, Some(&report.completeness))?;
    print_not_checked(out, &report.not_checked)?;
    report.next.print(out)
}
