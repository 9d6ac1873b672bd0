//! `sequencer-recovery undo`: takes an apply back.

use std::path::PathBuf;

use clap::Args;
use cli_common::{CliError, DbArg, ExitStatus, Format, GlobalArgs, Output, Table, stderr_progress};
use sequencer_recovery::apply::undo::{UndoOptions, UndoReport, UndoStatus, undo};
use sequencer_recovery::apply::undo_file::UndoFile;
use sequencer_recovery::error::RecoveryError;
use serde::Serialize;

use super::{
    LockArgs, block_on, cancel_on_signals, check_takes_writes, open, or_dash, print_journal,
    print_not_checked, print_place, write_lines, write_not_checked, write_place,
};

/// Take an apply back, with the bundle that `apply --undo` wrote: ONLY BEFORE THE SEQUENCER IS STARTED AGAIN
///
/// This is the one command that lowers a counter: to exactly what it was before the apply. A number that the
/// sequencer gave out since would be given out twice, which forks history for good. So all streams are taken back or
/// none: none if one of them is not exactly as the apply left it (no event after it, the same counter, no further
/// commitment, none anchored since, no proof about what was put back), if a stream beside them was written to, or if a
/// session of the database looks like a sequencer's. What left no row here cannot be seen.
///
/// One transaction, under the sequencer's own locks, checked before it is committed. Running it again changes nothing.
/// Ends with 0 if nothing was to do, 1 if the log was changed, 8 added if a stream was refused.
#[derive(Debug, Args)]
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
    if let Err(error) = print(&report, global) {
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

fn print(report: &UndoReport, global: &GlobalArgs) -> Result<(), CliError> {
    let mut out = Output::stdout();
    match global.format {
        Format::Json => out.json(report)?,
        Format::Ndjson => {
            #[derive(Serialize)]
            struct Warning<'a> {
                what: &'a str,
            }
            write_place(&mut out, report.schema, &report.place)?;
            write_lines(&mut out, report.schema, "stream", &report.streams)?;
            let warnings = report.warnings.iter().map(|what| Warning { what });
            write_lines(&mut out, report.schema, "warning", warnings)?;
            write_not_checked(&mut out, report.schema, &report.not_checked)?;
        }
        Format::Table => print_table(&mut out, report)?,
    }
    out.finish()
}

fn print_table<W: std::io::Write>(out: &mut Output<W>, report: &UndoReport) -> Result<(), CliError> {
    print_place(out, &report.place)?;
    if report.streams.is_empty() {
        out.line("The bundle has nothing to undo.")?;
        return print_not_checked(out, &report.not_checked);
    }
    let mut table = Table::new(&[
        "STREAM (TENANT/STORE)",
        "STATUS",
        "EVENTS",
        "RECEIPTS",
        "COMMANDS",
        "VERSIONS",
        "COMMITMENTS",
        "COUNTER",
        "NOW",
    ]);
    for s in &report.streams {
        let status = match s.status {
            UndoStatus::Undone => "undone",
            UndoStatus::AlreadyUndone => "already undone",
            UndoStatus::Refused => "NOT UNDONE",
            UndoStatus::Failed => "MOVED",
        };
        table.row([
            s.stream.to_string(),
            status.to_owned(),
            s.events.to_string(),
            s.receipts.to_string(),
            (s.commands + s.commands_back).to_string(),
            s.entity_versions.to_string(),
            s.commitments.to_string(),
            or_dash(s.counter_before),
            or_dash(s.counter_after),
        ]);
    }
    out.table(&table)?;
    let journal: Vec<_> = report.streams.iter().flat_map(|s| s.journal.clone()).collect();
    print_journal(out, &journal)?;
    if !report.signs.is_empty() {
        out.line("")?;
        out.line("A SEQUENCER MAY RUN")?;
        for sign in &report.signs {
            out.line(&format!("  {sign}"))?;
        }
    }
    for warning in &report.warnings {
        out.line("")?;
        out.line(&format!("WARNING: {warning}."))?;
    }
    print_not_checked(out, &report.not_checked)?;
    out.line("")?;
    let events: u64 = report.streams.iter().map(|s| s.events).sum();
    let keys: u64 = report.streams.iter().map(|s| s.keys).sum();
    let keys = match keys {
        0 => String::new(),
        keys => format!(", {keys} key(s) no longer registered"),
    };
    out.line(&format!(
        "{} stream(s) are as before, {events} event(s) taken out again{keys}.",
        report.changed()
    ))
}
