//! `sequencer-recovery guard`: whether the sequencer may start.

use std::path::PathBuf;

use checkpoints::CheckpointArgs;
use clap::Args;
use cli_common::{
    CliError, CommandLine, DbArg, ExitStatus, Frame, GlobalArgs, Next, Output, Tone, stderr_progress,
};
use sequencer_recovery::error::RecoveryError;
use sequencer_recovery::finding::{Code, Finding};
use sequencer_recovery::guard::report::{GuardReport, SCHEMA, StreamGuarded};
use sequencer_recovery::guard::{Promised, guard};
use sequencer_recovery::locked_file::LockedFile;
use serde::Serialize;

use super::checkpoint::sanction;
use super::report::{print_findings, print_not_checked, print_place, print_streams};
use super::{block_on, cancel_on_signals, log_inputs, made, open, or_dash, write_place};

/// Say whether the sequencer may start, or would give promised numbers out again
///
/// Compares the end and the counter of every stream, and its tree, with checkpoints, anchors and its own notes. It runs
/// before the sequencer does (ExecStartPre, init container): if it does not end with 0, the sequencer must not start. The log
/// is only read.
///
/// Ends with 0 if the log is at least what was promised, 4 if a stream is not, 8 if something could not be looked at.
#[derive(Debug, Args)]
#[command(after_long_help = COLUMNS)]
pub struct GuardArgs {
    #[command(flatten)]
    db: DbArg,

    #[command(flatten)]
    checkpoints: CheckpointArgs,

    /// Anchors files, as `anchor-verify import` writes them
    #[arg(long = "anchors", value_name = "FILE")]
    anchors: Vec<PathBuf>,

    /// What the guard saw when it last let the log pass; made by the first run, raised by each that passes
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,

    /// The signed recovery epoch of a repair: it explains what that could not bring back
    #[arg(long, value_name = "FILE", requires = "epoch_public_key")]
    epoch: Option<PathBuf>,

    /// The operator's public key that the epoch is signed by, as hex or as a file that holds it
    #[arg(long, value_name = "HEX|FILE", requires = "epoch")]
    epoch_public_key: Option<String>,

    /// Compare numbers alone, and read no events for the trees
    #[arg(long)]
    quick: bool,

    /// Take this log for the one that the notes are of, although its timeline or database is another: it is the
    /// production now
    #[arg(long, requires = "state")]
    adopt: bool,
}

/// Runs the command.
pub fn run(args: &GuardArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    if args.checkpoints.is_empty() && args.anchors.is_empty() && args.state.is_none() {
        return Err(CliError::usage("there is nothing to compare the log with")
            .with_hint("give --checkpoints, --anchors, or --state for what the guard itself remembers"));
    }
    let sanction = sanction(args.epoch.as_ref(), args.epoch_public_key.as_ref())?;
    let files = args.checkpoints.files()?;
    let mut hashed = log_inputs(&args.db)?;
    for (role, files) in [
        (
            "checkpoints",
            files.as_ref().map_or(&[][..], |given| &given.files),
        ),
        ("anchors", &args.anchors),
    ] {
        files.iter().for_each(|file| hashed.add(role, file));
    }
    let progress = stderr_progress(global);
    let cancel = cancel_on_signals()?;
    let notes = args.state.as_deref().map(LockedFile::open).transpose()?;
    let history = files.map(|given| given.read()).transpose();
    let history = history.map_err(|(path, source)| RecoveryError::Io { path, source })?;
    let promised = Promised {
        checkpoints: history,
        anchors: &args.anchors,
        notes: notes.as_ref(),
        sanction: sanction.as_ref(),
        adopt: args.adopt,
        quick: args.quick,
    };
    let report = block_on(async {
        let (log, db) = open(&args.db, &cancel).await?;
        Ok(guard(&log, db, &promised, progress.as_ref(), &cancel).await?)
    })?;
    drop(progress);
    print(&report, &made(hashed), args, global)?;
    Ok(match report.passed {
        true => ExitStatus::OK,
        false => ExitStatus::PROBLEMS,
    })
}

fn print(
    report: &GuardReport,
    provenance: &cli_common::provenance::Provenance,
    args: &GuardArgs,
    global: &GlobalArgs,
) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Summary<'a> {
        passed: bool,
        learned: bool,
        notes: Option<&'a str>,
        rows: u64,
        seconds: f64,
    }
    let frame = Frame {
        schema: SCHEMA,
        provenance,
        next: &next(report, args),
    };
    frame.print(
        global,
        report,
        |out| print_table(out, report),
        |lines| {
            write_place(lines, &report.place)?;
            lines.all("stream", &report.streams)?;
            lines.all("finding", &report.findings)?;
            lines.not_checked(&report.not_checked)?;
            lines.one(
                "summary",
                Summary {
                    passed: report.passed,
                    learned: report.learned,
                    notes: report.notes.as_deref(),
                    rows: report.rows,
                    seconds: report.seconds,
                },
            )
        },
    )
}

