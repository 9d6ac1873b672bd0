//! The page of a plan.

use std::path::Path;

use cli_common::{Frame, GlobalArgs, Labels, Tone};
use html_report::{Body, Cell, Choice, ChoiceOption, Page, Section, Strip, Table, worst_first};
use sequencer_recovery::floor::{Floor, FloorOption};
use sequencer_recovery::plan::{PlanSummary, PlannedStreamSummary};

use super::super::plan_report::verdict;
use super::super::{or_dash, strips};
use super::{ABOUT_STRIPS, findings, not_heard, signature, some};

/// The page; `out` is the plan's file.
pub fn page(summary: &PlanSummary, out: &Path, frame: &Frame<'_>, global: &GlobalArgs) -> Page {
    let planned = summary.streams.iter().map(|s| s.stream);
    let left = summary.not_planned.iter().map(|left| left.stream);
    let labels = Labels::of_report(global, planned.chain(left));
    let (tone, sentence) = verdict(summary);
    let mut page = Page::new("Plan", summary.db.as_str(), tone, sentence).framed(frame);
    facts(&mut page, summary);
    let mut strips: Vec<Strip> = summary
        .streams
        .iter()
        .map(|s| strips::of_plan(s, &labels))
        .collect();
    worst_first(&mut strips);
    page.section(
        Section::new("Streams, as they would be after the plan", Body::Strips(strips)).intro(ABOUT_STRIPS),
    );
    page.section(Section::new(
        "Before apply",
        Body::Findings(findings(&summary.hindrances, &labels)),
    ));
    page.section(incomplete(summary));
    page.section(not_planned(summary, &labels));
    page.section(stay_open(summary, &labels));
    page.section(floors(summary, &labels));
    page.section(hold_back(summary, &labels));
    page.section(batches(summary, &labels));
    page.section(given_out_twice(summary, &labels));
    page.section(keys(summary, &labels));
    page.section(not_heard(&summary.not_heard));
    page.not_checked = Some(
        summary
            .not_checked
            .iter()
            .map(|what| labels.shorten(what))
            .collect(),
    );
    page.signature = Some(signature(vec![
        ("Plan".into(), summary.plan_id.to_string().into()),
        ("Plan's file".into(), out.display().to_string().into()),
    ]));
    page
}

fn facts(page: &mut Page, summary: &PlanSummary) {
    let t = &summary.totals;
    page.fact("Streams in the plan", summary.streams.len());
    page.fact("Missing positions", t.missing);
    page.fact_in(Tone::Good, "Events that go back", t.events);
    let tone = if t.open == 0 { Tone::Good } else { Tone::Doubt };
    page.fact_in(tone, "Positions that stay open", t.open);
    page.fact("Commitments that go back", t.commitments);
    page.fact("Counters that change", t.counters);
    for (name, count) in [
        ("Tombstones", t.tombstones),
        ("Events appended", t.appended),
        ("Events that wait and are left out", t.left_out),
        ("Numbers given out twice", t.reissued),
        ("Events that get another number", t.moves),
        ("Keys registered again", t.keys),
        ("Never numbered, to be pushed again", t.never_sequenced),
    ] {
        if let Some(count) = some(count) {
            page.fact(name, count);
        }
    }
    page.fact("Weakest evidence used", &summary.accept);
    page.fact("Floor", &summary.floor);
    page.fact("Log", &summary.place);
}

fn incomplete(summary: &PlanSummary) -> Section {
    let mut table = Table::new(&["Witness", "Why it could not be read"]);
    for one in &summary.incomplete {
        table.row([
            Cell::from(one.witness.as_str()),
            Cell::verdict(one.reason.as_str(), Tone::Bad),
        ]);
    }
    Section::new("Witnesses that could not be read", Body::Table(table))
        .intro("`apply` refuses this plan without --although-incomplete: with them it might be another.")
}

fn not_planned(summary: &PlanSummary, labels: &Labels) -> Section {
    let mut table = Table::new(&["Stream", "Why it is not planned"]);
    for left in &summary.not_planned {
        table.row([labels.of(&left.stream), left.why.clone()]);
    }
    Section::new("Not planned", Body::Table(table))
}

fn stay_open(summary: &PlanSummary, labels: &Labels) -> Section {
    let mut table = Table::new(&["Stream", "#From", "#To", "Evidence", "Why"]);
    for (stream, open) in summary
        .streams
        .iter()
        .flat_map(|s| s.open.iter().map(move |o| (s, o)))
    {
        table.row([
            labels.of(&stream.stream),
            open.from.to_string(),
            open.to.to_string(),
            open.grade.to_string(),
            open.reason.clone(),
        ]);
    }
    Section::new("What stays open, and why", Body::Table(table))
}

