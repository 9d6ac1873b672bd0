//! `sequencer-recovery apply`: carries out a plan.

use std::path::PathBuf;

use clap::Args;
use cli_common::{CliError, DbArg, ExitStatus, Format, GlobalArgs, Output, Table, stderr_progress};
use sequencer_recovery::apply::{ApplyOptions, ApplyReport, StreamStatus, apply};
use sequencer_recovery::error::RecoveryError;
use sequencer_recovery::plan_file::PlanFile;
use serde::Serialize;
use ves::SequencerId;

use super::{
    LockArgs, ReplayingArg, block_on, cancel_on_signals, check_takes_writes, open, or_dash, print_journal,
    print_not_checked, print_place, read_signing_key, write_lines, write_not_checked, write_place,
};

/// Carry out a plan: one transaction for each stream, under the sequencer's own locks, checked before it is
/// committed. Running it again changes nothing
///
/// Ends with 0 if nothing was to do, 1 if the log was changed, 4 added if positions stay open, 8 added if a
/// stream could not be repaired (the log has moved on, a lock is held; such a stream is left as it was).
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    plan: PathBuf,

    #[command(flatten)]
    db: DbArg,

    #[command(flatten)]
    lock: LockArgs,

    #[command(flatten)]
    replaying: ReplayingArg,

    /// Sign restored receipts with this key: a file with the sequencer's Ed25519 seed in hex
    #[arg(long, value_name = "FILE")]
    sequencer_key: Option<PathBuf>,

    /// The sequencer that restored receipts are from, for a log without any receipt
    #[arg(long, value_name = "ID")]
    sequencer_id: Option<SequencerId>,

    /// Write a recovery epoch here, by which agents set their outboxes right without the database; it must not exist
    #[arg(long, value_name = "FILE")]
    epoch: Option<PathBuf>,

    /// Sign the epoch with this key: a file with an Ed25519 seed in hex
    #[arg(long, value_name = "FILE", requires = "epoch")]
    epoch_key: Option<PathBuf>,

    /// Write what `undo` needs to take all of this back, to a file that does not exist yet
    #[arg(long, value_name = "FILE")]
    undo: Option<PathBuf>,

    /// Do all of it, checks included, under the same locks, and roll it back: the same report and exit status, and
    /// nothing is written
    #[arg(long, conflicts_with_all = ["undo", "epoch"])]
    dry_run: bool,

    /// Go on although triggers or rules that are not the sequencer's act on what is written. What they change of it is
    /// found before the commit, and the stream is rolled back
    #[arg(long)]
    with_triggers: bool,

    /// Keep no journal of repairs in the log (for a role that may not make the schema sequencer_recovery)
    #[arg(long)]
    no_journal: bool,
}

/// Runs the command.
pub fn run(args: &ApplyArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let plan = PlanFile::open(&args.plan).map_err(RecoveryError::from)?;
    let options = ApplyOptions {
        lock_timeout: args.lock.timeout(),
        sequencer_key: args.sequencer_key.as_deref().map(read_signing_key).transpose()?,
        sequencer_id: args.sequencer_id,
        undo: args.undo.clone(),
        dry_run: args.dry_run,
        journal: !args.no_journal,
        with_triggers: args.with_triggers,
    };
    let progress = stderr_progress(global);
    let cancel = cancel_on_signals()?;
    if let Some(path) = args.epoch.as_deref().filter(|path| path.exists()) {
        return Err(CliError::input(format!("{} exists already", path.display()))
            .with_hint("give another name for the epoch, or move it away; nothing was changed"));
    }
    let epoch_key = args.epoch_key.as_deref().map(read_signing_key).transpose()?;
    let mut report = block_on(async {
        let (log, db) = open(&args.db, &cancel).await?;
        args.replaying.check(
            plan.header().place.as_deref(),
            "the log that the plan was made for",
        )?;
        check_takes_writes(log.place())?;
        args.replaying.check(Some(log.place()), "the log")?;
        let report = apply(&log, db, &plan, &options, progress.as_ref(), &cancel).await?;
        if let Some(path) = &args.epoch {
            let mut epoch = sequencer_recovery::epoch::epoch(&log, &plan).await?;
            if let Some(key) = &epoch_key {
                epoch.sign(key).map_err(CliError::io)?;
            }
            epoch.write(path).map_err(|e| CliError::io(e.to_string()))?;
        }
        Ok(report)
    })?;
    drop(progress);
    let mut status = ExitStatus::OK;
    if report.changed() > 0 {
        status |= ExitStatus::CORRECTED;
    }
    if report.open_positions() > 0 || report.reissued() > 0 {
        status |= ExitStatus::PROBLEMS;
    }
    for error in std::mem::take(&mut report.errors) {
        let error = CliError::from(error);
        status |= error.exit_status();
        error.report(global);
    }
    let mut out = Output::stdout();
    match global.format {
        Format::Json => out.json(&report)?,
        Format::Ndjson => {
            write_place(&mut out, report.schema, &report.place)?;
            write_lines(&mut out, report.schema, "stream", &report.streams)?;
            write_not_checked(&mut out, report.schema, &report.not_checked)?;
            #[derive(Serialize)]
            struct Summary {
                plan_id: ves::Hash32,
                dry_run: bool,
                journal: bool,
            }
            let summary = Summary {
                plan_id: report.plan_id,
                dry_run: report.dry_run,
                journal: report.journal,
            };
            write_lines(&mut out, report.schema, "summary", [summary])?;
        }
        Format::Table => print_table(&mut out, &report)?,
    }
    out.finish()?;
    Ok(status)
}

