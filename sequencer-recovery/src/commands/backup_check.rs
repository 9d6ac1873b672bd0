//! `sequencer-recovery backup-check`: is one's own backup worth anything?

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{ArgGroup, Args};
use cli_common::report::Lines;
use cli_common::{
    CliError, DbTarget, ExitStatus, Frame, GlobalArgs, Next, Output, Table, Tone, stderr_progress,
};
use html_report::{Body, FindingRow, Page, ReportArg, ReportFile, Section};
use scratch_postgres::{Patience, Search};
use sequencer_recovery::backup_check::lacks::Repair;
use sequencer_recovery::backup_check::source::{Broken, FromPgBackRest, Origin, Restored, Scratch, Source};
use sequencer_recovery::backup_check::{self, BackupCheck, BackupResult, CheckRequest, Objectives, SCHEMA};
use sequencer_recovery::checklist::backup::told;
use sequencer_recovery::finding::Finding;
use sequencer_recovery::grade::Accept;
use sequencer_recovery::plan::PlanOptions;
use serde::Serialize;

use super::report::{print_findings, print_not_checked, print_place, when};
use super::{
    CopyKind, Witness, WitnessArgs, block_on, cancel_on_signals, kind_of_copy, made, or_dash,
    report_incomplete,
};

/// Check a backup: restore it into a scratch place, and say what it is worth
///
/// Restored beside everything else and never over anything, started, audited with today's witnesses and a live log:
/// what it lacks, who holds that, what would come back, and how long each step took. Writes to nothing but the scratch
/// place, which is gone afterwards.
///
/// Ends with 0 if the backup is good (or nobody was asked what it lacks, which is told), 4 if it is broken, if
/// positions would stay open, if its log has problems of its own or a target is missed, 8 if it could not be tried or a
/// witness could not be read.
#[derive(Debug, Args)]
#[command(after_long_help = COLUMNS)]
#[command(group = ArgGroup::new("backup").required(true))]
#[command(override_usage = "sequencer-recovery backup-check <BACKUP> [OPTIONS]")]
pub struct BackupCheckArgs {
    #[command(flatten)]
    from: FromArgs,

    #[command(flatten)]
    witness: WitnessArgs,

    /// The live log, to be held against; it is only read
    #[arg(long, value_name = "URL", value_parser = OsStringValueParser::new().map(Witness))]
    against: Option<Witness>,

    #[command(flatten)]
    scratch: ScratchArgs,

    /// The weakest evidence that you would use: proven, checkpointed, receipted, committed, corroborated or
    /// claimed
    #[arg(long, value_name = "GRADE", default_value_t = Accept::default())]
    accept: Accept,

    /// Fail if all steps together take longer than this: 90 (seconds), 15m, 4h
    #[arg(long, value_name = "TIME", value_parser = cli_common::duration)]
    rto: Option<Duration>,

    /// Fail if what would stay open reaches back further than this from now
    #[arg(long, value_name = "TIME", value_parser = cli_common::duration)]
    rpo: Option<Duration>,

    #[command(flatten)]
    page: ReportArg,
}

/// Which backup.
#[derive(Debug, Args)]
struct FromArgs {
    /// A backup of pgBackRest's: the stanza
    #[arg(long, value_name = "STANZA", group = "backup")]
    pgbackrest: Option<String>,

    /// pgBackRest's configuration file, if it is not the usual one
    #[arg(long, value_name = "FILE", requires = "pgbackrest")]
    pgbackrest_config: Option<PathBuf>,

    /// Which of pgBackRest's backups; without it the newest
    #[arg(long, value_name = "LABEL", requires = "pgbackrest")]
    set: Option<String>,

    /// Replay up to this time (2026-03-01 08:00:00+00); without it to the end of the WAL
    #[arg(long, value_name = "TIME", conflicts_with_all = ["dump", "copy"])]
    target_time: Option<String>,

    /// A base backup: the folder that pg_basebackup made
    #[arg(long, value_name = "DIR", group = "backup")]
    pg_basebackup: Option<PathBuf>,

