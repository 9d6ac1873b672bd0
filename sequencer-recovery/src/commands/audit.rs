//! `sequencer-recovery audit`: is the log whole, and if not, what exactly is missing or wrong.

use clap::Args;
use cli_common::{CliError, ExitStatus, Format, GlobalArgs, Output, Table, stderr_progress};
use sequencer_recovery::finding::{Finding, Severity};
use sequencer_recovery::report::audit::{AuditReport, SCHEMA, audit};
use sequencer_recovery::stream::family::{Family, FamilyReport, FamilyStream};
use sequencer_recovery::stream::unheard;
use serde::Serialize;

use super::{
    FamilyArg, SurveyArgs, cancel_on_signals, open, or_dash, print_journal, print_not_checked, print_place,
    read_on, report_incomplete, write_lines, write_not_checked, write_place,
};

/// Say whether the log is whole: gaps, counters, hashes, signatures, receipts, commitments, and what the
/// witnesses know beyond it. Changes nothing
///
/// Ends with 0 if no problem was found, 4 if one was, 8 if a witness or the log could not be read (what could
/// be read is reported all the same).
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(flatten)]
    survey: SurveyArgs,

    #[command(flatten)]
    family: FamilyArg,
}

/// Runs the command.
pub fn run(args: &AuditArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let mut input = args.survey.input()?;
    input.families = args.family.families();
    let progress = stderr_progress(global);
    let cancel = cancel_on_signals()?;
    let report = read_on(&cancel, async || {
        let (log, db) = open(&args.survey.db, &cancel).await?;
        let mut view = log.view().await?;
        Ok(audit(&mut view, db, &input, progress.as_ref(), &cancel).await?)
    })?;
    drop(progress);
    let mut out = Output::stdout();
    match global.format {
        Format::Json => out.json(&report)?,
        Format::Ndjson => print_ndjson(&mut out, &report)?,
        Format::Table => print_table(&mut out, &report)?,
    }
    out.finish()?;
    Ok(exit_status(&report) | report_incomplete(&report.incomplete(), global))
}

/// The status of an audit: problems, and witnesses that could not be heard.
pub fn exit_status(report: &AuditReport) -> ExitStatus {
    let mut status = ExitStatus::OK;
    if !report.no_problem_found {
        status |= ExitStatus::PROBLEMS;
    }
    if report.heard.iter().any(|h| h.error.is_some()) {
        status |= ExitStatus::FAILED;
    }
    status
}

fn print_ndjson<W: std::io::Write>(out: &mut Output<W>, report: &AuditReport) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Summary<'a> {
        db: &'a str,
        no_problem_found: bool,
        totals: &'a sequencer_recovery::report::audit::Totals,
    }
    write_place(out, SCHEMA, &report.place)?;
    write_lines(out, SCHEMA, "stream", &report.streams)?;
    #[derive(Serialize)]
    struct OfFamily<'a> {
        family: Family,
        #[serde(flatten)]
        stream: &'a FamilyStream,
    }
    let families = report.families.iter().flat_map(|f| {
        f.streams.iter().map(|stream| OfFamily {
            family: f.family,
            stream,
        })
    });
    write_lines(out, SCHEMA, "family_stream", families)?;
    write_lines(out, SCHEMA, "finding", &report.findings)?;
    write_lines(out, SCHEMA, "heard", &report.heard)?;
    write_lines(out, SCHEMA, "not_heard", &report.not_heard)?;
    write_lines(out, SCHEMA, "not_used", &report.not_used)?;
    write_lines(out, SCHEMA, "journal", &report.journal)?;
    write_not_checked(out, SCHEMA, &report.not_checked)?;
    let summary = Summary {
        db: &report.db,
        no_problem_found: report.no_problem_found,
        totals: &report.totals,
    };
    write_lines(out, SCHEMA, "summary", [summary])
}

