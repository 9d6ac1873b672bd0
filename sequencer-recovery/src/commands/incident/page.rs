//! An incident as a page for people.

use cli_common::incident::timeline::Moment;
use cli_common::{Frame, GlobalArgs, Labels, Tone};
use html_report::{
    Body, Cell, Check, CheckOutcome, Entry, Objective, Page, Section, Signature, Table, Text, Timeline, Unit,
};
use sequencer_recovery::incident::Course;
use sequencer_recovery::incident::course::Run;
use sequencer_recovery::incident::summary::Summary;
use ves::Timestamp;

use super::super::page::ABOUT_STRIPS;
use super::super::strips::of_incident;
use super::known;

/// An incident as a page.
pub(super) fn page(course: &Course, summary: &Summary, frame: &Frame<'_>, global: &GlobalArgs) -> Page {
    let incident = &course.incident;
    let mut page = Page::new(
        "Incident",
        &*incident.title,
        tone(course, summary),
        sentence(course, summary),
    )
    .framed(frame);
    facts(&mut page, summary);
    page.section(Section::new(
        "Objectives",
        Body::Objectives(objectives(course, summary)),
    ));
    page.section(Section::new("What had to hold", Body::Checks(checks(summary))));
    let audits = course.audits().next_back();
    let streams = audits
        .iter()
        .flat_map(|(_, audit)| &audit.streams)
        .map(|s| s.stream);
    let labels = Labels::of_report(global, streams);
    page.section(
        Section::new(
            "Streams, as the last audit left them",
            Body::Strips(of_incident(course, &labels)),
        )
        .intro(ABOUT_STRIPS),
    );
    page.section(
        Section::new("What happened when", Body::Timeline(timeline(course)))
            .intro("Times are in UTC, by the clock of the host that each was noted on."),
    );
    page.section(Section::new("Done by hand", Body::Table(by_hand(summary))));
    page.section(
        Section::new("Evidence", Body::Table(evidence(course)))
            .intro("Every file that a command left in the folder, with its SHA-256 as the timeline has it."),
    );
    if !course.faults.is_empty() {
        let faults = course.faults.iter().map(|fault| Text::from(&**fault)).collect();
        page.section(Section::new("Faults of the folder", Body::Prose(faults)));
    }
    page.not_checked = Some(summary.not_known.clone());
    page.signature = Some(Signature {
        statement: "This is the record of the incident as its folder has it.".into(),
        roles: vec!["Recovery lead".into(), "Reviewer".into()],
        identifiers: vec![("Incident".into(), (&*incident.id).into())],
    });
    page
}

fn tone(course: &Course, summary: &Summary) -> Tone {
    let failed = summary.checks.iter().any(|check| check.passed == Some(false));
    match (course.closed_at.is_some(), failed, summary.passed()) {
        (_, true, _) => Tone::Bad,
        (true, false, true) => Tone::Good,
        _ => Tone::Doubt,
    }
}

fn sentence(course: &Course, summary: &Summary) -> String {
    let state = match course.closed_at {
        Some(_) if summary.passed() => "Closed: everything that had to hold held.",
        Some(_) => "Closed: not everything that had to hold is known to have held.",
        None => "Open.",
    };
    let lost = match summary.lost {
        Some(lost) => format!("the recovery lost {lost} event(s)"),
        None => "what the recovery lost is not known".into(),
    };
    let open = match summary.unresolved {
        Some(open) => format!("{open} position(s) are still missing"),
        None => "what is still missing is not known".into(),
    };
    format!(
        "{state} In all {lost}, {} came back, and {open}.",
        summary.restored
    )
}

fn facts(page: &mut Page, summary: &Summary) {
    let number = |count: Option<u64>| count.map_or_else(|| "not known".to_owned(), |count| count.to_string());
    page.fact("Lost by the recovery", number(summary.lost));
    page.fact("Brought back", summary.restored);
    let open = match summary.unresolved {
        Some(0) => Tone::Good,
        Some(_) => Tone::Bad,
        None => Tone::Doubt,
    };
    page.fact_in(open, "Still missing", number(summary.unresolved));
    page.fact("Lost for good", summary.lost_for_good);
    page.fact("RTO reached", known(summary.rto_seconds));
    page.fact("RPO as recovered", known(summary.rpo_seconds_before));
    page.fact("RPO of proof, as recovered", known(summary.rpo_of_proof()));
    page.fact("RPO after the repair", known(summary.rpo_seconds_after));
    page.fact("Done by hand", summary.interventions.len());
}

