//! What has to hold after any drill.

use std::collections::BTreeSet;

use fixtures::{HeldClass, Truth};

use super::outcome::RepairOutcome;
use crate::apply::{AppliedStream, ApplyReport, StreamStatus};
use crate::dr_report::{Check, Objectives, Phase};
use crate::finding::{Code, Severity};
use crate::grade::Grade;
use crate::plan::PlanSummary;
use crate::report::audit::AuditReport;

pub(super) fn check(name: impl Into<String>, passed: bool, detail: impl Into<String>) -> Check {
    Check {
        name: name.into(),
        passed,
        detail: detail.into(),
    }
}

/// The audit must find what is missing as far as any witness knows, and nothing that is not.
pub(super) fn found(found: &AuditReport, truth: &Truth) -> Check {
    let mut wrong = Vec::new();
    for stream in &truth.streams {
        let reported: BTreeSet<u64> = found
            .streams
            .iter()
            .filter(|s| s.stream == stream.stream)
            .flat_map(|s| s.gaps.iter().flat_map(crate::gap::Gap::range))
            .collect();
        let known = found
            .streams
            .iter()
            .find(|s| s.stream == stream.stream)
            .and_then(|s| s.head_known.as_ref())
            .map_or(0, |w| w.sequence);
        // Where another event has the number by now, it is no gap: it was given out twice.
        let taken: BTreeSet<u64> = stream.reissued.iter().map(|r| r.number).collect();
        let expected: BTreeSet<u64> = stream
            .events
            .iter()
            .filter(|e| !e.in_recovered && e.number <= known && !taken.contains(&e.number))
            .map(|e| e.number)
            .collect();
        // A false claim beyond the true head is a gap that nobody can tell from a true one.
        let beyond = reported.range(stream.head + 1..).count();
        if !expected.is_subset(&reported) || reported.len() - beyond != expected.len() {
            wrong.push(stream.stream.to_string());
        }
    }
    check(
        "the audit found every missing position that a witness knows of, and no other",
        wrong.is_empty(),
        if wrong.is_empty() {
            format!("{} position(s)", found.totals.missing)
        } else {
            format!("not in {}", wrong.join(", "))
        },
    )
}

pub(super) fn applied(applied: &ApplyReport) -> Check {
    let streams = &applied.streams;
    let failed: Vec<&str> = streams.iter().filter_map(|s| s.error.as_deref()).collect();
    check(
        "every stream of the plan was repaired",
        streams.iter().all(|s| s.status == StreamStatus::Applied),
        if failed.is_empty() {
            format!("{} stream(s)", streams.len())
        } else {
            failed.join("; ")
        },
    )
}

pub(super) fn placed(outcome: &RepairOutcome) -> Check {
    let misplaced = outcome.counts.misplaced.unwrap_or(0);
    check(
        "no event stands at a position that was never its own",
        misplaced == 0,
        format!("{misplaced} misplaced"),
    )
}

/// Every anchored batch whose missing events are all held, with their numbers, must be whole again.
pub(super) fn provable(outcome: &RepairOutcome, truth: &Truth, planned: &PlanSummary) -> Check {
    let (mut provable, mut open) = (0, Vec::new());
    for stream in &truth.streams {
        let missing = outcome.missing.get(&stream.stream);
        for batch in stream
            .commitments
            .iter()
            .filter(|c| c.anchored && !c.in_recovered)
        {
            let range = batch.sequence_start..=batch.sequence_end;
            let lost = stream
                .events
                .iter()
                .filter(|e| !e.in_recovered && range.contains(&e.number));
            let all_held = lost.clone().all(|e| e.class == HeldClass::RestorableExact);
            if !all_held {
                continue;
            }
            provable += 1;
            if missing.is_some_and(|m| m.range(range).next().is_some()) {
                open.push(batch.batch_id.to_string());
            }
        }
    }
    let restored = planned.totals.by_grade.get(&Grade::Proven).copied().unwrap_or(0);
    check(
        "every anchored batch whose events are all held is whole again",
        open.is_empty(),
        if open.is_empty() {
            format!("{provable} batch(es), {restored} event(s) proven")
        } else {
            format!("not {}", open.join(", "))
        },
    )
}

