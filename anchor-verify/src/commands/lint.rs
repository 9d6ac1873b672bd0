//! `anchor-verify lint`: anchors judged among themselves, and against a log.

use std::path::PathBuf;

use anchor_verify::AnchorsFile;
use anchor_verify::chain::Completeness;
use anchor_verify::lint::{LintFinding, LintReport, LogCommitments, Severity, lint};
use clap::Args;
use cli_common::{Cancel, CliError, DbArg, DbTarget, ExitStatus, Format, GlobalArgs, Output, Table, again};
use event_log::{Log, LogError, OpenOptions, Place, StreamFilter};
use serde::Serialize;
use ves::Hash32;

use super::l1::L1Args;
use super::{PinArgs, cancel_on_signals, print_completeness, print_place};

/// Judge anchors among themselves, and against the commitments of a log
///
/// Looks for ranges that overlap, have two roots or are left out, batch ids with two contents, state roots that do not
/// follow, second contracts of one shape, and proofs that contradict their anchors; with a log also for batches on
/// chain that it does not know, and commitments that are not anchored. Opens no connection but to the log. Ends
/// with 0 if there are no problems, 4 if there are, 8 if something could not be read.
#[derive(Debug, Args)]
pub struct LintArgs {
    /// The anchors file; several are read as one
    #[arg(required = true, value_name = "ANCHORS")]
    anchors: Vec<PathBuf>,

    #[command(flatten)]
    db: DbArg,

    /// The hash of a block that you trust: by its headers and receipts it is said whether anchors were left out
    #[arg(long, value_name = "HASH")]
    trusted_block: Option<Hash32>,

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
}

/// A line of NDJSON.
#[derive(Serialize)]
struct Line<'a, T: Serialize> {
    schema: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    value: &'a T,
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
}

/// Runs the command.
pub fn run(args: &LintArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let target = args.db.optional_target()?;
    let mut files = Vec::new();
    for path in &args.anchors {
        let file = AnchorsFile::read(path).map_err(|e| CliError::input(e.to_string()))?;
        files.push((path.clone(), file));
    }
    let mut file = AnchorsFile::merge(files).map_err(|e| CliError::input(e.to_string()))?;
    let told = args.pins.apply(&mut file)?;
    let trusted = args.l1.trusted_block(args.trusted_block, Some(&file))?;
    let completeness = args.pins.complete(&mut file, trusted.hash, &|_| true);
    let mut status = ExitStatus::OK;
    let cancel = cancel_on_signals()?;
    let mut unreadable = Vec::new();
    let mut place = None;
    let log = match &target {
        Some(target) => {
            let (log, rows, of_log) = again(&cancel, || Ok(commitments(target, &cancel)?))?;
            unreadable = rows;
            place = Some(of_log);
            Some(log)
        }
        None => None,
    };
    let mut report = lint(&file, log.as_ref());
    report
        .not_checked
        .extend(told.into_iter().chain(trusted.not_checked));
    report.add_completeness(&completeness);
    report
        .not_checked
        .extend(place.as_ref().and_then(Place::reservation));
    for row in &unreadable {
        CliError::input(row.clone()).report(global);
        status |= ExitStatus::FAILED;
        report.not_checked.push(format!("{row}: not read"));
    }
    let problems = report
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Problem)
        .count();
    let notices = report.findings.len() - problems;
    if problems > 0 {
        status |= ExitStatus::PROBLEMS;
    }
    let mut out = Output::stdout();
    match global.format {
        Format::Table => {
            print_place(&mut out, place.as_ref())?;
            print_table(&mut out, &report, problems, notices)?;
            print_completeness(&mut out, Some(&completeness))?;
        }
        Format::Json => out.json(&Document {
            schema: SCHEMA,
            anchors_files: args
                .anchors
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
            db: target.as_ref().map(ToString::to_string),
            place: place.as_ref(),
            report: &report,
            problems,
            notices,
            completeness: &completeness,
        })?,
        Format::Ndjson => {
            out.ndjson(report.findings.iter().map(|value| Line {
                schema: SCHEMA,
                kind: "finding",
                value,
            }))?;
            let LintReport {
                streams,
                anchors,
                batches,
                chained,
                ..
            } = report;
            let not_checked = &report.not_checked;
            let value = Totals {
                streams,
                anchors,
                batches,
                chained,
                problems,
                notices,
                not_checked,
                completeness: &completeness,
                place: place.as_ref(),
            };
            out.ndjson([Line {
                schema: SCHEMA,
                kind: "totals",
                value: &value,
            }])?;
        }
    }
    out.finish()?;
    Ok(status)
}

/// The commitments of a log, and the rows that could not be read.
fn commitments(target: &DbTarget, cancel: &Cancel) -> Result<(LogCommitments, Vec<String>, Place), LogError> {
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
        Ok((known, unreadable, log.place().clone()))
    })
}

fn print_table(
    out: &mut Output<impl std::io::Write>,
    report: &LintReport,
    problems: usize,
    notices: usize,
) -> Result<(), CliError> {
    let mut table = Table::new(&["code", "stream", "range", "what"]);
    for finding in &report.findings {
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
            stream.map(|s| s.to_string()).unwrap_or_default(),
            range.unwrap_or_default(),
            message.clone(),
        ]);
    }
    if !table.is_empty() {
        out.table(&table)?;
    }
    out.line(&format!(
        "{} anchors of {} batches in {} streams; {} state roots follow from the one before; {problems} problems, \
         {notices} notices",
        report.anchors, report.batches, report.streams, report.chained
    ))?;
    for what in &report.not_checked {
        out.line(&format!("NOT CHECKED: {what}"))?;
    }
    Ok(())
}
