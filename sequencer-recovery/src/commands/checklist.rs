//! `sequencer-recovery checklist`: what is to be so after a recovery, each line run.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use cli_common::report::Lines;
use cli_common::{
    Cancel, CliError, CommandLine, ErrorKind, ExitStatus, Frame, GlobalArgs, Next, Output, Table, Tone,
    stderr_progress,
};
use event_log::Place;
use html_report::{Body, Check, CheckOutcome, Page, ReportArg, ReportFile, Section};
use sequencer_recovery::checklist::backup::{BackupQuestion, BackupSource, PgBackRest};
use sequencer_recovery::checklist::line::{Line, LineId, LineVerdict, Step};
use sequencer_recovery::checklist::of_audit::{self, GivenToAudit};
use sequencer_recovery::checklist::{Checklist, SCHEMA, alerts, backup, check_url, service};
use sequencer_recovery::error::RecoveryError;
use sequencer_recovery::report::audit::{AuditReport, audit};
use serde::Serialize;

use super::report::{print_not_checked, print_place};
use super::{SurveyArgs, cancel_on_signals, made, open, read_on, report_incomplete, write_place};

/// Run the post-recovery checklist: is the sequencer as it must be?
///
/// Asks the log and its witnesses (as audit does), the sequencer's health and readiness, Prometheus, and the backups.
/// Each line passes, fails, or was NOT CHECKED, with what was seen and what to do next. Changes nothing.
///
/// Ends with 0 if no line failed (what was not checked is told, and is no pass: --require makes a failure of it), 4 if
/// one failed, 8 if something that was asked for could not be looked at.
#[derive(Debug, Args)]
#[command(after_long_help = COLUMNS)]
pub struct ChecklistArgs {
    #[command(flatten)]
    survey: SurveyArgs,

    /// The sequencer: its /health and /ready are asked
    #[arg(long, value_name = "URL", value_parser = check_url)]
    url: Option<String>,

    /// Prometheus: which alerts are firing
    #[arg(long, value_name = "URL", value_parser = check_url)]
    prometheus: Option<String>,

    /// How long to wait for each answer of the two: 10 (seconds), 500ms, 1m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = cli_common::duration)]
    http_timeout: Duration,

    #[command(flatten)]
    backup: BackupArgs,

    /// These lines fail if they were not checked; `all` is every one
    #[arg(long, value_name = "NAME", num_args = 1..)]
    require: Vec<Required>,

    #[command(flatten)]
    page: ReportArg,
}

/// Where backups are, and how old they may be.
#[derive(Debug, Args)]
struct BackupArgs {
    /// Where backups are: pgBackRest's stanza, which `pgbackrest info` is asked of
    #[arg(long, value_name = "STANZA", conflicts_with = "backup_folder")]
    pgbackrest: Option<String>,

    /// pgBackRest's configuration file, if it is not the usual one
    #[arg(long, value_name = "FILE", requires = "pgbackrest")]
    pgbackrest_config: Option<PathBuf>,

    /// Where backups are: a folder with dumps or base backups, judged by the files' times
    #[arg(long, value_name = "DIR")]
    backup_folder: Option<PathBuf>,

    /// How old the newest backup may be: 24h, 90m, 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = cli_common::duration)]
    backup_age: Duration,
}

impl BackupArgs {
    fn source(&self) -> Option<BackupSource> {
        let of_pgbackrest = self.pgbackrest.as_ref().map(|stanza| {
            BackupSource::PgBackRest(PgBackRest {
                stanza: stanza.clone(),
                config: self.pgbackrest_config.clone(),
            })
        });
        of_pgbackrest.or_else(|| self.backup_folder.clone().map(BackupSource::Folder))
    }
}

/// A line that must have been checked, or all of them.
#[derive(Debug, Clone, Copy)]
enum Required {
    One(LineId),
    All,
}

impl std::str::FromStr for Required {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            name => name.parse().map(Self::One),
        }
    }
}

