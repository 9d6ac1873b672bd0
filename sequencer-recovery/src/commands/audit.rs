//! `sequencer-recovery audit`: is the log whole, and if not, what exactly is missing or wrong.

use clap::Args;
use cli_common::metrics::MetricsArg;
use cli_common::report::Lines;
use cli_common::{
    CliError, CommandLine, ExitStatus, Frame, GlobalArgs, Labels, Next, Output, Table, Tone, stderr_progress,
};
use html_report::ReportArg;
use sequencer_recovery::finding::{Finding, Remedy, Severity};
use sequencer_recovery::report::audit::{AuditReport, SCHEMA, StreamReport, audit};
use sequencer_recovery::stream::family::{Families, Family, FamilyReport, FamilyStream};
use sequencer_recovery::witness::Heard;
use serde::Serialize;

use super::report::{
    WorstProblems, print_findings, print_journal, print_not_checked, print_not_heard, print_place,
};
use super::{
    FamilyArg, SurveyArgs, cancel_on_signals, made, metrics, open, or_dash, page, read_on, report_incomplete,
    strips, write_place,
};

/// Say whether the log is whole, and what witnesses know beyond it
///
/// Looks at gaps, counters, hashes, signatures, receipts and commitments. Changes nothing.
///
/// Ends with 0 if no problem was found, 4 if one was, 8 if a witness or the log could not be read (what could
/// be read is reported all the same).
#[derive(Debug, Args)]
#[command(after_long_help = COLUMNS)]
pub struct AuditArgs {
    #[command(flatten)]
    survey: SurveyArgs,

    #[command(flatten)]
    family: FamilyArg,

    #[command(flatten)]
    page: ReportArg,

    #[command(flatten)]
    metrics: MetricsArg,
}

/// Runs the command.
pub fn run(args: &AuditArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let mut input = args.survey.input()?;
    input.families = args.family.families();
    let page = args.page.begin()?;
    args.metrics.check()?;
    let hashed = args.survey.hashed(&input)?;
    let progress = stderr_progress(global);
    let cancel = cancel_on_signals()?;
    let mut report = read_on(&cancel, async || {
        let (log, db) = open(&args.survey.db, &cancel).await?;
        let mut view = log.view().await?;
        Ok(audit(&mut view, db, &input, progress.as_ref(), &cancel).await?)
    })?;
    drop(progress);
    let plan = report.plan_helps().then(|| plan_command(args));
    write_remedies(&mut report.findings, args, plan.as_ref());
    let frame = Frame {
        schema: SCHEMA,
        provenance: &made(hashed),
        next: &next(&report, args, plan.as_ref()),
    };
    let paged = page::write(page, global, || page::of_audit(&report, &frame, global));
    let told = args.metrics.told(global, || metrics::of_audit(&report));
    frame.print(
        global,
        &report,
        |out| print_table(out, &report),
        |lines| write_lines(lines, &report),
    )?;
    Ok(paged | told | exit_status(&report) | report_incomplete(&report.incomplete(), global))
}

fn plan_command(args: &AuditArgs) -> CommandLine {
    args.survey
        .command("plan")
        .with(["--out", &super::free_name("plan", "ndjson")])
}

/// Writes out the commands that act on what was found.
fn write_remedies(findings: &mut [Finding], args: &AuditArgs, plan: Option<&CommandLine>) {
    for finding in findings {
        let command = match finding.remedy {
            Some(Remedy::Plan) => plan.cloned(),
            Some(Remedy::ChooseHistory) => plan
                .cloned()
                .map(|plan| plan.with(["--on-reissue", "keep-anchored"])),
            Some(Remedy::Counters) => {
                let family = finding.family.map_or("ves".into(), |family| family.to_string());
                Some(
                    args.survey
                        .command("counters")
                        .with(["--family", &family, "--apply"]),
                )
            }
            None => continue,
        };
        finding.next = command.map(|command| command.to_string());
    }
}

