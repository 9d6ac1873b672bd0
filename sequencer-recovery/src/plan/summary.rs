//! A plan in numbers, for people and for scripts. Documented in docs/plan.md.

use std::collections::BTreeMap;

use event_log::Place;
use serde::Serialize;
use ves::{AgentId, BatchId, Hash32, StreamKey};

use super::accept_keys::RefusedKey;
use super::hold_back::HoldBack;
use super::planned::{
    LeftOut, PlannedEvent, PlannedKey, PlannedMove, PlannedOpen, PlannedReissue, PlannedSuperseded,
};
use super::stream_plan::StreamPlan;
use crate::damage::NotPlanned;
use crate::finding::Finding;
use crate::floor::Floor;
use crate::grade::Grade;
use crate::place::placement::{Judgement, Limit, TargetOutcome};
use crate::stream::bookkeeping::Bookkeeping;
use crate::stream::proof_reach::ProofTotals;
use crate::stream::target::Target;
use crate::stream::unheard::Unheard;
use crate::witness::Incomplete;

/// The plan in numbers, for people and for scripts. Documented in docs/plan.md.
#[derive(Debug, Serialize)]
pub struct PlanSummary {
    /// `recovery-plan-summary/1`.
    pub schema: &'static str,
    /// The plan's id.
    pub plan_id: Hash32,
    /// The log, without secrets.
    pub db: String,
    /// Where it was looked at.
    pub place: Place,
    /// The weakest grade used.
    pub accept: String,
    /// The floor that was chosen.
    pub floor: String,
    /// Sums over all streams.
    pub totals: PlanTotals,
    /// The streams, by tenant and store.
    pub streams: Vec<PlannedStreamSummary>,
    /// A witness could not be read, or not to its end.
    pub witness_unreadable: bool,
    /// Which, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<Incomplete>,
    /// Agents with events or keys in the log that no outbox speaks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_heard: Vec<Unheard>,
    /// What stands in the way of applying the plan: its database's triggers, columns, rights.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hindrances: Vec<Finding>,
    /// That the log has no stream, or none that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty: Option<String>,
    /// Streams that the plan leaves alone, since the database under them is damaged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_planned: Vec<NotPlanned>,
    /// What was not checked, and why.
    pub not_checked: Vec<String>,
}

/// Sums over all streams.
#[derive(Debug, Default, Serialize)]
pub struct PlanTotals {
    /// How far proof reaches, before the repair.
    pub proof: ProofTotals,
    /// Positions that are missing.
    pub missing: u64,
    /// Events that go back.
    pub events: u64,
    /// By the grade of their evidence.
    pub by_grade: BTreeMap<Grade, u64>,
    /// Commitments that go back.
    pub commitments: u64,
    /// Counters that change.
    pub counters: u64,
    /// Positions that stay open.
    pub open: u64,
    /// By grade: `contested`, `lost`, or a grade that was not accepted.
    pub open_by_grade: BTreeMap<Grade, u64>,
    /// Events that their agents still have to push: never numbered, as far as anybody knows.
    pub never_sequenced: u64,
    /// Numbers that were given out twice.
    pub reissued: u64,
    /// Of these, how many the plan leaves as they are.
    pub reissued_left: u64,
    /// Events that get another number.
    pub moves: u64,
    /// Events that were never sequenced and get the numbers after the floor.
    pub appended: u64,
    /// Events that wait and are not appended.
    pub left_out: u64,
    /// Keys that are registered again.
    pub keys: u64,
    /// Lost positions that are filled with tombstones.
    pub tombstones: u64,
}

/// One stream of the plan.
#[derive(Debug, Serialize)]
pub struct PlannedStreamSummary {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// Positions that are missing.
    pub missing: u64,
    /// Events that go back.
    pub events: u64,
    /// By grade.
    pub by_grade: BTreeMap<Grade, u64>,
    /// Where they go back, ascending: ranges of one grade.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub goes_back: Vec<GoesBack>,
    /// The last number before; 0 if the stream was empty.
    pub head_before: u64,
    /// What became of each batch with a known root and missing events.
    pub batches: Vec<BatchSummary>,
    /// What became of the checkpoints of which only roots were known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checkpoints: Vec<HeadSummary>,
    /// On whose word the checkpoints rest, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpointed_by: Option<String>,
    /// Commitments that go back.
    pub commitments: u64,
    /// Why no further commitment goes back, if the anchors have more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commitments_stop: Option<String>,
    /// The counter as it is.
    pub counter_before: Option<u64>,
    /// The counter as it becomes.
    pub counter_after: Option<u64>,
    /// Why, and what the other choices cost.
    pub floor: Option<Floor>,
    /// What is put right beside the events.
    pub bookkeeping: Bookkeeping,
    /// Positions that stay open, in ranges of one reason.
    pub open: Vec<PlannedOpen>,
    /// Events that their agents still have to push.
    pub never_sequenced: u64,
    /// Numbers that were given out twice.
    #[serde(skip_serializing_if = "is_zero")]
    pub reissued: u64,
    /// What the plan does about them, or what it costs to do nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reissue_note: Option<String>,
    /// Both histories, number by number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reissue: Vec<PlannedReissue>,
    /// Events that get another number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<PlannedMove>,
    /// Commitments that go, since they are over events that move.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub superseded: Vec<PlannedSuperseded>,
    /// Events that were never sequenced and get the numbers after the floor.
    pub appended: u64,
    /// Events that wait and are not appended, if it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// Lost positions that are filled with tombstones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filled: Vec<PlannedOpen>,
    /// Positions that are not filled since the root of their batch is known.
    #[serde(skip_serializing_if = "is_zero")]
    pub not_filled_root_known: u64,
    /// Keys that are registered again, if it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<PlannedKey>,
    /// Keys that somebody vouches for and that are not registered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys_refused: Vec<RefusedKey>,
    /// Keys of events that go back which the log will not know, or not as good at their time: an audit will say so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys_missed: Vec<MissedKey>,
    /// Ranges that must not be committed once the plan is applied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub must_not_commit: Vec<HoldBack>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Positions, one beside the other, that get their event back on evidence of one grade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct GoesBack {
    /// The first.
    pub from: u64,
    /// The last (inclusive).
    pub to: u64,
    /// How sure it is.
    pub grade: Grade,
}