/// The report for people.
pub fn print_table<W: std::io::Write>(out: &mut Output<W>, report: &AuditReport) -> Result<(), CliError> {
    print_place(out, &report.place)?;
    let mut table = Table::new(&[
        "STREAM (TENANT/STORE)",
        "EVENTS",
        "HEAD",
        "COUNTER",
        "KNOWN HEAD",
        "GRADE",
        "MISSING",
        "BATCHES",
        "ROOTS EQUAL",
    ]);
    for stream in &report.streams {
        let counts = stream.batch_counts();
        table.row([
            stream.stream.to_string(),
            stream.events.to_string(),
            or_dash(stream.head),
            or_dash(stream.counter),
            or_dash(stream.head_known.as_ref().map(|w| w.sequence)),
            stream
                .head_known
                .as_ref()
                .map_or_else(|| "-".to_owned(), |w| w.grade.to_string()),
            stream.missing.to_string(),
            stream.batches.len().to_string(),
            (counts.matches_anchors + counts.matches_database).to_string(),
        ]);
    }
    if report.ves {
        out.table(&table)?;
    }
    for family in &report.families {
        print_family(out, family)?;
    }
    let problems: Vec<&Finding> = report
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Problem)
        .collect();
    let notices: Vec<&Finding> = report
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Notice)
        .collect();
    print_findings(out, "PROBLEMS", &problems)?;
    print_findings(out, "NOTICES", &notices)?;
    for stream in report.streams.iter().filter(|s| !s.reissue.is_empty()) {
        out.line("")?;
        out.line("GIVEN OUT TWICE")?;
        out.line(&format!("  {}", stream.stream))?;
        super::plan::print_histories(out, &stream.reissue, |_| String::new())?;
    }
    if !report.heard.is_empty() {
        let mut table = Table::new(&[
            "WITNESS",
            "AGENT",
            "SHAPE",
            "ROWS",
            "LACKING HERE",
            "UNSIGNED",
            "REFUSED",
            "READ",
        ]);
        for heard in &report.heard {
            table.row([
                heard.path.clone(),
                heard.agent_id.clone().unwrap_or_else(|| "-".into()),
                heard.shape.clone().unwrap_or_else(|| heard.kind.into()),
                heard.rows.to_string(),
                heard.missing_held.to_string(),
                heard.unsigned.to_string(),
                heard.refused.to_string(),
                if heard.error.is_some() {
                    "NO".into()
                } else {
                    "yes".to_string()
                },
            ]);
        }
        out.line("")?;
        out.table(&table)?;
        for heard in &report.heard {
            if let Some(made) = &heard.made {
                out.line(&format!("  {}: {made}", heard.path))?;
            }
            if let Some(place) = &heard.place {
                out.line(&format!("  {}: {place}", heard.path))?;
            }
        }
    }
    if !report.not_heard.is_empty() {
        out.line("")?;
        for line in unheard::describe(&report.not_heard) {
            out.line(&line)?;
        }
    }
    print_journal(out, &report.journal)?;
    print_not_checked(out, &report.not_checked)?;
    let t = &report.totals;
    let b = &t.batches;
    out.line("")?;
    for family in &report.families {
        let sum = |of: fn(&FamilyStream) -> u64| family.streams.iter().map(of).fold(0, u64::saturating_add);
        out.line(&format!(
            "{}: {} stream(s), {} numbered row(s), {} missing.",
            family.family,
            family.streams.len(),
            sum(|s| s.rows),
            sum(|s| s.missing)
        ))?;
    }
    if report.ves {
        out.line(&format!(
            "{} stream(s), {} event(s), {} missing. Batches: {} MATCHES ANCHORS, {} MATCHES DATABASE, {} FAILED, {} NOT CHECKED.",
            t.streams, t.events, t.missing, b.matches_anchors, b.matches_database, b.failed, b.not_checked
        ))?;
    }
    out.line(&if report.no_problem_found {
        format!(
            "No problem was found in what was checked ({} notice(s)).",
            t.notices
        )
    } else {
        format!("{} problem(s), {} notice(s).", t.problems, t.notices)
    })
}

fn print_family<W: std::io::Write>(out: &mut Output<W>, family: &FamilyReport) -> Result<(), CliError> {
    let mut table = Table::new(&[
        "STREAM (TENANT/STORE)",
        "ROWS",
        "HEAD",
        "COUNTER",
        "KNOWN HEAD",
        "KNOWN TO",
        "MISSING",
    ]);
    for s in &family.streams {
        table.row([
            s.stream.to_string(),
            s.rows.to_string(),
            or_dash(s.head),
            or_dash(s.counter),
            or_dash(s.head_known.as_ref().map(|w| w.sequence)),
            s.head_known
                .as_ref()
                .map_or_else(|| "-".to_owned(), |w| w.who.clone()),
            s.missing.to_string(),
        ]);
    }
    out.line("")?;
    out.line(&format!("family {}: {}", family.family, family.family.table()))?;
    out.table(&table)
}

/// Findings for people, under a title.
pub(super) fn print_findings<W: std::io::Write>(
    out: &mut Output<W>,
    title: &str,
    findings: &[&Finding],
) -> Result<(), CliError> {
    if findings.is_empty() {
        return Ok(());
    }
    out.line("")?;
    out.line(title)?;
    let mut under: Option<ves::StreamKey> = None;
    for finding in findings {
        if finding.stream != under {
            under = finding.stream;
            if let Some(stream) = under {
                out.line(&format!("  {stream}"))?;
            }
        }
        let place = match (finding.from, finding.to) {
            (Some(from), Some(to)) if from == to => format!("{from}: "),
            (Some(from), Some(to)) => format!("{from}-{to}: "),
            _ => String::new(),
        };
        out.line(&format!(
            "    {:<20} {place}{}",
            finding.code.as_str(),
            finding.message
        ))?;
    }
    let next: std::collections::BTreeSet<&str> = findings.iter().filter_map(|f| f.next.as_deref()).collect();
    for next in next {
        out.line(&format!("  next: {next}"))?;
    }
    Ok(())
}
