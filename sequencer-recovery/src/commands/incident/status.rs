//! `incident status`: how an incident stands.

use std::io::Write;

use clap::Args;
use cli_common::incident::Incident;
use cli_common::incident::timeline::{Evidence, Moment};
use cli_common::{CliError, ExitStatus, Frame, GlobalArgs, Output, Table, Tone};
use html_report::ReportArg;
use sequencer_recovery::incident::course::{Note, Run};
use sequencer_recovery::incident::summary::Summary;
use sequencer_recovery::incident::{Course, texts};
use serde::Serialize;
use ves::Timestamp;

use super::super::report::print_not_checked;
use super::page::page;
use super::{folder, known, made, next_step, now};

/// Show how an incident stands: times against objectives, what was run, what is next
///
/// Ends with 0, with 4 if an objective is missed already or the folder is not as the commands left it.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    page: ReportArg,
}

const SCHEMA: &str = "incident-status/1";

#[derive(Serialize)]
pub(super) struct Report {
    schema: &'static str,
    folder: String,
    incident: Incident,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_at: Option<Timestamp>,
    /// From the outage until now, or until the sequencer was started.
    elapsed_seconds: Option<f64>,
    moments: Vec<Told>,
    summary: Summary,
    runs: Vec<Ran>,
    notes: Vec<Note>,
    faults: Vec<String>,
    not_checked: Vec<String>,
}

#[derive(Serialize)]
struct Told {
    moment: Moment,
    at: Timestamp,
}

#[derive(Serialize)]
struct Ran {
    entry: u64,
    tool: String,
    version: String,
    command: String,
    line: String,
    began_at: Timestamp,
    ended_at: Option<Timestamp>,
    status: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    evidence: Vec<Evidence>,
}

impl From<&Run> for Ran {
    fn from(run: &Run) -> Self {
        let end = run.end.as_ref();
        Self {
            entry: run.n,
            tool: run.tool.clone(),
            version: run.version.clone(),
            command: run.command.clone(),
            line: run.line.clone(),
            began_at: run.began_at,
            ended_at: end.map(|end| end.at),
            status: end.map(|end| end.status),
            error: end.and_then(|end| end.error.clone()),
            evidence: end.map(|end| end.evidence.clone()).unwrap_or_default(),
        }
    }
}

impl Report {
    fn of(course: Course, folder: String) -> Self {
        let summary = Summary::of(&course);
        let until = course.moment(Moment::SequencerStarted).or(course.closed_at);
        let began = course.moment(Moment::OutageBegan);
        Self {
            schema: SCHEMA,
            folder,
            state: if course.closed_at.is_some() {
                "closed"
            } else {
                "open"
            },
            closed_at: course.closed_at,
            elapsed_seconds: began.map(|began| until.unwrap_or_else(now).seconds_since(began)),
            moments: (Moment::ALL.into_iter())
                .filter_map(|moment| Some((moment, *course.moments.get(&moment)?)))
                .map(|(moment, at)| Told { moment, at })
                .collect(),
            not_checked: summary.not_known.clone(),
            runs: course.runs.iter().map(Ran::from).collect(),
            notes: course.notes,
            faults: course.faults,
            incident: course.incident,
            summary,
        }
    }

    /// Whether more time has gone by than was wanted.
    fn is_late(&self) -> bool {
        let late = self.elapsed_seconds.zip(self.incident.rto_seconds);
        late.is_some_and(|(elapsed, wanted)| elapsed > wanted)
    }
}

pub fn run(args: &StatusArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let folder = folder(global)?;
    let file = args.page.begin()?;
    let course = Course::read(&folder)?;
    let next = next_step(&course, global);
    let provenance = made();
    let frame = Frame {
        schema: SCHEMA,
        provenance: &provenance,
        next: &next,
    };
    if let Some(file) = file {
        file.write(&page(&course, &Summary::of(&course), &frame, global), global)?;
    }
    let report = Report::of(course, folder.path().display().to_string());
    frame.print(
        global,
        &report,
        |out| print_table(out, &report),
        |lines| {
            lines.all("moment", &report.moments)?;
            lines.all("run", &report.runs)?;
            lines.all("note", &report.notes)?;
            lines.all(
                "fault",
                report
                    .faults
                    .iter()
                    .map(|fault| serde_json::json!({ "what": fault })),
            )?;
            lines.one("summary", &report.summary)?;
            lines.not_checked(&report.not_checked)
        },
    )?;
    Ok(match report.is_late() || !report.faults.is_empty() {
        true => ExitStatus::PROBLEMS,
        false => ExitStatus::OK,
    })
}

