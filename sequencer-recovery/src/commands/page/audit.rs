//! The page of an audit.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use cli_common::{Frame, GlobalArgs, Labels, Tone};
use html_report::{
    Body, Cell, Matrix, MatrixCell, MatrixRow, Page, Section, Strip, Table, Text, worst_first,
};
use sequencer_recovery::report::audit::{AuditReport, StreamReport};
use sequencer_recovery::stream::family::FamilyReport;
use sequencer_recovery::witness::Heard;

use super::super::audit::{is_whole, verdict};
use super::super::or_dash;
use super::super::report::{WorstProblems, when};
use super::super::strips;
use super::{ABOUT_STRIPS, findings, journal, not_heard, signature};

/// The page.
pub fn page(report: &AuditReport, frame: &Frame<'_>, global: &GlobalArgs) -> Page {
    let beside = report.families.iter().flat_map(|family| &family.streams);
    let streams = report.streams.iter().map(|s| s.stream);
    let labels = Labels::of_report(global, streams.chain(beside.map(|s| s.stream)));
    let standing = WorstProblems::of(report.findings.iter().filter(|f| f.family.is_none()));
    let (tone, sentence) = verdict(report, &standing);
    let mut page = Page::new("Audit", report.db.as_str(), tone, sentence).framed(frame);
    facts(&mut page, report);
    let strips = |stream: &StreamReport| strips::of_audit(stream, is_whole(stream, &standing), &labels);
    let mut strips: Vec<Strip> = report.streams.iter().map(strips).collect();
    worst_first(&mut strips);
    page.section(Section::new("Streams", Body::Strips(strips)).intro(ABOUT_STRIPS));
    page.section(Section::new(
        "Findings",
        Body::Findings(findings(&report.findings, &labels)),
    ));
    page.section(given_out_twice(report, &labels));
    page.section(cannot_commit(report, &labels));
    page.section(who_holds_what(report, &labels));
    page.section(witnesses(&report.heard));
    page.section(not_heard(&report.not_heard));
    for family in &report.families {
        page.section(beside_the_log(family, &labels));
    }
    page.section(journal(&report.journal, &labels));
    let mut not_checked = report.not_checked.clone();
    not_checked
        .iter_mut()
        .for_each(|what| *what = labels.shorten(what));
    page.not_checked = Some(not_checked);
    let inputs = frame.provenance.inputs_sha256.iter();
    let inputs = inputs.map(|hash| ("Inputs (SHA-256)".into(), hash.into()));
    page.signature = Some(signature(inputs.collect()));
    page
}

fn facts(page: &mut Page, report: &AuditReport) {
    let (t, b) = (&report.totals, &report.totals.batches);
    if report.ves {
        page.fact("Streams", t.streams);
        page.fact("Events", t.events);
        let tone = if t.missing == 0 { Tone::Good } else { Tone::Bad };
        page.fact_in(tone, "Missing positions", t.missing);
        page.fact("Batches that match anchors", b.matches_anchors);
        page.fact("Batches that match the database", b.matches_database);
        let tone = if b.failed == 0 { Tone::Good } else { Tone::Bad };
        page.fact_in(tone, "Batches that failed", b.failed);
        page.fact("Batches not checked", b.not_checked);
        page.fact(
            "Witnesses heard",
            report.heard.iter().filter(|h| h.error.is_none()).count(),
        );
    }
    let back_to = report.streams.iter().filter_map(|s| s.head_sequenced_at).max();
    if let Some(time) = back_to {
        page.fact(
            "Newest event (UTC)",
            when(time).replace('T', " ").trim_end_matches('Z'),
        );
    }
    page.fact("Log", &report.place);
}

/// So many numbers that were given out twice are in the page.
const TWICE: usize = 500;

fn given_out_twice(report: &AuditReport, labels: &Labels) -> Section {
    let mut table = Table::new(&[
        "Stream",
        "#Number",
        "Before the recovery",
        "How sure",
        "Now",
        "Since (UTC)",
    ]);
    let all = report
        .streams
        .iter()
        .flat_map(|s| s.reissue.iter().map(move |r| (s.stream, r)));
    for (stream, twice) in all.take(TWICE) {
        table.row([
            labels.of(&stream),
            twice.sequence.to_string(),
            twice
                .before
                .map_or_else(|| "not known".to_owned(), |event| event.to_string()),
            format!("{}: {}", twice.before_grade, twice.before_basis),
            twice.now.to_string(),
            when(twice.now_sequenced_at)
                .replace('T', " ")
                .trim_end_matches('Z')
                .to_owned(),
        ]);
    }
    Section::new("Given out twice", Body::Table(table))
        .intro("These numbers name one event before the recovery and another one now.")
}

