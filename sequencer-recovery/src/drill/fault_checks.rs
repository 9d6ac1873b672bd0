//! What must come of each fault. A fault that did nothing in this world is no pass: it is told as not checked.

use fixtures::{HeldClass, Truth, World};

use super::checks::check;
use super::fault::DrillFault;
use super::outcome::RepairOutcome;
use super::walk::Repair;
use crate::apply::StreamStatus;
use crate::dr_report::Check;
use crate::finding::Code;
use crate::grade::Grade;
use crate::plan::PlanSummary;
use crate::report::audit::AuditReport;

/// What there is to judge a fault by.
pub(super) struct Seen<'a> {
    pub(super) world: &'a World,
    pub(super) truth: &'a Truth,
    pub(super) repair: &'a Repair,
    pub(super) outcome: &'a RepairOutcome,
    /// The plan without a word on numbers that were given out twice.
    pub(super) undecided: Option<&'a PlanSummary>,
    /// What became of applying to a log of an older level.
    pub(super) before_migration: Option<&'a str>,
    /// The outcome of the first repair, where the log was recovered a second time.
    pub(super) first: Option<&'a RepairOutcome>,
}

/// The check of a fault, or why there was nothing to check.
pub(super) fn judge(fault: DrillFault, seen: &Seen<'_>) -> Result<Check, String> {
    let judged = match fault {
        DrillFault::LostAgent => lost_agent(seen),
        DrillFault::WrongClaims => wrong_claims(seen),
        DrillFault::TamperedOutbox => tampered_outbox(seen),
        DrillFault::RewoundCounter => rewound_counter(seen),
        DrillFault::RanOn => ran_on(seen),
        DrillFault::MissingAnchors => missing_anchors(seen),
        DrillFault::RevokedKey => revoked_key(seen),
        DrillFault::BeforeMigration => before_migration(seen),
        DrillFault::SecondRecovery => second_recovery(seen),
    };
    match judged {
        Some((what, passed, detail)) => Ok(check(format!("{fault}: {what}"), passed, detail)),
        None => Err(format!(
            "the fault {fault}: with this seed and size it changed nothing that was lost"
        )),
    }
}