/// Every event that somebody holds whole must be back, up to the last checkpoint of its stream.
pub(super) fn checkpointed(outcome: &RepairOutcome, truth: &Truth, every: u64) -> Check {
    let (mut held, mut open) = (0, 0);
    for stream in &truth.streams {
        let missing = outcome.missing.get(&stream.stream);
        let to = stream.head / every * every;
        let lost = stream.events.iter().filter(|e| !e.in_recovered && e.number <= to);
        for event in lost.filter(|e| e.class <= HeldClass::HeldPositionUnknownOrWrong) {
            held += 1;
            open += u64::from(missing.is_some_and(|missing| missing.contains(&event.number)));
        }
    }
    check(
        "every event that somebody holds is back, up to the last checkpoint",
        open == 0,
        match open {
            0 => format!("{held} event(s)"),
            open => format!("{open} of {held} event(s) are not"),
        },
    )
}

/// No counter may give out a number again that was given out, as far as a witness who is left knows.
pub(super) fn counters(outcome: &RepairOutcome, truth: &Truth) -> Check {
    let mut behind = Vec::new();
    for stream in &truth.streams {
        let counter = outcome
            .streams
            .iter()
            .find(|s| s.stream == stream.stream)
            .and_then(|s| s.counter);
        let known = stream.highest_claim.max(stream.recovered_head);
        if counter.is_none_or(|c| c < known) {
            behind.push(format!("{} is at {counter:?}, {known} is known", stream.stream));
        }
    }
    check(
        "every counter is at its floor or above",
        behind.is_empty(),
        if behind.is_empty() {
            format!("{} counter(s)", outcome.streams.len())
        } else {
            behind.join("; ")
        },
    )
}

/// After the repair, only what could not be brought back may be wrong.
pub(super) fn after(after: &AuditReport) -> Check {
    let open = [
        Code::GapLeading,
        Code::GapInterior,
        Code::GapTail,
        Code::CommitmentMissing,
        Code::CheckpointBehind,
        // A key that the cut took comes back with the agent, not with its events.
        Code::EventKey,
        Code::ProjectionAhead,
    ];
    let other: BTreeSet<&str> = after
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Problem && !open.contains(&f.code))
        .map(|f| f.code.as_str())
        .collect();
    check(
        "after the repair nothing is wrong but what stays open",
        other.is_empty(),
        if other.is_empty() {
            format!("{} position(s) stay open", after.totals.missing)
        } else {
            other.into_iter().collect::<Vec<_>>().join(", ")
        },
    )
}

pub(super) fn again(again: &ApplyReport) -> Check {
    let same = |s: &AppliedStream| s.status == StreamStatus::AlreadyApplied;
    check(
        "applying the plan again changes nothing",
        again.streams.iter().all(same),
        format!("{} stream(s) were as the plan leaves them", again.streams.len()),
    )
}

/// The objectives that were given, for the whole and for phases.
pub(super) fn objectives(reached: &Objectives, phases: &[Phase]) -> Vec<Check> {
    let within = |name: String, reached: Option<f64>, wanted: Option<f64>| {
        let (reached, wanted) = (reached?, wanted?);
        let detail = format!("{reached:.3} s reached, {wanted} s wanted");
        Some(check(name, reached <= wanted, detail))
    };
    let (rto, rpo) = (&reached.rto, &reached.rpo);
    let whole = [
        within(
            "the recovery time objective is met".into(),
            rto.seconds_reached,
            rto.seconds_wanted,
        ),
        within(
            "the recovery point objective is met".into(),
            rpo.seconds_reached,
            rpo.seconds_wanted,
        ),
    ];
    let parts = phases.iter().map(|phase| {
        let name = format!("the phase {} is within its target", phase.name);
        within(name, Some(phase.seconds), phase.target_seconds)
    });
    whole.into_iter().chain(parts).flatten().collect()
}
