//! `sequencer-recovery drill history`: reports side by side.

use std::path::PathBuf;

use clap::Args;
use cli_common::{CliError, ExitStatus, Frame, GlobalArgs, Next, Output, Table, Tone};
use sequencer_recovery::dr_report::FOLDER;
use sequencer_recovery::drill::history::{Change, DrillHistory, Entry, SCHEMA};

use super::super::{HashedInputs, made, or_dash};

/// Show the reports of drills and incidents side by side
///
/// Oldest first, each with what changed against the one before of the same kind, scenario, faults, seed and size. Files that
/// are no such reports are named.
#[derive(Debug, Args)]
#[command(after_long_help = COLUMNS)]
pub struct HistoryArgs {
    /// The folder of the reports
    #[arg(value_name = "DIR", default_value = FOLDER)]
    folder: PathBuf,
}

const COLUMNS: &str = "\
Columns:
  RTO, RPO     seconds reached; (+1.2) is how much more than the time before
  INTEGRITY    share of positions present or of batches matching, the worse
  BACK         events brought back, of those that the recovery lost";

pub(super) fn run(args: &HistoryArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let history = DrillHistory::read(&args.folder)?;
    let frame = Frame {
        schema: SCHEMA,
        provenance: &made(HashedInputs::default()),
        next: &Next::nothing("it only reads"),
    };
    frame.print(
        global,
        &history,
        |out| print_table(out, &history),
        |lines| {
            lines.all("report", &history.reports)?;
            lines.all("not_read", &history.not_read)
        },
    )?;
    Ok(ExitStatus::OK)
}

fn print_table<W: std::io::Write>(out: &mut Output<W>, history: &DrillHistory) -> Result<(), CliError> {
    let failed = history
        .reports
        .iter()
        .filter(|entry| entry.result.as_str() == "FAIL")
        .count();
    let tone = if failed == 0 { Tone::Good } else { Tone::Bad };
    out.verdict(
        tone,
        &format!(
            "{} report(s) in {}, {failed} of them FAIL.",
            history.reports.len(),
            history.folder
        ),
    )?;
    if !history.reports.is_empty() {
        let mut table = Table::new(&["BEGAN", "SCENARIO", "RESULT", "RTO", "RPO", "INTEGRITY", "BACK"]);
        for entry in &history.reports {
            table.row(row(entry));
        }
        out.line("")?;
        out.table(&table)?;
    }
    for other in &history.not_read {
        out.line(&format!("Not read: {}: {}", other.file, other.why))?;
    }
    Ok(())
}

fn row(entry: &Entry) -> [String; 7] {
    let change = entry.change.as_ref();
    let timed = |value: Option<f64>, met: Option<bool>, of: fn(&Change) -> Option<f64>| {
        let Some(value) = value else { return "-".to_owned() };
        let changed = change
            .and_then(of)
            .map_or_else(String::new, |by| format!(" ({by:+.1})"));
        let missed = if met == Some(false) { " MISSED" } else { "" };
        format!("{value:.1}{changed}{missed}")
    };
    let began: String = entry.started_at.to_string().chars().take(16).collect();
    let newly = change.is_some_and(|change| change.newly_failed);
    let result = entry.result.as_str();
    [
        began.replace('T', " "),
        match entry.kind.as_str() {
            "drill" => entry.scenario.clone(),
            kind => format!("{kind} {}", entry.id),
        },
        if newly {
            format!("{result}, newly")
        } else {
            result.to_owned()
        },
        timed(entry.rto_seconds, entry.rto_met, |change| change.rto_seconds),
        timed(entry.rpo_seconds, entry.rpo_met, |change| change.rpo_seconds),
        (entry.pass_rate).map_or_else(|| "-".to_owned(), |rate| format!("{:.1} %", rate * 100.0)),
        format!("{} of {}", entry.restored, or_dash(entry.lost)),
    ]
}
