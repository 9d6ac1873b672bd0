//! `sequencer-recovery counters`: the counters alone.

use clap::Args;
use cli_common::{
    CliError, ExitStatus, Frame, GlobalArgs, Labels, Next, Output, Table, Tone, stderr_progress,
};
use sequencer_recovery::apply::counters::{CounterReport, CounterState, CountersReport, counters, raise};
use sequencer_recovery::floor::FloorChoice;

use super::report::{detailed, print_not_checked, print_place};
use super::{
    FamilyArg, HashedInputs, LockArgs, SurveyArgs, block_on, cancel_on_signals, check_takes_writes, made,
    open, or_dash, read_on, report_incomplete, write_place,
};

/// Say which counters are behind what witnesses know, or raise them
///
/// Every counter is compared with the highest number that any witness knows; with --apply those that are behind are
/// raised. A counter is never lowered.
///
/// Ends with 0 if every counter holds, 4 if one is behind or there is none, 1 if --apply raised one, 8 added if a witness
/// could not be read: then none is raised without --although-incomplete.
#[derive(Debug, Args)]
#[command(after_long_help = COLUMNS)]
pub struct CountersArgs {
    #[command(flatten)]
    survey: SurveyArgs,

    #[command(flatten)]
    family: FamilyArg,

    #[command(flatten)]
    lock: LockArgs,

    /// What the counters are raised to: the highest number known on evidence of this grade (proven, checkpointed, receipted,
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
    let hashed = args.survey.hashed(&input)?;
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
    for error in errors.chain(print(&report, hashed, args, global).err()) {
        status |= error.exit_status();
        error.report(global);
    }
    Ok(status)
}

fn print(
    report: &CountersReport,
    hashed: HashedInputs,
    args: &CountersArgs,
    global: &GlobalArgs,
) -> Result<(), CliError> {
    let frame = Frame {
        schema: report.schema,
        provenance: &made(hashed),
        next: &next(report, args),
    };
    frame.print(
        global,
        report,
        |out| print_table(out, report),
        |lines| {
            write_place(lines, &report.place)?;
            lines.all("counter", &report.streams)?;
            lines.all("incomplete", &report.incomplete)?;
            lines.not_checked(&report.not_checked)
        },
    )
}

/// What to do after the counters were looked at.
fn next(report: &CountersReport, args: &CountersArgs) -> Next {
    if !report.incomplete.is_empty() && !args.although_incomplete {
        return Next::nothing("a witness could not be read: see to it first");
    }
    if report.count(CounterState::Behind) == 0 {
        return Next::nothing("no counter is behind what these witnesses know");
    }
    if args.apply {
        return Next::nothing("what could not be raised says why");
    }
    let family = args.family.families().to_string();
    let floor = args.floor.map(|floor| ["--floor".to_owned(), floor.to_string()]);
    let raise = args.survey.command("counters").with(["--family", &family]);
    let raise = raise.with(floor.into_iter().flatten()).with(["--apply"]);
    Next::run_for("raise them, with the sequencer stopped", &raise)
}

const COLUMNS: &str = "\
Columns (counters that are behind, then those that were raised):
  FAMILY         which sequence: ves, events or x402
  COUNTER        the last number that the sequencer gave out, as it says
  FLOOR, GRADE   what it must not be below; how sure that is
  STATE          holds, BEHIND, or raised
  KNOWN TO       who knows of the floor";

pub(super) fn print_table<W: std::io::Write>(
    out: &mut Output<W>,
    report: &CountersReport,
) -> Result<(), CliError> {
    let labels = out.label_streams(report.streams.iter().map(|s| s.stream));
    let count = |state| report.count(state);
    let (holds, behind, raised) = (
        count(CounterState::Holds),
        count(CounterState::Behind),
        count(CounterState::Raised),
    );
    let tone = match (behind, report.streams.len()) {
        (0, 1..) => Tone::Good,
        _ => Tone::Bad,
    };
    let raised = match raised {
        0 => String::new(),
        raised => format!(", {raised} raised"),
    };
    out.verdict(
        tone,
        &format!(
            "{} counter(s): {behind} BEHIND{raised}, {holds} hold.",
            report.streams.len()
        ),
    )?;
    print_place(out, &report.place)?;
    let order = |s: &CounterReport| match s.state {
        CounterState::Behind => 0,
        CounterState::Raised => 1,
        CounterState::Holds => 2,
    };
    let all = out.all();
    let told = report
        .streams
        .iter()
        .filter(|s| all || order(s) < 2 || s.not_raised.is_some());
    let mut told: Vec<&CounterReport> = told.collect();
    let short = |s: &CounterReport| s.floor.unwrap_or(0).saturating_sub(s.counter.unwrap_or(0));
    told.sort_by_key(|s| (order(s), std::cmp::Reverse(short(s)), s.stream));
    print_counters(out, &told, &labels)?;
    print_floors(out, &told, &labels)?;
    print_not_checked(out, &report.not_checked)
}

fn print_counters<W: std::io::Write>(
    out: &mut Output<W>,
    told: &[&CounterReport],
    labels: &Labels,
) -> Result<(), CliError> {
    if told.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[
        "STREAM", "FAMILY", "COUNTER", "FLOOR", "GRADE", "STATE", "KNOWN TO",
    ]);
    let shown = out.shown(told.len());
    for s in &told[..shown] {
        let (state, tone) = match s.state {
            CounterState::Holds => ("holds", Tone::Good),
            CounterState::Behind => ("BEHIND", Tone::Bad),
            CounterState::Raised => ("raised", Tone::Good),
        };
        let witness = s.witness.as_ref();
        table.row([
            labels.of(&s.stream),
            s.family.to_owned(),
            or_dash(s.counter),
            or_dash(s.floor),
            witness.map_or_else(|| "-".to_owned(), |w| w.grade.to_string()),
            state.to_owned(),
            witness.map_or_else(|| "-".to_owned(), |w| w.who.clone()),
        ]);
        table.verdict(5, tone);
    }
    out.line("")?;
    out.table(&table)?;
    out.more(0, told.len() - shown, "counter(s)")?;
    let refused: Vec<_> = told
        .iter()
        .filter_map(|s| Some((s.stream, s.not_raised.as_ref()?)))
        .collect();
    let shown = out.shown(refused.len());
    for (stream, why) in &refused[..shown] {
        out.line(&format!("{stream}: not raised: {why}"))?;
    }
    out.more(0, refused.len() - shown, "that were not raised")
}

/// What each choice of a floor would give.
fn print_floors<W: std::io::Write>(
    out: &mut Output<W>,
    told: &[&CounterReport],
    labels: &Labels,
) -> Result<(), CliError> {
    let choice: Vec<_> = told.iter().filter(|s| s.options.len() > 1).collect();
    let shown = detailed(out, choice.len());
    for s in &choice[..shown] {
        out.line("")?;
        let beside = s.beside.map_or(String::new(), |family| format!(" ({family})"));
        out.full_line(&format!("{}{beside}", labels.heading(&s.stream)))?;
        for option in &s.options {
            out.line(&format!(
                "  --floor {:<12} gives {}: {}",
                option.choice, option.counter, option.cost
            ))?;
        }
    }
    out.more(0, choice.len() - shown, "counter(s) with a choice of floors")
}
