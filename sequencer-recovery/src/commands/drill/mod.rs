//! `sequencer-recovery drill`: the whole way, rehearsed on a world of its own.

mod history;
mod print;
mod reports;
mod tabletop;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use cli_common::metrics::MetricsArg;
use cli_common::{
    Cancelled, CliError, CommandLine, ExitStatus, Frame, GlobalArgs, Next, PrivateDir, stderr_progress,
};
use fixtures::{Cut, WorldSpec};
use scratch_postgres::{ScratchError, Search};
use sequencer_recovery::dr_report::{DrReport, FOLDER, PassFail, SCHEMA};
use sequencer_recovery::drill::history::{DrillHistory, Entry};
use sequencer_recovery::drill::{
    BackupTool, DrillError, DrillFault, DrillOptions, PitrOptions, Targets, drill, id,
};
use sequencer_recovery::grade::Accept;
use sequencer_recovery::plan::PlanOptions;
use ves::Timestamp;

use super::{HashedInputs, block_on, cancel_on_signals, made, metrics, page};
use crate::examples;
use print::COLUMNS;
#[cfg(test)]
pub(super) use print::print_table;
use reports::Reports;

/// Rehearse a recovery in a small world that is made for it
///
/// Its log is recovered to a point in time; then audit, plan, apply and verify, and the outcome is held against the
/// truth. Needs nothing but this program and touches no other log. With --pitr it is a real PostgreSQL server that is
/// loaded, backed up, destroyed, restored and promoted, and the sequencer goes on afterwards.
///
/// Ends with 0 if the drill passed, 4 if it failed.
#[derive(Debug, Args)]
#[command(after_long_help = COLUMNS, args_conflicts_with_subcommands = true)]
pub struct DrillArgs {
    #[command(subcommand)]
    command: Option<DrillCommand>,

    #[command(flatten)]
    rehearse: RehearseArgs,
}

#[derive(Debug, Subcommand)]
enum DrillCommand {
    #[command(before_help = examples::DRILL_HISTORY)]
    History(history::HistoryArgs),
    #[command(before_help = examples::DRILL_PLAN)]
    Plan(tabletop::TabletopArgs),
}

#[derive(Debug, Args)]
struct RehearseArgs {
    /// Where the report goes; may be given several times: as JSON, or as a page for people if its name ends in .html. Without
    /// it: recovery_reports/DATE-ID.json
    #[arg(long = "report", value_name = "FILE")]
    reports: Vec<PathBuf>,

    #[command(flatten)]
    metrics: MetricsArg,

    /// Replace the files that --report names, if they are there
    #[arg(long, requires = "reports")]
    force: bool,

    /// Keep the drill's files (logs, outboxes, anchors, plan, truth) in this folder; it must not exist or be empty
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    /// Which disaster: the same seed drills the same one
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// How many streams there are
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    streams: u32,

    /// How many agents write to each stream
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    agents: u32,

    /// How many events each stream has before the disaster
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    events: u32,

    /// How much the recovery loses of all events, the newest ones: a share (35%) or a number of events (60)
    #[arg(long, value_name = "SHARE|N", default_value = "35%", value_parser = lost)]
    lost: Cut,

    /// Sign a checkpoint each time that a stream has grown by so many events, as `checkpoint` would have; 0 for none
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    checkpoint_every: u32,

    /// What goes wrong besides, may be given several times: lost-agent, wrong-claims, tampered-outbox, rewound-counter,
    /// ran-on, missing-anchors, revoked-key, before-migration (with --pitr), second-recovery
    #[arg(long = "fault", value_name = "NAME")]
    faults: Vec<DrillFault>,

    /// The weakest evidence to use: proven, checkpointed, receipted, committed, corroborated or claimed
    #[arg(long, value_name = "GRADE", default_value_t = Accept::default())]
    accept: Accept,

    /// Fail if the recovery takes longer than this: 90 (seconds), 90s, 15m, 1h
    #[arg(long, value_name = "TIME", value_parser = cli_common::duration)]
    rto: Option<Duration>,