fn objectives(course: &Course, summary: &Summary) -> Vec<Objective> {
    let incident = &course.incident;
    let objective = |name: &str, reached, wanted, note: &str| Objective {
        name: name.into(),
        reached,
        wanted,
        unit: Unit::Seconds,
        note: note.into(),
    };
    vec![
        objective(
            "RTO",
            summary.rto_seconds,
            incident.rto_seconds,
            "from the outage to the start of the sequencer",
        ),
        objective(
            "RPO",
            summary.rpo_seconds_after,
            incident.rpo_seconds,
            "from the last event before the first missing one to the outage, in the worst stream, after the repair",
        ),
    ]
}

fn checks(summary: &Summary) -> Vec<Check> {
    let checks = summary.checks.iter().map(|check| {
        let outcome = match check.passed {
            Some(true) => CheckOutcome::Pass,
            Some(false) => CheckOutcome::Fail,
            None => CheckOutcome::NotChecked,
        };
        Check::new(check.name, outcome, &*check.detail)
    });
    checks.collect()
}

/// Seconds from the beginning of the timeline.
fn offset(begins: Timestamp, at: Timestamp) -> f64 {
    at.seconds_since(begins)
}

fn timeline(course: &Course) -> Timeline {
    let noted = course.notes.iter().map(|note| note.happened_at);
    let runs = course.runs.iter().map(|run| run.began_at);
    let begins = noted.chain(runs).chain(course.moment(Moment::OutageBegan)).min();
    let Some(begins) = begins else {
        return Timeline::default();
    };
    let mut entries: Vec<Entry> = Vec::new();
    for note in &course.notes {
        let (name, what) = match (note.moment, note.intervention) {
            (Some(moment), _) => (moment.as_str().replace('-', " "), note.text.clone()),
            (None, true) => ("by hand".to_owned(), note.text.clone()),
            (None, false) => ("note".to_owned(), note.text.clone()),
        };
        entries.push(Entry::moment(&*name, offset(begins, note.happened_at)).note(&*what));
    }
    entries.extend(course.runs.iter().map(|run| ran(run, begins)));
    if let Some(closed) = course.closed_at {
        entries.push(Entry::moment("incident closed", offset(begins, closed)));
    }
    entries.sort_by(|a, b| a.at.total_cmp(&b.at));
    Timeline {
        begins_at: Some(begins.0),
        entries,
    }
}

fn ran(run: &Run, begins: Timestamp) -> Entry {
    let name = format!("{} {}", run.tool, run.command);
    let at = offset(begins, run.began_at);
    let entry = match run.seconds() {
        Some(seconds) => Entry::span(&*name, at, seconds.max(0.0)),
        None => Entry::moment(&*name, at),
    };
    let (ended, tone) = match &run.end {
        None => ("nobody noted how it ended".to_owned(), Tone::Doubt),
        Some(end) => {
            let error = end
                .error
                .as_deref()
                .map_or(String::new(), |error| format!(": {error}"));
            let tone = if end.status & !1 == 0 {
                Tone::Good
            } else if run.is_done() {
                Tone::Doubt
            } else {
                Tone::Bad
            };
            (format!("exit status {}{error}", end.status), tone)
        }
    };
    entry.note(&*format!("{ended}. {}", run.line)).tone(tone)
}

fn by_hand(summary: &Summary) -> Table {
    let mut table = Table::new(&["when", "what"]);
    for one in &summary.interventions {
        let when = one.at.map_or_else(|| "not known".to_owned(), |at| at.to_string());
        table.row([Cell::from(&*when), Cell::from(&*one.what)]);
    }
    table
}

fn evidence(course: &Course) -> Table {
    let mut table = Table::new(&["entry", "command", "what", "file", "#bytes", "SHA-256"]);
    for run in &course.runs {
        for evidence in run.end.iter().flat_map(|end| &end.evidence) {
            table.row([
                Cell::from(&*run.n.to_string()),
                Cell::from(&*run.command),
                Cell::from(&*evidence.role),
                Cell::from(&*evidence.path),
                Cell::from(&*evidence.bytes.to_string()),
                Cell::from(&*evidence.sha256),
            ]);
        }
    }
    table
}