/// What to do if the log does not pass: a counter alone is raised, everything else is audited first.
fn next(report: &GuardReport, args: &GuardArgs) -> Next {
    if report.passed {
        return Next::nothing("the sequencer may start");
    }
    let is_counter = |f: &Finding| matches!(f.code, Code::CounterBehind | Code::CounterMissing);
    let counters_alone = report.findings.iter().all(is_counter);
    let command = if counters_alone { "counters" } else { "audit" };
    let line = CommandLine::of_this_tool(command)
        .with(args.db.words())
        .with(args.checkpoints.words())
        .options("--anchors", args.anchors.iter().map(|path| path.display()));
    Next::run_for(
        "do NOT start the sequencer; see what is missing, give the outboxes too, then plan and apply the repair",
        &line,
    )
}

const COLUMNS: &str = "\
Columns (streams that do not pass, then those that an epoch explains; --all: all):
  HEAD, COUNTER  the last number of the log, and the last that the sequencer gave out
  CHECKPOINT     the largest checkpoint
  ANCHORED       the highest number that is anchored
  NOTED          the highest number of an earlier look
  PASSES         whether the stream is at least what was promised";

pub(super) fn print_table<W: std::io::Write>(
    out: &mut Output<W>,
    report: &GuardReport,
) -> Result<(), CliError> {
    let labels = out.label_streams(report.streams.iter().map(|s| s.stream));
    let refused = report.streams.iter().filter(|s| !s.passes).count();
    let of = report.streams.len();
    let (tone, verdict) = match (report.passed, report.learned) {
        (true, false) => (
            Tone::Good,
            format!("PASSED: {of} stream(s), none behind what was promised."),
        ),
        (true, true) => (
            Tone::Doubt,
            format!("LEARNED: {of} stream(s) noted; there was nothing to compare them with yet."),
        ),
        (false, _) if refused == 0 => (
            Tone::Bad,
            "REFUSED: the sequencer must not start; what was given to compare with does not hold.".to_owned(),
        ),
        (false, _) => (
            Tone::Bad,
            format!("REFUSED: the sequencer must not start; {refused} of {of} stream(s) do not pass."),
        ),
    };
    out.verdict(tone, &verdict)?;
    print_place(out, &report.place)?;
    out.line(&format!("{} row(s) read, {:.2} s.", report.rows, report.seconds))?;
    if let Some(notes) = &report.notes {
        out.line(&format!("Notes: {notes}."))?;
    }
    let all = out.all();
    let told = report
        .streams
        .iter()
        .filter(|s| all || !s.passes || s.explained.is_some());
    let mut told: Vec<&StreamGuarded> = told.collect();
    told.sort_by_key(|s| (s.passes, s.stream));
    print_guarded(out, &told, &labels)?;
    let findings: Vec<&Finding> = report.findings.iter().collect();
    print_findings(out, &labels, "FINDINGS", &findings)?;
    print_not_checked(out, &report.not_checked)
}

fn print_guarded<W: std::io::Write>(
    out: &mut Output<W>,
    told: &[&StreamGuarded],
    labels: &cli_common::Labels,
) -> Result<(), CliError> {
    const STREAMS: [&str; 7] = [
        "STREAM",
        "HEAD",
        "COUNTER",
        "CHECKPOINT",
        "ANCHORED",
        "NOTED",
        "PASSES",
    ];
    print_streams(out, &STREAMS, told, |table, s| {
        let numbers = [s.head, s.counter, s.checkpoint, s.anchored, s.noted].map(or_dash);
        let passes = if s.passes { "yes" } else { "NO" };
        table.row(
            [labels.of(&s.stream)]
                .into_iter()
                .chain(numbers)
                .chain([passes.to_owned()]),
        );
        table.verdict(6, if s.passes { Tone::Good } else { Tone::Bad });
    })?;
    for s in told
        .iter()
        .filter_map(|s| Some((s.stream, s.explained.as_ref()?)))
        .take(out.shown(told.len()))
    {
        out.line(&format!("{}: {}", labels.of(&s.0), s.1))?;
    }
    Ok(())
}
