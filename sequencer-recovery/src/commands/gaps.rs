//! `sequencer-recovery gaps`: the first look after a recovery.

use clap::Args;
use cli_common::{
    CliError, CommandLine, DbArg, ExitStatus, Frame, GlobalArgs, Labels, Next, Output, Table, Tone,
};
use event_log::StreamFilter;
use sequencer_recovery::finding::Finding;
use sequencer_recovery::report::gaps::{GapsReport, SCHEMA, StreamGaps, gaps};
use ves::{StoreId, TenantId};

use super::report::{WorstProblems, detailed, print_findings, print_not_checked, print_place};
use super::{cancel_on_signals, log_inputs, made, open, or_dash, read_on, write_place};

/// Say which numbers every stream lacks, as far as the log knows
///
/// Reads the index alone: seconds for millions of events. Only where numbers are missing are the events counted, too.
/// What only agents, the chain or other copies know, `audit` asks. Changes nothing.
///
/// Ends with 0 if no number is missing, 4 if one is.
#[derive(Debug, Args)]
#[command(after_long_help = COLUMNS)]
pub struct GapsArgs {
    #[command(flatten)]
    db: DbArg,

    /// Only this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,

    /// Only this store
    #[arg(long, value_name = "ID")]
    store: Option<StoreId>,
}

/// Runs the command.
pub fn run(args: &GapsArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let filter = StreamFilter {
        tenant: args.tenant,
        store: args.store,
    };
    let hashed = log_inputs(&args.db)?;
    let cancel = cancel_on_signals()?;
    let report = read_on(&cancel, async || {
        let (log, db) = open(&args.db, &cancel).await?;
        let mut view = log.view().await?;
        Ok(gaps(&mut view, db, &filter, &cancel).await?)
    })?;
    let audit = CommandLine::of_this_tool("audit").with(args.db.words());
    let frame = Frame {
        schema: SCHEMA,
        provenance: &made(hashed),
        next: &Next::run_for(
            "ask the witnesses too, who know what was cut off: add --outbox, --anchors, --witness",
            &audit,
        ),
    };
    frame.print(
        global,
        &report,
        |out| print_table(out, &report),
        |lines| {
            write_place(lines, &report.place)?;
            lines.all("stream", &report.streams)?;
            lines.all("finding", &report.findings)?;
            lines.not_checked(&report.not_checked)
        },
    )?;
    Ok(if report.is_whole() {
        ExitStatus::OK
    } else {
        ExitStatus::PROBLEMS
    })
}

const COLUMNS: &str = "\
Columns (streams that lack numbers or are damaged, the worst first):
  EVENTS, FIRST, HEAD  how many events the log has; their first and last number
  COUNTER              the last number that the sequencer gave out, as it says
  KNOWN TO             the highest number that the log itself knows of
  MISSING              numbers up to there without an event
  ODD ROWS             rows with a number that is there twice, or is none";

pub(super) fn print_table<W: std::io::Write>(
    out: &mut Output<W>,
    report: &GapsReport,
) -> Result<(), CliError> {
    let labels = out.label_streams(report.streams.iter().map(|s| s.stream));
    let standing = WorstProblems::of(&report.findings);
    let wrong = |s: &StreamGaps| s.missing > 0 || s.odd > 0 || standing.is_bad(&s.stream);
    let mut told: Vec<&StreamGaps> = report.streams.iter().filter(|s| wrong(s)).collect();
    print_verdict(out, report, told.len())?;
    print_place(out, &report.place)?;
    if out.all() {
        told = report.streams.iter().collect();
    }
    told.sort_by_key(|s| {
        let lacks = std::cmp::Reverse((s.odd, s.missing));
        (standing.rank(&s.stream), lacks, s.stream)
    });
    print_streams(out, &told, &labels)?;
    let findings: Vec<&Finding> = report.findings.iter().collect();
    print_findings(out, &labels, "DAMAGE", &findings)?;
    print_not_checked(out, &report.not_checked)
}

fn print_verdict<W: std::io::Write>(
    out: &mut Output<W>,
    report: &GapsReport,
    wrong: usize,
) -> Result<(), CliError> {
    let streams = report.streams.len();
    let tone = if report.is_whole() { Tone::Good } else { Tone::Bad };
    let mut verdict = format!(
        "{streams} stream(s), {} number(s) missing, as far as the log itself knows.",
        report.missing()
    );
    if wrong > 0 {
        verdict.push_str(&format!(" {} whole, {wrong} not, worst first.", streams - wrong));
    }
    out.verdict(tone, &verdict)?;
    out.line(
        "What a recovery cut off at the end is not among them: this log has no trace of it. `audit` asks those who do.",
    )
}

/// So many gaps of a stream are shown.
const GAPS: usize = 5;

fn print_streams<W: std::io::Write>(
    out: &mut Output<W>,
    told: &[&StreamGaps],
    labels: &Labels,
) -> Result<(), CliError> {
    if told.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[
        "STREAM", "EVENTS", "FIRST", "HEAD", "COUNTER", "KNOWN TO", "MISSING", "ODD ROWS",
    ]);
    let shown = out.shown(told.len());
    for s in &told[..shown] {
        table.row([
            labels.of(&s.stream),
            s.present.to_string(),
            or_dash(s.first),
            or_dash(s.head),
            or_dash(s.counter),
            s.known_to.to_string(),
            s.missing.to_string(),
            s.odd.to_string(),
        ]);
    }
    out.line("")?;
    out.table(&table)?;
    out.more(0, told.len() - shown, "stream(s)")?;
    let with_gaps: Vec<_> = told.iter().filter(|s| !s.gaps.is_empty()).collect();
    let all = out.all();
    let detailed = detailed(out, with_gaps.len());
    for s in &with_gaps[..detailed] {
        out.line("")?;
        out.full_line(&labels.heading(&s.stream))?;
        let shown = if all { s.gaps.len() } else { s.gaps.len().min(GAPS) };
        for gap in &s.gaps[..shown] {
            out.line(&format!(
                "  {:<8} {}-{} ({})",
                gap.kind,
                gap.from,
                gap.to,
                gap.count()
            ))?;
        }
        out.more(2, s.gaps.len() - shown, "gap(s)")?;
    }
    out.more(0, with_gaps.len() - detailed, "stream(s) with gaps")
}