/// Runs the command.
pub fn run(args: &ChecklistArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let input = args.survey.input()?;
    let hashed = args.survey.hashed(&input)?;
    let given = GivenToAudit {
        anchors: !input.anchors.is_empty(),
        sequencer_keys: !input.witnesses.sequencer_keys.is_empty(),
    };
    let page = args.page.begin()?;
    let progress = stderr_progress(global);
    let cancel = cancel_on_signals()?;
    // What is quickly known comes before the long work, and is known even if the log cannot be read.
    let stopped = |cancelled| CliError::from(RecoveryError::Cancelled(cancelled));
    let mut lines = service::lines(args.url.as_deref(), args.http_timeout, &cancel).map_err(stopped)?;
    let alerts = alerts::line(args.prometheus.as_deref(), args.http_timeout, &cancel).map_err(stopped)?;
    let audited = read_on(&cancel, async || {
        let (log, db) = open(&args.survey.db, &cancel).await?;
        let mut view = log.view().await?;
        Ok(audit(&mut view, db, &input, progress.as_ref(), &cancel).await?)
    });
    drop(progress);
    let mut status = ExitStatus::OK;
    let audited = match audited {
        Ok(report) => {
            status |= report_incomplete(&report.incomplete(), global);
            lines.extend(of_audit::lines(&report, given));
            Some(report)
        }
        Err(error) if matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Usage) => return Err(error),
        Err(error) => {
            error.report(global);
            status |= error.exit_status();
            lines.extend(of_audit::without_audit(&error.to_string()));
            None
        }
    };
    lines.push(backup_line(args, audited.as_ref(), &cancel).map_err(stopped)?);
    lines.push(alerts);
    let next = Writing {
        args,
        report: audited.as_ref(),
    };
    lines.iter_mut().for_each(|line| next.write(line));
    let db = match &audited {
        Some(report) => report.db.clone(),
        None => args.survey.db.target()?.to_string(),
    };
    let checklist = Checklist::new(db, audited.as_ref(), lines, &required(args));
    print(&checklist, &made(hashed), page, global)?;
    Ok(status | exit_status(&checklist))
}

fn backup_line(
    args: &ChecklistArgs,
    report: Option<&AuditReport>,
    cancel: &Cancel,
) -> Result<Line, cli_common::Cancelled> {
    let source = args.backup.source();
    let asked = BackupQuestion {
        source: source.as_ref(),
        oldest: args.backup.backup_age,
        now: SystemTime::now(),
        server: report.and_then(|report| report.place.server()),
    };
    backup::line(asked, cancel)
}

fn required(args: &ChecklistArgs) -> Vec<LineId> {
    let named = args.require.iter().flat_map(|required| match required {
        Required::All => LineId::ALL.to_vec(),
        Required::One(id) => vec![*id],
    });
    named.collect()
}

fn exit_status(checklist: &Checklist) -> ExitStatus {
    let mut status = ExitStatus::OK;
    if checklist.counts.fail > 0 {
        status |= ExitStatus::PROBLEMS;
    }
    if checklist.could_not() {
        status |= ExitStatus::FAILED;
    }
    status
}

/// Writes out what to do about a line.
struct Writing<'a> {
    args: &'a ChecklistArgs,
    report: Option<&'a AuditReport>,
}