/// Where events go back, as ranges.
pub(super) fn goes_back(events: &[PlannedEvent]) -> Vec<GoesBack> {
    let mut ranges: Vec<GoesBack> = Vec::new();
    for event in events {
        let (at, grade) = (event.sequence, event.grade);
        match ranges.last_mut() {
            Some(last) if last.to.checked_add(1) == Some(at) && last.grade == grade => last.to = at,
            _ => ranges.push(GoesBack {
                from: at,
                to: at,
                grade,
            }),
        }
    }
    ranges
}

/// What became of a checkpoint of which only the root was known.
#[derive(Debug, Serialize)]
pub struct HeadSummary {
    /// How many events it covers.
    pub size: u64,
    /// Whether the events up to it were found.
    pub solved: bool,
    /// How they were found, or why not, in words.
    pub outcome: String,
}

/// What became of the checkpoints that had to be searched for.
pub(super) fn heads(judgement: &Judgement) -> Vec<HeadSummary> {
    let summary = |(size, outcome): &(u64, TargetOutcome)| HeadSummary {
        size: *size,
        solved: matches!(outcome, TargetOutcome::Solved { .. }),
        outcome: describe_outcome(outcome),
    };
    judgement.heads.iter().map(summary).collect()
}

/// What became of one batch.
#[derive(Debug, Serialize)]
pub struct BatchSummary {
    /// The batch.
    pub batch_id: BatchId,
    /// Its first number.
    pub sequence_start: u64,
    /// Its last number.
    pub sequence_end: u64,
    /// Whether its events were found.
    pub solved: bool,
    /// How they were found, or why not, in words.
    pub outcome: String,
}

impl PlanTotals {
    /// Adds a stream.
    pub(super) fn add(&mut self, plan: &StreamPlan) {
        let summary = &plan.summary;
        self.missing = self.missing.saturating_add(summary.missing);
        self.events += summary.events;
        for (grade, count) in &summary.by_grade {
            *self.by_grade.entry(*grade).or_default() += count;
        }
        self.commitments += summary.commitments;
        self.counters += u64::from(summary.counter_before != summary.counter_after);
        for open in &summary.open {
            self.open = self.open.saturating_add(open.count());
            let of_grade = self.open_by_grade.entry(open.grade).or_default();
            *of_grade = of_grade.saturating_add(open.count());
        }
        self.never_sequenced += summary.never_sequenced;
        self.reissued += summary.reissued;
        self.reissued_left += plan.header.reissued;
        self.moves += plan.header.moves;
        self.appended += summary.appended;
        self.left_out += summary.left_out.len() as u64;
        self.keys += summary.keys.len() as u64;
        self.tombstones += plan.tombstones.len() as u64;
    }
}

/// What became of the batches with a known root and missing events.
pub(super) fn batches(judgement: &Judgement, targets: &[Target]) -> Vec<BatchSummary> {
    let summary = |(id, outcome): &(BatchId, TargetOutcome)| {
        let target = targets.iter().find(|t| t.batch_id == *id)?;
        Some(BatchSummary {
            batch_id: *id,
            sequence_start: target.range.start(),
            sequence_end: target.range.end(),
            solved: matches!(outcome, TargetOutcome::Solved { .. }),
            outcome: describe_outcome(outcome),
        })
    };
    judgement.outcomes.iter().filter_map(summary).collect()
}

/// What became of a batch, in words.
fn describe_outcome(outcome: &TargetOutcome) -> String {
    match outcome {
        TargetOutcome::Solved { tries } => format!("solved: the root came out equal at guess {tries}"),
        TargetOutcome::NoCandidate { positions, limit } => {
            let unfinished = match limit {
                None => String::new(),
                Some(limit) => format!(
                    "; the search in the agents' own order was NOT finished: {} ran out",
                    option_of(*limit)
                ),
            };
            format!("open: nobody names an event that verifies for {positions}{unfinished}")
        }
        TargetOutcome::NoMatch { tries } => {
            format!("open: none of the {tries} combination(s) of the named events gives the root")
        }
        TargetOutcome::BudgetSpent { tries, limit } => {
            format!(
                "open: the search was NOT finished: {tries} combination(s) were tried, and {} ran out before the root \
                 came out equal",
                option_of(*limit)
            )
        }
    }
}

/// The option that sets a limit.
fn option_of(limit: Limit) -> &'static str {
    match limit {
        Limit::Candidates => "--solve-candidates",
        Limit::Seconds => "--solve-seconds",
    }
}

/// A key that events of the plan name, and that the log does not vouch for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissedKey {
    /// Whose.
    pub agent_id: AgentId,
    /// Its number.
    pub key_id: u32,
    /// How many events of the plan it signed.
    pub events: u64,
    /// What is wrong with it, of the first of them.
    pub why: String,
}
