//! What a drill tells, for people.

use cli_common::{CliError, Frame, GlobalArgs, Output, Table, Tone};
use sequencer_recovery::dr_report::{DrReport, EventCounts, Integrity, Objectives, PassFail};

use super::super::or_dash;
use super::super::report::print_not_checked;

pub(super) const COLUMNS: &str = "\
Columns of the streams:
  HEAD          the last number before the disaster
  RECOVERED     the last number that the recovered log has
  REPAIRED      the last number that the repaired log has
  BROUGHT BACK  events put back; STILL MISSING, those that were not
  COUNTER       the counter after the repair
  NEXT          with --pitr: the number that the sequencer gave the next event";

pub(super) fn print(
    reports: &str,
    report: &DrReport,
    frame: &Frame<'_>,
    global: &GlobalArgs,
) -> Result<(), CliError> {
    frame.print(
        global,
        report,
        |out| {
            print_table(out, report)?;
            out.line(&format!("The report is in {reports}."))
        },
        |lines| {
            lines.all("phase", &report.phases)?;
            lines.all("check", &report.checks)?;
            lines.all("stream", &report.streams)?;
            lines.not_checked(&report.not_checked)?;
            lines.one("report", report)
        },
    )
}

pub(in super::super) fn print_table<W: std::io::Write>(
    out: &mut Output<W>,
    report: &DrReport,
) -> Result<(), CliError> {
    let (result, tone) = match report.result {
        PassFail::Pass => ("PASS", Tone::Good),
        PassFail::Fail => ("FAIL", Tone::Bad),
    };
    out.verdict(tone, &format!("Drill: {result}."))?;
    print_scenario(out, report)?;
    print_events(out, &report.events)?;
    print_integrity(out, &report.integrity)?;
    print_objectives(out, &report.objectives)?;
    out.line("")?;
    for check in &report.checks {
        if check.passed {
            out.line(&format!("pass  {}: {}", check.name, check.detail))?;
        } else {
            out.verdict(Tone::Bad, &format!("FAIL  {}: {}", check.name, check.detail))?;
        }
    }
    print_streams(out, report)?;
    print_commitments(out, report)?;
    print_phases(out, report)?;
    print_not_checked(out, &report.not_checked)
}

fn print_scenario<W: std::io::Write>(out: &mut Output<W>, report: &DrReport) -> Result<(), CliError> {
    let scenario = &report.scenario;
    out.line(&format!(
        "Drill with seed {}: {} events, of which the recovery lost {}.",
        scenario.seed.unwrap_or_default(),
        or_dash(report.events.before),
        or_dash(report.events.lost)
    ))?;
    if !scenario.faults.is_empty() {
        out.line(&format!("Faults: {}.", scenario.faults.join(", ")))?;
    }
    if let (Some(backup), Some(server)) = (&scenario.backup, &report.versions.server) {
        let timelines = match scenario.timelines {
            Some((before, after)) => format!(", timeline {before} before and {after} after"),
            None => String::new(),
        };
        out.line(&format!(
            "Real server: {server}, restored by {backup}{timelines}."
        ))?;
    }
    Ok(())
}

fn print_events<W: std::io::Write>(out: &mut Output<W>, e: &EventCounts) -> Result<(), CliError> {
    out.line(&format!(
        "Lost {}, brought back {}, still missing {} ({} of them held by nobody who is left), misplaced {}.",
        or_dash(e.lost),
        e.restored,
        or_dash(e.unresolved),
        or_dash(e.held_by_nobody),
        or_dash(e.misplaced)
    ))?;
    match e.without_checkpoints {
        Some(count) => out.line(&format!(
            "Without checkpoints {count} of them would have come back, by anchors and receipts alone."
        )),
        None => Ok(()),
    }
}

