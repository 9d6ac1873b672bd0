//! The page of a verification (`--report FILE.html`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::verify::report::{Failure, UnitKind, VerifiedStream};
use crate::{UnitReport, Verdict, VerifyReport};
use cli_common::finding::{Code, Severity};
use cli_common::{GlobalArgs, Labels, Tone};
use html_report::{
    Body, Check, CheckOutcome, FindingRow, MarkKind, Page, Section, Signature, State, Strip, Table, Text,
    worst_first,
};
use ves::StreamKey;

use super::tone;
use super::verify::sentences;

/// The page.
pub fn page(report: &VerifyReport, global: &GlobalArgs) -> Page {
    let streams = report.streams.iter().map(|s| s.stream);
    let labels = Labels::of_report(global, streams);
    let mut said = sentences(report);
    if let Some(what) = &report.input.ties_nothing {
        said.insert(0, format!("NOT TIED: {what}."));
    }
    let weakest = if report.input.ties_nothing.is_some() {
        Tone::Bad
    } else {
        tone(report.verdict)
    };
    let mut page = Page::new(
        "Verification",
        report.input.name.as_str(),
        weakest,
        said.join(" "),
    );
    page.next = report.next.clone();
    page.provenance = report.provenance.clone();
    facts(&mut page, report);
    page.section(
        Section::new("Streams", Body::Strips(strips(report, &labels))).intro(
            "Each stream as a map of its positions, by what came out of the batch that they are in; the worst first. The line \
             below a strip is what anchors cover.",
        ),
    );
    page.section(Section::new(
        "What does not hold",
        Body::Findings(failures(report, &labels)),
    ));
    page.section(not_proven(report, &labels));
    page.section(completeness(report));
    page.section(anchored(report, &labels));
    page.not_checked = Some(
        report
            .not_checked
            .iter()
            .map(|what| labels.shorten(what))
            .collect(),
    );
    page.signature = Some(signature(report));
    page
}

fn facts(page: &mut Page, report: &VerifyReport) {
    let (t, b) = (&report.totals, &report.totals.batches);
    page.fact("Streams", t.streams);
    page.fact("Events read", t.events);
    page.fact("Batches PROVEN", b.proven);
    page.fact("Batches that match anchors", b.matches_anchors);
    page.fact("Batches that match the database", b.matches_database);
    let tone = |count: u64, bad| if count == 0 { Tone::Good } else { bad };
    page.fact_in(
        tone(b.not_checked, Tone::Doubt),
        "Batches not checked",
        b.not_checked,
    );
    page.fact_in(tone(b.failed, Tone::Bad), "Batches that FAILED", b.failed);
    page.fact("Events in no batch", t.unbatched_events);
    page.fact("Anchors given", report.input.anchors);
    page.fact("Of them tied to the trusted block", report.input.anchors_trusted);
    if let Some(shard) = report.shard {
        page.fact("Part", format!("{} of {}", shard.index, shard.of));
    }
    if let Some(place) = &report.place {
        page.fact("Log", place);
    }
}

/// The streams, the worst first.
fn strips(report: &VerifyReport, labels: &Labels) -> Vec<Strip> {
    let mut units: BTreeMap<StreamKey, Vec<&UnitReport>> = BTreeMap::new();
    for unit in &report.units {
        units.entry(unit.stream).or_default().push(unit);
    }
    let strip = |s: &VerifiedStream| strip(s, units.get(&s.stream).map_or(&[], Vec::as_slice), labels);
    let mut strips: Vec<Strip> = report.streams.iter().map(strip).collect();
    worst_first(&mut strips);
    strips
}