impl Writing<'_> {
    fn write(&self, line: &mut Line) {
        let Some(step) = &line.step else { return };
        if line.verdict != LineVerdict::Pass {
            line.next = Some(self.next(step));
        }
    }

    fn next(&self, step: &Step) -> Next {
        match step {
            Step::Plan => Next::run_for("plan the repair; it changes nothing", &self.plan()),
            Step::ChooseHistory => Next::run_for(
                "plan the way back to the history that was anchored; it changes nothing",
                &self.plan().with(["--on-reissue", "keep-anchored"]),
            ),
            Step::Fill(why) => Next::run_for(why.as_str(), &self.plan().with(FILL)),
            Step::Audit => Next::run_for(
                "see each problem",
                &self.args.survey.command("audit").with(["--all"]),
            ),
            Step::Again(why, words) => {
                Next::run_for(why.as_str(), &CommandLine::of_this_process().with(words.clone()))
            }
            Step::Run(why, words) => {
                let words: Vec<std::ffi::OsString> = words.iter().map(Into::into).collect();
                Next::run_for(why.as_str(), &CommandLine::from(words))
            }
            Step::Command(why, command) => Next {
                why: Some(why.clone()),
                command: Some(command.clone()),
            },
            Step::Say(what) => Next::nothing(what.as_str()),
        }
    }

    fn plan(&self) -> CommandLine {
        let snapshot = self.report.is_some_and(|r| matches!(r.place, Place::Snapshot(_)));
        let stem = if snapshot { "plan-of-copy" } else { "plan" };
        self.args
            .survey
            .command("plan")
            .with(["--out", &super::free_name(stem, "ndjson")])
    }
}

/// What fills every position that stays open.
const FILL: [&str; 6] = [
    "--fill-losses",
    "tombstone",
    "--fill-undecided",
    "--root-will-not-match",
    "--recovery-key",
    "recovery.key",
];

/// What to do after the checklist: about the first line that failed, or else the first that was not checked.
fn next(checklist: &Checklist) -> Next {
    let of = |verdict| {
        let lines = checklist.lines.iter().filter(move |line| line.verdict == verdict);
        lines.filter_map(|line| Some((line, line.next.clone()?)))
    };
    if let Some((line, next)) = of(LineVerdict::Fail).next() {
        return about(line, next);
    }
    if checklist.counts.fail == 0 && checklist.counts.not_checked == 0 {
        return Next::nothing("every line passed");
    }
    match of(LineVerdict::NotChecked).next() {
        Some((line, next)) => about(line, next),
        None => Next::nothing("each line says what it takes"),
    }
}

fn about(line: &Line, next: Next) -> Next {
    let why = next
        .why
        .map_or_else(|| line.id.to_string(), |why| format!("{}: {why}", line.id));
    Next {
        why: Some(why),
        ..next
    }
}

fn print(
    checklist: &Checklist,
    provenance: &cli_common::provenance::Provenance,
    file: Option<ReportFile>,
    global: &GlobalArgs,
) -> Result<(), CliError> {
    let frame = Frame {
        schema: SCHEMA,
        provenance,
        next: &next(checklist),
    };
    frame.print(
        global,
        checklist,
        |out| print_table(out, checklist),
        |lines| write_lines(lines, checklist),
    )?;
    match file {
        Some(file) => file.write(&page(checklist).framed(&frame), global),
        None => Ok(()),
    }
}

/// The checklist as a page.
fn page(checklist: &Checklist) -> Page {
    let (tone, verdict) = verdict(checklist);
    let mut page = Page::new("Post-recovery checklist", &checklist.db, tone, verdict);
    let counts = checklist.counts;
    page.fact("Passed", counts.pass);
    page.fact("Failed", counts.fail);
    page.fact("Not checked", counts.not_checked);
    if let Some(place) = &checklist.place {
        page.fact("Log", place);
    }
    let check = |line: &Line| {
        let outcome = match line.verdict {
            LineVerdict::Pass => CheckOutcome::Pass,
            LineVerdict::Fail => CheckOutcome::Fail,
            LineVerdict::NotChecked => CheckOutcome::NotChecked,
        };
        let seen: Vec<&str> = line
            .reason
            .iter()
            .chain(&line.evidence)
            .map(String::as_str)
            .collect();
        let check = Check::new(
            format!("{}: {}", line.id, line.question),
            outcome,
            seen.join("; "),
        );
        match line.next.as_ref().and_then(|next| next.command.as_ref()) {
            Some(command) => check.command(command),
            None => check,
        }
    };
    let checks = checklist.lines.iter().map(check).collect();
    page.section(Section::new("The lines", Body::Checks(checks)));
    page.section(
        Section::new("Streams", Body::Table(streams(checklist)))
            .intro("Whether each can be committed further, those that cannot first."),
    );
    page.not_checked = Some(checklist.not_checked.clone());
    page
}

