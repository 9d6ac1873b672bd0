//! `sequencer-recovery drill`: the whole way, rehearsed on a small world.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use cli_common::{
    Access, CliError, CommandLine, Existing, ExitStatus, Frame, GlobalArgs, Next, Output, PrivateDir, Table,
    Tone, WholeFile, file_hint, stderr_progress,
};
use fixtures::WorldSpec;
use sequencer_recovery::drill::{DrillOptions, DrillReport, DrillResult, Objectives, SCHEMA, drill};
use sequencer_recovery::grade::Accept;
use sequencer_recovery::plan::PlanOptions;
use serde::Serialize;
use ves::Timestamp;

use super::report::print_not_checked;
use super::{HashedInputs, block_on, cancel_on_signals, made, or_dash};

/// Rehearse a recovery in a small world that is made for it
///
/// Its log is cut at a point in time; then audit, plan, apply and verify, and the outcome is held against the truth.
/// Needs nothing but this program and touches no other log.
///
/// Ends with 0 if the drill passed, 4 if it failed.
#[derive(Debug, Args)]
#[command(after_long_help = COLUMNS)]
pub struct DrillArgs {
    /// Where the report goes. Without it: dr_report.json, or the next of dr_report-2.json and so on that is not there
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Replace the file that --report names, if it is there
    #[arg(long, requires = "report")]
    force: bool,

    /// Keep the drill's files (logs, outboxes, anchors, plan, truth) in this folder; it must not exist or be empty
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    /// Which disaster: the same seed drills the same one
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// How many events each of the four streams has before the disaster
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    events: u32,

    /// The weakest evidence to use: proven, receipted, committed, corroborated or claimed
    #[arg(long, value_name = "GRADE", default_value_t = Accept::default())]
    accept: Accept,

    /// Fail if the repair takes longer than this: 90 (seconds), 90s, 15m, 1h
    #[arg(long, value_name = "TIME", value_parser = cli_common::duration)]
    rto: Option<Duration>,

    /// Fail if the repaired log reaches back further than this from the disaster
    #[arg(long, value_name = "TIME", value_parser = cli_common::duration)]
    rpo: Option<Duration>,
}

/// Runs the command.
pub fn run(args: &DrillArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let path = args
        .report
        .clone()
        .unwrap_or_else(|| super::free_name("dr_report", "json").into());
    let file = begin_report(&path, args.force)?;
    let scratch;
    let dir: &Path = match &args.keep {
        Some(dir) => {
            let failed = |e: std::io::Error| CliError::io(format!("{}", dir.display())).with_source(e);
            std::fs::create_dir_all(dir).map_err(failed)?;
            if std::fs::read_dir(dir).map_err(failed)?.next().is_some() {
                return Err(CliError::input(format!("{} is not empty", dir.display()))
                    .with_hint("give a folder that does not exist yet"));
            }
            dir
        }
        None => {
            scratch = PrivateDir::new()
                .map_err(|e| CliError::io("a temporary folder cannot be made").with_source(e))?;
            scratch.path()
        }
    };
    let options = DrillOptions {
        world: WorldSpec {
            seed: args.seed,
            events_per_stream: args.events as usize,
            batch_size: 8,
            anchored_fraction: 1.0,
            ..WorldSpec::default()
        },
        plan: PlanOptions {
            accept: args.accept,
            ..PlanOptions::default()
        },
        objectives: Objectives {
            rto_seconds: args.rto.map(|rto| rto.as_secs_f64()),
            rpo_seconds: args.rpo.map(|rpo| rpo.as_secs_f64()),
        },
    };
    let progress = stderr_progress(global);
    let cancel = cancel_on_signals()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let started_at = Timestamp(i64::try_from(now.as_micros()).unwrap_or(i64::MAX));
    let report = block_on(async { Ok(drill(dir, &options, started_at, progress.as_ref(), &cancel).await?) })?;
    drop(progress);
    let mut status = match report.result {
        DrillResult::Pass => ExitStatus::OK,
        DrillResult::Fail => ExitStatus::PROBLEMS,
    };
    let frame = Frame {
        schema: SCHEMA,
        provenance: &made(HashedInputs::default()),
        next: &next(&report, args),
    };
    let written = write_report(file, &path, &frame.around(&report));
    for error in [written.err(), print(&path, &report, &frame, global).err()]
        .into_iter()
        .flatten()
    {
        status |= error.exit_status();
        error.report(global);
    }
    Ok(status)
}

fn print(path: &Path, report: &DrillReport, frame: &Frame<'_>, global: &GlobalArgs) -> Result<(), CliError> {
    frame.print(
        global,
        report,
        |out| {
            print_table(out, report)?;
            out.line(&format!("The report is in {}.", path.display()))
        },
        |lines| {
            lines.all("phase", &report.phases)?;
            lines.all("check", &report.checks)?;
            lines.all("stream", &report.streams)?;
            lines.not_checked(&report.not_checked)?;
            lines.one("report", report)
        },
    )
}

