//! `anchor-verify lint`: anchors judged among themselves, and against a log.

use std::path::PathBuf;

use crate::chain::{Completeness, examine};
use crate::lint::{LintFinding, LintReport, LogCommitments, Severity, lint};
use clap::Args;
use cli_common::provenance::{Inputs, Provenance};
use cli_common::{
    Cancel, CliError, CommandLine, DbArg, DbTarget, ExitStatus, GlobalArgs, Next, Output, Stdouted, Table,
    Tone, again, print_report,
};
use event_log::{Log, LogError, OpenOptions, Place, StreamFilter};
use serde::Serialize;

use super::l1::{BlockArg, L1Args};
use super::{
    PinArgs, add_log, cancel_on_signals, print_completeness, print_head, print_not_checked, provenance,
    read_anchors, some_anchors, write_lines,
};

/// Judge anchors among themselves, and against the commitments of a log
///
/// Looks for ranges that overlap, have two roots or are left out, batch ids with two contents, state roots that do not
/// follow, second contracts of one shape, and proofs that contradict their anchors; with a log also for batches on
/// chain that it does not know, and commitments that are not anchored. Opens no connection but to the log. Ends
/// with 0 if there are no problems, 4 if there are, 8 if something could not be read.
#[derive(Debug, Args)]
#[command(after_long_help = COLUMNS)]
pub struct LintArgs {
    /// The anchors file; several are read as one
    #[arg(required = true, value_name = "ANCHORS")]
    anchors: Vec<PathBuf>,

    #[command(flatten)]
    db: DbArg,

    /// The hash of a block that you trust: by its headers and receipts it is said whether anchors were left out
    #[arg(long, value_name = "HASH")]
    trusted_block: Option<BlockArg>,

    #[command(flatten)]
    l1: L1Args,

    #[command(flatten)]
    pins: PinArgs,
}

const SCHEMA: &str = "anchors-lint/1";

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    anchors_files: Vec<String>,
    db: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'a Place>,
    #[serde(flatten)]
    report: &'a LintReport,
    problems: usize,
    notices: usize,
    completeness: &'a Completeness,
    provenance: Provenance,
    next: &'a Next,
}

#[derive(Serialize)]
struct Totals<'a> {
    streams: usize,
    anchors: usize,
    batches: usize,
    chained: usize,
    problems: usize,
    notices: usize,
    not_checked: &'a [String],
    completeness: &'a Completeness,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'a Place>,
    provenance: &'a Provenance,
    next: &'a Next,
}

/// Runs the command.
pub fn run(args: &LintArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let target = args.db.optional_target()?;
    let mut inputs = Inputs::default();
    let mut file = read_anchors(&args.anchors, &mut inputs)?.unwrap_or_default();
    let told = args.pins.apply(&mut file)?;
    let trusted = (args.l1).trusted_block(args.trusted_block.as_ref(), Some(&file), &mut inputs)?;
    let completeness = args.pins.complete(&mut file, trusted.hash, &|_| true);
    some_anchors(&file, &args.pins)?;
    let ties_nothing = trusted
        .hash
        .and_then(|hash| crate::chain::ties_nothing(&file, &examine(&file, Some(hash))));
    let cancel = cancel_on_signals()?;
    let log = match &target {
        Some(target) => {
            add_log(&mut inputs, target);
            Some(again(&cancel, || Ok(read_log(target, &cancel)?))?)
        }
        None => None,
    };
    let mut report = lint(&file, log.as_ref().map(|log| &log.commitments));
    if let Some(what) = ties_nothing {
        report.not_checked.insert(0, what);
    }
    report.not_checked.extend(told);
    report.not_checked.extend(trusted.not_checked);
    report.add_completeness(&completeness);
    let unreadable = log.as_ref().map_or(&[][..], |log| &log.unreadable);
    let place = log.as_ref().map(|log| &log.place);
    report.not_checked.extend(place.and_then(Place::reservation));
    for row in unreadable {
        CliError::input(row.clone()).report(global);
        report.not_checked.push(format!("{row}: not read"));
    }
    let is_problem = |finding: &&LintFinding| finding.severity == Severity::Problem;
    let problems = report.findings.iter().filter(is_problem).count();
    let mut status = ExitStatus::OK;
    if problems > 0 {
        status |= ExitStatus::PROBLEMS;
    }
    if !unreadable.is_empty() {
        status |= ExitStatus::FAILED;
    }
    let next = next(args, target.as_ref(), problems);
    let document = Document {
        schema: SCHEMA,
        anchors_files: (args.anchors.iter())
            .map(|path| path.display().to_string())
            .collect(),
        db: target.as_ref().map(ToString::to_string),
        place,
        notices: report.findings.len() - problems,
        report: &report,
        problems,
        completeness: &completeness,
        provenance: provenance(inputs),
        next: &next,
    };
    let text = |out: &mut Stdouted| {
        print_verdict(out, &report, problems, document.notices)?;
        print_completeness(out, Some(&completeness))?;
        print_head(out, Some(&document.provenance), place)?;
        print_findings(out, &report)?;
        print_not_checked(out, &report.not_checked)?;
        next.print(out)
    };
    print_report(global, &document, text, |out| print_ndjson(out, &document))?;
    Ok(status)
}

