//! The plan: which event goes back to which position on what evidence, what the counter becomes, what
//! stays open and why. Makes a value and a file; changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::{Duration, Instant};

use anchor_verify::AnchoredBatch;
use cli_common::{Cancel, Progress};
use event_log::{Commitment, Place, View};
use serde::Serialize;
use ves::{BatchId, Hash32, StreamKey, Timestamp, stream};

use crate::accept_keys::{self, Accepted, KeySources, PlannedKey, RefusedKey, Vouched};
use crate::append::{self, AppendInput, AppendOptions, Appending, LeftOut};
use crate::damage::NotPlanned;
use crate::error::RecoveryError;
use crate::evidence::StreamEvidence;
use crate::examine::{Batch, BatchVerdict, Examined};
use crate::finding::Finding;
use crate::floor::{self, Floor, FloorChoice};
use crate::grade::{Accept, Grade};
use crate::hold_back::{HoldBack, hold_back};
use crate::placement::{Budget, Judgement, Limit, Outcome, Placement, Question, judge};
use crate::plan_file::{
    Incomplete, KnownBatch, PlanHeader, PlanLine, PlanWriter, PlannedBatch, PlannedBookkeeping,
    PlannedCommitment, PlannedEvent, PlannedMove, PlannedOpen, PlannedReissue, PlannedStream,
    PlannedSuperseded, SCHEMA,
};
use crate::preflight;
use crate::reissue::{self, OnReissue};
use crate::skipped::Skipped;
use crate::survey::{Survey, SurveyInput};
use crate::tombstone::{self, FillInput, Filling, PlannedTombstone, RecoveryAgents, TombstoneOptions};
use crate::unheard::{Seen, Unheard};

/// What the operator decides.
#[derive(Debug, Clone, Default)]
pub struct PlanOptions {
    /// The weakest grade to use.
    pub accept: Accept,
    /// Which witnesses to trust for the counters; `None` for the default, see [`floor::choose`].
    pub floor: Option<FloorChoice>,
    /// How much work the search for placements may do.
    pub budget: Budget,
    /// How long it may search in all, reading not counted.
    pub solve_for: Option<Duration>,
    /// What to do about numbers that were given out twice; `None`: show them and leave them.
    pub on_reissue: Option<OnReissue>,
    /// Whether events that were never sequenced get the numbers after the floor.
    pub append: Option<AppendOptions>,
    /// Where keys that the log lost are taken from.
    pub accept_keys: KeySources,
    /// Whether lost positions are filled with tombstones, and by whom.
    pub fill: Option<TombstoneOptions>,
}

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
    pub streams: Vec<StreamSummary>,
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
pub struct StreamSummary {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// Positions that are missing.
    pub missing: u64,
    /// Events that go back.
    pub events: u64,
    /// By grade.
    pub by_grade: BTreeMap<Grade, u64>,
    /// What became of each batch with a known root and missing events.
    pub batches: Vec<BatchSummary>,
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
    pub bookkeeping: PlannedBookkeeping,
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
    /// Ranges that must not be committed once the plan is applied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub must_not_commit: Vec<HoldBack>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_zero(count: &u64) -> bool {
    *count == 0
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
    /// `solved`, or why not.
    pub outcome: String,
}

/// Everything that is to be done in one stream.
#[derive(Debug)]
pub struct StreamPlan {
    /// The line that opens its section.
    pub header: PlannedStream,
    /// The keys that its events need and the log lost.
    pub keys: Vec<PlannedKey>,
    /// Numbers that were given out twice, ascending.
    pub reissues: Vec<PlannedReissue>,
    /// Commitments that go.
    pub superseded: Vec<PlannedSuperseded>,
    /// Events that get another number, by the number that they have.
    pub moves: Vec<PlannedMove>,
    /// Its events, ascending.
    pub events: Vec<PlannedEvent>,
    /// Its tombstones, ascending.
    pub tombstones: Vec<PlannedTombstone>,
    /// Its commitments, ascending.
    pub commitments: Vec<PlannedCommitment>,
    /// What follows from the events and is put right beside them.
    pub bookkeeping: PlannedBookkeeping,
    /// What is appended, ascending, and what waits and is not.
    pub appending: Appending,
    /// What stays open or is filled with tombstones, ascending.
    pub open: Vec<PlannedOpen>,
    /// In numbers.
    pub summary: StreamSummary,
}