/// So many streams are in the page.
const STREAMS: usize = 1000;

fn streams(checklist: &Checklist) -> html_report::Table {
    let mut table = html_report::Table::new(&["Stream", "#Committed", "#Next", "#Up to", "Why not"]);
    let mut streams: Vec<_> = checklist.streams.iter().collect();
    streams.sort_by_key(|s| (s.committing.can_go_on(), s.stream));
    for s in streams.into_iter().take(STREAMS) {
        let c = &s.committing;
        let numbers = [c.committed, c.next, c.up_to].map(super::or_dash);
        let cells = [s.stream.to_string()].into_iter().chain(numbers);
        table.row(cells.chain([c.blocked.join("; ")]));
    }
    table
}

fn write_lines<W: std::io::Write>(lines: &mut Lines<'_, W>, checklist: &Checklist) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Summary<'a> {
        db: &'a str,
        all_passed: bool,
        counts: sequencer_recovery::checklist::Counts,
    }
    if let Some(place) = &checklist.place {
        write_place(lines, place)?;
    }
    lines.all("line", &checklist.lines)?;
    lines.all("stream", &checklist.streams)?;
    lines.not_checked(&checklist.not_checked)?;
    lines.one(
        "summary",
        Summary {
            db: &checklist.db,
            all_passed: checklist.all_passed,
            counts: checklist.counts,
        },
    )
}

const COLUMNS: &str = "\
Columns:
  VERDICT        PASS, FAIL or NOT CHECKED
  LINE           its name (docs/checklist.md), as --require takes it
  WHAT WAS SEEN  the figures, or why nobody looked

Columns of the streams (those that cannot be committed further; --all: all):
  COMMITTED      the last number that is committed
  NEXT, UP TO    where the next commitment begins, and how far it may go now";

/// The checklist for people.
pub(super) fn print_table<W: std::io::Write>(
    out: &mut Output<W>,
    checklist: &Checklist,
) -> Result<(), CliError> {
    out.label_streams(checklist.streams.iter().map(|s| s.stream));
    let (tone_of_all, sentence) = verdict(checklist);
    out.verdict(tone_of_all, &sentence)?;
    if let Some(place) = &checklist.place {
        print_place(out, place)?;
    }
    let mut table = Table::new(&["VERDICT", "LINE", "WHAT WAS SEEN"]);
    let labels = out.labels_of(checklist.streams.iter().map(|s| s.stream));
    for line in &checklist.lines {
        let seen = line.reason.as_ref().or(line.evidence.first());
        let seen = seen.map(|seen| shortened(&labels.shorten(seen)));
        table.row([line.verdict.as_str(), line.id.as_str(), &seen.unwrap_or_default()]);
        table.verdict(0, tone(line.verdict));
    }
    out.line("")?;
    out.table(&table)?;
    print_streams(out, checklist, &labels)?;
    print_lines(out, checklist, "FAILED", LineVerdict::Fail)?;
    // Why the others were not checked, the table says.
    if out.all() {
        print_lines(
            out,
            checklist,
            "NOT CHECKED, of the lines",
            LineVerdict::NotChecked,
        )?;
    }
    print_not_checked(out, &checklist.not_checked)
}

