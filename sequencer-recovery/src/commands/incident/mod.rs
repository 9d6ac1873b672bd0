//! `sequencer-recovery incident`: one folder for all that is done and found in a recovery, from the outage to the report.

mod check;
mod close;
mod note;
mod page;
mod start;
mod status;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use cli_common::incident::IncidentFolder;
use cli_common::provenance::Inputs as HashedInputs;
use cli_common::{CliError, CommandLine, ExitStatus, GlobalArgs, Next};
use sequencer_recovery::incident::next::next;
use sequencer_recovery::incident::{Course, texts};
use ves::Timestamp;

use crate::examples;

/// Keep one folder for a recovery: what was run and found, when, and its report
///
/// Every command of the three tools adds its report and its files, if it is told of the folder: with --incident DIR, or
/// once and for all with SEQUENCER_INCIDENT.
#[derive(Debug, Args)]
pub struct IncidentArgs {
    #[command(subcommand)]
    command: IncidentCommand,
}

#[derive(Debug, Subcommand)]
enum IncidentCommand {
    #[command(before_help = examples::INCIDENT_START)]
    Start(start::StartArgs),
    #[command(before_help = examples::INCIDENT_NOTE)]
    Note(note::NoteArgs),
    #[command(before_help = examples::INCIDENT_STATUS)]
    Status(status::StatusArgs),
    #[command(before_help = examples::INCIDENT_CLOSE)]
    Close(close::CloseArgs),
    #[command(before_help = examples::INCIDENT_CHECK)]
    Check(check::CheckArgs),
}

/// Runs the command.
pub fn run(args: &IncidentArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    match &args.command {
        IncidentCommand::Start(args) => start::run(args, global),
        IncidentCommand::Note(args) => note::run(args, global),
        IncidentCommand::Status(args) => status::run(args, global),
        IncidentCommand::Close(args) => close::run(args, global),
        IncidentCommand::Check(args) => check::run(args, global),
    }
}

/// The incident that the command is about.
fn folder(global: &GlobalArgs) -> Result<IncidentFolder, CliError> {
    let path = global
        .incident
        .as_ref()
        .filter(|path| !path.as_os_str().is_empty());
    let path = path.ok_or_else(|| {
        CliError::usage("no incident is named").with_hint(
            "give --incident DIR, or set SEQUENCER_INCIDENT; `sequencer-recovery incident start` makes one",
        )
    })?;
    IncidentFolder::open(path)
}

/// When something happened: a point in time, or how long ago. Without both, now.
#[derive(Debug, Args)]
struct WhenArgs {
    /// When it was, as in 2026-11-28T14:02:00Z [default: now]
    #[arg(long, value_name = "TIME", conflicts_with = "ago")]
    at: Option<Timestamp>,

    /// How long ago it was: 90s, 15m, 1h
    #[arg(long, value_name = "TIME", value_parser = cli_common::duration)]
    ago: Option<std::time::Duration>,
}

/// Clocks of other hosts may be this much ahead, in microseconds.
const CLOCK_SKEW: i64 = 5 * 60 * 1_000_000;

impl WhenArgs {
    /// Whether a time is named.
    fn is_given(&self) -> bool {
        self.at.is_some() || self.ago.is_some()
    }

    fn time(&self) -> Result<Timestamp, CliError> {
        let now = now();
        let back = self
            .ago
            .map_or(0, |ago| i64::try_from(ago.as_micros()).unwrap_or(i64::MAX));
        let at = self.at.unwrap_or(Timestamp(now.0.saturating_sub(back)));
        if at.0 > now.0.saturating_add(CLOCK_SKEW) {
            return Err(CliError::usage(format!("{at} has not been yet"))
                .with_hint("times are in UTC if they end in Z; +02:00 and the like are understood"));
        }
        Ok(at)
    }
}

/// Now, by the clock of this host.
fn now() -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.unwrap_or_default().as_micros();
    Timestamp(i64::try_from(now).unwrap_or(i64::MAX))
}

/// What is to be done next in an incident, with its folder where the environment does not name it.
fn next_step(course: &Course, global: &GlobalArgs) -> Next {
    let step = next(course);
    let Some(command) = step.command else {
        return Next::nothing(step.why);
    };
    Next::run_for(step.why, &about(command, global))
}

/// A command about the same incident.
fn about(command: CommandLine, global: &GlobalArgs) -> CommandLine {
    let named = std::env::var_os("SEQUENCER_INCIDENT").map(PathBuf::from);
    match &global.incident {
        Some(folder) if named.as_ref() != Some(folder) => command.with(["--incident".into(), folder.clone()]),
        _ => command,
    }
}

/// Seconds for people, or that they are not known.
fn known(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "not known".to_owned(), texts::time)
}

/// Where a report about an incident comes from.
fn made() -> cli_common::provenance::Provenance {
    super::made(HashedInputs::default())
}