fn print_ndjson(out: &mut Output<impl std::io::Write>, document: &Document<'_>) -> Result<(), CliError> {
    let report = document.report;
    write_lines(out, SCHEMA, "finding", &report.findings)?;
    let totals = Totals {
        streams: report.streams,
        anchors: report.anchors,
        batches: report.batches,
        chained: report.chained,
        problems: document.problems,
        notices: document.notices,
        not_checked: &report.not_checked,
        completeness: document.completeness,
        place: document.place,
        provenance: &document.provenance,
        next: document.next,
    };
    write_lines(out, SCHEMA, "totals", [totals])
}

/// What is left to do: to mend what is wrong with the log or the anchors, or else to compare the events with them.
fn next(args: &LintArgs, target: Option<&DbTarget>, problems: usize) -> Next {
    let anchors = || args.anchors.iter().map(|path| path.display());
    match (target, problems) {
        (Some(target), 0) => {
            let verify = CommandLine::new("anchor-verify verify").db(target);
            Next::run(&args.pins.again(verify.options("--anchors", anchors())))
        }
        (Some(target), _) => {
            let audit = CommandLine::new("sequencer-recovery audit").db(target);
            Next::run(&audit.options("--anchors", anchors()))
        }
        (None, 0) => {
            Next::nothing("nothing contradicts among the anchors; no log was given to compare them with")
        }
        (None, _) => Next::nothing("each finding says what it takes; more is known with the log (--db)"),
    }
}

/// What a log says of its commitments.
struct ReadLog {
    commitments: LogCommitments,
    /// The rows that could not be read.
    unreadable: Vec<String>,
    place: Place,
}

fn read_log(target: &DbTarget, cancel: &Cancel) -> Result<ReadLog, LogError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| LogError::Io {
        path: target.to_string().into(),
        source,
    })?;
    runtime.block_on(async {
        let options = OpenOptions::stopped_by(cancel);
        let log = Log::open_with(target, &options).await?;
        let mut view = log.view().await?;
        let streams = view.streams(&StreamFilter::default()).await?;
        let mut unreadable: Vec<String> = streams.unreadable.iter().map(ToString::to_string).collect();
        let mut known = LogCommitments::default();
        for state in streams.rows {
            known.streams.push(state.stream);
            let rows = view.commitments(&state.stream).await?;
            unreadable.extend(rows.unreadable.iter().map(ToString::to_string));
            known.commitments.extend(rows.rows);
        }
        Ok(ReadLog {
            commitments: known,
            unreadable,
            place: log.place().clone(),
        })
    })
}

const COLUMNS: &str = "\
Columns (problems first, the worst before others):
  CODE    of docs/findings.md
  STREAM  the stream, if it is known; RANGE, its numbers
  WHAT    one sentence; `--format json` has the batches, and what to do next";

pub(super) fn print_verdict(
    out: &mut Output<impl std::io::Write>,
    report: &LintReport,
    problems: usize,
    notices: usize,
) -> Result<(), CliError> {
    out.verdict(
        if problems > 0 { Tone::Bad } else { Tone::Good },
        &format!("{problems} problems, {notices} notices"),
    )?;
    out.line(&format!(
        "{} anchors of {} batches in {} streams; {} state roots follow from the one before",
        report.anchors, report.batches, report.streams, report.chained
    ))
}

pub(super) fn print_findings(
    out: &mut Output<impl std::io::Write>,
    report: &LintReport,
) -> Result<(), CliError> {
    if report.findings.is_empty() {
        return Ok(());
    }
    let labels = out.label_streams(report.findings.iter().filter_map(|f| f.stream));
    let mut in_order: Vec<&LintFinding> = report.findings.iter().collect();
    in_order.sort_by_key(|f| (std::cmp::Reverse(f.severity), f.code.rank()));
    let mut table = Table::new(&["CODE", "STREAM", "RANGE", "WHAT"]);
    let shown = out.shown(in_order.len());
    for finding in &in_order[..shown] {
        let LintFinding {
            code,
            stream,
            from,
            to,
            message,
            ..
        } = finding;
        let range = from.zip(*to).map(|(from, to)| format!("{from}..{to}"));
        table.row([
            code.to_string(),
            stream.map(|s| labels.of(&s)).unwrap_or_default(),
            range.unwrap_or_default(),
            message.clone(),
        ]);
        if finding.severity == Severity::Problem {
            table.verdict(0, Tone::Bad);
        }
    }
    out.line("")?;
    out.table(&table)?;
    out.more(0, in_order.len() - shown, "finding(s)")
}