/// Streams that no commitment can be made of as they stand.
fn cannot_commit(report: &AuditReport, labels: &Labels) -> Section {
    let mut table = Table::new(&["Stream", "#Committed up to", "Why no commitment can follow"]);
    let blocked = report.streams.iter().filter(|s| !s.committing.blocked.is_empty());
    for stream in blocked {
        table.row([
            labels.of(&stream.stream),
            or_dash(stream.committing.committed),
            stream.committing.blocked.join("; "),
        ]);
    }
    Section::new("Streams that cannot be committed further", Body::Table(table))
        .intro("As they stand. What fills the open positions, or brings their events back, lets them go on.")
}

/// So many streams are columns, those that lack most; and so many witnesses are rows, those that hold most.
const COLUMNS: usize = 10;
const ROWS: usize = 40;

/// Who holds what is missing: witness by stream.
fn who_holds_what(report: &AuditReport, labels: &Labels) -> Section {
    let mut lacking: Vec<&StreamReport> = report
        .streams
        .iter()
        .filter(|s| s.missing > 0 || !s.held_by.is_empty())
        .collect();
    lacking.sort_by_key(|s| (Reverse(s.missing), s.stream));
    let shown = &lacking[..lacking.len().min(COLUMNS)];
    let mut held: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (column, stream) in shown.iter().enumerate() {
        for holder in &stream.held_by {
            let cells = held.entry(&holder.who).or_insert_with(|| vec![0; shown.len()]);
            cells[column] = holder.events;
        }
    }
    let mut rows: Vec<(&str, Vec<u64>)> = held.into_iter().collect();
    rows.sort_by_key(|(who, cells)| (Reverse(cells.iter().sum::<u64>()), *who));
    let more = [
        (lacking.len() - shown.len(), "stream(s) that lack less"),
        (
            rows.len().saturating_sub(ROWS),
            "witness(es) that hold less of these",
        ),
    ];
    let left_out = more.iter().filter(|(count, _)| *count > 0);
    let left_out: Vec<String> = left_out.map(|(count, what)| format!("{count} {what}")).collect();
    let cell = |column: usize, count: u64| {
        (count > 0).then(|| MatrixCell {
            text: Text::of(count),
            part: count as f64 / shown[column].missing.max(count) as f64,
        })
    };
    let rows = rows.into_iter().take(ROWS).map(|(who, cells)| MatrixRow {
        name: who.into(),
        note: Text::default(),
        cells: cells
            .into_iter()
            .enumerate()
            .map(|(column, count)| cell(column, count))
            .collect(),
    });
    let matrix = Matrix {
        row: "Witness".into(),
        column: "Stream".into(),
        columns: shown.iter().map(|s| labels.of(&s.stream).into()).collect(),
        rows: rows.collect(),
        left_out: match left_out.is_empty() {
            true => Text::default(),
            false => format!("Not shown: {}.", left_out.join(", ")).into(),
        },
    };
    Section::new("Who holds what is missing", Body::Matrix(matrix)).intro(
        "How many events that the log lacks each witness holds whole; those that were never numbered are among them. The \
         darker, the more of what the stream lacks.",
    )
}

fn witnesses(heard: &[Heard]) -> Section {
    let mut in_order: Vec<&Heard> = heard.iter().collect();
    in_order.sort_by_key(|h| (h.error.is_none(), Reverse(h.missing_held), h.path.as_str()));
    let mut table = Table::new(&[
        "Witness",
        "Agent",
        "Shape",
        "#Rows",
        "#Lacking here",
        "#Unsigned",
        "#Refused",
        "Read",
    ]);
    for h in in_order {
        let made = h.made.as_ref().map_or(String::new(), |made| format!(" ({made})"));
        let read = match &h.error {
            Some(error) => Cell::verdict(format!("NO: {error}"), Tone::Bad),
            None => "yes".into(),
        };
        table.row([
            Cell::from(format!("{}{made}", h.path)),
            h.agent_id.as_deref().unwrap_or("-").into(),
            h.shape.as_deref().unwrap_or(h.kind.as_str()).into(),
            h.rows.to_string().into(),
            h.missing_held.to_string().into(),
            h.unsigned.to_string().into(),
            h.refused.to_string().into(),
            read,
        ]);
    }
    Section::new("Witnesses", Body::Table(table))
}

fn beside_the_log(family: &FamilyReport, labels: &Labels) -> Section {
    let mut table = Table::new(&[
        "Stream",
        "#Rows",
        "#Head",
        "#Counter",
        "#Known head",
        "#Missing",
        "Known to",
    ]);
    let mut streams: Vec<_> = family.streams.iter().filter(|s| s.missing > 0).collect();
    streams.sort_by_key(|s| (Reverse(s.missing), s.stream));
    for s in streams {
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
    Section::new(
        format!("Family {}: what is missing", family.family),
        Body::Table(table),
    )
}
