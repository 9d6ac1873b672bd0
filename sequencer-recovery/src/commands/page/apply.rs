//! The page of an apply.

use cli_common::{CommandLine, Frame, GlobalArgs, Labels, Tone};
use html_report::{Body, Cell, Page, Section, Table};
use sequencer_recovery::apply::{AppliedStream, ApplyReport, StreamStatus};
use sequencer_recovery::plan::plan_file::PlanFile;

use super::super::apply::{ApplySums, status_word, verdict};
use super::super::{or_dash, strips};
use super::{ABOUT_STRIPS, journal, signature, some};

/// The page; `undo` is the way back, if there is one.
pub fn page(
    report: &ApplyReport,
    plan: &PlanFile,
    undo: Option<&CommandLine>,
    frame: &Frame<'_>,
    global: &GlobalArgs,
) -> Page {
    let labels = Labels::of_report(global, report.streams.iter().map(|s| s.stream));
    let (tone, sentence) = verdict(&ApplySums::of(report));
    let title = if report.dry_run {
        "Apply (dry run)"
    } else {
        "Apply"
    };
    let mut page = Page::new(title, report.db.as_str(), tone, sentence).framed(frame);
    facts(&mut page, report);
    let mut not_checked: Vec<String> = report
        .not_checked
        .iter()
        .map(|what| labels.shorten(what))
        .collect();
    match strips::of_applied(plan, report, &labels) {
        Ok(strips) => {
            page.section(Section::new("Streams, as they are now", Body::Strips(strips)).intro(ABOUT_STRIPS));
        }
        Err(error) => not_checked.push(format!(
            "the streams' positions are not drawn: the plan could not be read again: {error}"
        )),
    }
    page.section(streams(report, &labels));
    let undo = undo.filter(|_| report.changed() > 0);
    let way_back = undo.map(|undo| {
        let what = "It ends when the sequencer is restarted.";
        (what.into(), undo.to_string().into())
    });
    page.section(Section::new(
        "The way back",
        Body::Commands(way_back.into_iter().collect()),
    ));
    if report.open_positions() > 0 {
        let text = "Commit nothing across open positions: the plan names the ranges, docs/runbook.md says why. Until they are \
                    filled or brought back, a stream whose next position to commit is open can commit nothing.";
        page.section(Section::new(
            "While positions are open",
            Body::Prose(vec![text.into()]),
        ));
    }
    page.section(journal(report.streams.iter().flat_map(|s| &s.journal), &labels));
    page.not_checked = Some(not_checked);
    page.signature = Some(signature(vec![(
        "Plan".into(),
        report.plan_id.to_string().into(),
    )]));
    page
}

fn facts(page: &mut Page, report: &ApplyReport) {
    let sum = |of: fn(&AppliedStream) -> u64| report.streams.iter().map(of).fold(0, u64::saturating_add);
    page.fact("Streams changed", report.changed());
    let failed = report.failed() as u64 + report.untouched;
    let tone = if failed == 0 { Tone::Good } else { Tone::Bad };
    page.fact_in(tone, "Streams failed or not begun", failed);
    page.fact("Events put back", sum(|s| s.events));
    let open = report.open_positions();
    let tone = if open == 0 { Tone::Good } else { Tone::Doubt };
    page.fact_in(tone, "Positions that stay open", open);
    page.fact("Commitments put back", sum(|s| s.commitments));
    page.fact("Batches whose root came out equal", sum(|s| s.roots_equal));
    for (name, count) in [
        ("Tombstones", sum(|s| s.tombstones)),
        ("Events appended", sum(|s| s.appended)),
        ("Events that got another number", sum(|s| s.moved)),
        ("Numbers that stay given out twice", report.reissued()),
        ("Keys registered", sum(|s| s.keys)),
        ("Receipts signed", sum(|s| s.receipts_signed)),
    ] {
        if let Some(count) = some(count) {
            page.fact(name, count);
        }
    }
    page.fact("Log", &report.place);
}

fn streams(report: &ApplyReport, labels: &Labels) -> Section {
    let mut table = Table::new(&[
        "Stream",
        "Status",
        "#Events",
        "#Appended",
        "#Receipts",
        "#Signed",
        "#Commands",
        "#Versions",
        "#Batches",
        "#Equal",
        "#Counter",
        "#Now",
        "#Open",
    ]);
    let mut in_order: Vec<&AppliedStream> = report.streams.iter().collect();
    in_order.sort_by_key(|s| {
        (
            s.status != StreamStatus::Failed,
            std::cmp::Reverse(s.open_positions),
            s.stream,
        )
    });
    for s in in_order {
        let (word, tone) = status_word(s.status, report.dry_run);
        let why = s
            .error
            .as_ref()
            .map_or(String::new(), |error| format!(": {error}"));
        let numbers = [
            s.events,
            s.appended,
            s.receipts,
            s.receipts_signed,
            s.commands,
            s.entity_versions,
            s.commitments,
            s.roots_equal,
        ];
        let cells = [
            Cell::from(labels.of(&s.stream)),
            Cell::verdict(format!("{word}{why}"), tone),
        ]
        .into_iter();
        let counters = [
            or_dash(s.counter_before),
            or_dash(s.counter_after),
            s.open_positions.to_string(),
        ];
        let numbers = numbers.iter().map(ToString::to_string).chain(counters);
        table.row(cells.chain(numbers.map(Cell::from)));
    }
    Section::new("What was done in each stream", Body::Table(table))
}