    /// Where the WAL is archived, if the base backup needs it
    #[arg(long, value_name = "DIR", requires = "pg_basebackup")]
    wal: Option<PathBuf>,

    /// A dump by pg_dump, in any of its formats
    #[arg(long, value_name = "FILE", group = "backup")]
    dump: Option<PathBuf>,

    /// A copy that you restored yourself; DATABASE_URL does not stand for it
    #[arg(long = "db", id = "copy", value_name = "URL", group = "backup",
          value_parser = OsStringValueParser::new().map(Witness))]
    copy: Option<Witness>,

    /// What --db names is a copy, whatever it looks like
    #[arg(long, requires = "copy")]
    this_is_a_copy: bool,
}

impl FromArgs {
    fn source(&self) -> Result<Source, CliError> {
        if let Some(stanza) = &self.pgbackrest {
            return Ok(Source::PgBackRest(FromPgBackRest {
                stanza: stanza.clone(),
                config: self.pgbackrest_config.clone(),
                set: self.set.clone(),
                target_time: self.target_time.clone(),
            }));
        }
        if let Some(dir) = &self.pg_basebackup {
            return Ok(Source::BaseBackup {
                dir: dir.clone(),
                wal: self.wal.clone(),
                target_time: self.target_time.clone(),
            });
        }
        if let Some(path) = &self.dump {
            return match kind_of_copy(path)? {
                CopyKind::Dump(dump) => Ok(Source::Dump(dump)),
                _ => Err(
                    CliError::input(format!("{} is no dump by pg_dump", path.display())).with_hint(
                        "give what pg_dump wrote; a folder of pg_basebackup goes with --pg-basebackup",
                    ),
                ),
            };
        }
        let copy = self
            .copy
            .as_ref()
            .map(|copy| DbTarget::parse(&copy.0))
            .transpose()?;
        let db = copy.ok_or_else(|| CliError::usage("which backup?"))?;
        Ok(Source::Copy {
            db,
            is_a_copy: self.this_is_a_copy,
        })
    }
}

/// Where it is restored to.
#[derive(Debug, Args)]
struct ScratchArgs {
    /// Where the private folder is made that the backup is restored to; without it the temporary folder
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,

    /// The folder of the PostgreSQL server's programs (initdb, postgres), if it is not found
    #[arg(long, value_name = "DIR")]
    postgres_bin: Option<PathBuf>,

    /// Which database of the restored cluster has the log, if several have one
    #[arg(long, value_name = "NAME", conflicts_with_all = ["dump", "copy"])]
    database: Option<String>,

    /// The superuser of the restored cluster
    #[arg(long, value_name = "ROLE", default_value = "postgres")]
    role: String,

    /// How long each step may take: 90 (seconds), 15m, 4h
    #[arg(long, value_name = "TIME", default_value = "4h", value_parser = cli_common::duration)]
    step_timeout: Duration,
}

/// Runs the command.
pub fn run(args: &BackupCheckArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let source = args.from.source()?;
    let against = args
        .against
        .as_ref()
        .map(|live| DbTarget::parse(&live.0))
        .transpose()?;
    let survivors = args.witness.input()?;
    let mut everybody = args.witness.input()?;
    everybody.witnesses.logs.extend(against.clone());
    let hashed = args.witness.hashed(&survivors);
    let page = args.page.begin()?;
    let progress = stderr_progress(global);
    let cancel = cancel_on_signals()?;
    let stopped = || cancel.is_cancelled();
    let options = PlanOptions {
        accept: args.accept,
        ..PlanOptions::default()
    };
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    let request = CheckRequest {
        source: &source,
        scratch: Scratch {
            parent: args.scratch.scratch.as_deref(),
            search: Search {
                folder: args.scratch.postgres_bin.clone(),
                path: std::env::var_os("PATH").unwrap_or_default(),
            },
            patience: Patience::new(args.scratch.step_timeout, &stopped),
            database: args.scratch.database.as_deref(),
            role: &args.scratch.role,
        },
        against: against.as_ref(),
        everybody: &everybody,
        survivors: &survivors,
        plan: &options,
        wanted: (seconds(args.rto), seconds(args.rpo)),
        tool: concat!("sequencer-recovery ", env!("CARGO_PKG_VERSION")),
    };
    let mut check = BackupCheck::new(&request);
    progress.start("restoring the backup", None);
    let restored: Option<Restored> = backup_check::restored(&request, &mut check, &cancel)?;
    progress.finish();
    if let Some(restored) = &restored {
        block_on(async { Ok(check.look(restored, &request, progress.as_ref(), &cancel).await?) })?;
    }
    // Server and files are gone before anything is told.
    drop(restored);
    drop(progress);
    print(&check, &made(hashed), page, global)?;
    Ok(exit_status(&check) | report_incomplete(&check.incomplete, global))
}

