//! `sequencer-recovery gaps`: the first look after a recovery.

use clap::Args;
use cli_common::{CliError, DbArg, ExitStatus, Format, GlobalArgs, Output, Table};
use event_log::StreamFilter;
use sequencer_recovery::finding::Finding;
use sequencer_recovery::report::gaps::{GapsReport, SCHEMA, gaps};
use ves::{StoreId, TenantId};

use super::audit::print_findings;
use super::{
    cancel_on_signals, open, or_dash, print_not_checked, print_place, read_on, write_lines,
    write_not_checked, write_place,
};

/// So many gaps of a stream are shown to people.
const SHOWN: usize = 50;

/// Say which numbers every stream lacks, as far as the log itself knows. Reads the index alone: seconds for millions
/// of events. Only where numbers are missing are the events counted, too. Changes nothing
///
/// Ends with 0 if no number is missing, 4 if one is. What only agents, the chain or other copies know, `audit` asks.
#[derive(Debug, Args)]
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
    let cancel = cancel_on_signals()?;
    let report = read_on(&cancel, async || {
        let (log, db) = open(&args.db, &cancel).await?;
        let mut view = log.view().await?;
        Ok(gaps(&mut view, db, &filter, &cancel).await?)
    })?;
    let mut out = Output::stdout();
    match global.format {
        Format::Json => out.json(&report)?,
        Format::Ndjson => {
            write_place(&mut out, SCHEMA, &report.place)?;
            write_lines(&mut out, SCHEMA, "stream", &report.streams)?;
            write_lines(&mut out, SCHEMA, "finding", &report.findings)?;
            write_not_checked(&mut out, SCHEMA, &report.not_checked)?;
        }
        Format::Table => print_table(&mut out, &report)?,
    }
    out.finish()?;
    Ok(if report.is_whole() {
        ExitStatus::OK
    } else {
        ExitStatus::PROBLEMS
    })
}

fn print_table<W: std::io::Write>(out: &mut Output<W>, report: &GapsReport) -> Result<(), CliError> {
    print_place(out, &report.place)?;
    let mut table = Table::new(&[
        "STREAM (TENANT/STORE)",
        "EVENTS",
        "FIRST",
        "HEAD",
        "COUNTER",
        "KNOWN TO",
        "MISSING",
        "ODD ROWS",
    ]);
    for s in &report.streams {
        table.row([
            s.stream.to_string(),
            s.present.to_string(),
            or_dash(s.first),
            or_dash(s.head),
            or_dash(s.counter),
            s.known_to.to_string(),
            s.missing.to_string(),
            s.odd.to_string(),
        ]);
    }
    out.table(&table)?;
    for s in report.streams.iter().filter(|s| !s.gaps.is_empty()) {
        out.line("")?;
        out.line(&s.stream.to_string())?;
        for gap in s.gaps.iter().take(SHOWN) {
            out.line(&format!(
                "  {:<8} {}-{} ({})",
                gap.kind,
                gap.from,
                gap.to,
                gap.count()
            ))?;
        }
        if s.gaps.len() > SHOWN {
            let more = s.gaps.len() - SHOWN;
            out.line(&format!("  and {more} more gap(s) (--format json lists all)"))?;
        }
    }
    let findings: Vec<&Finding> = report.findings.iter().collect();
    print_findings(out, "DAMAGE", &findings)?;
    print_not_checked(out, &report.not_checked)?;
    out.line("")?;
    out.line(&format!(
        "{} stream(s), {} number(s) missing, as far as the log itself knows.",
        report.streams.len(),
        report.missing()
    ))?;
    out.line(
        "What a recovery cut off at the end is not among them: this log has no trace of it. `audit` asks those who do.",
    )
}