impl StreamPlan {
    /// True if there is something to do.
    pub fn changes(&self) -> bool {
        !self.events.is_empty()
            || !self.moves.is_empty()
            || !self.superseded.is_empty()
            || !self.commitments.is_empty()
            || !self.bookkeeping.is_empty()
            || !self.appending.events.is_empty()
            || !self.keys.is_empty()
            || !self.tombstones.is_empty()
            || self.header.counter_after != self.header.counter_before
    }
}

/// Makes a plan and writes it to `out`.
///
/// # Errors
/// What the log's database says, an anchors file that cannot be used, a floor below a proof, an output that
/// cannot be written, [`RecoveryError::Cancelled`].
#[expect(
    clippy::too_many_arguments,
    reason = "each is a thing of its own, and there is one caller"
)]
pub async fn plan(
    view: &mut View,
    db: String,
    tool: &str,
    input: &SurveyInput,
    options: &PlanOptions,
    out: impl Write,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<PlanSummary, RecoveryError> {
    let made_at = view.database_time().await?;
    let mut survey = Survey::take(view, input, progress, cancel).await?;
    let mut vouched = Vouched::hear(&options.accept_keys, &survey.collected.peer_keys, &survey.keys)?;
    let mut named = BTreeSet::new();
    let mut agents = RecoveryAgents::default();
    let header = PlanHeader {
        schema: SCHEMA.into(),
        made_at,
        tool: tool.into(),
        db: db.clone(),
        place: Some(Box::new(view.place().clone())),
        accept: options.accept.to_string(),
        floor: options.floor.unwrap_or_default().to_string(),
        witnesses: survey
            .collected
            .heard
            .iter()
            .map(|h| match &h.made {
                Some(made) => format!("{} ({made})", h.path),
                None => h.path.clone(),
            })
            .chain(input.anchors.iter().map(|path| path.display().to_string()))
            .collect(),
        incomplete: survey.incomplete(),
        append: options.append.map(|append| describe_append(&append)),
        not_planned: (survey.streams.iter())
            .filter_map(|state| {
                let why = survey.damage.refusal(&state.stream)?;
                let stream = state.stream;
                Some(NotPlanned { stream, why })
            })
            .collect(),
    };
    let io = |source| RecoveryError::Io {
        path: "the plan".into(),
        source,
    };
    let mut writer = PlanWriter::new(out, &header).map_err(io)?;
    let mut totals = PlanTotals::default();
    let mut streams = Vec::new();
    let mut not_checked = survey.not_checked();
    not_checked.extend(view.place().reservation());
    let mut skipped = Skipped::default();
    let budget = Budget {
        until: options
            .solve_for
            .and_then(|time| Instant::now().checked_add(time)),
        ..options.budget
    };
    progress.start(
        "planning",
        Some(survey.streams.iter().map(|s| s.event_count).sum()),
    );
    let mut seen = Seen::new();
    for state in survey.streams.clone() {
        if header.not_planned.iter().any(|left| left.stream == state.stream) {
            not_checked.push(format!(
                "{}: it is not planned, so nothing of it was checked",
                state.stream
            ));
            progress.advance(state.event_count);
            continue;
        }
        let examined = survey.examine(view, &state, input, progress, cancel).await?;
        seen.insert(state.stream, examined.scan.tally.agents.clone());
        not_checked.extend(examined.not_checked.iter().cloned());
        skipped.extend(examined.skipped.clone());
        let evidence = survey.evidence(&state.stream);
        let holders = &survey.collected.holders;
        let given = reissue::Given {
            examined: &examined,
            evidence,
            holders,
            keys: &survey.keys,
            budget,
        };
        let found = reissue::find(view, &given, &mut not_checked, cancel).await?;
        let plan = match &found {
            Some(reissue) => {
                reissue
                    .plan_stream(view, &examined, options, &survey, made_at)
                    .await?
            }
            None => {
                let missing = examined.missing_ranges();
                let question = Question {
                    stream: &state.stream,
                    missing: &missing,
                    targets: &examined.targets,
                    history: &examined.scan.history,
                };
                let mut judgement = judge(&question, evidence, holders, budget);
                let mut accepted = Accepted::default();
                if !vouched.is_empty() {
                    let (evidence, holders) = survey.evidence_and_holders(&state.stream);
                    let accept = options.accept;
                    accepted = accept_keys::accept(
                        view,
                        &mut vouched,
                        &examined,
                        evidence,
                        &judgement,
                        holders,
                        accept,
                    )
                    .await?;
                    named.extend(accepted.named.iter().copied());
                    if accepted.changed {
                        judgement = judge(&question, evidence, holders, budget);
                    }
                    accepted
                        .keys
                        .iter()
                        .for_each(|key| survey.keys.insert(key.key.clone()));
                }
                let evidence = survey.evidence(&state.stream);
                plan_stream(
                    view,
                    &examined,
                    evidence,
                    judgement,
                    options,
                    &survey,
                    None,
                    made_at,
                    accepted,
                    &mut agents,
                )
                .await?
            }
        };
        let mut plan = plan;
        if !plan.open.is_empty() {
            let commitments = view.commitments(&state.stream).await?.rows;
            plan.summary.must_not_commit = hold_back(
                &plan.open,
                &survey.anchored(&state.stream),
                last_committed(&commitments, &plan),
                &plan.moves,
            );
        }
        add_totals(&mut totals, &plan);
        let left = !plan.reissues.is_empty()
            || !plan.appending.left_out.is_empty()
            || !plan.summary.keys_refused.is_empty();
        if plan.changes() || !plan.open.is_empty() || left {
            write_stream(&mut writer, &plan).map_err(io)?;
        }
        if plan.changes() || plan.summary.missing > 0 || left {
            streams.push(plan.summary);
        }
    }
    progress.finish();
    not_checked.extend(skipped.lines());
    if !options.accept_keys.is_empty() && vouched.is_empty() {
        not_checked
            .push("keys to register again: whoever was asked vouches for none that the log lacks".to_owned());
    }
    let not_needed = vouched.not_needed(&named);
    if not_needed > 0 {
        not_checked.push(format!(
            "{not_needed} key(s) that somebody vouches for and that the log lacks or has otherwise: no event names them, \
             so they are not registered"
        ));
    }
    let (_, plan_id) = writer.finish().map_err(io)?;
    Ok(PlanSummary {
        schema: "recovery-plan-summary/1",
        plan_id,
        db,
        place: view.place().clone(),
        accept: header.accept,
        floor: header.floor,
        totals,
        streams,
        witness_unreadable: !header.incomplete.is_empty(),
        incomplete: header.incomplete,
        not_heard: survey.unheard(&seen, &input.filter),
        hindrances: preflight::look(view).await?,
        empty: survey.nothing(view, &input.filter).map(|finding| finding.message),
        not_planned: header.not_planned,
        not_checked,
    })
}

fn write_stream<W: Write>(writer: &mut PlanWriter<W>, plan: &StreamPlan) -> std::io::Result<()> {
    writer.line(&PlanLine::Stream(Box::new(plan.header.clone())))?;
    for key in &plan.keys {
        writer.line(&PlanLine::Key(Box::new(key.clone())))?;
    }
    for reissue in &plan.reissues {
        writer.line(&PlanLine::Reissue(Box::new(reissue.clone())))?;
    }
    for superseded in &plan.superseded {
        writer.line(&PlanLine::Superseded(superseded.clone()))?;
    }
    for moved in &plan.moves {
        writer.line(&PlanLine::Move(Box::new(moved.clone())))?;
    }
    for event in &plan.events {
        writer.line(&PlanLine::Event(Box::new(event.clone())))?;
    }
    for tombstone in &plan.tombstones {
        writer.line(&PlanLine::Tombstone(Box::new(tombstone.clone())))?;
    }
    for commitment in &plan.commitments {
        writer.line(&PlanLine::Commitment(Box::new(commitment.clone())))?;
    }
    if !plan.bookkeeping.is_empty() {
        writer.line(&PlanLine::Bookkeeping(Box::new(plan.bookkeeping.clone())))?;
    }
    for append in &plan.appending.events {
        writer.line(&PlanLine::Append(Box::new(append.clone())))?;
    }
    for left_out in &plan.appending.left_out {
        writer.line(&PlanLine::LeftOut(Box::new(left_out.clone())))?;
    }
    for open in &plan.open {
        writer.line(&PlanLine::Open(open.clone()))?;
    }
    Ok(())
}

fn add_totals(totals: &mut PlanTotals, plan: &StreamPlan) {
    let summary = &plan.summary;
    totals.missing = totals.missing.saturating_add(summary.missing);
    totals.events += summary.events;
    for (grade, count) in &summary.by_grade {
        *totals.by_grade.entry(*grade).or_default() += count;
    }
    totals.commitments += summary.commitments;
    totals.counters += u64::from(summary.counter_before != summary.counter_after);
    for open in &summary.open {
        totals.open = totals.open.saturating_add(open.count());
        let of_grade = totals.open_by_grade.entry(open.grade).or_default();
        *of_grade = of_grade.saturating_add(open.count());
    }
    totals.never_sequenced += summary.never_sequenced;
    totals.reissued += summary.reissued;
    totals.reissued_left += plan.header.reissued;
    totals.moves += plan.header.moves;
    totals.appended += summary.appended;
    totals.left_out += summary.left_out.len() as u64;
    totals.keys += summary.keys.len() as u64;
    totals.tombstones += plan.tombstones.len() as u64;
}

/// Plans one stream from what is known of it and how its missing positions were judged. If the log was written again
/// from a position on, `rewritten_from`, the times of what stands there say nothing about what belongs there.
///
/// # Errors
/// What the log's database says; a floor below a proof.
#[expect(
    clippy::too_many_arguments,
    reason = "each is a thing of its own, and there is one caller"
)]
pub(crate) async fn plan_stream(
    view: &mut View,
    examined: &Examined,
    evidence: &StreamEvidence,
    judgement: Judgement,
    options: &PlanOptions,
    survey: &Survey,
    rewritten_from: Option<u64>,
    now: Timestamp,
    mut accepted: Accepted,
    agents: &mut RecoveryAgents,
) -> Result<StreamPlan, RecoveryError> {
    let stream = examined.state.stream;
    let floor = floor::choose(&examined.witnesses, options.floor)
        .map_err(|source| RecoveryError::Floor { stream, source })?;
    let (used, unused): (Vec<Placement>, Vec<Placement>) = judgement
        .placements
        .iter()
        .cloned()
        .partition(|p| options.accept.admits(p.grade));
    let mut events = planned_events(view, &stream, evidence, &used, rewritten_from).await?;
    for event in &mut events {
        if let Some(rests) = accepted.rests_on(&event.event) {
            event.basis = format!("{}; {rests}", event.basis);
        }
    }
    let solved: Vec<PlannedBatch> = examined
        .targets
        .iter()
        .filter(|t| options.accept.admits(t.grade))
        .filter(|t| {
            judgement
                .outcomes
                .iter()
                .any(|(id, o)| *id == t.batch_id && matches!(o, Outcome::Solved { .. }))
        })
        .map(|t| PlannedBatch {
            batch_id: t.batch_id,
            sequence_start: *t.range.start(),
            sequence_end: *t.range.end(),
            merkle_root: t.root,
            grade: t.grade,
        })
        .collect();
    let (commitments, commitments_stop) = planned_commitments(examined, &solved, &events, survey.chain_id);

    let mut open: Vec<PlannedOpen> = judgement
        .open
        .iter()
        .map(|o| PlannedOpen {
            from: *o.range.start(),
            to: *o.range.end(),
            grade: o.grade,
            reason: o.reason.clone(),
            rivals: o.rivals.clone(),
            batch: None,
            filled: false,
        })
        .collect();
    open.extend(unused.iter().map(|p| PlannedOpen {
        from: p.position,
        to: p.position,
        grade: p.grade,
        reason: format!("{}; used with --accept {}", p.basis, p.grade),
        rivals: vec![evidence.candidates[p.candidate].event.event_id],
        batch: None,
        filled: false,
    }));
    open.sort_by_key(|o| o.from);
    let mut open = by_batch(open, &examined.batches);

    let highest_placed = events.last().map(|e| e.sequence);
    let counter_placed = [
        examined.state.counter,
        floor.as_ref().map(|f| f.counter),
        highest_placed,
    ]
    .into_iter()
    .flatten()
    .max();
    let filling = match &options.fill {
        None => Filling::default(),
        Some(fill) => {
            let input = FillInput {
                examined,
                options: fill,
                keys: &survey.keys,
                placed: &events,
                counter: counter_placed.unwrap_or(0),
                now,
            };
            tombstone::fill(view, agents, &input, &mut open).await?
        }
    };
    accepted.keys.extend(filling.key);
    let (filled, still_open): (Vec<PlannedOpen>, Vec<PlannedOpen>) =
        open.iter().cloned().partition(|o| o.filled);
    let mut appending = match options.append {
        None => Appending::default(),
        Some(append) => {
            let input = AppendInput {
                examined,
                evidence,
                judgement: &judgement,
                holders: &survey.collected.holders,
                keys: &survey.keys,
                placed: &events,
                counter: counter_placed.unwrap_or(0),
                now,
                options: append,
            };
            append::appending(view, &input).await?
        }
    };
    for append in &mut appending.events {
        if let Some(rests) = accepted.rests_on(&append.event) {
            append.basis = format!("{}; {rests}", append.basis);
        }
    }
    let counter_after = appending.events.last().map(|e| e.sequence).or(counter_placed);
    let placed_ids: std::collections::HashSet<_> = events.iter().map(|e| e.event.event_id).collect();
    let claimed_ids: std::collections::HashSet<_> =
        evidence.claims.values().flatten().map(|c| c.event_id).collect();
    let never_sequenced = evidence
        .candidates
        .iter()
        .filter(|c| {
            use outbox_sync::OutboxStatus::{Failed, Pending};
            matches!(c.status, Some(Pending | Failed))
                && !placed_ids.contains(&c.event.event_id)
                && !claimed_ids.contains(&c.event.event_id)
        })
        .count() as u64;
    let appended = appending.events.len() as u64;
    let mut bookkeeping = examined.bookkeeping.clone();
    // A command whose event goes back is remembered rightly; one whose event may still turn up keeps its place.
    let commands: BTreeSet<_> = events.iter().filter_map(|e| e.event.command_id).collect();
    bookkeeping
        .forget
        .retain(|c| still_open.is_empty() && !commands.contains(c));
    let mut by_grade: BTreeMap<Grade, u64> = BTreeMap::new();
    for event in &events {
        *by_grade.entry(event.grade).or_default() += 1;
    }
    let batches = judgement
        .outcomes
        .iter()
        .filter_map(|(id, outcome)| {
            let target = examined.targets.iter().find(|t| t.batch_id == *id)?;
            Some(BatchSummary {
                batch_id: *id,
                sequence_start: *target.range.start(),
                sequence_end: *target.range.end(),
                outcome: describe_outcome(outcome),
            })
        })
        .collect();
    let header = PlannedStream {
        stream,
        fingerprint: examined.scan.fingerprint,
        head_before: examined.state.last.unwrap_or(0),
        counter_before: examined.state.counter,
        counter_after,
        floor: floor.clone(),
        batches: solved,
        not_heard: survey.not_heard(&examined.scan.tally.agents),
        events: events.len() as u64,
        commitments: commitments.len() as u64,
        appended,
        keys: accepted.keys.len() as u64,
        tombstones: filling.tombstones.len() as u64,
        open_positions: still_open
            .iter()
            .map(PlannedOpen::count)
            .fold(0, u64::saturating_add),
        moves: 0,
        superseded: 0,
        reissued: 0,
    };
    let summary = StreamSummary {
        stream,
        missing: examined.missing(),
        events: events.len() as u64,
        by_grade,
        batches,
        commitments: commitments.len() as u64,
        commitments_stop,
        counter_before: examined.state.counter,
        counter_after,
        floor,
        bookkeeping: bookkeeping.clone(),
        open: still_open,
        filled,
        not_filled_root_known: filling.root_known,
        never_sequenced: never_sequenced.saturating_sub(appended),
        reissued: 0,
        reissue_note: None,
        reissue: Vec::new(),
        moves: Vec::new(),
        superseded: Vec::new(),
        appended,
        left_out: appending.left_out.clone(),
        keys: accepted.keys.clone(),
        keys_refused: accepted.refused,
        must_not_commit: Vec::new(),
    };
    Ok(StreamPlan {
        header,
        keys: accepted.keys,
        reissues: Vec::new(),
        superseded: Vec::new(),
        moves: Vec::new(),
        events,
        tombstones: filling.tombstones,
        commitments,
        bookkeeping,
        appending,
        open,
        summary,
    })
}