fn exit_status(check: &BackupCheck) -> ExitStatus {
    match check.result {
        BackupResult::Good | BackupResult::RestoredOnly => ExitStatus::OK,
        BackupResult::NotEnough | BackupResult::Broken => ExitStatus::PROBLEMS,
    }
}

fn next(check: &BackupCheck) -> Next {
    Next::nothing(match check.result {
        BackupResult::Broken => {
            "make a new backup now, and check the one before it: until one is good there is none"
        }
        BackupResult::NotEnough if check.repair.stay_open > 0 => {
            "what would stay open only more witnesses bring back: have agents' outboxes backed up (`outbox-sync backup`), \
             batches anchored, or backups made more often"
        }
        BackupResult::NotEnough => "see to each problem, and check again",
        BackupResult::Good => "keep this report",
        BackupResult::RestoredOnly => "add --against, --outbox and --anchors, to know what the backup lacks",
    })
}

fn print(
    check: &BackupCheck,
    provenance: &cli_common::provenance::Provenance,
    file: Option<ReportFile>,
    global: &GlobalArgs,
) -> Result<(), CliError> {
    let frame = Frame {
        schema: SCHEMA,
        provenance,
        next: &next(check),
    };
    frame.print(
        global,
        check,
        |out| print_table(out, check),
        |lines| write_lines(lines, check),
    )?;
    match file {
        Some(file) => file.write(&page(check).framed(&frame), global),
        None => Ok(()),
    }
}

fn write_lines<W: std::io::Write>(lines: &mut Lines<'_, W>, check: &BackupCheck) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Summary<'a> {
        backup: &'a Origin,
        result: BackupResult,
        broken: &'a Option<Broken>,
        objectives: Objectives,
        events: u64,
        lacks: u64,
        repair: &'a Repair,
    }
    if let Some(place) = &check.place {
        super::write_place(lines, place)?;
    }
    lines.all("step", &check.steps)?;
    lines.all("stream", &check.streams)?;
    lines.all("holder", &check.holders)?;
    lines.all("finding", &check.problems)?;
    lines.not_checked(&check.not_checked)?;
    lines.one(
        "summary",
        Summary {
            backup: &check.backup,
            result: check.result,
            broken: &check.broken,
            objectives: check.objectives,
            events: check.events,
            lacks: check.lacks,
            repair: &check.repair,
        },
    )
}

const COLUMNS: &str = "\
Columns of the streams (those that lack events, most first):
  HEAD          the backup's last number
  LACKS, FROM   how many numbers are missing; the first of them
  SINCE         when that was given out, as the live log says; without --against
                RECOVERED TO: when the backup's last number was
  BACK, OPEN    how many would come back; how many would stay open";

