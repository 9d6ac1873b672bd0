//! `sequencer-recovery apply`: carries out a plan.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::Args;
use cli_common::keys::read_signing_key;
use cli_common::{
    Cancel, CliError, CommandLine, DbArg, ExitStatus, Frame, GlobalArgs, Next, Output, Table, Tone,
    stderr_progress,
};
use html_report::ReportArg;
use sequencer_recovery::apply::undo_file::UndoFile;
use sequencer_recovery::apply::{AppliedStream, ApplyOptions, ApplyReport, StreamStatus, apply};
use sequencer_recovery::error::RecoveryError;
use sequencer_recovery::plan::plan_file::PlanFile;
use sequencer_recovery::report::epoch::epoch;
use serde::Serialize;
use ves::{SequencerId, StreamKey};

use super::epoch::write_epoch;
use super::report::{print_journal, print_not_checked, print_place};
use super::{
    LockArgs, ReplayingArg, block_on, cancel_on_signals, check_takes_writes, made_from, new_file, open,
    or_dash, page, read_signing_keys, strips, write_place,
};

/// Carry out a plan
///
/// One transaction for each stream, under the sequencer's own locks, checked before it is committed. Running it again
/// changes nothing.
///
/// Ends with 0 if nothing was to do, 1 if the log was changed, 4 added if positions stay open, 8 added if a
/// stream could not be repaired (the log has moved on, a lock is held; such a stream is left as it was).
#[derive(Debug, Args)]
#[command(after_long_help = COLUMNS)]
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

    /// Sign restored receipts with this key: a file with the sequencer's Ed25519 seed in hex. If its keys rotated, give
    /// each with its version (0=FILE); a receipt is signed with the key in force at its place
    #[arg(long = "sequencer-key", value_name = "[VERSION=]FILE")]
    sequencer_keys: Vec<OsString>,

    /// The sequencer that restored receipts are from, for a log without any receipt
    #[arg(long, value_name = "ID")]
    sequencer_id: Option<SequencerId>,

    /// Write a recovery epoch here, by which agents set their outboxes right without the database; it must not exist
    #[arg(long, value_name = "FILE")]
    epoch: Option<PathBuf>,

    /// Sign the epoch with this key: a file with an Ed25519 seed in hex
    #[arg(long, value_name = "FILE", requires = "epoch")]
    epoch_key: Option<PathBuf>,

    /// Write what `undo` needs to take all of this back, to a file that does not exist yet. If an apply of this plan
    /// has written that file, the next goes beside it (FILE.2)
    #[arg(long, value_name = "FILE")]
    undo: Option<PathBuf>,

    /// Do all of it, checks included, under the same locks, and roll it back: the same report and exit status, and
    /// nothing is written
    #[arg(long, conflicts_with_all = ["undo", "epoch"])]
    dry_run: bool,

    /// Carry out a plan that was made without witnesses that could not be read
    #[arg(long)]
    although_incomplete: bool,

    /// Go on although triggers or rules that are not the sequencer's act on what is written. What they change of it is
    /// found before the commit, and the stream is rolled back
    #[arg(long)]
    with_triggers: bool,

    /// Keep no journal of repairs in the log (for a role that may not make the schema sequencer_recovery)
    #[arg(long)]
    no_journal: bool,

    #[command(flatten)]
    page: ReportArg,
}

