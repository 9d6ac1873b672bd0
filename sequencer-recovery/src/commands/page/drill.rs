//! The page of a drill or an incident, from its `dr-report/2`.

use cli_common::{Frame, GlobalArgs, Labels, Tone};
use html_report::{
    Body, Check, CheckOutcome, Entry, History, Objective, Page, Point, Section, Series, Table, Text,
    Timeline, Unit,
};
use sequencer_recovery::dr_report::{self, DrReport, ReportKind};
use sequencer_recovery::drill::history;
use ves::Timestamp;

use super::super::or_dash;
use super::super::report::when;
use super::{signature, some};

/// The page; `earlier` are the reports of the same folder, oldest first.
pub fn page(report: &DrReport, earlier: &[history::Entry], frame: &Frame<'_>, global: &GlobalArgs) -> Page {
    let labels = Labels::of_report(global, report.streams.iter().map(|s| s.stream));
    let (kind, tone) = (
        match report.kind {
            ReportKind::Drill => "Drill",
            ReportKind::Incident => "Incident",
        },
        match report.result {
            dr_report::PassFail::Pass => Tone::Good,
            dr_report::PassFail::Fail => Tone::Bad,
        },
    );
    let mut page = Page::new(kind, report.id.as_str(), tone, sentence(report)).framed(frame);
    facts(&mut page, report);
    page.section(Section::new("Objectives", Body::Objectives(objectives(report))));
    page.section(Section::new("Timeline", Body::Timeline(timeline(report))));
    page.section(Section::new("Checks", Body::Checks(checks(report))));
    page.section(streams(report, &labels));
    page.section(interventions(report));
    page.section(Section::new(
        "Earlier reports",
        Body::History(earlier_ones(earlier)),
    ));
    page.not_checked = Some(
        report
            .not_checked
            .iter()
            .map(|what| labels.shorten(what))
            .collect(),
    );
    page.signature = Some(signature(vec![
        ("Report".into(), report.id.as_str().into()),
        ("Began (UTC)".into(), utc(report.started_at).into()),
    ]));
    page
}

fn utc(time: Timestamp) -> String {
    when(time).replace('T', " ").trim_end_matches('Z').to_owned()
}

/// A number, or that it is not known.
fn known(count: Option<u64>) -> String {
    count.map_or_else(|| "an unknown number of".to_owned(), |count| count.to_string())
}

fn sentence(report: &DrReport) -> String {
    let e = &report.events;
    let misplaced = match e.misplaced {
        Some(count @ 1..) => format!(", {count} misplaced"),
        _ => String::new(),
    };
    format!(
        "{}: the recovery lost {} event(s), {} came back, {} are still missing{misplaced}.",
        report.result.as_str(),
        known(e.lost),
        e.restored,
        known(e.unresolved)
    )
}

fn facts(page: &mut Page, report: &DrReport) {
    let (e, i) = (&report.events, &report.integrity);
    page.fact("Scenario", &report.scenario.name);
    if !report.scenario.faults.is_empty() {
        page.fact("Faults", report.scenario.faults.join(", "));
    }
    page.fact("Events lost by the recovery", or_dash(e.lost));
    page.fact_in(Tone::Good, "Brought back", e.restored);
    let tone = if e.unresolved == Some(0) {
        Tone::Good
    } else {
        Tone::Doubt
    };
    page.fact_in(tone, "Still missing", or_dash(e.unresolved));
    for (name, count) in [
        ("Appended", e.appended),
        ("Lost for good", e.lost_for_good),
        ("Held by nobody who is left", e.held_by_nobody.unwrap_or(0)),
    ] {
        if let Some(count) = some(count) {
            page.fact(name, count);
        }
    }
    if let Some(misplaced) = e.misplaced {
        page.fact_in(
            if misplaced == 0 { Tone::Good } else { Tone::Bad },
            "Misplaced",
            misplaced,
        );
    }
    if let Some(rate) = i.pass_rate {
        page.fact_in(
            if rate < 1.0 { Tone::Doubt } else { Tone::Good },
            "Integrity",
            format!("{:.1} %", rate * 100.0),
        );
    }
    page.fact_in(
        if i.batches_failed == 0 {
            Tone::Good
        } else {
            Tone::Bad
        },
        "Batches that failed",
        i.batches_failed,
    );
    page.fact("Batches that match anchors", i.batches_matching_anchors);
    page.fact("Manual interventions", report.manual_interventions);
    if let Some(seed) = report.scenario.seed {
        page.fact("Seed", seed);
    }
    for (name, what) in [
        ("Server", &report.versions.server),
        ("Backup tool", &report.versions.backup),
    ] {
        if let Some(what) = what {
            page.fact(name, what);
        }
    }
    page.fact("Began (UTC)", utc(report.started_at));
}