pub(super) fn print_table<W: Write>(out: &mut Output<W>, report: &Report) -> Result<(), CliError> {
    let incident = &report.incident;
    let tone = match (report.is_late(), report.faults.is_empty()) {
        (false, true) => Tone::Good,
        _ => Tone::Bad,
    };
    out.verdict(
        tone,
        &format!("Incident {} is {}: {}", incident.id, report.state, incident.title),
    )?;
    let wanted = |seconds: Option<f64>| match seconds {
        Some(seconds) => format!("{} wanted", texts::time(seconds)),
        None => "no objective set".to_owned(),
    };
    let running = if report.summary.rto_seconds.is_some() {
        "RTO"
    } else {
        "Outage so far"
    };
    out.line(&format!(
        "{running}: {} ({}). RPO: {} as recovered, {} now ({}).",
        known(report.elapsed_seconds),
        wanted(incident.rto_seconds),
        known(report.summary.rpo_seconds_before),
        known(report.summary.rpo_seconds_after),
        wanted(incident.rpo_seconds)
    ))?;
    print_summary(out, &report.summary)?;
    if !report.moments.is_empty() {
        out.line("")?;
        let mut table = Table::new(&["MOMENT", "WHEN"]);
        for told in &report.moments {
            table.row([told.moment.as_str().to_owned(), told.at.to_string()]);
        }
        out.table(&table)?;
    }
    print_runs(out, &report.runs)?;
    for fault in &report.faults {
        out.verdict(Tone::Bad, &format!("FAULT  {fault}"))?;
    }
    print_not_checked(out, &report.not_checked)
}

/// What the incident came to so far.
pub(super) fn print_summary<W: Write>(out: &mut Output<W>, summary: &Summary) -> Result<(), CliError> {
    let number = |count: Option<u64>| count.map_or_else(|| "?".to_owned(), |count| count.to_string());
    out.line(&format!(
        "Lost {}, brought back {}, appended {}, lost for good {}, still missing {}. Done by hand: {}.",
        number(summary.lost),
        summary.restored,
        summary.appended,
        summary.lost_for_good,
        number(summary.unresolved),
        summary.interventions.len()
    ))
}

/// So many of the last commands are shown.
const RUNS: usize = 12;

fn print_runs<W: Write>(out: &mut Output<W>, runs: &[Ran]) -> Result<(), CliError> {
    if runs.is_empty() {
        return Ok(());
    }
    let shown = if out.all() {
        runs.len()
    } else {
        runs.len().min(RUNS)
    };
    let mut table = Table::new(&["ENTRY", "BEGAN", "COMMAND", "STATUS", "EVIDENCE"]);
    for run in &runs[runs.len() - shown..] {
        table.row([
            run.entry.to_string(),
            run.began_at.to_string().chars().take(19).collect(),
            format!("{} {}", run.tool, run.command),
            run.status
                .map_or_else(|| "none".to_owned(), |status| status.to_string()),
            run.evidence.len().to_string(),
        ]);
    }
    out.line("")?;
    out.table(&table)?;
    out.more(0, runs.len() - shown, "earlier command(s)")
}

#[cfg(test)]
#[expect(clippy::redundant_closure, reason = "a bare function is not general enough")]
mod tests {
    use std::collections::BTreeMap;

    use sequencer_recovery::incident::course::End;

    use super::super::super::tests::snapshots;
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(1_795_000_000_000_000 + seconds * 1_000_000)
    }

    /// An incident in which so many commands were run.
    fn course(runs: u64) -> Course {
        let ended = |n: u64| End {
            at: at(60 * n as i64 + 3),
            status: 4,
            error: None,
            evidence: Vec::new(),
        };
        Course {
            incident: Incident {
                schema: cli_common::incident::SCHEMA.into(),
                id: "2026-11-28-log-lost-in-eu-1".into(),
                title: "Log lost in eu-1".into(),
                started_at: at(0).to_string(),
                rto_seconds: Some(3600.0),
                rpo_seconds: None,
            },
            started_at: Some(at(0)),
            closed_at: Some(at(7000)),
            moments: BTreeMap::from([(Moment::OutageBegan, at(-600))]),
            notes: Vec::new(),
            runs: (0..runs)
                .map(|n| Run {
                    n: n + 2,
                    tool: "sequencer-recovery".into(),
                    version: "0.1.0".into(),
                    command: "audit".into(),
                    line: "sequencer-recovery audit".into(),
                    began_at: at(60 * n as i64),
                    end: (n + 1 < runs).then(|| ended(n)),
                    reports: Vec::new(),
                })
                .collect(),
            faults: Vec::new(),
        }
    }

    #[test]
    fn the_state_of_an_incident_fits_a_terminal() {
        let report = |runs| Report::of(course(runs as u64), "incidents/a".into());
        snapshots("incident_status", report, |out, report| print_table(out, report));
    }
}