/// Runs the command.
pub fn run(args: &ApplyArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let plan = PlanFile::open(&args.plan).map_err(RecoveryError::from)?;
    refuse_incomplete(&plan, args.although_incomplete)?;
    let undo = args
        .undo
        .as_deref()
        .map(|path| next_bundle(path, &plan))
        .transpose()?;
    let provenance = made_from("plan", &args.plan);
    let options = ApplyOptions {
        provenance: Some(provenance.clone()),
        lock_timeout: args.lock.timeout(),
        sequencer_keys: read_signing_keys(&args.sequencer_keys)?,
        sequencer_id: args.sequencer_id,
        undo: undo.clone(),
        dry_run: args.dry_run,
        journal: !args.no_journal,
        with_triggers: args.with_triggers,
    };
    let progress = stderr_progress(global);
    let cancel = cancel_on_signals()?;
    let epoch_key = args.epoch_key.as_deref().map(read_signing_key).transpose()?;
    // Opened before anything is changed.
    let epoch_file = args
        .epoch
        .as_deref()
        .map(|path| new_file(path, EPOCH_ROOM))
        .transpose()?;
    let page = args.page.begin()?;
    let (mut report, epoch) = block_on(async {
        let (log, db) = open(&args.db, &cancel).await?;
        args.replaying.check(
            plan.header().place.as_deref(),
            "the log that the plan was made for",
        )?;
        check_takes_writes(log.place())?;
        args.replaying.check(Some(log.place()), "the log")?;
        let report = apply(&log, db, &plan, &options, progress.as_ref(), &cancel).await?;
        let epoch = match epoch_file {
            Some(_) if report.stopped.is_some() => Some(Err(CliError::io("the work was stopped"))),
            Some(file) => Some(write_epoch(epoch(&log, &plan).await, epoch_key.as_ref(), file)),
            None => None,
        };
        Ok((report, epoch))
    })?;
    drop(progress);
    let mut status = ExitStatus::OK;
    if report.changed() > 0 {
        status |= ExitStatus::CORRECTED;
    }
    if report.open_positions() > 0 || report.reissued() > 0 {
        status |= ExitStatus::PROBLEMS;
    }
    let paths = Paths {
        args,
        undo: undo.as_deref(),
    };
    for error in errors(&mut report, epoch, &paths, &cancel) {
        status |= error.exit_status();
        error.report(global);
    }
    for (role, path) in [("undo", undo.as_ref()), ("epoch", args.epoch.as_ref())] {
        global.recorder.files(role, path);
    }
    let next = next(&report, &plan, &paths);
    let undo = undo.as_deref().map(|undo| undo_command(undo, &paths));
    let frame = Frame {
        schema: report.schema,
        provenance: &provenance,
        next: &next,
    };
    status |= page::write(page, global, || {
        page::of_apply(&report, &plan, undo.as_ref(), &frame, global)
    });
    if let Err(error) = print(&report, &plan, undo.as_ref(), &frame, global) {
        status |= error.exit_status();
        error.report(global);
        tell_unprinted(&report, global);
    }
    Ok(status)
}

/// An epoch takes about this much room, before it is known how much.
const EPOCH_ROOM: u64 = 64 << 10;

/// What was given on the command line, for what to run next.
struct Paths<'a> {
    args: &'a ApplyArgs,
    undo: Option<&'a Path>,
}

impl Paths<'_> {
    fn undo_interrupted(&self) -> CommandLine {
        undo_command(self.undo.unwrap_or(Path::new("undo.ndjson")), self).with(["--interrupted"])
    }

    fn epoch_again(&self) -> String {
        let out = self.args.epoch.as_deref().unwrap_or(Path::new("epoch.json"));
        CommandLine::of_this_tool("epoch")
            .with([
                OsStr::new("--plan"),
                self.args.plan.as_os_str(),
                OsStr::new("--out"),
                out.as_os_str(),
            ])
            .with(self.args.db.words())
            .to_string()
    }
}

/// Where the bundle goes: the file that was named, or, if an apply of the same plan has written that one, the next after
/// it. Whatever else is there is never written over.
fn next_bundle(path: &Path, plan: &PlanFile) -> Result<PathBuf, CliError> {
    let of_this_plan = |path: &Path| {
        let bundle = UndoFile::open(path, true);
        bundle.is_ok_and(|bundle| bundle.header().plan_id == plan.id())
    };
    let mut next = path.to_owned();
    for number in 2..1000 {
        if !next.is_file() || !of_this_plan(&next) {
            break;
        }
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        next = name.into();
    }
    Ok(next)
}