/// What to do after a drill: to look at its files, if it failed.
fn next(report: &DrillReport, args: &DrillArgs) -> Next {
    match (report.result, &args.keep) {
        (DrillResult::Pass, _) => Next::nothing("keep the report as the record of this drill"),
        (DrillResult::Fail, Some(dir)) => {
            let files = dir.display();
            Next::nothing(format!(
                "the checks above say what did not hold; the drill's files are in {files}"
            ))
        }
        (DrillResult::Fail, None) => {
            let again = CommandLine::of_this_process().with(["--keep", "drill"]);
            Next::run_for("drill the same disaster again and look at its files", &again)
        }
    }
}

/// Opens the report before the drill. What has its name is replaced only if that is asked for.
fn begin_report(path: &Path, force: bool) -> Result<WholeFile, CliError> {
    WholeFile::create(path, Access::Owner, Existing::replaced_if(force)).map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::AlreadyExists => {
                "give another name, or --force to replace it; nothing was drilled".into()
            }
            ErrorKind::InvalidInput => "give the name of a file; nothing was drilled".into(),
            _ => format!("{}; nothing was drilled", file_hint(path, &error)),
        };
        CliError::cannot_write(path, error).with_hint(hint)
    })
}

fn write_report(mut file: WholeFile, path: &Path, report: &impl Serialize) -> Result<(), CliError> {
    let failed = |e: std::io::Error| CliError::cannot_write(path, e);
    serde_json::to_writer_pretty(&mut file, report).map_err(|e| failed(e.into()))?;
    file.write_all(b"\n").map_err(failed)?;
    file.finish().map_err(failed)
}

const COLUMNS: &str = "\
Columns of the streams:
  HEAD          the last number before the disaster
  RECOVERED     the last number that the recovered log has
  REPAIRED      the last number that the repaired log has
  BROUGHT BACK  events put back; STILL MISSING, those that were not
  COUNTER       the counter after the repair";

pub(super) fn print_table<W: std::io::Write>(
    out: &mut Output<W>,
    report: &DrillReport,
) -> Result<(), CliError> {
    let (e, o, i) = (&report.events, &report.objectives, &report.integrity);
    let (result, tone) = match report.result {
        DrillResult::Pass => ("PASS", Tone::Good),
        DrillResult::Fail => ("FAIL", Tone::Bad),
    };
    out.verdict(tone, &format!("Drill: {result}."))?;
    out.line(&format!(
        "Drill with seed {}: {} events, of which the recovery lost {}.",
        report.seed, e.before, e.lost
    ))?;
    out.line(&format!(
        "Lost {}, brought back {}, still missing {} ({} of them held by nobody who is left), misplaced {}.",
        e.lost, e.restored, e.unresolved, e.held_by_nobody, e.misplaced
    ))?;
    out.line(&format!(
        "Batches: {} MATCHES ANCHORS, {} MATCHES DATABASE, {} FAILED, {} NOT CHECKED.",
        i.batches_matching_anchors, i.batches_matching_database, i.batches_failed, i.batches_not_checked
    ))?;
    out.line(&format!(
        "RTO reached {:.3} s. RPO {:.3} s ({} event(s)) before the repair, {:.3} s ({}) after it.",
        o.rto_seconds_reached,
        o.rpo_seconds_before_repair,
        o.rpo_events_before_repair,
        o.rpo_seconds_reached,
        o.rpo_events_reached
    ))?;
    out.line("")?;
    for check in &report.checks {
        if check.passed {
            out.line(&format!("pass  {}: {}", check.name, check.detail))?;
        } else {
            out.verdict(Tone::Bad, &format!("FAIL  {}: {}", check.name, check.detail))?;
        }
    }
    print_streams(out, report)?;
    out.line("")?;
    let mut table = Table::new(&["PHASE", "SECONDS"]);
    for phase in &report.phases {
        table.row([phase.name.to_owned(), format!("{:.3}", phase.seconds)]);
    }
    out.table(&table)?;
    print_not_checked(out, &report.not_checked)
}

fn print_streams<W: std::io::Write>(out: &mut Output<W>, report: &DrillReport) -> Result<(), CliError> {
    let labels = out.label_streams(report.streams.iter().map(|s| s.stream));
    let mut in_order: Vec<_> = report.streams.iter().collect();
    in_order.sort_by_key(|s| (std::cmp::Reverse(s.unresolved), s.stream));
    let mut table = Table::new(&[
        "STREAM",
        "HEAD",
        "RECOVERED",
        "REPAIRED",
        "BROUGHT BACK",
        "STILL MISSING",
        "COUNTER",
    ]);
    let shown = out.shown(in_order.len());
    for s in &in_order[..shown] {
        table.row([
            labels.of(&s.stream),
            s.head_before.to_string(),
            s.head_recovered.to_string(),
            s.head_repaired.to_string(),
            s.restored.to_string(),
            s.unresolved.to_string(),
            or_dash(s.counter),
        ]);
    }
    out.line("")?;
    out.table(&table)?;
    out.more(0, in_order.len() - shown, "stream(s)")
}