/// What comes of it, in a sentence.
fn verdict(check: &BackupCheck) -> (Tone, String) {
    if let Some(broken) = &check.broken {
        return (
            Tone::Bad,
            format!("BROKEN, at the step {}: {}", broken.step, broken.what),
        );
    }
    let streams = check.streams.len();
    let lacks = match (check.lacks, check.repair.stay_open) {
        (0, _) => "it lacks nothing that anybody knows of".to_owned(),
        (lacks, 0) => {
            format!("it lacks {lacks} event(s) in {streams} stream(s), and all of them would come back")
        }
        (lacks, open) => format!(
            "it lacks {lacks} event(s) in {streams} stream(s); {} would come back, and {open} would STAY OPEN",
            check.repair.come_back
        ),
    };
    let missed = if check.objectives.missed() {
        "; a target is missed"
    } else {
        ""
    };
    let problems = match check.problems.len() {
        0 => String::new(),
        count => format!("; its log has {count} problem(s) of its own"),
    };
    match check.result {
        BackupResult::Good => (Tone::Good, format!("GOOD: restored and read; {lacks}.")),
        BackupResult::RestoredOnly => (
            Tone::Doubt,
            "RESTORED and read. What it lacks is NOT CHECKED: nobody was asked.".to_owned(),
        ),
        _ => (
            Tone::Bad,
            format!("NOT ENOUGH: restored and read; {lacks}{problems}{missed}."),
        ),
    }
}

/// Which backup, in words.
fn described(check: &BackupCheck) -> String {
    let of = &check.backup;
    let mut text = format!("{} {}", of.kind, of.name);
    for (before, part) in [(", backup ", &of.label), (", finished ", &of.made)] {
        if let Some(part) = part {
            text.push_str(before);
            text.push_str(part);
        }
    }
    text
}

/// What was reached against what was wanted, a line for each.
fn objectives(check: &BackupCheck) -> Vec<String> {
    let time = |seconds: f64| told(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    let wanted = |wanted: Option<f64>, reached: Option<f64>| match (wanted, reached) {
        (None, _) => String::new(),
        (Some(w), Some(r)) if r > w => format!(" (MISSED: at most {} was wanted)", time(w)),
        (Some(w), _) => format!(" (at most {} was wanted)", time(w)),
    };
    let o = &check.objectives;
    let mut lines = Vec::new();
    if check.broken.is_none() {
        lines.push(format!(
            "RTO, from the backup to a plan: {:.1} s{}",
            o.rto_seconds_reached,
            wanted(o.rto_seconds_wanted, Some(o.rto_seconds_reached))
        ));
    }
    if let (Some(before), Some(after)) = (o.rpo_seconds_before_repair, o.rpo_seconds_reached) {
        lines.push(format!(
            "RPO if the disaster were now: {} as recovered, {} after the repair{}",
            time(before),
            time(after),
            wanted(o.rpo_seconds_wanted, Some(after))
        ));
    }
    lines
}

/// The check for people.
pub(super) fn print_table<W: std::io::Write>(
    out: &mut Output<W>,
    check: &BackupCheck,
) -> Result<(), CliError> {
    let labels = out.label_streams(check.streams.iter().map(|s| s.stream));
    let (tone, sentence) = verdict(check);
    out.verdict(tone, &sentence)?;
    out.line(&format!("Backup: {}", described(check)))?;
    if let Some(place) = &check.place {
        print_place(out, place)?;
    }
    if let Some(newest) = check.newest_event_at {
        out.line(&format!(
            "{} event(s), the newest of {}.",
            check.events,
            when(newest)
        ))?;
    }
    if let Some(against) = &check.against {
        out.line(&format!("Held against the live log {against}."))?;
    }
    for line in objectives(check) {
        out.line(&line)?;
    }
    let steps: Vec<String> = check
        .steps
        .iter()
        .map(|step| format!("{} {:.1} s", step.name, step.seconds))
        .collect();
    out.line(&format!("Steps: {}", steps.join(", ")))?;
    print_streams(out, check, &labels)?;
    print_holders(out, check)?;
    let problems: Vec<&Finding> = check.problems.iter().collect();
    print_findings(out, &labels, "PROBLEMS of the backup's log", &problems)?;
    print_not_checked(out, &check.not_checked)
}

fn print_streams<W: std::io::Write>(
    out: &mut Output<W>,
    check: &BackupCheck,
    labels: &cli_common::Labels,
) -> Result<(), CliError> {
    if check.streams.is_empty() {
        return Ok(());
    }
    let mut streams: Vec<_> = check.streams.iter().collect();
    streams.sort_by_key(|s| (std::cmp::Reverse((s.stay_open, s.events)), s.stream));
    // When the first that is missing was numbered only the live log knows.
    let since = if check.against.is_some() {
        "SINCE"
    } else {
        "RECOVERED TO"
    };
    let mut table = Table::new(&["STREAM", "HEAD", "LACKS", "FROM", since, "BACK", "OPEN"]);
    let shown = out.shown(streams.len());
    for s in &streams[..shown] {
        let at = |time: Option<ves::Timestamp>| time.map_or_else(|| "-".to_owned(), when);
        let time = if check.against.is_some() {
            s.from_sequenced_at
        } else {
            s.head_sequenced_at
        };
        table.row([
            labels.of(&s.stream),
            or_dash(s.head),
            s.events.to_string(),
            s.from.to_string(),
            at(time),
            s.come_back.to_string(),
            s.stay_open.to_string(),
        ]);
    }
    out.line("")?;
    out.table(&table)?;
    out.more(0, streams.len() - shown, "stream(s)")
}

fn print_holders<W: std::io::Write>(out: &mut Output<W>, check: &BackupCheck) -> Result<(), CliError> {
    if check.holders.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["WHO HOLDS WHAT IT LACKS", "KIND", "EVENTS"]);
    let shown = out.shown(check.holders.len());
    for holder in &check.holders[..shown] {
        let kind = if holder.live { "the live log" } else { holder.kind };
        table.row([holder.witness.clone(), kind.to_owned(), holder.events.to_string()]);
    }
    out.line("")?;
    out.table(&table)?;
    out.more(0, check.holders.len() - shown, "")
}