/// The outcome for people.
pub fn print_table<W: std::io::Write>(out: &mut Output<W>, report: &ApplyReport) -> Result<(), CliError> {
    print_place(out, &report.place)?;
    if report.streams.is_empty() {
        return out.line("The plan has nothing to do.");
    }
    let mut table = Table::new(&[
        "STREAM (TENANT/STORE)",
        "STATUS",
        "EVENTS",
        "APPENDED",
        "RECEIPTS",
        "SIGNED",
        "COMMANDS",
        "VERSIONS",
        "COMMITMENTS",
        "ROOTS EQUAL",
        "COUNTER",
        "NOW",
        "OPEN",
    ]);
    for s in &report.streams {
        let status = match s.status {
            StreamStatus::Applied if report.dry_run => "would be applied",
            StreamStatus::Applied => "applied",
            StreamStatus::AlreadyApplied => "already applied",
            StreamStatus::Failed => "FAILED",
        };
        table.row([
            s.stream.to_string(),
            status.to_owned(),
            s.events.to_string(),
            s.appended.to_string(),
            s.receipts.to_string(),
            s.receipts_signed.to_string(),
            s.commands.to_string(),
            s.entity_versions.to_string(),
            s.commitments.to_string(),
            s.roots_equal.to_string(),
            or_dash(s.counter_before),
            or_dash(s.counter_after),
            s.open_positions.to_string(),
        ]);
    }
    out.table(&table)?;
    let journal: Vec<_> = report.streams.iter().flat_map(|s| s.journal.clone()).collect();
    if !journal.is_empty() {
        out.line("")?;
        out.line("This plan was applied here before, says the journal:")?;
        print_journal(out, &journal)?;
    }
    print_not_checked(out, &report.not_checked)?;
    out.line("")?;
    let events: u64 = report.streams.iter().map(|s| s.events).sum();
    let appended: u64 = report.streams.iter().map(|s| s.appended).sum();
    let appended = if appended > 0 {
        format!(", {appended} appended")
    } else {
        String::new()
    };
    let keys: u64 = report.streams.iter().map(|s| s.keys).sum();
    let keys = match keys {
        0 => String::new(),
        keys => format!(", {keys} key(s) registered"),
    };
    let tombstones: u64 = report.streams.iter().map(|s| s.tombstones).sum();
    let tombstones = match tombstones {
        0 => String::new(),
        tombstones => format!(", {tombstones} tombstone(s)"),
    };
    let moved: u64 = report.streams.iter().map(|s| s.moved).sum();
    if report.dry_run {
        if moved > 0 {
            out.line(&format!(
                "{moved} event(s) would get other numbers, and other receipts."
            ))?;
        }
        return out.line(&format!(
            "DRY RUN: nothing was written. {} stream(s) would change, {events} event(s) would be back\
             {tombstones}{appended}{keys}, {} position(s) would stay open.",
            report.changed(),
            report.open_positions()
        ));
    }
    out.line(&format!(
        "{} stream(s) changed, {events} event(s) back{tombstones}{appended}{keys}, {} position(s) stay open.",
        report.changed(),
        report.open_positions()
    ))?;
    if moved > 0 {
        out.line(&format!(
            "{moved} event(s) got other numbers, and other receipts: what their agents saved no longer holds."
        ))?;
    }
    if report.reissued() > 0 {
        out.line(&format!(
            "{} number(s) were given out twice, and stay so: the log contradicts its anchors.",
            report.reissued()
        ))?;
    }
    if report.changed() > 0 {
        out.line("Restart the sequencer: it caches keys for an hour and commitments for 5 minutes.")?;
    }
    Ok(())
}