/// The last number that is committed once a plan is applied.
fn last_committed(commitments: &[Commitment], plan: &StreamPlan) -> Option<u64> {
    let gone = |c: &&Commitment| !plan.superseded.iter().any(|s| s.batch_id == c.batch_id);
    let stay = commitments.iter().filter(gone).map(|c| c.sequence_end);
    stay.chain(plan.commitments.iter().map(|c| c.sequence_end)).max()
}

/// The choice about appending, in words.
fn describe_append(options: &AppendOptions) -> String {
    let which = if options.doubtful {
        "never-sequenced and doubtful"
    } else {
        "never-sequenced"
    };
    format!("{which}, keys judged {}", options.judge_keys)
}

/// Cuts open ranges at the bounds of known batches, and names the batch of each part.
fn by_batch(open: Vec<PlannedOpen>, batches: &[Batch]) -> Vec<PlannedOpen> {
    let mut parts = Vec::with_capacity(open.len());
    for mut rest in open {
        // Anchored batches first, so that of a commitment and its anchor the stronger names the batch.
        loop {
            let here = |b: &&Batch| (b.sequence_start..=b.sequence_end).contains(&rest.from);
            let batch = batches.iter().filter(here).max_by_key(|b| b.anchored);
            let end = match batch {
                Some(batch) => batch.sequence_end.min(rest.to),
                None => {
                    let next = batches
                        .iter()
                        .map(|b| b.sequence_start)
                        .filter(|s| *s > rest.from)
                        .min();
                    next.map_or(rest.to, |next| rest.to.min(next - 1))
                }
            };
            let batch = batch.map(|b| KnownBatch {
                batch_id: b.batch_id,
                anchored: b.anchored,
            });
            parts.push(PlannedOpen {
                to: end,
                batch,
                ..rest.clone()
            });
            if end >= rest.to {
                break;
            }
            rest.from = end + 1;
        }
    }
    parts
}

