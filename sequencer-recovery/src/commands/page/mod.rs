//! The reports as pages for people (`--report FILE.html`), one file for each command. Values alone: what they look like is
//! html-report's.

mod apply;
mod audit;
mod drill;
mod plan;

use cli_common::{ExitStatus, GlobalArgs, Labels};
use event_log::JournalEntry;
use html_report::{Body, FindingRow, Page, ReportFile, Section, Signature, Table, Text};
use sequencer_recovery::finding::Finding;
use sequencer_recovery::stream::unheard::Unheard;

use super::or_dash;
use super::report::when;

pub use apply::page as of_apply;
pub use audit::page as of_audit;
pub use drill::page as of_drill;
pub use plan::page as of_plan;

/// Writes the page, if one was asked for. What goes wrong is told, and gives the exit status: the report on stdout is there
/// all the same.
pub fn write(file: Option<ReportFile>, global: &GlobalArgs, page: impl FnOnce() -> Page) -> ExitStatus {
    let Some(file) = file else {
        return ExitStatus::OK;
    };
    match file.write(&page(), global) {
        Ok(()) => ExitStatus::OK,
        Err(error) => {
            error.report(global);
            error.exit_status()
        }
    }
}

/// What stands above the streams.
pub(super) const ABOUT_STRIPS: &str = "Each stream as a map of its positions, the worst first. Where little of a long stream is \
                            concerned, that part is drawn large below the whole.";

/// Findings, the worst first.
fn findings<'a>(all: impl IntoIterator<Item = &'a Finding>, labels: &Labels) -> Vec<FindingRow> {
    let mut all: Vec<&Finding> = all.into_iter().collect();
    all.sort_by_key(|finding| {
        let weight = std::cmp::Reverse(finding.severity);
        (weight, finding.code.rank(), finding.code)
    });
    all.into_iter()
        .map(|finding| finding_row(finding, labels))
        .collect()
}

fn finding_row(finding: &Finding, labels: &Labels) -> FindingRow {
    let range = match (finding.from, finding.to) {
        (Some(from), Some(to)) if from == to => from.to_string(),
        (Some(from), Some(to)) => format!("{from}-{to}"),
        _ => String::new(),
    };
    let family = finding.family.map(|family| format!("{family}:"));
    let stream = finding.stream.map(|stream| labels.of(&stream));
    let place: Vec<String> = [family, stream, Some(range)]
        .into_iter()
        .flatten()
        .filter(|part| !part.is_empty())
        .collect();
    let mut sentence = labels.shorten(&finding.message);
    let mut command = finding.next.as_deref();
    if finding.remedy.is_none()
        && let Some(words) = command.take()
    {
        sentence.push_str(&format!(". What to do: {words}"));
    }
    let row = FindingRow::new(finding.code, place.join(" "), sentence);
    match command {
        Some(command) => row.command(command),
        None => row,
    }
}

/// Agents whose outboxes may hold what is missing.
fn not_heard(all: &[Unheard]) -> Section {
    let mut table = Table::new(&["Agent", "Tenant", "Store", "#Its last number there"]);
    for one in all {
        table.row([
            one.agent_id.to_string(),
            one.tenant_id.to_string(),
            one.store_id
                .map_or_else(|| "its key alone".to_owned(), |store| store.to_string()),
            or_dash(one.last_seen),
        ]);
    }
    Section::new("Agents that were not heard", Body::Table(table))
        .intro("No outbox speaks for them. They may hold what is missing.")
}

/// What the log's journal of repairs says.
fn journal<'a>(entries: impl IntoIterator<Item = &'a JournalEntry>, labels: &Labels) -> Section {
    let mut table = Table::new(&[
        "When (UTC)",
        "Stream",
        "What",
        "#Events",
        "#Batches",
        "Counter",
        "Plan",
        "Tool",
    ]);
    for entry in entries {
        table.row([
            when(entry.written_at)
                .replace('T', " ")
                .trim_end_matches('Z')
                .to_owned(),
            labels.of(&entry.stream),
            entry.state.as_str().to_owned(),
            entry.counts.events.to_string(),
            entry.counts.commitments.to_string(),
            format!(
                "{} to {}",
                or_dash(entry.counter_before),
                or_dash(entry.counter_after)
            ),
            entry.plan_id.to_string(),
            entry.tool.clone(),
        ]);
    }
    Section::new("Journal of repairs", Body::Table(table))
        .intro("What the log itself says about repairs, newest first.")
}

/// The place to sign a report, and what names it.
fn signature(identifiers: Vec<(Text, Text)>) -> Signature {
    Signature {
        statement: "I have read this report, what was not checked, and which files it was made from.".into(),
        roles: vec!["Operator".into(), "Reviewer".into()],
        identifiers,
    }
}

/// Something, if there is any of it: for the numbers at the head of a page.
fn some(count: u64) -> Option<u64> {
    (count > 0).then_some(count)
}