/// The check as a page.
fn page(check: &BackupCheck) -> Page {
    let (tone, sentence) = verdict(check);
    let mut page = Page::new("Backup check", described(check), tone, sentence);
    page.fact("Events", check.events);
    page.fact("Lacks", check.lacks);
    page.fact("Would come back", check.repair.come_back);
    page.fact("Would stay open", check.repair.stay_open);
    let reached = objectives(check).into_iter().map(Into::into).collect();
    page.section(Section::new("RTO and RPO", Body::Prose(reached)));
    let mut steps = html_report::Table::new(&["Step", "#Seconds"]);
    for step in &check.steps {
        steps.row([step.name.to_owned(), format!("{:.1}", step.seconds)]);
    }
    page.section(Section::new("Steps", Body::Table(steps)));
    let mut streams =
        html_report::Table::new(&["Stream", "#Head", "#Lacks", "#From", "Since", "#Back", "#Open"]);
    for s in check.streams.iter().take(PAGE_ROWS) {
        let since = s.from_sequenced_at.map_or_else(|| "-".to_owned(), when);
        let numbers = [s.events, s.from].map(|n| n.to_string());
        let [lacks, from] = numbers;
        let back = [s.come_back, s.stay_open].map(|n| n.to_string());
        let [back, open] = back;
        streams.row([
            s.stream.to_string(),
            or_dash(s.head),
            lacks,
            from,
            since,
            back,
            open,
        ]);
    }
    page.section(Section::new("What it lacks", Body::Table(streams)));
    let mut holders = html_report::Table::new(&["Witness", "Kind", "#Events"]);
    for holder in check.holders.iter().take(PAGE_ROWS) {
        let kind = if holder.live { "the live log" } else { holder.kind };
        holders.row([holder.witness.clone(), kind.to_owned(), holder.events.to_string()]);
    }
    page.section(Section::new("Who holds it", Body::Table(holders)));
    let finding = |f: &Finding| {
        let place = f.stream.map(|stream| stream.to_string()).unwrap_or_default();
        FindingRow::new(f.code, place, &f.message)
    };
    let problems = check.problems.iter().take(PAGE_ROWS).map(finding).collect();
    page.section(Section::new(
        "Problems of the backup's log",
        Body::Findings(problems),
    ));
    page.not_checked = Some(check.not_checked.clone());
    page
}

/// So many rows of a kind are in the page.
const PAGE_ROWS: usize = 1000;