/// What became of a batch, in words.
fn describe_outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Solved { tries } => format!("solved: the root came out equal at guess {tries}"),
        Outcome::NoCandidate { positions, limit } => {
            let unfinished = match limit {
                None => String::new(),
                Some(limit) => format!(
                    "; the search in the agents' own order was NOT finished: {} ran out",
                    option_of(*limit)
                ),
            };
            format!(
                "open: nobody names an event that verifies for {}{unfinished}",
                crate::gap::describe(positions)
            )
        }
        Outcome::NoMatch { tries } => {
            format!("open: none of the {tries} combination(s) of the named events gives the root")
        }
        Outcome::BudgetSpent { tries, limit } => {
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

/// The events with the time at which they were numbered: as a witness knows it, or else that of the nearest
/// earlier event, so that times keep the order of numbers. The time enters no hash.
async fn planned_events(
    view: &mut View,
    stream: &StreamKey,
    evidence: &StreamEvidence,
    placements: &[Placement],
    rewritten_from: Option<u64>,
) -> Result<Vec<PlannedEvent>, RecoveryError> {
    let mut events: Vec<PlannedEvent> = Vec::with_capacity(placements.len());
    let mut previous: Option<(u64, Timestamp)> = None;
    for placement in placements {
        let candidate = &evidence.candidates[placement.candidate];
        let known = placement.sequenced_at;
        let sequenced_at = match (known, previous) {
            (Some(at), _) => at,
            (None, Some((position, at))) if position + 1 == placement.position => at,
            (None, _) => match view
                .last_sequenced_before(stream, placement.position.min(rewritten_from.unwrap_or(u64::MAX)))
                .await?
            {
                Some(at) => previous.map_or(at, |(_, planned)| planned.max(at)),
                // The first event of a stream: its own time is the best there is.
                None => candidate.event.created_at.parse().unwrap_or(Timestamp(0)),
            },
        };
        previous = Some((placement.position, sequenced_at));
        let receipt = evidence
            .receipts
            .get(&placement.position)
            .into_iter()
            .flatten()
            .find(|held| {
                held.receipt.event_id == candidate.event.event_id
                    && held.receipt.hash_matches(stream, &candidate.signing_hash)
            })
            .map(|held| held.receipt.clone());
        events.push(PlannedEvent {
            sequence: placement.position,
            grade: placement.grade,
            basis: placement.basis.clone(),
            sequenced_at: receipt.as_ref().map_or(sequenced_at, |r| r.sequenced_at),
            sequenced_at_known: known.is_some(),
            receipt,
            event: candidate.event.clone(),
        });
    }
    Ok(events)
}

/// The anchored batches that the log has no commitment for, as far as they continue the log's last one and
/// their events are all there again; and why it stops, if it stops early.
fn planned_commitments(
    examined: &Examined,
    solved: &[PlannedBatch],
    events: &[PlannedEvent],
    chain_id: Option<u64>,
) -> (Vec<PlannedCommitment>, Option<String>) {
    let stream = examined.state.stream;
    let mut planned: Vec<PlannedCommitment> = Vec::new();
    let last = examined.commitments.iter().max_by_key(|c| c.sequence_end);
    let mut end = last.map(|c| c.sequence_end);
    let mut state_root = last.map_or(stream::GENESIS_STATE_ROOT, |c| c.new_state_root);
    let forgotten = examined.anchored.iter().filter(|a| !is_committed(examined, a));
    for anchor in forgotten {
        let stop = |why: &str| {
            let range = format!("{}-{}", anchor.sequence_start, anchor.sequence_end);
            Some(format!(
                "batch {} ({range}) does not go back: {why}",
                anchor.batch_id
            ))
        };
        if anchor.contested {
            return (planned, stop("the anchors contradict each other"));
        }
        if end.is_some_and(|end| end.checked_add(1) != Some(anchor.sequence_start)) {
            return (planned, stop("it does not continue the commitment before it"));
        }
        let verdict = examined
            .batches
            .iter()
            .find(|b| b.batch_id == anchor.batch_id)
            .map(|b| b.verdict);
        let whole = verdict == Some(BatchVerdict::MatchesAnchors)
            || solved
                .iter()
                .any(|s| s.batch_id == anchor.batch_id && s.merkle_root == anchor.events_root);
        if !whole {
            return (planned, stop("its events are not all back"));
        }
        let follows = stream::state_root(
            &stream,
            &state_root,
            &anchor.events_root,
            anchor.sequence_start,
            anchor.sequence_end,
            anchor.event_count,
        );
        if follows != anchor.state_root {
            return (
                planned,
                stop("its anchored state root does not follow from the one before"),
            );
        }
        let place = anchor.places.first();
        let anchored_at = place
            .and_then(|p| p.block_timestamp)
            .and_then(Timestamp::from_unix_seconds);
        let last_event = events.iter().rev().find(|e| e.sequence <= anchor.sequence_end);
        planned.push(PlannedCommitment {
            batch_id: anchor.batch_id,
            sequence_start: anchor.sequence_start,
            sequence_end: anchor.sequence_end,
            merkle_root: anchor.events_root,
            prev_state_root: state_root,
            new_state_root: anchor.state_root,
            committed_at: anchored_at
                .or(last_event.map(|e| e.sequenced_at))
                .unwrap_or(Timestamp(0)),
            chain_id,
            chain_tx_hash: place.map(|p| p.transaction_hash),
            chain_block_number: place.map(|p| p.block_number),
            anchored_at,
        });
        end = Some(anchor.sequence_end);
        state_root = anchor.state_root;
    }
    (planned, None)
}

fn is_committed(examined: &Examined, anchor: &AnchoredBatch) -> bool {
    examined.commitments.iter().any(|c| {
        c.batch_id == anchor.batch_id
            || (c.sequence_start <= anchor.sequence_end && anchor.sequence_start <= c.sequence_end)
    })
}
