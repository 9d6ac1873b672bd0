//! What an incident came to: times against objectives, events lost and brought back, what held and what is not known.

use cli_common::incident::timeline::Moment;
use cli_common::provenance::COMMIT;
use serde::Serialize;
use ves::Timestamp;

use super::Course;
use super::course::Run;
use super::facts::Audit;
use crate::dr_report::{
    self, DrReport, EventCounts, Integrity, Intervention, Objectives, PassFail, Phase, RecoveryPoint,
    RecoveryTime, ReportKind, Scenario, StreamOutcome, Versions, met,
};
use crate::report::audit::BatchCounts;
use crate::stream::proof_reach::ProofTotals;

/// What an incident came to. What nobody knows is absent, never 0.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// From the outage to the start of the sequencer on the repaired log.
    pub rto_seconds: Option<f64>,
    /// From the last event before the first missing one to the outage, in the worst stream, before any repair.
    pub rpo_seconds_before: Option<f64>,
    /// The same after the last repair.
    pub rpo_seconds_after: Option<f64>,
    /// How far proof reached when the log was first audited.
    pub proof: Option<ProofTotals>,
    /// Positions that the first audit found missing.
    pub lost: Option<u64>,
    /// Events that were put back.
    pub restored: u64,
    /// Events that had no number before and got one.
    pub appended: u64,
    /// Positions that are lost for good: filled with tombstones, or stated by a loss certificate.
    pub lost_for_good: u64,
    /// Positions that the last audit found missing.
    pub unresolved: Option<u64>,
    /// Batches of the last audit.
    pub batches: Option<BatchCounts>,
    /// The parts, in order.
    pub phases: Vec<Phase>,
    /// What had to hold, and whether it did.
    pub checks: Vec<Check>,
    /// What people did by hand.
    pub interventions: Vec<Intervention>,
    /// What is not known, and how to make it known.
    pub not_known: Vec<String>,
}

/// Something that had to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// Whether it did; absent where that is not known.
    pub passed: Option<bool>,
    /// What was seen.
    pub detail: String,
}

impl Check {
    /// As the record has it: what is not known did not hold.
    fn recorded(&self) -> dr_report::Check {
        let passed = self.passed == Some(true);
        let detail = match self.passed {
            Some(_) => self.detail.clone(),
            None => format!("NOT KNOWN: {}", self.detail),
        };
        dr_report::Check {
            name: self.name.to_owned(),
            passed,
            detail,
        }
    }
}

/// The last audit, if nothing was repaired after it.
#[must_use]
pub fn last_audit(course: &Course) -> Option<&Audit> {
    match course.last_repair() {
        Some(_) => course.audit_after(),
        None => course.audits().next_back().map(|(_, audit)| audit),
    }
}

/// The streams of the first audit and the last.
fn streams(course: &Course) -> Vec<StreamOutcome> {
    let Some(last) = last_audit(course) else {
        return Vec::new();
    };
    let before = course.audit_before();
    let streams = last.streams.iter().map(|now| {
        let then = before.and_then(|audit| audit.streams.iter().find(|then| then.stream == now.stream));
        let missing = then.map_or(now.missing, |then| then.missing);
        StreamOutcome {
            stream: now.stream,
            head_before: None,
            head_recovered: then.and_then(|then| then.head).unwrap_or(0),
            head_repaired: now.head.unwrap_or(0),
            counter: now.counter,
            restored: missing.saturating_sub(now.missing),
            unresolved: now.missing,
            went_on_at: None,
            no_commitment: None,
        }
    });
    streams.collect()
}

impl Summary {
    /// The time between the last event that an anchor or a checkpoint covered and the last one of the log as it was found, in
    /// the worst stream.
    #[must_use]
    pub fn rpo_of_proof(&self) -> Option<f64> {
        self.proof.as_ref()?.unproven_seconds
    }

    /// Sums an incident up.
    #[must_use]
    pub fn of(course: &Course) -> Self {
        let brought = course.brought();
        let (before, last) = (course.audit_before(), last_audit(course));
        let rpo = |audit: Option<&Audit>| audit.and_then(|audit| course.rpo_seconds(audit));
        let mut summary = Self {
            rto_seconds: course.rto_seconds(),
            rpo_seconds_before: rpo(before),
            rpo_seconds_after: rpo(last),
            proof: before.and_then(|audit| audit.totals.proof.clone()),
            lost: before.map(|audit| audit.totals.missing),
            restored: brought.restored,
            appended: brought.appended,
            lost_for_good: brought.tombstones.max(course.certified().unwrap_or(0)),
            unresolved: last.map(|audit| audit.totals.missing),
            batches: last.map(|audit| audit.totals.batches.clone()),
            phases: phases(course),
            checks: Vec::new(),
            interventions: course.interventions(),
            not_known: not_known(course, before, last),
        };
        summary.checks = summary.judge(course, last);
        summary
    }