fn print_integrity<W: std::io::Write>(out: &mut Output<W>, i: &Integrity) -> Result<(), CliError> {
    out.line(&format!(
        "Batches: {} MATCHES ANCHORS, {} MATCHES DATABASE, {} FAILED, {} NOT CHECKED.",
        i.batches_matching_anchors, i.batches_matching_database, i.batches_failed, i.batches_not_checked
    ))?;
    let Some(rate) = i.pass_rate else { return Ok(()) };
    out.line(&format!(
        "Integrity: {:.1} % (the worse of positions, {} of {} present, and batches).",
        rate * 100.0,
        or_dash(i.positions_present),
        or_dash(i.positions_expected)
    ))
}

fn print_objectives<W: std::io::Write>(out: &mut Output<W>, o: &Objectives) -> Result<(), CliError> {
    let seconds = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.3}"));
    out.line(&format!(
        "RTO reached {} s. RPO {} s ({} event(s)) before the repair, {} s ({}) after it.",
        seconds(o.rto.seconds_reached),
        seconds(o.rpo.seconds_before_repair),
        or_dash(o.rpo.events_before_repair),
        seconds(o.rpo.seconds_reached),
        or_dash(o.rpo.events_reached)
    ))?;
    let Some(unproven) = o.rpo.proof_events else {
        return Ok(());
    };
    out.line(&format!(
        "RPO of proof {} s: {unproven} event(s) were behind the last anchor and checkpoint at the disaster.",
        seconds(o.rpo.proof_seconds)
    ))
}

fn print_phases<W: std::io::Write>(out: &mut Output<W>, report: &DrReport) -> Result<(), CliError> {
    out.line("")?;
    let mut table = Table::new(&["PHASE", "BY", "SECONDS", "TARGET"]);
    for phase in &report.phases {
        let target = match (phase.target_seconds, phase.met) {
            (Some(target), Some(true)) => format!("{target} met"),
            (Some(target), _) => format!("{target} MISSED"),
            (None, _) => "-".to_owned(),
        };
        let seconds = format!("{:.3}", phase.seconds);
        table.row([phase.name.clone(), phase.component.clone(), seconds, target]);
    }
    out.table(&table)
}

fn print_streams<W: std::io::Write>(out: &mut Output<W>, report: &DrReport) -> Result<(), CliError> {
    let labels = out.label_streams(report.streams.iter().map(|s| s.stream));
    let mut in_order: Vec<_> = report.streams.iter().collect();
    in_order.sort_by_key(|s| (std::cmp::Reverse(s.unresolved), s.stream));
    let went_on = report.streams.iter().any(|s| s.went_on_at.is_some());
    let mut columns = vec![
        "STREAM",
        "HEAD",
        "RECOVERED",
        "REPAIRED",
        "BROUGHT BACK",
        "STILL MISSING",
        "COUNTER",
    ];
    if went_on {
        columns.push("NEXT");
    }
    let mut table = Table::new(&columns);
    let shown = out.shown(in_order.len());
    for s in &in_order[..shown] {
        let mut row = vec![
            labels.of(&s.stream),
            or_dash(s.head_before),
            s.head_recovered.to_string(),
            s.head_repaired.to_string(),
            s.restored.to_string(),
            s.unresolved.to_string(),
            or_dash(s.counter),
        ];
        if went_on {
            row.push(or_dash(s.went_on_at));
        }
        table.row(row);
    }
    out.line("")?;
    out.table(&table)?;
    out.more(0, in_order.len() - shown, "stream(s)")
}

/// Where no commitment can go on, and why.
fn print_commitments<W: std::io::Write>(out: &mut Output<W>, report: &DrReport) -> Result<(), CliError> {
    let labels = out.label_streams(report.streams.iter().map(|s| s.stream));
    let stopped: Vec<_> = (report.streams.iter())
        .filter_map(|s| Some((s.stream, s.no_commitment.as_ref()?)))
        .collect();
    if stopped.is_empty() {
        return Ok(());
    }
    out.line("")?;
    out.line("No commitment can go on in:")?;
    let shown = out.shown(stopped.len());
    for (stream, why) in &stopped[..shown] {
        out.line(&format!("  {}: {why}", labels.of(stream)))?;
    }
    out.more(0, stopped.len() - shown, "stream(s)")
}