fn strip(stream: &VerifiedStream, units: &[&UnitReport], labels: &Labels) -> Strip {
    let last = stream.last.unwrap_or(0);
    let mut strip = Strip::new(labels.of(&stream.stream), stream.stream.to_string(), last);
    for unit in units {
        let (from, to) = unit.part.unwrap_or((unit.sequence_start, unit.sequence_end));
        let state = match (unit.kind, unit.verdict) {
            (_, Verdict::Failed) => State::Failed,
            (UnitKind::Unbatched, _) => State::NotChecked,
            (_, Verdict::Proven) => State::Proven,
            (_, Verdict::MatchesAnchors) => State::MatchesAnchors,
            (_, Verdict::MatchesDatabase) => State::MatchesDatabase,
            (_, Verdict::NotChecked) => State::NotChecked,
        };
        strip.lay(from, to, state);
        if !unit.anchors.is_empty() {
            strip.anchored(unit.sequence_start, unit.sequence_end);
        }
    }
    if let Some(last) = stream.last {
        strip.mark(MarkKind::Head, last, "the last event of the input", "");
    }
    if let Some(last) = units.iter().rev().find(|unit| !unit.anchors.is_empty()) {
        let who = match last.batch_ids.first() {
            Some(id) => format!("anchored batch {id}"),
            None => "the last anchored batch".to_owned(),
        };
        strip.mark(
            MarkKind::Witness,
            last.sequence_end,
            who,
            last.verdict.to_string(),
        );
    }
    let b = &stream.batches;
    let counts = [
        (b.failed, Verdict::Failed),
        (b.not_checked, Verdict::NotChecked),
        (b.matches_database, Verdict::MatchesDatabase),
        (b.matches_anchors, Verdict::MatchesAnchors),
        (b.proven, Verdict::Proven),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let mut said: Vec<String> = counts
        .map(|(count, verdict)| format!("{count} {verdict}"))
        .collect();
    if said.is_empty() {
        said.push("no batch".to_owned());
    }
    if stream.unbatched_events > 0 {
        said.push(format!("{} event(s) in no batch", stream.unbatched_events));
    }
    strip.tone = tone(stream.verdict);
    strip.sentence = format!("{}: {}", stream.verdict, said.join(", ")).into();
    strip
}

/// What does not hold: of the input, then of batches and events.
fn failures(report: &VerifyReport, labels: &Labels) -> Vec<FindingRow> {
    let of_units = report
        .units
        .iter()
        .flat_map(|unit| unit.failures.iter().map(move |failure| (unit, failure)));
    let of_units = of_units.map(|(unit, failure)| {
        let at = failure.sequence.map_or_else(
            || format!("{}-{}", unit.sequence_start, unit.sequence_end),
            |at| at.to_string(),
        );
        row(failure, &format!("{} {at}", labels.of(&unit.stream)), labels)
    });
    let of_input = report.problems.iter().map(|problem| row(problem, "", labels));
    of_input.chain(of_units).collect()
}

fn row(failure: &Failure, place: &str, labels: &Labels) -> FindingRow {
    let known = Code::ALL.iter().find(|code| code.as_str() == failure.code);
    let id = failure.event_id.map_or(String::new(), |id| format!(" ({id})"));
    FindingRow {
        severity: Severity::Problem,
        code: failure.code.as_str().into(),
        meaning: known.map_or("", |code| code.meaning()).into(),
        place: place.into(),
        sentence: format!("{}{id}", labels.shorten(&failure.what)).into(),
        command: None,
    }
}

/// Why batches are not PROVEN, each reason once.
fn not_proven(report: &VerifyReport, labels: &Labels) -> Section {
    let mut reasons: BTreeMap<(Verdict, String), Vec<&UnitReport>> = BTreeMap::new();
    for unit in report.units.iter().filter(|unit| unit.kind == UnitKind::Batch) {
        if let Some(why) = unit.why_not_proven() {
            reasons.entry((unit.verdict, why)).or_default().push(unit);
        }
        if unit.verdict == Verdict::NotChecked {
            let whys: BTreeSet<&str> = unit
                .not_checked
                .iter()
                .map(|skipped| skipped.what.as_str())
                .collect();
            let why = whys.into_iter().collect::<Vec<_>>().join("; ");
            reasons.entry((unit.verdict, why)).or_default().push(unit);
        }
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|((verdict, _), units)| (Reverse(*verdict), Reverse(units.len())));
    let mut table = Table::new(&["Verdict", "#Batches", "Why", "The first of them"]);
    for ((verdict, why), units) in &reasons {
        let first = units[0];
        table.row([
            verdict.to_string(),
            units.len().to_string(),
            why.clone(),
            format!(
                "{} {}-{}",
                labels.of(&first.stream),
                first.sequence_start,
                first.sequence_end
            ),
        ]);
    }
    Section::new("Why batches are not PROVEN", Body::Table(table))
}

fn completeness(report: &VerifyReport) -> Section {
    let checks = report.completeness.iter().map(|completeness| {
        let outcome = match completeness.verdict {
            Verdict::Proven => CheckOutcome::Pass,
            Verdict::Failed => CheckOutcome::Fail,
            _ => CheckOutcome::NotChecked,
        };
        let bounds: Vec<String> = completeness.bounds.iter().map(ToString::to_string).collect();
        Check::new(completeness.to_string(), outcome, bounds.join("; "))
    });
    Section::new("Whether anchors were left out", Body::Checks(checks.collect()))
}

/// The newest anchor of each stream.
fn anchored(report: &VerifyReport, labels: &Labels) -> Section {
    let mut newest: BTreeMap<StreamKey, &UnitReport> = BTreeMap::new();
    for unit in report.units.iter().filter(|unit| !unit.anchors.is_empty()) {
        newest.insert(unit.stream, unit);
    }
    let mut table = Table::new(&["Stream", "#Up to", "#Block", "Contract", "Batch", "Standing"]);
    for (stream, unit) in newest {
        let anchor = &unit.anchors[0];
        table.row([
            labels.of(&stream),
            unit.sequence_end.to_string(),
            anchor.block_number.to_string(),
            anchor.contract.to_string(),
            anchor.batch_id.to_string(),
            anchor.why.clone(),
        ]);
    }
    Section::new("The last anchor of each stream", Body::Table(table))
}

fn signature(report: &VerifyReport) -> Signature {
    let inputs = report
        .provenance
        .iter()
        .filter_map(|made| made.inputs_sha256.as_ref());
    let mut identifiers: Vec<(Text, Text)> = inputs
        .map(|hash| ("Inputs (SHA-256)".into(), hash.into()))
        .collect();
    if let Some(block) = report.input.trusted_block {
        identifiers.push(("Trusted block".into(), block.to_string().into()));
    }
    identifiers.push((
        "Plan of the verification".into(),
        report.plan.digest.to_string().into(),
    ));
    Signature {
        statement: "I have read this report, what was not checked, and which files it was made from.".into(),
        roles: vec!["Auditor".into(), "Reviewer".into()],
        identifiers,
    }
}