    /// Whether everything that had to hold is known to have held.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed == Some(true))
    }

    /// The record of the incident: what it came to, in the form that drills have too.
    #[must_use]
    pub fn record(&self, course: &Course) -> DrReport {
        let incident = &course.incident;
        let started_at = course.moment(Moment::OutageBegan).unwrap_or(Timestamp(0));
        let checks: Vec<dr_report::Check> = self.checks.iter().map(Check::recorded).collect();
        let result = PassFail::of(&checks);
        DrReport {
            schema: dr_report::SCHEMA.into(),
            kind: ReportKind::Incident,
            id: incident.id.clone(),
            scenario: Scenario {
                name: "incident".into(),
                streams: course
                    .audits()
                    .next_back()
                    .map(|(_, audit)| audit.streams.len() as u64),
                ..Scenario::default()
            },
            versions: Versions {
                tool: concat!("sequencer-recovery ", env!("CARGO_PKG_VERSION")).into(),
                commit: COMMIT.map(str::to_owned),
                ..Versions::default()
            },
            started_at,
            ended_at: course.closed_at.unwrap_or(started_at),
            result,
            exit_status: if result == PassFail::Pass { 0 } else { 4 },
            phases: self.phases.clone(),
            events: EventCounts {
                before: None,
                lost: self.lost,
                restored: self.restored,
                appended: self.appended,
                lost_for_good: self.lost_for_good,
                unresolved: self.unresolved,
                held_by_nobody: None,
                without_checkpoints: None,
                misplaced: None,
            },
            objectives: Objectives {
                rto: RecoveryTime::new(self.rto_seconds, incident.rto_seconds),
                rpo: RecoveryPoint {
                    seconds_before_repair: self.rpo_seconds_before,
                    events_before_repair: self.lost,
                    seconds_reached: self.rpo_seconds_after,
                    events_reached: self.unresolved,
                    seconds_wanted: incident.rpo_seconds,
                    met: met(self.rpo_seconds_after, incident.rpo_seconds),
                    proof_seconds: self.rpo_of_proof(),
                    proof_events: self.proof.as_ref().map(|proof| proof.unproven),
                },
            },
            integrity: self.integrity(course),
            checks,
            streams: streams(course),
            manual_interventions: self.interventions.len() as u64,
            interventions: self.interventions.clone(),
            not_checked: self.not_known.clone(),
        }
    }

    fn integrity(&self, course: &Course) -> Integrity {
        let Some(audit) = last_audit(course) else {
            return Integrity::default();
        };
        let (totals, batches) = (&audit.totals, &audit.totals.batches);
        Integrity {
            positions_expected: Some(totals.events.saturating_add(totals.missing)),
            positions_present: Some(totals.events),
            batches_matching_anchors: batches.matches_anchors,
            batches_matching_database: batches.matches_database,
            batches_failed: batches.failed,
            batches_not_checked: batches.not_checked,
            pass_rate: None,
        }
        .rated()
    }

    fn judge(&self, course: &Course, last: Option<&Audit>) -> Vec<Check> {
        let missing = match (self.unresolved, course.certified()) {
            (None, _) => (None, "no audit was run after the last repair".to_owned()),
            (Some(0), _) => (Some(true), "no position is missing".to_owned()),
            (Some(open), Some(certified)) if certified >= open => (
                Some(true),
                format!("{open} position(s) are missing, and certified as lost"),
            ),
            (Some(open), _) => (
                Some(false),
                format!("{open} position(s) are missing, and not certified as lost"),
            ),
        };
        let failed = last.map(|audit| audit.totals.batches.failed);
        let checklist = course
            .runs
            .iter()
            .rev()
            .find(|run| run.command == "checklist" && run.end.is_some());
        let status = checklist.and_then(|run| run.end.as_ref()).map(|end| end.status);
        let check = |name, (passed, detail): (Option<bool>, String)| Check { name, passed, detail };
        let mut checks = vec![
            check("nothing is missing but what is certified as lost", missing),
            check(
                "no batch contradicts what was anchored or committed",
                match failed {
                    Some(failed) => (Some(failed == 0), format!("{failed} batch(es) FAILED")),
                    None => (None, "no audit was run after the last repair".into()),
                },
            ),
            check(
                "the checklist passed",
                match status {
                    Some(status) => (Some(status == 0), format!("it ended with {status}")),
                    None => (None, "it was not run".into()),
                },
            ),
            check(
                "the folder is as the commands left it",
                match &course.faults[..] {
                    [] => (
                        Some(true),
                        "the timeline goes on line by line, and all evidence has its hash".into(),
                    ),
                    [first, rest @ ..] => (Some(false), format!("{first}; {} more", rest.len())),
                },
            ),
        ];
        let objective = |name, wanted: Option<f64>, reached: Option<f64>| {
            let wanted = wanted?;
            let seen = match reached {
                Some(reached) => (
                    Some(reached <= wanted),
                    format!("{reached:.0} s reached, {wanted:.0} s wanted"),
                ),
                None => (None, format!("not known; {wanted:.0} s wanted")),
            };
            Some(check(name, seen))
        };
        let incident = &course.incident;
        checks.extend(objective(
            "the recovery time objective is met",
            incident.rto_seconds,
            self.rto_seconds,
        ));
        checks.extend(objective(
            "the recovery point objective is met",
            incident.rpo_seconds,
            self.rpo_seconds_after,
        ));
        checks
    }
}

