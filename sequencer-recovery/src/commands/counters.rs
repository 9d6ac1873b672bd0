//! `sequencer-recovery counters`: the counters alone.

use clap::Args;
use cli_common::{CliError, ExitStatus, Format, GlobalArgs, Output, Table, stderr_progress};
use sequencer_recovery::counters::{CounterState, CountersReport, counters, raise};
use sequencer_recovery::error::log_error;
use sequencer_recovery::floor::FloorChoice;

use super::{
    FamilyArg, LockArgs, SurveyArgs, block_on, cancel_on_signals, open, or_dash, print_not_checked,
    write_lines, write_not_checked,
};

/// Compare every counter with the highest number that any witness knows, and with --apply raise those that are
/// behind. A counter is never lowered
///
/// Ends with 0 if every counter holds, 4 if one is behind, 1 if --apply raised one.
#[derive(Debug, Args)]
pub struct CountersArgs {
    #[command(flatten)]
    survey: SurveyArgs,

    #[command(flatten)]
    family: FamilyArg,

    #[command(flatten)]
    lock: LockArgs,

    /// What the counters are raised to: the highest number known on evidence of this grade (proven, receipted,
    /// committed, corroborated, claimed), or a number. Without it: the highest claim, unless it is beyond belief
    #[arg(long, value_name = "GRADE|N")]
    floor: Option<FloorChoice>,

    /// Raise the counters that are behind
    #[arg(long)]
    apply: bool,
}

/// Runs the command.
pub fn run(args: &CountersArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let mut input = args.survey.input()?;
    input.families = args.family.families();
    let progress = stderr_progress(global);
    let cancel = cancel_on_signals()?;
    let (report, errors) = block_on(async {
        let (log, db) = open(&args.survey.db).await?;
        let mut view = log.view().await.map_err(|e| log_error(&e))?;
        let mut report = counters(&mut view, db, &input, args.floor, progress.as_ref(), &cancel).await?;
        // A snapshot file cannot be written while a view of it is open.
        drop(view);
        let errors = if args.apply {
            raise(&log, &mut report, args.lock.timeout(), &cancel).await
        } else {
            Vec::new()
        };
        Ok((report, errors))
    })?;
    drop(progress);
    let mut status = ExitStatus::OK;
    if report.count(CounterState::Raised) > 0 {
        status |= ExitStatus::CORRECTED;
    }
    if report.count(CounterState::Behind) > 0 {
        status |= ExitStatus::PROBLEMS;
    }
    let errors = errors.into_iter().map(CliError::from);
    for error in errors.chain(print(&report, global).err()) {
        status |= error.exit_status();
        error.report(global);
    }
    Ok(status)
}

fn print(report: &CountersReport, global: &GlobalArgs) -> Result<(), CliError> {
    let mut out = Output::stdout();
    match global.format {
        Format::Json => out.json(report)?,
        Format::Ndjson => {
            write_lines(&mut out, report.schema, "counter", &report.streams)?;
            write_not_checked(&mut out, report.schema, &report.not_checked)?;
        }
        Format::Table => print_table(&mut out, report)?,
    }
    out.finish()
}

fn print_table<W: std::io::Write>(out: &mut Output<W>, report: &CountersReport) -> Result<(), CliError> {
    let mut table = Table::new(&[
        "FAMILY",
        "STREAM (TENANT/STORE)",
        "COUNTER",
        "FLOOR",
        "GRADE",
        "KNOWN TO",
        "STATE",
    ]);
    for s in &report.streams {
        let state = match s.state {
            CounterState::Holds => "holds",
            CounterState::Behind => "BEHIND",
            CounterState::Raised => "raised",
        };
        table.row([
            s.family.to_owned(),
            s.stream.to_string(),
            or_dash(s.counter),
            or_dash(s.floor),
            s.witness
                .as_ref()
                .map_or_else(|| "-".to_owned(), |w| w.grade.to_string()),
            s.witness
                .as_ref()
                .map_or_else(|| "-".to_owned(), |w| w.who.clone()),
            state.to_owned(),
        ]);
    }
    out.table(&table)?;
    for s in report.streams.iter().filter(|s| s.options.len() > 1) {
        out.line("")?;
        let beside = s.beside.map_or(String::new(), |family| format!(" ({family})"));
        out.line(&format!("{}{beside}", s.stream))?;
        for option in &s.options {
            out.line(&format!(
                "  --floor {:<12} gives {}: {}",
                option.choice, option.counter, option.cost
            ))?;
        }
    }
    print_not_checked(out, &report.not_checked)
}
