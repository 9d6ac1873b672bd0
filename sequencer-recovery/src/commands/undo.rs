//! `sequencer-recovery undo`: takes an apply back.

use std::path::PathBuf;

use clap::Args;
use cli_common::{
    CliError, CommandLine, DbArg, ExitStatus, Frame, GlobalArgs, Next, Output, Table, Tone, stderr_progress,
};
use sequencer_recovery::apply::undo::{UndoOptions, UndoReport, UndoStatus, UndoneStream, undo};
use sequencer_recovery::apply::undo_file::UndoFile;
use sequencer_recovery::error::RecoveryError;
use serde::Serialize;
use ves::StreamKey;

use super::report::{print_journal, print_not_checked, print_place};
use super::{
    LockArgs, block_on, cancel_on_signals, check_takes_writes, made_from, open, or_dash, write_place,
};

/// Take an apply back: ONLY BEFORE THE SEQUENCER IS STARTED AGAIN
///
/// It goes by the file that `apply --undo` wrote. This is the one command that lowers a counter: to exactly what it was before the apply. A number that the
/// sequencer gave out since would be given out twice, which forks history for good. So all streams are taken back or
/// none: none if one of them is not exactly as the apply left it (no event after it, the same counter, no further
/// commitment, none anchored since, no proof about what was put back), if a stream beside them was written to, or if a
/// session of the database looks like a sequencer's. What left no row here cannot be seen.
///
/// One transaction, under the sequencer's own locks, checked before it is committed. Running it again changes nothing.
/// Ends with 0 if nothing was to do, 1 if the log was changed, 8 added if a stream was refused.
#[derive(Debug, Args)]
#[command(after_long_help = COLUMNS)]
pub struct UndoArgs {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,

    #[command(flatten)]
    db: DbArg,

    #[command(flatten)]
    lock: LockArgs,

    /// Take a bundle without its last line too: the apply that wrote it was killed, and what it sealed is undone
    #[arg(long)]
    interrupted: bool,

    /// Take back the streams that are as the apply left them, although others have moved or a sequencer may run: ONLY IF
    /// YOU KNOW that it gave out no number in them
    #[arg(long)]
    streams_that_are_still: bool,

    /// Go on although triggers or rules that are not the sequencer's act on what is taken back. What they change of it is
    /// found before the commit, and nothing is taken back
    #[arg(long)]
    with_triggers: bool,
}

/// Runs the command.
pub fn run(args: &UndoArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let bundle = UndoFile::open(&args.bundle, args.interrupted).map_err(RecoveryError::Bundle)?;
    let progress = stderr_progress(global);
    let cancel = cancel_on_signals()?;
    let mut report = block_on(async {
        let (log, db) = open(&args.db, &cancel).await?;
        check_takes_writes(log.place())?;
        let options = UndoOptions {
            lock_timeout: args.lock.timeout(),
            still_only: args.streams_that_are_still,
            with_triggers: args.with_triggers,
        };
        Ok(undo(&log, db, &bundle, options, progress.as_ref(), &cancel).await?)
    })?;
    drop(progress);
    let mut status = ExitStatus::OK;
    if report.changed() > 0 {
        status |= ExitStatus::CORRECTED;
    }
    for error in std::mem::take(&mut report.errors) {
        let error = CliError::from(error);
        status |= error.exit_status();
        error.report(global);
    }
    if let Err(error) = print(&report, args, global) {
        status |= error.exit_status();
        error.report(global);
        CliError::io(format!(
            "the report could not be written; {} stream(s) were taken back",
            report.changed()
        ))
        .with_hint("run the same command again: it changes nothing that is done, and tells")
        .report(global);
    }
    Ok(status)
}

fn print(report: &UndoReport, args: &UndoArgs, global: &GlobalArgs) -> Result<(), CliError> {
    let frame = Frame {
        schema: report.schema,
        provenance: &made_from("undo", &args.bundle),
        next: &next(report, args),
    };
    frame.print(
        global,
        report,
        |out| print_table(out, report),
        |lines| {
            #[derive(Serialize)]
            struct Warning<'a> {
                what: &'a str,
            }
            write_place(lines, &report.place)?;
            lines.all("stream", &report.streams)?;
            lines.all("warning", report.warnings.iter().map(|what| Warning { what }))?;
            lines.not_checked(&report.not_checked)
        },
    )
}