/// What went wrong, in order.
fn errors(
    report: &mut ApplyReport,
    epoch: Option<Result<(), CliError>>,
    paths: &Paths<'_>,
    cancel: &Cancel,
) -> Vec<CliError> {
    let mut errors: Vec<CliError> = std::mem::take(&mut report.errors)
        .into_iter()
        .map(CliError::from)
        .collect();
    if let Some(Err(error)) = report.undo_file.take() {
        let what = format!("the undo bundle has no last line: {error}");
        errors.push(CliError::io(what).with_hint(format!(
            "what was sealed of it is whole: `{}` takes those streams back",
            paths.undo_interrupted()
        )));
    }
    if let Some(Err(error)) = epoch {
        let what = format!(
            "no epoch was written; {} stream(s) of the log were changed: {error}",
            report.changed()
        );
        errors.push(CliError::io(what).with_hint(format!("make it again: {}", paths.epoch_again())));
    }
    if let Some(error) = report.stopped.take() {
        errors.push(
            cancel.explain(match error {
                RecoveryError::Cancelled(_) => CliError::cancelled(format!(
                    "stopped: {}. Each stream is wholly as before or wholly as planned",
                    counts(report)
                ))
                .with_hint("run the same command again: what is done is recognised, the rest is done"),
                error => error.into(),
            }),
        );
    }
    errors
}