/// The streams that cannot be committed further; with --all, all of them.
fn print_streams<W: std::io::Write>(
    out: &mut Output<W>,
    checklist: &Checklist,
    labels: &cli_common::Labels,
) -> Result<(), CliError> {
    let all = out.all();
    let mut streams: Vec<_> = checklist
        .streams
        .iter()
        .filter(|s| all || !s.committing.can_go_on())
        .collect();
    if streams.is_empty() {
        return Ok(());
    }
    streams.sort_by_key(|s| (s.committing.can_go_on(), s.stream));
    let mut table = Table::new(&["STREAM", "COMMITTED", "NEXT", "UP TO", "GOES ON"]);
    let shown = out.shown(streams.len());
    for s in &streams[..shown] {
        let c = &s.committing;
        let [committed, next, up_to] = [c.committed, c.next, c.up_to].map(super::or_dash);
        let goes_on = if c.can_go_on() { "yes" } else { "NO" };
        table.row([labels.of(&s.stream), committed, next, up_to, goes_on.to_owned()]);
        if !c.can_go_on() {
            table.verdict(4, Tone::Bad);
        }
    }
    out.line("")?;
    out.table(&table)?;
    out.more(0, streams.len() - shown, "stream(s)")
}

/// The table's cells hold the beginning of long evidence; the whole of it follows.
fn shortened(seen: &str) -> String {
    const CELL: usize = 110;
    if seen.chars().count() <= CELL {
        return seen.to_owned();
    }
    let short: String = seen.chars().take(CELL).collect();
    let end = short.rfind(' ').unwrap_or(short.len());
    format!("{} ...", &short[..end])
}

fn tone(verdict: LineVerdict) -> Tone {
    match verdict {
        LineVerdict::Pass => Tone::Good,
        LineVerdict::Fail => Tone::Bad,
        LineVerdict::NotChecked => Tone::Doubt,
    }
}

fn verdict(checklist: &Checklist) -> (Tone, String) {
    let counts = checklist.counts;
    let of = checklist.lines.len();
    if counts.fail > 0 {
        let verdict = format!(
            "NOT PASSED: {} of {of} lines failed, {} passed, {} NOT CHECKED.",
            counts.fail, counts.pass, counts.not_checked
        );
        return (Tone::Bad, verdict);
    }
    if counts.not_checked > 0 {
        let verdict = format!(
            "No line failed, but not all was checked: {} of {of} lines passed, {} NOT CHECKED.",
            counts.pass, counts.not_checked
        );
        return (Tone::Doubt, verdict);
    }
    (Tone::Good, format!("PASSED: all {of} lines."))
}

/// The lines of a verdict, with their questions, all that was seen, and what to do.
fn print_lines<W: std::io::Write>(
    out: &mut Output<W>,
    checklist: &Checklist,
    title: &str,
    verdict: LineVerdict,
) -> Result<(), CliError> {
    let mut lines = checklist
        .lines
        .iter()
        .filter(|line| line.verdict == verdict)
        .peekable();
    if lines.peek().is_none() {
        return Ok(());
    }
    out.line("")?;
    out.line(title)?;
    for line in lines {
        out.line(&format!("  {}: {}", line.id, line.question))?;
        if line.required {
            out.line("    it was not checked, and --require asks for it")?;
        }
        let seen: Vec<&String> = line.reason.iter().chain(&line.evidence).collect();
        let shown = if out.all() {
            seen.len()
        } else {
            seen.len().min(SEEN)
        };
        for seen in &seen[..shown] {
            out.line(&format!("    {seen}"))?;
        }
        out.more(4, seen.len() - shown, "")?;
        if let Some(next) = &line.next {
            print_next(out, next)?;
        }
    }
    Ok(())
}

/// So much of what was seen is shown of each line.
const SEEN: usize = 4;

fn print_next<W: std::io::Write>(out: &mut Output<W>, next: &Next) -> Result<(), CliError> {
    match (&next.command, &next.why) {
        (Some(command), why) => {
            if let Some(why) = why {
                out.line(&format!("    next: {why}:"))?;
            }
            out.command(&format!("      {command}"))
        }
        (None, Some(why)) => out.line(&format!("    next: {why}")),
        (None, None) => Ok(()),
    }
}