/// What to do after an undo: to look whether the log is as it was.
fn next(report: &UndoReport, args: &UndoArgs) -> Next {
    let refused = |stream: &UndoneStream| stream.status == UndoStatus::Refused;
    if report.streams.iter().any(refused) {
        return Next::nothing("what was refused says why; the sequencer may go on from the log as it is now");
    }
    let audit = CommandLine::of_this_tool("audit").with(args.db.words());
    Next::run_for("look at the log as it was before the apply", &audit)
}

const COLUMNS: &str = "\
Columns (what was not undone first):
  EVENTS to BATCHES  what was taken out again
  COUNTER, NOW       the counter as it was found, and now";

/// One stream, as it is shown.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub stream: StreamKey,
    pub status: UndoStatus,
    /// Events, receipts, commands, versions, commitments.
    pub counts: [u64; 5],
    pub counters: [Option<u64>; 2],
}

impl Row {
    fn of(s: &UndoneStream) -> Self {
        Self {
            stream: s.stream,
            status: s.status,
            counts: [
                s.events,
                s.receipts,
                s.commands + s.commands_back,
                s.entity_versions,
                s.commitments,
            ],
            counters: [s.counter_before, s.counter_after],
        }
    }
}

pub(super) fn print_table<W: std::io::Write>(
    out: &mut Output<W>,
    report: &UndoReport,
) -> Result<(), CliError> {
    if report.streams.is_empty() {
        out.verdict(Tone::Good, "The bundle has nothing to undo.")?;
        print_place(out, &report.place)?;
        return print_not_checked(out, &report.not_checked);
    }
    let rows: Vec<Row> = report.streams.iter().map(Row::of).collect();
    let keys: u64 = report.streams.iter().map(|s| s.keys).sum();
    print_verdict(out, &rows, keys)?;
    for warning in &report.warnings {
        out.verdict(Tone::Bad, &format!("WARNING: {warning}."))?;
    }
    print_place(out, &report.place)?;
    if !report.signs.is_empty() {
        out.line("")?;
        out.line("A SEQUENCER MAY RUN")?;
        for sign in &report.signs {
            out.line(&format!("  {sign}"))?;
        }
    }
    print_streams(out, &rows)?;
    let journal: Vec<_> = report.streams.iter().flat_map(|s| s.journal.clone()).collect();
    print_journal(out, &journal)?;
    print_not_checked(out, &report.not_checked)
}

pub(super) fn print_verdict<W: std::io::Write>(
    out: &mut Output<W>,
    rows: &[Row],
    keys: u64,
) -> Result<(), CliError> {
    let count = |status| rows.iter().filter(|row| row.status == status).count();
    let (undone, already) = (count(UndoStatus::Undone), count(UndoStatus::AlreadyUndone));
    let not = rows.len() - undone - already;
    let events: u64 = rows.iter().map(|row| row.counts[0]).sum();
    let keys = match keys {
        0 => String::new(),
        keys => format!(", {keys} key(s) no longer registered"),
    };
    let not_all = match not {
        0 => String::new(),
        not => format!(" {not} stream(s) were NOT undone."),
    };
    out.verdict(
        if not > 0 { Tone::Bad } else { Tone::Good },
        &format!("{undone} stream(s) are as before, {events} event(s) taken out again{keys}.{not_all}"),
    )
}

pub(super) fn print_streams<W: std::io::Write>(out: &mut Output<W>, rows: &[Row]) -> Result<(), CliError> {
    let labels = out.label_streams(rows.iter().map(|row| row.stream));
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| {
        let order = match row.status {
            UndoStatus::Failed => 0,
            UndoStatus::Refused => 1,
            UndoStatus::Undone => 2,
            UndoStatus::AlreadyUndone => 3,
        };
        (order, row.stream)
    });
    let mut table = Table::new(&[
        "STREAM", "STATUS", "EVENTS", "RECEIPTS", "COMMANDS", "VERSIONS", "BATCHES", "COUNTER", "NOW",
    ]);
    let shown = out.shown(rows.len());
    for row in &rows[..shown] {
        let (status, tone) = match row.status {
            UndoStatus::Undone => ("undone", Tone::Good),
            UndoStatus::AlreadyUndone => ("already undone", Tone::Good),
            UndoStatus::Refused => ("NOT UNDONE", Tone::Bad),
            UndoStatus::Failed => ("MOVED", Tone::Bad),
        };
        let cells = [labels.of(&row.stream), status.to_owned()];
        let counts = row.counts.iter().map(u64::to_string);
        let counters = row.counters.iter().map(|counter| or_dash(*counter));
        table.row(cells.into_iter().chain(counts).chain(counters));
        table.verdict(1, tone);
    }
    out.line("")?;
    out.table(&table)?;
    out.more(0, rows.len() - shown, "stream(s)")
}