/// RTO and RPO, then each phase that had a target.
fn objectives(report: &DrReport) -> Vec<Objective> {
    let o = &report.objectives;
    let objective = |name: &str, reached, wanted, unit, note: &str| Objective {
        name: name.into(),
        reached,
        wanted,
        unit,
        note: note.into(),
    };
    let before = o.rpo.seconds_before_repair.map_or(String::new(), |seconds| {
        format!(
            "{} before the repair; after it {} missing",
            Unit::Seconds.of(seconds),
            match o.rpo.events_reached {
                Some(events) => Unit::Events.of(events as f64),
                None => "an unknown number of events is".to_owned(),
            }
        )
    });
    let mut all = vec![
        objective(
            "RTO",
            o.rto.seconds_reached,
            o.rto.seconds_wanted,
            Unit::Seconds,
            "recovery time",
        ),
        objective(
            "RPO",
            o.rpo.seconds_reached,
            o.rpo.seconds_wanted,
            Unit::Seconds,
            &before,
        ),
        objective(
            "RPO of proof",
            o.rpo.proof_seconds,
            None,
            Unit::Seconds,
            &o.rpo.proof_events.map_or(String::new(), |events| {
                let events = Unit::Events.of(events as f64);
                format!("{events} behind the last anchor and checkpoint")
            }),
        ),
    ];
    let phases = report
        .phases
        .iter()
        .filter(|phase| phase.target_seconds.is_some());
    all.extend(phases.map(|phase| {
        objective(
            &phase.name,
            Some(phase.seconds),
            phase.target_seconds,
            Unit::Seconds,
            &phase.component,
        )
    }));
    all
}

fn timeline(report: &DrReport) -> Timeline {
    let begins = report.started_at.0;
    let seconds = |time: Timestamp| (time.0 - begins) as f64 / 1e6;
    let phases = report.phases.iter().map(|phase| {
        let entry = Entry::span(phase.name.as_str(), seconds(phase.started_at), phase.seconds)
            .note(phase.component.as_str());
        if phase.met == Some(false) {
            entry.tone(Tone::Bad)
        } else {
            entry
        }
    });
    let by_hand = report
        .interventions
        .iter()
        .filter_map(|one| Some(Entry::moment(one.what.as_str(), seconds(one.at?)).note("by hand")));
    let mut entries: Vec<Entry> = phases.chain(by_hand).collect();
    entries.sort_by(|a, b| a.at.total_cmp(&b.at));
    Timeline {
        begins_at: Some(begins),
        entries,
    }
}

fn checks(report: &DrReport) -> Vec<Check> {
    let check = |check: &dr_report::Check| {
        let outcome = if check.passed {
            CheckOutcome::Pass
        } else {
            CheckOutcome::Fail
        };
        Check::new(check.name.as_str(), outcome, check.detail.as_str())
    };
    report.checks.iter().map(check).collect()
}

fn streams(report: &DrReport, labels: &Labels) -> Section {
    let mut table = Table::new(&[
        "Stream",
        "#Head before",
        "#Recovered",
        "#Repaired",
        "#Brought back",
        "#Still missing",
        "#Counter",
        "#Went on at",
    ]);
    for s in &report.streams {
        table.row([
            labels.of(&s.stream),
            or_dash(s.head_before),
            s.head_recovered.to_string(),
            s.head_repaired.to_string(),
            s.restored.to_string(),
            s.unresolved.to_string(),
            or_dash(s.counter),
            or_dash(s.went_on_at),
        ]);
    }
    Section::new("Streams", Body::Table(table))
}

fn interventions(report: &DrReport) -> Section {
    let mut table = Table::new(&["What was done by hand", "When (UTC)"]);
    for one in &report.interventions {
        table.row([one.what.clone(), one.at.map_or_else(|| "-".to_owned(), utc)]);
    }
    Section::new("Interventions", Body::Table(table))
}

/// RTO, RPO and integrity from one report to the next.
fn earlier_ones(all: &[history::Entry]) -> History {
    if all.len() < 2 {
        return History::default();
    }
    let series = |name: &str, unit, of: &dyn Fn(&history::Entry) -> Option<f64>| Series {
        name: name.into(),
        unit,
        wanted: None,
        points: all
            .iter()
            .map(|entry| Point {
                at: Text::from(format!("{} {}", utc(entry.started_at), entry.scenario)),
                value: of(entry),
                tone: match entry.result {
                    dr_report::PassFail::Pass => Tone::Good,
                    dr_report::PassFail::Fail => Tone::Bad,
                },
            })
            .collect(),
    };
    History {
        series: vec![
            series("RTO", Unit::Seconds, &|entry| entry.rto_seconds),
            series("RPO", Unit::Seconds, &|entry| entry.rpo_seconds),
            series("Integrity", Unit::Percent, &|entry| {
                entry.pass_rate.map(|rate| rate * 100.0)
            }),
        ],
    }
}