/// How many streams were done, and how many not.
fn counts(report: &ApplyReport) -> String {
    let mut text = format!("{} stream(s) done", report.changed());
    for (count, what) in [
        (report.count(StreamStatus::AlreadyApplied) as u64, "done already"),
        (report.failed() as u64, "failed and are as before"),
        (report.untouched, "not begun"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

/// Says what matters most if the report cannot be printed.
fn tell_unprinted(report: &ApplyReport, global: &GlobalArgs) {
    let what = format!(
        "the report could not be written, and the log was {}changed: {}",
        if report.changed() > 0 && !report.dry_run {
            ""
        } else {
            "not "
        },
        counts(report)
    );
    CliError::io(what)
        .with_hint("run the same command again: it changes nothing that is done, and tells")
        .report(global);
}

fn print(
    report: &ApplyReport,
    plan: &PlanFile,
    undo: Option<&CommandLine>,
    frame: &Frame<'_>,
    global: &GlobalArgs,
) -> Result<(), CliError> {
    frame.print(
        global,
        report,
        |out| {
            print_table(out, report, plan)?;
            print_way_back(out, report, undo)?;
            print_open(out, report)
        },
        |lines| {
            #[derive(Serialize)]
            struct Summary {
                plan_id: ves::Hash32,
                dry_run: bool,
                journal: bool,
                untouched: u64,
            }
            write_place(lines, &report.place)?;
            lines.all("stream", &report.streams)?;
            lines.not_checked(&report.not_checked)?;
            let summary = Summary {
                plan_id: report.plan_id,
                dry_run: report.dry_run,
                journal: report.journal,
                untouched: report.untouched,
            };
            lines.one("summary", summary)
        },
    )
}

/// How to take it all back.
fn print_way_back<W: std::io::Write>(
    out: &mut Output<W>,
    report: &ApplyReport,
    undo: Option<&CommandLine>,
) -> Result<(), CliError> {
    let Some(undo) = undo.filter(|_| report.changed() > 0) else {
        return Ok(());
    };
    out.line("")?;
    out.line("The way back, which ends when the sequencer is restarted:")?;
    out.command(&format!("  {undo}"))
}

/// What must not be done while positions are open.
fn print_open<W: std::io::Write>(out: &mut Output<W>, report: &ApplyReport) -> Result<(), CliError> {
    let open = report.open_positions();
    if open == 0 || report.dry_run || report.failed() > 0 || report.untouched > 0 {
        return Ok(());
    }
    out.line("")?;
    out.line(&format!(
        "{open} position(s) stay open: commit nothing across them (the plan names the ranges, docs/runbook.md says why)."
    ))?;
    let stopped: Vec<&AppliedStream> = report.commits_stop().collect();
    if stopped.is_empty() {
        return Ok(());
    }
    out.line(&format!(
        "{} of {} stream(s) can make NO FURTHER COMMITMENT: the next number to be committed stays open. Until an agent that \
         was not heard brings it, or it is filled (`plan --fill-losses tombstone`), the sequencer commits nothing there:",
        stopped.len(),
        report.streams.len()
    ))?;
    let shown = if out.all() {
        stopped.len()
    } else {
        stopped.len().min(STOPPED)
    };
    for stream in &stopped[..shown] {
        let next = or_dash(stream.commits_stop_at);
        out.line(&format!("  {}: at {next}", stream.stream))?;
    }
    out.more(2, stopped.len() - shown, "stream(s)")
}

/// So many streams that can make no further commitment are named.
const STOPPED: usize = 4;

/// What to do after an apply: to do the rest, to do it in earnest, or to look whether all is as it should be.
fn next(report: &ApplyReport, plan: &PlanFile, paths: &Paths<'_>) -> Next {
    let again = CommandLine::of_this_process();
    if report.failed() > 0 || report.untouched > 0 {
        let why = format!(
            "mend what stopped it ({}); this command does the rest",
            counts(report)
        );
        return Next::run_for(why, &again);
    }
    if report.streams.is_empty() {
        return Next::nothing("the plan has nothing to do");
    }
    if report.dry_run {
        return Next::run_for(
            "do it in earnest, with the sequencer stopped",
            &again.without("--dry-run"),
        );
    }
    let audit = CommandLine::of_this_tool("audit")
        .with(paths.args.db.words())
        .with(&plan.header().witness_options);
    Next::run_for(
        "look at the log with the same witnesses. Only when it is as it should be, restart the sequencer (it caches keys \
         for an hour, commitments for 5 minutes)",
        &audit,
    )
}

fn undo_command(undo: &Path, paths: &Paths<'_>) -> CommandLine {
    CommandLine::of_this_tool("undo")
        .with([undo.as_os_str()])
        .with(paths.args.db.words())
}

/// A plan that was made half blind may bring back less and put counters lower than the missing witnesses know.
fn refuse_incomplete(plan: &PlanFile, although: bool) -> Result<(), CliError> {
    let incomplete = &plan.header().incomplete;
    let (Some(first), false) = (incomplete.first(), although) else {
        return Ok(());
    };
    let more = match incomplete.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Err(CliError::input(format!(
        "{}: the plan was made without {}, which could not be read: {}{more}; nothing was changed",
        plan.path().display(),
        first.witness,
        first.reason
    ))
    .with_hint("make the plan again with all witnesses, or say --although-incomplete if they cannot be had"))
}

const COLUMNS: &str = "\
Columns (what failed first, then where most stays open):
  EVENTS, APPENDED   events put back; events that got new numbers
  BATCHES            commitments put back
  COUNTER, NOW       the counter before and after
  OPEN               positions that stay open
With --all also:
  RECEIPTS, SIGNED   receipts made for the events; those of them with a signature
  COMMANDS           command ids remembered
  VERSIONS           entity versions raised
  EQUAL              batches whose root came out equal";

/// The outcome for people.
fn print_table<W: std::io::Write>(
    out: &mut Output<W>,
    report: &ApplyReport,
    plan: &PlanFile,
) -> Result<(), CliError> {
    if report.streams.is_empty() {
        out.verdict(Tone::Good, NOTHING_TO_DO)?;
        return print_place(out, &report.place);
    }
    let outcome = ApplySums::of(report);
    print_verdict(out, &outcome)?;
    print_place(out, &report.place)?;
    print_streams(out, &outcome)?;
    print_positions(out, report, plan)?;
    let mut journal: Vec<_> = report.streams.iter().flat_map(|s| s.journal.clone()).collect();
    journal.sort_by_key(|entry| std::cmp::Reverse(entry.written_at));
    if !journal.is_empty() {
        out.line("")?;
        out.line("This plan was applied here before, says the journal:")?;
        print_journal(out, &journal)?;
    }
    print_not_checked(out, &report.not_checked)
}

/// A plan of more lines is not read once more to draw its streams; the page has them.
const DRAWN: u64 = 200_000;

/// The streams in which something stays open or was not done.
fn print_positions<W: std::io::Write>(
    out: &mut Output<W>,
    report: &ApplyReport,
    plan: &PlanFile,
) -> Result<(), CliError> {
    if plan.lines_in_all() > DRAWN {
        return Ok(());
    }
    let labels = out.label_streams(report.streams.iter().map(|s| s.stream));
    // A plan that changed meanwhile was refused, or is told by what reads it for more than a picture.
    let mut strips = strips::of_applied(plan, report, &labels).unwrap_or_default();
    strips.retain(|strip| strip.tone != Tone::Good);
    strips::print(out, strips)
}

/// One stream, as it is shown.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub stream: StreamKey,
    pub status: StreamStatus,
    /// Events, appended, receipts, signed, commands, versions, commitments, roots equal.
    pub counts: [u64; 8],
    pub counters: [Option<u64>; 2],
    pub open: u64,
}

/// What an apply did, in sums.
#[derive(Default)]
pub(super) struct ApplySums {
    pub dry_run: bool,
    pub rows: Vec<Row>,
    pub keys: u64,
    pub tombstones: u64,
    pub moved: u64,
    pub begun_again: u64,
    pub reissued: u64,
    pub untouched: u64,
}

impl ApplySums {
    pub(super) fn of(report: &ApplyReport) -> Self {
        let sum = |of: fn(&AppliedStream) -> u64| -> u64 { report.streams.iter().map(of).sum() };
        let row = |s: &AppliedStream| Row {
            stream: s.stream,
            status: s.status,
            counts: [
                s.events,
                s.appended,
                s.receipts,
                s.receipts_signed,
                s.commands,
                s.entity_versions,
                s.commitments,
                s.roots_equal,
            ],
            counters: [s.counter_before, s.counter_after],
            open: s.open_positions,
        };
        Self {
            dry_run: report.dry_run,
            rows: report.streams.iter().map(row).collect(),
            keys: sum(|s| s.keys),
            tombstones: sum(|s| s.tombstones),
            moved: sum(|s| s.moved),
            begun_again: sum(|s| s.begun_again),
            reissued: report.reissued(),
            untouched: report.untouched,
        }
    }

    fn count(&self, status: StreamStatus) -> usize {
        self.rows.iter().filter(|row| row.status == status).count()
    }

    fn open(&self) -> u64 {
        self.rows.iter().map(|row| row.open).sum()
    }

    fn tone(&self) -> Tone {
        let failed = self.count(StreamStatus::Failed) as u64 + self.untouched;
        match (failed, self.open() + self.reissued) {
            (0, 0) => Tone::Good,
            (0, _) => Tone::Doubt,
            _ => Tone::Bad,
        }
    }

    fn sentences(&self) -> Vec<String> {
        let changed = self.count(StreamStatus::Applied);
        let failed = self.count(StreamStatus::Failed);
        let (open, done) = (self.open(), self.done());
        let mut sentences = Vec::new();
        if failed > 0 || self.untouched > 0 {
            let already = self.count(StreamStatus::AlreadyApplied);
            sentences.push(format!(
                "NOT ALL: {changed} stream(s) done, {already} done already, {failed} failed and are as before, {} not begun.",
                self.untouched
            ));
        }
        sentences.push(if self.dry_run {
            format!(
                "DRY RUN: nothing was written. {changed} stream(s) would change, {done}, {open} position(s) would stay open."
            )
        } else {
            format!("{changed} stream(s) changed, {done}, {open} position(s) stay open.")
        });
        sentences
    }

    /// What was done, or would be, beside streams.
    fn done(&self) -> String {
        let sum = |at: usize| self.rows.iter().map(|row| row.counts[at]).sum::<u64>();
        let back = if self.dry_run { "would be back" } else { "back" };
        let mut done = format!("{} event(s) {back}", sum(0));
        for (count, what) in [
            (self.tombstones, "tombstone(s)"),
            (sum(1), "appended"),
            (self.keys, "key(s) registered"),
        ] {
            if count > 0 {
                done.push_str(&format!(", {count} {what}"));
            }
        }
        done
    }
}

pub(super) fn print_verdict<W: std::io::Write>(
    out: &mut Output<W>,
    outcome: &ApplySums,
) -> Result<(), CliError> {
    let (tone, moved) = (outcome.tone(), outcome.moved);
    for sentence in outcome.sentences() {
        out.verdict(tone, &sentence)?;
    }
    if outcome.dry_run {
        if moved > 0 {
            out.line(&format!(
                "{moved} event(s) would get other numbers, and other receipts."
            ))?;
        }
        return Ok(());
    }
    if outcome.begun_again > 0 {
        out.line(&format!(
            "{} time(s) a stream was begun again, since another's transaction was in the way.",
            outcome.begun_again
        ))?;
    }
    if moved > 0 {
        out.line(&format!(
            "{moved} event(s) got other numbers, and other receipts: what their agents saved no longer holds."
        ))?;
    }
    if outcome.reissued > 0 {
        out.line(&format!(
            "{} number(s) were given out twice, and stay so: the log contradicts its anchors.",
            outcome.reissued
        ))?;
    }
    Ok(())
}

/// What came out of it, in a sentence or two.
pub(super) fn verdict(outcome: &ApplySums) -> (Tone, String) {
    if outcome.rows.is_empty() {
        return (Tone::Good, NOTHING_TO_DO.to_owned());
    }
    (outcome.tone(), outcome.sentences().join(" "))
}

/// What is said of a plan without streams.
const NOTHING_TO_DO: &str = "The plan has nothing to do.";

/// What became of a stream, in a word.
pub(super) fn status_word(status: StreamStatus, dry_run: bool) -> (&'static str, Tone) {
    match status {
        StreamStatus::Applied if dry_run => ("would apply", Tone::Good),
        StreamStatus::Applied => ("applied", Tone::Good),
        StreamStatus::AlreadyApplied => ("already applied", Tone::Good),
        StreamStatus::Failed => ("FAILED", Tone::Bad),
    }
}

pub(super) fn print_streams<W: std::io::Write>(
    out: &mut Output<W>,
    outcome: &ApplySums,
) -> Result<(), CliError> {
    let labels = out.label_streams(outcome.rows.iter().map(|row| row.stream));
    let mut rows = outcome.rows.clone();
    rows.sort_by_key(|row| {
        let order = match row.status {
            StreamStatus::Failed => 0,
            StreamStatus::Applied => 1,
            StreamStatus::AlreadyApplied => 2,
        };
        (order, std::cmp::Reverse(row.open), row.stream)
    });
    let mut headers = vec![
        "STREAM", "STATUS", "EVENTS", "APPENDED", "BATCHES", "COUNTER", "NOW", "OPEN",
    ];
    let books = ["RECEIPTS", "SIGNED", "COMMANDS", "VERSIONS", "EQUAL"];
    let all = out.all();
    headers.extend(books.iter().filter(|_| all));
    let mut table = Table::new(&headers);
    let shown = out.shown(rows.len());
    for row in &rows[..shown] {
        let (status, tone) = status_word(row.status, outcome.dry_run);
        let [
            events,
            appended,
            receipts,
            signed,
            commands,
            versions,
            batches,
            equal,
        ] = row.counts;
        let counts = [events, appended, batches].map(|count| count.to_string());
        let counters = row.counters.map(or_dash);
        let books = [receipts, signed, commands, versions, equal].map(|count| count.to_string());
        let cells = [labels.of(&row.stream), status.to_owned()].into_iter();
        let cells = cells.chain(counts).chain(counters).chain([row.open.to_string()]);
        table.row(cells.chain(books.into_iter().filter(|_| all)));
        table.verdict(1, tone);
    }
    out.line("")?;
    out.table(&table)?;
    out.more(0, rows.len() - shown, "stream(s)")
}
