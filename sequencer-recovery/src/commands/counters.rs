//! `sequencer-recovery counters`: the counters alone.

use clap::Args;
use cli_common::{CliError, ExitStatus, Format, GlobalArgs, Output, Table, stderr_progress};
use sequencer_recovery::apply::counters::{CounterState, CountersReport, counters, raise};
use sequencer_recovery::floor::FloorChoice;

use super::{
    FamilyArg, LockArgs, SurveyArgs, block_on, cancel_on_signals, check_takes_writes, open, or_dash,
    print_not_checked, print_place, read_on, report_incomplete, write_lines, write_not_checked, write_place,
};

/// Compare every counter with the highest number that any witness knows, and with --apply raise those that are
/// behind. A counter is never lowered
///
/// Ends with 0 if every counter holds, 4 if one is behind or there is none, 1 if --apply raised one, 8 added if a witness
/// could not be read: then none is raised without --although-incomplete.
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

    /// Raise them even if witnesses could not be read, which may know of higher numbers
    #[arg(long, requires = "apply")]
    although_incomplete: bool,
}

/// Runs the command.
pub fn run(args: &CountersArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let mut input = args.survey.input()?;
    input.families = args.family.families();
    let progress = stderr_progress(global);
    let cancel = cancel_on_signals()?;
    let (log, mut report) = read_on(&cancel, async || {
        let (log, db) = open(&args.survey.db, &cancel).await?;
        if args.apply {
            check_takes_writes(log.place())?;
        }
        let mut view = log.view().await?;
        let report = counters(&mut view, db, &input, args.floor, progress.as_ref(), &cancel).await?;
        Ok((log, report))
    })?;
    let mut errors = Vec::new();
    if args.apply && (report.incomplete.is_empty() || args.although_incomplete) {
        errors = block_on(async { Ok(raise(&log, &mut report, args.lock.timeout(), &cancel).await) })?;
    }
    drop(progress);
    let mut status = report_incomplete(&report.incomplete, global);
    if args.apply && !report.incomplete.is_empty() && !args.although_incomplete {
        CliError::input("no counter was raised: the floors are those of the witnesses that could be read")
            .with_hint("give all witnesses, or say --although-incomplete if they cannot be had")
            .report(global);
    }
    if report.count(CounterState::Raised) > 0 {
        status |= ExitStatus::CORRECTED;
    }
    let nothing = input.families.ves() && report.streams.is_empty();
    if report.count(CounterState::Behind) > 0 || nothing {
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
            write_place(&mut out, report.schema, &report.place)?;
            write_lines(&mut out, report.schema, "counter", &report.streams)?;
            write_lines(&mut out, report.schema, "incomplete", &report.incomplete)?;
            write_not_checked(&mut out, report.schema, &report.not_checked)?;
        }
        Format::Table => print_table(&mut out, report)?,
    }
    out.finish()
}

fn print_table<W: std::io::Write>(out: &mut Output<W>, report: &CountersReport) -> Result<(), CliError> {
    print_place(out, &report.place)?;
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
    for s in &report.streams {
        if let Some(why) = &s.not_raised {
            out.line(&format!("{}: not raised: {why}", s.stream))?;
        }
    }
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