/// What must hold, whether it did, and what was seen. `None` if the fault had no effect in this world.
type Judged = Option<(&'static str, bool, String)>;

fn has(report: &AuditReport, code: Code) -> bool {
    report.findings.iter().any(|finding| finding.code == code)
}

/// What only the lost outboxes had stays open; nothing is put in its place.
fn lost_agent(seen: &Seen<'_>) -> Judged {
    let (mut gone, mut filled) = (0, 0);
    for stream in &seen.truth.streams {
        let stored = seen.outcome.stored.get(&stream.stream);
        for event in stream
            .events
            .iter()
            .filter(|e| !e.in_recovered && e.class == HeldClass::Unrestorable)
        {
            gone += 1;
            filled += u64::from(stored.is_some_and(|stored| stored.contains_key(&event.number)));
        }
    }
    (gone > 0).then(|| {
        (
            "what nobody who is left holds stays open, and nothing takes its place",
            filled == 0,
            format!("{gone} event(s) held by nobody, {filled} of their positions filled"),
        )
    })
}

/// No event goes where a wrong number said, though the claims are many.
fn wrong_claims(seen: &Seen<'_>) -> Judged {
    let wrong: usize = seen.truth.streams.iter().map(|s| s.wrong_claims.len()).sum();
    let misplaced = seen.outcome.counts.misplaced.unwrap_or(0);
    (wrong > 0).then(|| {
        (
            "no wrong claim puts an event where it was not",
            misplaced == 0,
            format!("{wrong} row(s) claim a wrong number, {misplaced} event(s) misplaced"),
        )
    })
}

/// Rows that were altered are refused and named, and no payload in the log is other than was signed.
fn tampered_outbox(seen: &Seen<'_>) -> Judged {
    let rows = seen.world.outboxes().iter().filter(|outbox| !outbox.lost);
    let altered = rows
        .flat_map(|outbox| &outbox.rows)
        .filter(|row| row.tampered)
        .count();
    let refused: u64 = seen.repair.found.heard.iter().map(|heard| heard.refused).sum();
    let told = has(&seen.repair.found, Code::WitnessRefused);
    (altered > 0 && refused > 0).then(|| {
        (
            "altered rows are refused and told (witness.refused), and none of them is in the log",
            told && seen.outcome.altered == 0,
            format!(
                "{altered} row(s) altered, {refused} that the log lacks refused, {} altered in the log",
                seen.outcome.altered
            ),
        )
    })
}

/// The audit tells that the counters stand behind their own log, and the repair raises them.
fn rewound_counter(seen: &Seen<'_>) -> Judged {
    let streams = &seen.repair.found.streams;
    let behind = streams
        .iter()
        .filter(|s| s.counter.unwrap_or(0) < s.head.unwrap_or(0))
        .count();
    let told = has(&seen.repair.found, Code::CounterBehind);
    let healed = !has(&seen.repair.after, Code::CounterBehind);
    (behind > 0).then(|| {
        (
            "the audit tells it (counter.behind), and after the repair it is gone",
            told && healed,
            format!("{behind} counter(s) stood behind the log's own events"),
        )
    })
}

/// Numbers that were given out twice are told; without a decision nothing is moved; with it, what was anchored stands at its
/// place and the newcomers, all of them, at numbers of their own.
fn ran_on(seen: &Seen<'_>) -> Judged {
    let newcomers = || {
        let streams = seen.truth.streams.iter();
        streams.flat_map(|stream| stream.reissued.iter().map(move |event| (stream.stream, event)))
    };
    let all = newcomers().count();
    let kept = newcomers()
        .filter(|(stream, event)| {
            let stored = seen.outcome.stored.get(stream);
            stored.is_some_and(|stored| stored.values().any(|id| *id == event.event_id))
        })
        .count();
    let told = has(&seen.repair.found, Code::Reissue);
    let undecided = seen
        .undecided
        .map_or((0, 1), |plan| (plan.totals.reissued_left, plan.totals.moves));
    (all > 0).then(|| {
        (
            "told (reissue); left alone without --on-reissue; with keep-anchored every newcomer has a number of its own",
            told && undecided.0 > 0 && undecided.1 == 0 && kept == all,
            format!(
                "{all} event(s) got numbers after the restore, {} of them promised before; {kept} are in the log, {} moved",
                undecided.0, seen.repair.planned.totals.moves
            ),
        )
    })
}

/// Without anchors nothing is called proven, and the report says that the chain was not asked.
fn missing_anchors(seen: &Seen<'_>) -> Judged {
    let proven = seen
        .repair
        .planned
        .totals
        .by_grade
        .get(&Grade::Proven)
        .copied()
        .unwrap_or(0);
    let told = seen
        .repair
        .found
        .not_checked
        .iter()
        .any(|line| line.contains("anchors"));
    Some((
        "nothing is called proven, and what was not checked says so",
        proven == 0 && told,
        format!(
            "{proven} event(s) called proven, {} restored on other evidence",
            seen.outcome.counts.restored
        ),
    ))
}

/// The revoked key still holds for what was accepted before it was revoked: those events come back.
fn revoked_key(seen: &Seen<'_>) -> Judged {
    let keys = &seen.world.recovered().keys;
    let revoked: Vec<_> = keys.iter().filter(|row| row.key.status == "revoked").collect();
    let (mut held, mut back) = (0, 0);
    for (stream, logged) in (seen.world.log().streams.iter())
        .flat_map(|(stream, log)| log.events.values().map(move |logged| (stream, logged)))
    {
        let by_it = revoked.iter().any(|row| {
            row.key.agent_id == logged.event.source_agent_id && row.key.key_id == logged.event.agent_key_id
        });
        let truth = seen.truth.stream(stream).and_then(|stream| {
            let mut events = stream.events.iter();
            events.find(|event| event.event_id == logged.event.event_id)
        });
        let exact = truth.is_some_and(|e| !e.in_recovered && e.class == HeldClass::RestorableExact);
        if by_it && exact {
            held += 1;
            let stored = seen.outcome.stored.get(stream);
            back += u64::from(stored.and_then(|s| s.get(&logged.number)) == Some(&logged.event.event_id));
        }
    }
    let heard = seen.repair.found.heard.iter();
    let refused = heard
        .flat_map(|heard| &heard.refusals)
        .filter(|refused| refused.reason.contains("revoked"))
        .count();
    // That all of a whole batch comes back is a check of every drill.
    (back > 0 || refused > 0).then(|| {
        (
            "what the agent signed before its key was revoked comes back, though it can no longer be pushed",
            refused == 0 && !has(&seen.repair.after, Code::EventKey),
            format!("{back} of {held} lost event(s) by the revoked key are back, {refused} refused for the key's sake"),
        )
    })
}

/// A log of an older level is refused, and told which migrations to run; after them it is repaired.
fn before_migration(seen: &Seen<'_>) -> Judged {
    let refusal = seen.before_migration?;
    let applied = seen.repair.applied.streams.iter();
    let done = applied.filter(|s| s.status == StreamStatus::Applied).count();
    Some((
        "apply refuses, names the migration to run, and repairs the log after it",
        refusal.contains("015_pqc_key_algorithm") && done > 0,
        refusal.to_owned(),
    ))
}

/// The second repair ends where the first did: the same events at the same numbers.
fn second_recovery(seen: &Seen<'_>) -> Judged {
    let first = seen.first?;
    let same = first.stored == seen.outcome.stored;
    let again = seen.repair.found.totals.missing;
    Some((
        "after a second recovery to the same point the repair ends where the first one did",
        same && again > 0,
        format!(
            "{again} position(s) were missing again; {} event(s) were restored the first time, {} the second",
            first.counts.restored, seen.outcome.counts.restored
        ),
    ))
}
