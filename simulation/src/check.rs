//! What must hold, judged by the tables alone and by the ledger of all promises. A broken rule is an error whose first words
//! name the rule.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fixtures::World;
use sequencer_recovery::apply::{ApplyReport, StreamStatus};
use sequencer_recovery::grade::Grade;
use sequencer_recovery::plan::plan_file::PlanFile;
use sequencer_recovery::report::audit::AuditReport;
use sequencer_recovery::report::loss;
use sequencer_recovery::stream::batches::BatchVerdict;
use ves::StreamKey;

use crate::figures::Figures;
use crate::ledger::Ledger;
use crate::operator::Plan;
use crate::owed::Owed;
use crate::tables::Tables;

/// Outcome of a rule.
pub type Held = Result<(), String>;

fn rule(name: &str, holds: bool, what: impl FnOnce() -> String) -> Held {
    if holds {
        Ok(())
    } else {
        Err(format!("{name}: {}", what()))
    }
}

/// No event of a plan goes to a number that was never its own, if its evidence is a receipt or better. Weaker evidence is
/// counted.
pub fn nothing_misplaced(plan: &Plan, ledger: &Ledger, figures: &mut Figures) -> Held {
    for (stream, section) in &plan.sections {
        for event in &section.events {
            let (id, number) = (event.event.event_id, event.sequence);
            let right = ledger.was(id, *stream, number);
            figures.place(event.grade, right);
            rule("misplaced", right || event.grade < Grade::Receipted, || {
                format!(
                    "{stream}: {id} goes to {number} as {}: {}",
                    event.grade, event.basis
                )
            })?;
            rule("not-an-event", ledger.made(id, *stream), || {
                format!("{stream} {number}: nobody made {id}")
            })?;
        }
        for moved in &section.moves {
            figures.moves += 1;
            let right = ledger.was(moved.event_id, *stream, moved.to);
            let sure = moved.grade.is_some_and(|grade| grade >= Grade::Receipted);
            rule("moved-wrongly", right || !sure, || {
                format!(
                    "{stream}: {} goes from {} to {}",
                    moved.event_id, moved.from, moved.to
                )
            })?;
        }
        for appended in &section.appended {
            figures.appended += 1;
            rule(
                "not-an-event",
                ledger.made(appended.event.event_id, *stream),
                || format!("{stream}: nobody made {}", appended.event.event_id),
            )?;
        }
        figures.tombstones += section.tombstones.len() as u64;
    }
    Ok(())
}

/// Whoever is heard knows of numbers: each is below the counter, and has its event or is listed as open.
pub fn nothing_forgotten(
    plan: &Plan,
    after: &Tables,
    known: &BTreeMap<StreamKey, u64>,
    figures: &mut Figures,
) -> Held {
    let (events, counters) = (after.events(), after.counters());
    for (stream, known) in known {
        let counter = counters.get(stream).copied().unwrap_or(0);
        rule("counter-too-low", counter >= *known, || {
            format!("{stream}: the counter is {counter}, and {known} is known")
        })?;
        let open: BTreeSet<u64> = plan
            .sections
            .get(stream)
            .into_iter()
            .flat_map(|section| &section.open)
            .filter(|open| !open.filled)
            .flat_map(|open| open.from..=open.to.min(100_000))
            .collect();
        for number in 1..=*known {
            let there = events.contains_key(&(*stream, number));
            rule("not-certified", there || open.contains(&number), || {
                format!("{stream} {number} is neither there nor listed as open")
            })?;
            figures.open += u64::from(!there);
        }
    }
    Ok(())
}

/// What somebody who is heard holds whole, with proof of its number, comes back.
pub fn nothing_left_behind(owed: &Owed, after: &Tables, figures: &mut Figures) -> Held {
    let events = after.events();
    for ((stream, number), (event, by)) in owed {
        let there = events.get(&(*stream, *number)).map(|placed| placed.event_id);
        rule("left-behind", there == Some(*event), || {
            format!("{stream} {number}: {event} is proved by {by}, and there is {there:?}")
        })?;
        figures.owed += 1;
    }
    Ok(())
}

/// What a certificate of the same plan lists is what the plan leaves open.
pub fn certified(plan: &Plan) -> Held {
    let file = PlanFile::open(&plan.path).map_err(|e| e.to_string())?;
    let certificate = loss::certificate(&file).map_err(|e| e.to_string())?;
    for (stream, section) in &plan.sections {
        let loss = certificate.streams.iter().find(|loss| loss.stream == *stream);
        let listed = loss.map_or(&[][..], |loss| &loss.positions);
        rule("not-certified", listed == section.open, || {
            format!("{stream}: {listed:?}")
        })?;
    }
    Ok(())
}