/// Commands by name, in the order in which they were first run, with the restore before them.
fn phases(course: &Course) -> Vec<Phase> {
    let mut phases: Vec<Phase> = Vec::new();
    let spans = [
        ("outage until restore", Moment::OutageBegan, Moment::RestoreBegan),
        ("restore", Moment::RestoreBegan, Moment::RestoreEnded),
        (
            "start of the sequencer until service",
            Moment::SequencerStarted,
            Moment::ServiceRestored,
        ),
    ];
    for (name, from, to) in spans {
        if let (Some(started_at), Some(ended_at)) = (course.moment(from), course.moment(to)) {
            phases.push(Phase {
                name: name.to_owned(),
                component: "people".to_owned(),
                started_at,
                ended_at,
                seconds: ended_at.seconds_since(started_at).max(0.0),
                target_seconds: None,
                met: None,
            });
        }
    }
    for run in &course.runs {
        let (Some(end), Some(seconds)) = (&run.end, run.seconds()) else {
            continue;
        };
        let same = |phase: &&mut Phase| phase.name == run.command && phase.component == run.tool;
        match phases.iter_mut().find(same) {
            Some(phase) => {
                phase.ended_at = end.at;
                phase.seconds += seconds;
            }
            None => phases.push(Phase {
                name: run.command.clone(),
                component: run.tool.clone(),
                started_at: run.began_at,
                ended_at: end.at,
                seconds,
                target_seconds: None,
                met: None,
            }),
        }
    }
    phases.sort_by_key(|phase| phase.started_at);
    phases
}

fn not_known(course: &Course, before: Option<&Audit>, last: Option<&Audit>) -> Vec<String> {
    let mut told = Vec::new();
    if !course.moments.contains_key(&Moment::OutageBegan) {
        told.push(
            "when the outage began: nobody noted it, so the start of the incident stands for it (`incident note --moment \
             outage-began --at TIME`)"
                .to_owned(),
        );
    }
    if !course.moments.contains_key(&Moment::SequencerStarted) {
        told.push(
            "RTO: nobody noted when the sequencer was started (`incident note --moment sequencer-started --at TIME`)"
                .to_owned(),
        );
    }
    if let (Some(started), Some(repair)) = (course.moment(Moment::SequencerStarted), course.last_repair())
        && started < repair.began_at
    {
        told.push(format!(
            "whether the sequencer ran while the log was repaired: it was started at {started}, by the note, and the last \
             repair began at {}",
            repair.began_at
        ));
    }
    if before.is_none() {
        told.push("what the recovery lost: no audit was kept before the first repair".to_owned());
    }
    if last.is_none() {
        told.push("what is still missing: no audit was kept after the last repair".to_owned());
    }
    for (audit, when) in [(before, "before the repair"), (last, "after the repair")] {
        if audit.is_some_and(|audit| course.rpo_seconds(audit).is_none()) {
            told.push(format!(
                "RPO {when}: a stream lacks its first event, so nothing says how far back it reaches"
            ));
        }
    }
    let unended = course.unended().map(|run: &Run| {
        format!(
            "how `{} {}` of {} ended: it was killed, or is still at work",
            run.tool, run.command, run.began_at
        )
    });
    told.extend(unended);
    for audit in last.into_iter() {
        told.extend(
            audit
                .not_checked
                .iter()
                .map(|what| format!("by the last audit: {what}")),
        );
    }
    told
}