/// What to do after an audit: to plan, if a plan can mend what was found.
fn next(report: &AuditReport, args: &AuditArgs, plan: Option<&CommandLine>) -> Next {
    if report.no_problem_found {
        return Next::nothing("no problem was found in what was checked");
    }
    if let Some(plan) = plan {
        return Next::run_for("plan the repair; it changes nothing", plan);
    }
    let missing = report.totals.missing > 0;
    let of_the_log = report.findings.iter().any(|f| f.family.is_none());
    Next::nothing(if missing && report.heard.is_empty() {
        "hear the witnesses first: agents' outboxes (--outbox), anchors (--anchors), other copies (--witness)"
    } else if missing && report.was_applied() {
        "a plan was applied, and with the same witnesses another brings nothing more. Plan again with a witness that it \
         did not have, or with weaker evidence (`plan --accept`, at your own decision)"
    } else if missing {
        "none of these witnesses holds what is missing: only another one can bring it back (`sequencer-recovery certify` \
         states the loss)"
    } else if args.family.families() != Families::default() && !of_the_log {
        "what is wrong is beside the VES log; where a command helps, it stands with the problem"
    } else {
        "each problem says what it takes"
    })
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

fn write_lines<W: std::io::Write>(lines: &mut Lines<'_, W>, report: &AuditReport) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Summary<'a> {
        db: &'a str,
        no_problem_found: bool,
        totals: &'a sequencer_recovery::report::audit::Totals,
    }
    write_place(lines, &report.place)?;
    lines.all("stream", &report.streams)?;
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
    lines.all("family_stream", families)?;
    lines.all("finding", &report.findings)?;
    lines.all("heard", &report.heard)?;
    lines.all("not_heard", &report.not_heard)?;
    lines.all("not_used", &report.not_used)?;
    lines.all("journal", &report.journal)?;
    lines.not_checked(&report.not_checked)?;
    let summary = Summary {
        db: &report.db,
        no_problem_found: report.no_problem_found,
        totals: &report.totals,
    };
    lines.one("summary", summary)
}

const COLUMNS: &str = "\
Columns of the streams (those that are not whole, the worst first):
  EVENTS, HEAD        how many events the log has, and its last number
  COUNTER             the last number that the sequencer gave out, as it says
  KNOWN HEAD, GRADE   the highest number that any witness knows; how sure it is
  MISSING             positions up to there without an event
  WRONG               codes of what was found (docs/findings.md)

Columns of the witnesses:
  ROWS, LACKING HERE  rows read; events among them that the log lacks
  ALONE               of these, those that nobody else who was heard holds
  UNSIGNED, REFUSED   rows that nobody signed; rows that do not verify
  READ                whether it could be read to its end; shown if one could not";

/// The report for people.
pub fn print_table<W: std::io::Write>(out: &mut Output<W>, report: &AuditReport) -> Result<(), CliError> {
    let beside = report.families.iter().flat_map(|f| &f.streams);
    let streams = report.streams.iter().map(|s| s.stream);
    let labels = out.label_streams(streams.chain(beside.map(|s| s.stream)));
    let of_ves = report.findings.iter().filter(|f| f.family.is_none());
    let standing = WorstProblems::of(of_ves);
    print_verdict(out, report, &standing)?;
    print_totals(out, report)?;
    print_place(out, &report.place)?;
    if report.ves {
        print_streams(out, report, &labels, &standing)?;
    }
    for family in &report.families {
        print_family(out, report, family, &labels)?;
    }
    let of = |severity| -> Vec<&Finding> {
        let findings = report.findings.iter();
        findings.filter(|f| f.severity == severity).collect()
    };
    print_findings(out, &labels, "PROBLEMS", &of(Severity::Problem))?;
    print_reissue(out, report, &labels)?;
    print_not_heard(out, &report.not_heard)?;
    print_findings(out, &labels, "NOTICES", &of(Severity::Notice))?;
    print_heard(out, &report.heard)?;
    print_journal(out, &report.journal)?;
    print_not_checked(out, &report.not_checked)
}

/// Whether nothing is wrong with a stream.
pub(super) fn is_whole(stream: &StreamReport, standing: &WorstProblems) -> bool {
    stream.missing == 0 && stream.batch_counts().failed == 0 && !standing.is_bad(&stream.stream)
}

fn print_verdict<W: std::io::Write>(
    out: &mut Output<W>,
    report: &AuditReport,
    standing: &WorstProblems,
) -> Result<(), CliError> {
    let (tone, sentence) = verdict(report, standing);
    out.verdict(tone, &sentence)
}

/// What came out of it, in a sentence.
pub(super) fn verdict(report: &AuditReport, standing: &WorstProblems) -> (Tone, String) {
    let t = &report.totals;
    let whole = report.streams.iter().filter(|s| is_whole(s, standing)).count();
    let streams = match (report.ves, report.streams.len() - whole) {
        (false, _) => String::new(),
        (true, 0) => format!(" {whole} stream(s) whole."),
        (true, not) => format!(" {whole} stream(s) whole, {not} not, worst first."),
    };
    if report.no_problem_found {
        let verdict = format!(
            "No problem was found in what was checked ({} notice(s)).{streams}",
            t.notices
        );
        (Tone::Good, verdict)
    } else {
        let verdict = format!("{} problem(s), {} notice(s).{streams}", t.problems, t.notices);
        (Tone::Bad, verdict)
    }
}

fn print_totals<W: std::io::Write>(out: &mut Output<W>, report: &AuditReport) -> Result<(), CliError> {
    let t = &report.totals;
    let b = &t.batches;
    if report.ves {
        out.line(&format!(
            "{} stream(s), {} event(s), {} missing. Batches: {} MATCHES ANCHORS, {} MATCHES DATABASE, {} FAILED, {} NOT CHECKED.",
            t.streams, t.events, t.missing, b.matches_anchors, b.matches_database, b.failed, b.not_checked
        ))?;
        out.line(&t.proof.describe())?;
    }
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
    Ok(())
}

fn print_streams<W: std::io::Write>(
    out: &mut Output<W>,
    report: &AuditReport,
    labels: &Labels,
    standing: &WorstProblems,
) -> Result<(), CliError> {
    let all = out.all();
    let mut told: Vec<&StreamReport> = report
        .streams
        .iter()
        .filter(|stream| all || !is_whole(stream, standing))
        .collect();
    if told.is_empty() {
        return Ok(());
    }
    told.sort_by_key(|s| (standing.rank(&s.stream), std::cmp::Reverse(s.missing), s.stream));
    let mut table = Table::new(&[
        "STREAM",
        "EVENTS",
        "HEAD",
        "COUNTER",
        "KNOWN HEAD",
        "GRADE",
        "MISSING",
        "WRONG",
    ]);
    let shown = out.shown(told.len());
    for stream in &told[..shown] {
        table.row([
            labels.of(&stream.stream),
            stream.events.to_string(),
            or_dash(stream.head),
            or_dash(stream.counter),
            or_dash(stream.head_known.as_ref().map(|w| w.sequence)),
            stream
                .head_known
                .as_ref()
                .map_or_else(|| "-".to_owned(), |w| w.grade.to_string()),
            stream.missing.to_string(),
            standing.codes(&stream.stream),
        ]);
    }
    out.line("")?;
    out.table(&table)?;
    out.more(0, told.len() - shown, "stream(s)")?;
    let strip = |s: &&StreamReport| strips::of_audit(s, is_whole(s, standing), labels);
    strips::print(out, told.iter().map(strip).collect())
}

fn print_reissue<W: std::io::Write>(
    out: &mut Output<W>,
    report: &AuditReport,
    labels: &Labels,
) -> Result<(), CliError> {
    let twice: Vec<&StreamReport> = report.streams.iter().filter(|s| !s.reissue.is_empty()).collect();
    if twice.is_empty() {
        return Ok(());
    }
    out.line("")?;
    out.line("GIVEN OUT TWICE")?;
    let shown = if out.all() { twice.len() } else { 1 };
    for stream in &twice[..shown] {
        out.full_line(&format!("  {}", labels.heading(&stream.stream)))?;
        super::plan_report::print_histories(out, &stream.reissue, |_| String::new())?;
    }
    out.more(2, twice.len() - shown, "stream(s)")
}

/// So many witnesses are shown.
const WITNESSES: usize = 4;

fn print_heard<W: std::io::Write>(out: &mut Output<W>, heard: &[Heard]) -> Result<(), CliError> {
    if heard.is_empty() {
        return Ok(());
    }
    // What could not be read, then who holds what nobody else does, then who holds most of what is missing.
    let mut in_order: Vec<&Heard> = heard.iter().collect();
    in_order.sort_by_key(|h| {
        let flawed = h.refused > 0 || h.unsigned > 0;
        let held = std::cmp::Reverse((h.held_alone, h.missing_held));
        (h.error.is_none(), held, !flawed)
    });
    out.line("")?;
    if heard.len() > WITNESSES {
        out.line(&sum_up(heard))?;
    }
    let shown = if out.all() {
        heard.len()
    } else {
        heard.len().min(WITNESSES)
    };
    let agents = out.labels_of(in_order[..shown].iter().filter_map(|h| h.agent_id.as_deref()));
    let name = |heard: &'_ Heard| heard.name.clone().unwrap_or_else(|| heard.path.clone());
    let names: Vec<String> = in_order[..shown].iter().copied().map(name).collect();
    let short = out.shorten_paths("The witnesses are", names.iter().map(String::as_str))?;
    let unread = heard.iter().any(|h| h.error.is_some());
    let named = in_order[..shown]
        .iter()
        .zip(names.iter().map(|name| short.of(name)));
    let table = witness_table(named, unread, &agents);
    out.table(&table)?;
    out.more(0, heard.len() - shown, "witness(es)")?;
    for heard in &in_order[..shown] {
        if let Some(made) = &heard.made {
            out.line(&format!("  {}: {made}", heard.path))?;
        }
        if let Some(place) = &heard.place {
            out.line(&format!("  {}: {place}", heard.path))?;
        }
    }
    Ok(())
}

/// The witnesses by name. Whether each was read to its end is said only where one was not.
fn witness_table<'a>(
    named: impl Iterator<Item = (&'a &'a Heard, &'a str)>,
    unread: bool,
    agents: &Labels,
) -> Table {
    let mut columns = vec![
        "WITNESS",
        "AGENT",
        "SHAPE",
        "ROWS",
        "LACKING HERE",
        "ALONE",
        "UNSIGNED",
        "REFUSED",
    ];
    if unread {
        columns.insert(1, "READ");
    }
    let mut table = Table::new(&columns);
    for (heard, name) in named {
        let agent = heard.agent_id.as_ref();
        let mut row = vec![
            name.to_owned(),
            agent.map_or_else(|| "-".into(), |id| agents.of(id)),
            heard.shape.clone().unwrap_or_else(|| heard.kind.as_str().into()),
            heard.rows.to_string(),
            heard.missing_held.to_string(),
            heard.held_alone.to_string(),
            heard.unsigned.to_string(),
            heard.refused.to_string(),
        ];
        if unread {
            row.insert(1, if heard.error.is_some() { "NO" } else { "yes" }.to_owned());
        }
        table.row(row);
        if heard.error.is_some() {
            table.verdict(1, Tone::Bad);
        }
    }
    table
}

/// How many witnesses there are of what kind.
fn sum_up(heard: &[Heard]) -> String {
    let count = |of: fn(&Heard) -> bool| heard.iter().filter(|h| of(h)).count();
    let mut text = format!(
        "{} witness(es): {} hold what is missing, {} of them some that nobody else holds",
        heard.len(),
        count(|h| h.missing_held > 0),
        count(|h| h.held_alone > 0)
    );
    for (count, what) in [
        (count(|h| h.error.is_some()), "not read, or not to the end"),
        (count(|h| h.refused > 0), "with rows that are refused"),
        (count(|h| h.unsigned > 0), "with rows that nobody signed"),
    ] {
        if count > 0 {
            text.push_str(&format!("; {count} {what}"));
        }
    }
    text.push('.');
    text
}

fn print_family<W: std::io::Write>(
    out: &mut Output<W>,
    report: &AuditReport,
    family: &FamilyReport,
    labels: &Labels,
) -> Result<(), CliError> {
    let of_family = |f: &&Finding| f.family == Some(family.family);
    let standing = WorstProblems::of(report.findings.iter().filter(of_family));
    let mut told: Vec<&FamilyStream> = family
        .streams
        .iter()
        .filter(|s| out.all() || s.missing > 0 || standing.is_bad(&s.stream))
        .collect();
    told.sort_by_key(|s| (standing.rank(&s.stream), std::cmp::Reverse(s.missing), s.stream));
    out.line("")?;
    out.line(&format!("family {}: {}", family.family, family.family.table()))?;
    if told.is_empty() {
        return out.line("  nothing is wrong with any stream of it");
    }
    let mut table = Table::new(&[
        "STREAM",
        "ROWS",
        "HEAD",
        "COUNTER",
        "KNOWN HEAD",
        "MISSING",
        "KNOWN TO",
    ]);
    let shown = out.shown(told.len());
    for s in &told[..shown] {
        table.row([
            labels.of(&s.stream),
            s.rows.to_string(),
            or_dash(s.head),
            or_dash(s.counter),
            or_dash(s.head_known.as_ref().map(|w| w.sequence)),
            s.missing.to_string(),
            s.head_known
                .as_ref()
                .map_or_else(|| "-".to_owned(), |w| w.who.clone()),
        ]);
    }
    out.table(&table)?;
    out.more(0, told.len() - shown, "stream(s)")
}