/// A log is sound after a repair: numbers and counters agree, receipts name their events' numbers, what came back has one,
/// nothing is there that nobody made, and what was there is untouched unless the plan moves it.
pub fn sound(plan: &Plan, before: &Tables, after: &Tables, ledger: &Ledger) -> Held {
    let (was, is) = (before.events(), after.events());
    rule("number-twice", is.len() == after.count(), || {
        format!("{} rows have {} numbers", after.count(), is.len())
    })?;
    let moved: BTreeSet<_> = plan
        .sections
        .values()
        .flat_map(|section| section.moves.iter().map(|moved| moved.event_id))
        .collect();
    for (place, placed) in &was {
        rule(
            "changed",
            moved.contains(&placed.event_id) || is.get(place) == Some(placed),
            || format!("{place:?} was {placed:?}, is {:?}", is.get(place)),
        )?;
    }
    let (receipts_were, receipts) = (before.receipts(), after.receipts());
    let tombs: BTreeSet<_> = plan
        .sections
        .values()
        .flat_map(|section| section.tombstones.iter().map(|tomb| tomb.event.event_id))
        .collect();
    for ((stream, number), placed) in &is {
        let id = placed.event_id;
        rule(
            "not-an-event",
            tombs.contains(&id) || ledger.made(id, *stream),
            || format!("{stream} {number}: nobody made {id}"),
        )?;
        let receipt = receipts.get(&id);
        let had = was.contains_key(&(*stream, *number)) && !receipts_were.contains_key(&id);
        rule(
            "receipt",
            receipt == Some(number) || (had && receipt.is_none()),
            || format!("{stream} {number}: the receipt of {id} says {receipt:?}"),
        )?;
    }
    for (stream, counter) in after.counters() {
        let last = is.range((stream, 0)..=(stream, u64::MAX)).next_back();
        let head = last.map_or(0, |((_, number), _)| *number);
        let left = !plan.sections.contains_key(&stream) && before.counters().get(&stream) == Some(&counter);
        rule("counter-too-low", counter >= head || left, || {
            format!("{stream}: the counter is {counter}, and {head} is there")
        })?;
    }
    Ok(())
}

/// No batch is reported to match anchors whose events are not all there, each at a number that was its own.
pub fn nothing_overstated(report: &AuditReport, log: &Tables, world: &World, ledger: &Ledger) -> Held {
    let events = log.events();
    for stream in &report.streams {
        for batch in &stream.batches {
            if !matches!(
                batch.verdict,
                BatchVerdict::MatchesAnchors | BatchVerdict::MatchesDatabase
            ) {
                continue;
            }
            for number in batch.sequence_start..=batch.sequence_end {
                let there = events.get(&(stream.stream, number));
                let right = there.is_some_and(|placed| ledger.was(placed.event_id, stream.stream, number));
                rule("overstated", right, || {
                    format!(
                        "{} {number} of batch {} is said to match",
                        stream.stream, batch.batch_id
                    )
                })?;
            }
            let anchored = world
                .anchors()
                .iter()
                .any(|a| a.commitment.batch_id == batch.batch_id);
            rule(
                "overstated",
                anchored || batch.verdict != BatchVerdict::MatchesAnchors,
                || format!("batch {} is nowhere anchored", batch.batch_id),
            )?;
        }
        let there = events
            .range((stream.stream, 0)..=(stream.stream, u64::MAX))
            .count() as u64;
        rule("overstated", stream.events == there, || {
            format!(
                "{}: {} events are reported, {there} are there",
                stream.stream, stream.events
            )
        })?;
    }
    Ok(())
}

/// Which of two states each stream is in. Both are the same where the repair changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// As before.
    Before,
    /// As after.
    After,
    /// Before and after are the same.
    Both,
}

/// Each stream is wholly as before or wholly as after.
pub fn whole(
    world: &World,
    before: &Tables,
    after: &Tables,
    now: &Path,
) -> Result<BTreeMap<StreamKey, Side>, String> {
    let now = Tables::read(now)?.without_times(world.disaster_at());
    let mut sides = BTreeMap::new();
    for stream in world.log().streams.keys() {
        let (was, is, will) = (
            before.of_stream(stream),
            now.of_stream(stream),
            after.of_stream(stream),
        );
        let side = match (is == was, is == will) {
            (true, true) => Side::Both,
            (true, false) => Side::Before,
            (false, true) => Side::After,
            (false, false) => {
                return Err(format!(
                    "torn: {stream} is neither as before nor as after: {}",
                    was.difference(&is)
                ));
            }
        };
        sides.insert(*stream, side);
    }
    Ok(sides)
}

/// What a report says became of each stream is what became of it.
pub fn honest(report: &ApplyReport, sides: &BTreeMap<StreamKey, Side>) -> Held {
    for stream in &report.streams {
        let side = sides.get(&stream.stream).copied().unwrap_or(Side::Both);
        let told = match stream.status {
            StreamStatus::Applied | StreamStatus::AlreadyApplied => side != Side::Before,
            StreamStatus::Failed => side != Side::After,
        };
        rule("dishonest", told, || {
            format!(
                "{}: {:?} is told, and it is {side:?}; {:?}",
                stream.stream, stream.status, stream.error
            )
        })?;
    }
    Ok(())
}