    /// Fail if the repaired log reaches back further than this from the disaster
    #[arg(long, value_name = "TIME", value_parser = cli_common::duration)]
    rpo: Option<Duration>,

    /// Fail if a phase takes longer than this (restore=5m); may be given for several
    #[arg(long = "target", value_name = "PHASE=TIME", value_parser = target)]
    targets: Vec<(String, Duration)>,

    /// Drill a real point-in-time recovery of a PostgreSQL server that is made for it
    #[arg(long)]
    pitr: bool,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct ServerArgs {
    /// What takes and restores the backup: pgbackrest or pg_basebackup. Without it: pgbackrest, if it is installed
    #[arg(long, value_name = "TOOL", requires = "pitr")]
    backup_tool: Option<BackupTool>,

    /// The folder of PostgreSQL's programs (initdb, postgres). Without it: from the PATH, or the newest that is packaged
    #[arg(long, value_name = "DIR", requires = "pitr")]
    pg_bin: Option<PathBuf>,

    /// Where the server's files go while it is drilled. Without it: the system's temporary folder
    #[arg(long, value_name = "DIR", requires = "pitr")]
    scratch: Option<PathBuf>,
}

/// Reads how much is lost.
fn lost(text: &str) -> Result<Cut, String> {
    let wrong = || "give a share, as 35%, or a number of events, as 60".to_owned();
    if let Some(share) = text.strip_suffix('%') {
        let share: f64 = share.parse().map_err(|_| wrong())?;
        return match (0.0..=100.0).contains(&share) {
            true => Ok(Cut::Fraction(share / 100.0)),
            false => Err(wrong()),
        };
    }
    text.parse().map(Cut::Events).map_err(|_| wrong())
}

/// Reads a phase's target.
fn target(text: &str) -> Result<(String, Duration), String> {
    let (phase, time) = text
        .split_once('=')
        .ok_or_else(|| "give a phase and its time, as restore=5m".to_owned())?;
    Ok((phase.to_owned(), cli_common::duration(time)?))
}

impl RehearseArgs {
    fn options(&self) -> DrillOptions {
        let streams = self.streams as usize;
        // Two tenants, where that comes out even.
        let tenants = if streams.is_multiple_of(2) { 2 } else { 1 };
        let targets = self
            .targets
            .iter()
            .map(|(phase, time)| (phase.clone(), time.as_secs_f64()));
        DrillOptions {
            world: WorldSpec {
                seed: self.seed,
                tenants,
                stores_per_tenant: streams / tenants,
                agents_per_stream: self.agents as usize,
                events_per_stream: self.events as usize,
                cut: self.lost,
                batch_size: 8,
                anchored_fraction: 1.0,
                ..WorldSpec::default()
            },
            plan: PlanOptions {
                accept: self.accept,
                ..PlanOptions::default()
            },
            targets: Targets {
                rto_seconds: self.rto.map(|rto| rto.as_secs_f64()),
                rpo_seconds: self.rpo.map(|rpo| rpo.as_secs_f64()),
                phases: targets.collect::<BTreeMap<_, _>>(),
            },
            checkpoint_every: u64::from(self.checkpoint_every),
            faults: self.faults.iter().copied().collect(),
            pitr: self.pitr.then(|| PitrOptions {
                search: Search {
                    folder: self.server.pg_bin.clone(),
                    path: std::env::var_os("PATH").unwrap_or_default(),
                },
                backup: self.server.backup_tool,
                scratch: self.server.scratch.clone(),
            }),
        }
    }
}

/// Runs the command.
pub fn run(args: &DrillArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    match &args.command {
        Some(DrillCommand::History(args)) => history::run(args, global),
        Some(DrillCommand::Plan(args)) => tabletop::run(args, global),
        None => rehearse(&args.rehearse, global),
    }
}

fn rehearse(args: &RehearseArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let options = args.options();
    if let Some(refusal) = options.refusal() {
        return Err(refused(refusal));
    }
    args.metrics.check()?;
    let started_at = now();
    let reports = Reports::begin(
        &args.reports,
        args.force,
        &id(options.scenario(), started_at),
        started_at,
    )?;
    let scratch;
    let dir: &Path = match &args.keep {
        Some(dir) => empty(dir)?,
        None => {
            scratch = PrivateDir::new()
                .map_err(|e| CliError::io("a temporary folder cannot be made").with_source(e))?;
            scratch.path()
        }
    };
    let progress = stderr_progress(global);
    let cancel = cancel_on_signals()?;
    let drilled = block_on(async {
        let drilled = drill(dir, &options, started_at, progress.as_ref(), &cancel).await;
        drilled.map_err(told)
    });
    drop(progress);
    let report = drilled?;
    let mut status = match report.result {
        PassFail::Pass => ExitStatus::OK,
        PassFail::Fail => ExitStatus::PROBLEMS,
    };
    let frame = Frame {
        schema: SCHEMA,
        provenance: &made(HashedInputs::default()),
        next: &next(&report, args.keep.as_deref()),
    };
    let shown = reports.shown();
    let page = || page::of_drill(&report, &earlier(), &frame, global);
    let written = reports.write(&frame.around(&report), page, global);
    for error in [written.err(), print::print(&shown, &report, &frame, global).err()]
        .into_iter()
        .flatten()
    {
        status |= error.exit_status();
        error.report(global);
    }
    status |= args.metrics.told(global, || metrics::of_drill(&report));
    Ok(status)
}

/// The reports that are kept where a drill keeps its own: those of a folder that cannot be read are none.
fn earlier() -> Vec<Entry> {
    DrillHistory::read(Path::new(FOLDER)).map_or_else(|_| Vec::new(), |history| history.reports)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// A folder for the drill's files.
fn empty(dir: &Path) -> Result<&Path, CliError> {
    let failed = |e: std::io::Error| CliError::io(format!("{}", dir.display())).with_source(e);
    std::fs::create_dir_all(dir).map_err(failed)?;
    if std::fs::read_dir(dir).map_err(failed)?.next().is_some() {
        return Err(CliError::input(format!("{} is not empty", dir.display()))
            .with_hint("give a folder that does not exist yet"));
    }
    Ok(dir)
}

fn refused(why: String) -> CliError {
    CliError::usage(why).with_hint("nothing was drilled; docs/drill.md says what can be drilled")
}

fn told(error: DrillError) -> CliError {
    let message = error.to_string();
    match error {
        DrillError::Refused(why) => refused(why),
        DrillError::Recovery(error) => error.into(),
        DrillError::Scratch(ScratchError::Stopped) => Cancelled.into(),
        DrillError::Scratch(error) => CliError::io(message).with_hint(
            error
                .hint()
                .unwrap_or("what it says is the program's own word; --keep DIR keeps the server's log"),
        ),
        _ => CliError::io(message).with_hint("--keep DIR keeps the server's log"),
    }
}

/// What to do after a drill: to look at its files, if it failed.
fn next(report: &DrReport, keep: Option<&Path>) -> Next {
    match (report.result, keep) {
        (PassFail::Pass, _) => Next::nothing("keep the report as the record of this drill"),
        (PassFail::Fail, Some(dir)) => {
            let files = dir.display();
            Next::nothing(format!(
                "the checks above say what did not hold; the drill's files are in {files}"
            ))
        }
        (PassFail::Fail, None) => {
            let again = CommandLine::of_this_process().with(["--keep", "drill"]);
            Next::run_for("drill the same disaster again and look at its files", &again)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_a_share_or_a_number() {
        assert_eq!(lost("35%"), Ok(Cut::Fraction(0.35)));
        assert_eq!(lost("60"), Ok(Cut::Events(60)));
        for wrong in ["", "%", "101%", "-1%", "NaN%", "2h", "-5"] {
            assert!(lost(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_target_names_its_phase() {
        assert_eq!(
            target("restore=5m"),
            Ok(("restore".into(), Duration::from_secs(300)))
        );
        assert!(target("restore").is_err() && target("restore=soon").is_err());
    }
}