fn floors(summary: &PlanSummary, labels: &Labels) -> Section {
    let of = |s: &PlannedStreamSummary| {
        let floor = s.floor.as_ref().filter(|floor| floor.options.len() > 1)?;
        Some(Choice {
            name: labels.of(&s.stream).into(),
            sentence: format!(
                "The counter {} becomes {}, known to {} ({}).",
                or_dash(s.counter_before),
                or_dash(s.counter_after),
                floor.witness.who,
                floor.grade
            )
            .into(),
            options: floor.options.iter().map(|option| choice(option, floor)).collect(),
        })
    };
    Section::new(
        "Floors, and what each choice costs",
        Body::Choices(summary.streams.iter().filter_map(of).collect()),
    )
    .intro(
        "Below a claim that is true, a floor gives numbers out again, and history forks for good; above a claim that is false, \
         numbers stay empty until they are filled, and nothing is given out twice.",
    )
}

fn choice(option: &FloorOption, floor: &Floor) -> ChoiceOption {
    ChoiceOption {
        choice: format!("--floor {}", option.choice).into(),
        gives: option.counter.to_string().into(),
        cost: option.cost.as_str().into(),
        chosen: option.counter == floor.counter && option.witness == floor.witness,
    }
}

fn hold_back(summary: &PlanSummary, labels: &Labels) -> Section {
    let mut table = Table::new(&["Stream", "#From", "#To", "Why"]);
    let all = summary
        .streams
        .iter()
        .flat_map(|s| s.must_not_commit.iter().map(move |h| (s, h)));
    for (stream, held) in all {
        table.row([
            labels.of(&stream.stream),
            held.from.to_string(),
            held.to.to_string(),
            held.why.clone(),
        ]);
    }
    Section::new("Must not be committed", Body::Table(table)).intro(
        "A commitment across open positions contradicts its anchor for good, or cannot be made. Wait for agents that were not \
         heard, or fill what is lost (--fill-losses tombstone), then commit.",
    )
}

fn batches(summary: &PlanSummary, labels: &Labels) -> Section {
    let mut table = Table::new(&["Stream", "Batch", "#From", "#To", "What came of it"]);
    let mut all: Vec<_> = summary
        .streams
        .iter()
        .flat_map(|s| s.batches.iter().map(move |b| (s, b)))
        .collect();
    all.sort_by_key(|(_, batch)| batch.solved);
    for (stream, batch) in all {
        let tone = if batch.solved { Tone::Good } else { Tone::Doubt };
        table.row([
            Cell::from(labels.of(&stream.stream)),
            batch.batch_id.to_string().into(),
            batch.sequence_start.to_string().into(),
            batch.sequence_end.to_string().into(),
            Cell::verdict(batch.outcome.as_str(), tone),
        ]);
    }
    Section::new("Batches with a known root and missing events", Body::Table(table))
}

fn given_out_twice(summary: &PlanSummary, labels: &Labels) -> Section {
    let mut table = Table::new(&[
        "Stream",
        "#Number",
        "Before the recovery",
        "How sure",
        "Now",
        "It gets",
    ]);
    for (stream, twice) in summary
        .streams
        .iter()
        .flat_map(|s| s.reissue.iter().map(move |r| (s, r)))
    {
        let moved = stream.moves.iter().find(|moved| moved.from == twice.sequence);
        table.row([
            labels.of(&stream.stream),
            twice.sequence.to_string(),
            twice
                .before
                .map_or_else(|| "not known".to_owned(), |event| event.to_string()),
            format!("{}: {}", twice.before_grade, twice.before_basis),
            twice.now.to_string(),
            moved.map_or_else(|| "stays".to_owned(), |moved| moved.to.to_string()),
        ]);
    }
    Section::new("Given out twice", Body::Table(table))
}

fn keys(summary: &PlanSummary, labels: &Labels) -> Section {
    let mut table = Table::new(&["Stream", "Agent", "#Key", "What becomes of it"]);
    for s in &summary.streams {
        let stream = labels.of(&s.stream);
        for key in &s.keys {
            let what = format!(
                "registered again, {} by {}: {} event(s) of the log name it, {} of this plan rest on it",
                key.basis.as_str(),
                key.sources.join(", "),
                key.events_in_log,
                key.events_planned
            );
            table.row([
                stream.clone(),
                key.key.agent_id.to_string(),
                key.key.key_id.to_string(),
                what,
            ]);
        }
        for key in &s.keys_refused {
            let what = format!("NOT registered: {}", key.why);
            table.row([
                stream.clone(),
                key.agent_id.to_string(),
                key.key_id.to_string(),
                what,
            ]);
        }
        for key in &s.keys_missed {
            let what = format!("an audit will miss it for {} event(s): {}", key.events, key.why);
            table.row([
                stream.clone(),
                key.agent_id.to_string(),
                key.key_id.to_string(),
                what,
            ]);
        }
    }
    Section::new("Keys", Body::Table(table))
}
