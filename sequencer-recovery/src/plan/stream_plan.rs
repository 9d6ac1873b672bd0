//! The plan of one stream: everything is put together in a [`Draft`], and the section's header and its summary are
//! counted once, at the end.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use event_log::{Commitment, View};
use ves::{AgentId, KeyRegistry, Timestamp};

use super::accept_keys::{Accepted, RefusedKey};
use super::append::{self, AppendInput, Appending};
use super::commitments::planned_commitments;
use super::open::open_positions;
use super::options::PlanOptions;
use super::planned::{
    PlannedBatch, PlannedCommitment, PlannedEvent, PlannedKey, PlannedMove, PlannedOpen, PlannedReissue,
    PlannedStream, PlannedSuperseded, PlannedTombstone,
};
use super::summary::{self, BatchSummary, HeadSummary, MissedKey, PlannedStreamSummary};
use super::times::planned_events;
use super::tombstone::{self, FillInput, Filling, RecoveryAgents};
use crate::error::RecoveryError;
use crate::floor::{self, Floor};
use crate::grade::Grade;
use crate::place::placement::{Judgement, Placement, TargetOutcome};
use crate::stream::bookkeeping::Bookkeeping;
use crate::stream::examine::Examined;
use crate::stream::survey::Survey;
use crate::witness::evidence::StreamEvidence;

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
    pub bookkeeping: Bookkeeping,
    /// What is appended, ascending, and what waits and is not.
    pub appending: Appending,
    /// What stays open or is filled with tombstones, ascending.
    pub open: Vec<PlannedOpen>,
    /// In numbers.
    pub summary: PlannedStreamSummary,
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

    /// The last number that is committed once the plan is applied, of the log's commitments as they are.
    pub(super) fn last_committed(&self, commitments: &[Commitment]) -> Option<u64> {
        let gone = |c: &&Commitment| !self.superseded.iter().any(|s| s.batch_id == c.batch_id);
        let stay = commitments.iter().filter(gone).map(|c| c.sequence_end);
        stay.chain(self.commitments.iter().map(|c| c.sequence_end)).max()
    }
}

/// What one stream is planned from.
pub(super) struct StreamInput<'a> {
    /// The stream, as the log has it or as it is without what is taken out.
    pub(super) examined: &'a Examined,
    /// What witnesses say of it.
    pub(super) evidence: &'a StreamEvidence,
    /// How its missing positions were judged.
    pub(super) judgement: &'a Judgement,
    /// All that was looked at.
    pub(super) survey: &'a Survey,
    /// What the operator decided.
    pub(super) options: &'a PlanOptions,
    /// If the log was written again from here on, the times of what stands there say nothing of what belongs there.
    pub(super) rewritten_from: Option<u64>,
    /// The database's time.
    pub(super) now: Timestamp,
}

/// A stream's plan that is being put together.
pub(super) struct Draft {
    pub(super) events: Vec<PlannedEvent>,
    pub(super) moves: Vec<PlannedMove>,
    pub(super) superseded: Vec<PlannedSuperseded>,
    /// Both histories of numbers that were given out twice, ascending.
    pub(super) reissues: Vec<PlannedReissue>,
    /// Whether the plan leaves those numbers as they are.
    pub(super) reissues_left: bool,
    pub(super) reissue_note: Option<String>,
    pub(super) bookkeeping: Bookkeeping,
    /// The counter as it becomes.
    pub(super) counter: Option<u64>,
    floor: Option<Floor>,
    solved: Vec<PlannedBatch>,
    batches: Vec<BatchSummary>,
    checkpoints: Vec<HeadSummary>,
    checkpointed_by: Option<String>,
    commitments: Vec<PlannedCommitment>,
    commitments_stop: Option<String>,
    /// What stays open or is filled, ascending.
    open: Vec<PlannedOpen>,
    filling: Filling,
    appending: Appending,
    keys: Vec<PlannedKey>,
    keys_refused: Vec<RefusedKey>,
    never_sequenced: u64,
}

impl Draft {
    /// Plans one stream.
    ///
    /// # Errors
    /// What the log's database says; a floor below a proof.
    pub(super) async fn of(
        view: &mut View,
        input: &StreamInput<'_>,
        mut accepted: Accepted,
        agents: &mut RecoveryAgents,
    ) -> Result<Self, RecoveryError> {
        let StreamInput {
            examined,
            evidence,
            judgement,
            survey,
            options,
            ..
        } = *input;
        let stream = examined.state.stream;
        let floor = floor::choose(&examined.witnesses, options.floor)
            .map_err(|source| RecoveryError::Floor { stream, source })?;
        let (used, unused): (Vec<Placement>, Vec<Placement>) = judgement
            .placements
            .iter()
            .cloned()
            .partition(|p| options.accept.admits(p.grade));
        let mut events = planned_events(view, &stream, evidence, &used, input.rewritten_from).await?;
        for event in &mut events {
            if let Some(rests) = accepted.rests_on(&event.event) {
                event.basis = format!("{}; {rests}", event.basis);
            }
        }
        let solved = solved(input);
        let (commitments, commitments_stop) =
            planned_commitments(examined, &solved, &events, survey.chain_id);
        let highest_placed = events.last().map(|e| e.sequence);
        let counter = (examined.state.counter.into_iter())
            .chain(floor.as_ref().map(|f| f.counter))
            .chain(highest_placed)
            .max();
        let mut draft = Self {
            events,
            moves: Vec::new(),
            superseded: Vec::new(),
            reissues: Vec::new(),
            reissues_left: false,
            reissue_note: None,
            bookkeeping: examined.bookkeeping.clone(),
            counter,
            floor,
            solved,
            batches: summary::batches(judgement, &examined.targets),
            checkpoints: summary::heads(judgement),
            checkpointed_by: examined.checkpointed.latest().map(|held| held.trust.describe()),
            commitments,
            commitments_stop,
            open: open_positions(judgement, &unused, evidence, &examined.batches),
            filling: Filling::default(),
            appending: Appending::default(),
            keys: Vec::new(),
            keys_refused: std::mem::take(&mut accepted.refused),
            never_sequenced: 0,
        };
        draft.fill(view, input, agents).await?;
        draft.append(view, input, &mut accepted).await?;
        draft.keys = accepted.keys;
        draft.keys.extend(draft.filling.key.take());
        draft.never_sequenced = draft.waiting(evidence);
        draft.keep_commands();
        Ok(draft)
    }

    /// Fills what is lost with tombstones, if that was asked for.
    async fn fill(
        &mut self,
        view: &mut View,
        input: &StreamInput<'_>,
        agents: &mut RecoveryAgents,
    ) -> Result<(), RecoveryError> {
        if let Some(options) = &input.options.fill {
            let of = FillInput {
                examined: input.examined,
                options,
                keys: &input.survey.keys,
                placed: &self.events,
                counter: self.counter.unwrap_or(0),
                now: input.now,
            };
            self.filling = tombstone::fill(view, agents, &of, &mut self.open).await?;
        }
        Ok(())
    }

    /// Gives events that were never sequenced the numbers after the counter, if that was asked for.
    async fn append(
        &mut self,
        view: &mut View,
        input: &StreamInput<'_>,
        accepted: &mut Accepted,
    ) -> Result<(), RecoveryError> {
        let Some(options) = input.options.append else {
            return Ok(());
        };
        let of = AppendInput {
            examined: input.examined,
            evidence: input.evidence,
            judgement: input.judgement,
            holders: &input.survey.collected.holders,
            keys: &input.survey.keys,
            placed: &self.events,
            counter: self.counter.unwrap_or(0),
            now: input.now,
            options,
        };
        self.appending = append::appending(view, &of).await?;
        for append in &mut self.appending.events {
            if let Some(rests) = accepted.rests_on(&append.event) {
                append.basis = format!("{}; {rests}", append.basis);
            }
        }
        self.counter = self.appending.events.last().map(|e| e.sequence).or(self.counter);
        Ok(())
    }

    /// How many events their agents still have to push: never numbered, as far as anybody knows, and not appended.
    fn waiting(&self, evidence: &StreamEvidence) -> u64 {
        use outbox_sync::OutboxStatus::{Failed, Pending};
        let placed: HashSet<_> = self.events.iter().map(|e| e.event.event_id).collect();
        let claimed: HashSet<_> = evidence.claims.values().flatten().map(|c| c.event_id).collect();
        let waits = |id| !placed.contains(id) && !claimed.contains(id);
        let waiting = evidence
            .candidates
            .iter()
            .filter(|c| matches!(c.status, Some(Pending | Failed)) && waits(&c.event.event_id));
        (waiting.count() as u64).saturating_sub(self.appending.events.len() as u64)
    }

    /// A command whose event goes back is remembered rightly; one whose event may still turn up keeps its place.
    fn keep_commands(&mut self) {
        let commands: BTreeSet<_> = self.events.iter().filter_map(|e| e.event.command_id).collect();
        let all_filled = self.open.iter().all(|o| o.filled);
        self.bookkeeping
            .forget
            .retain(|c| all_filled && !commands.contains(c));
    }

    /// The plan, with its header and summary.
    pub(super) fn finish(self, examined: &Examined, survey: &Survey) -> StreamPlan {
        let (filled, still_open): (Vec<PlannedOpen>, Vec<PlannedOpen>) =
            self.open.iter().cloned().partition(|o| o.filled);
        let header = self.header(examined, survey, &still_open);
        let mut by_grade: BTreeMap<Grade, u64> = BTreeMap::new();
        for event in &self.events {
            *by_grade.entry(event.grade).or_default() += 1;
        }
        let summary = PlannedStreamSummary {
            stream: header.stream,
            missing: examined.missing(),
            events: header.events,
            by_grade,
            goes_back: summary::goes_back(&self.events),
            head_before: header.head_before,
            batches: self.batches,
            checkpoints: self.checkpoints,
            checkpointed_by: self.checkpointed_by,
            commitments: header.commitments,
            commitments_stop: self.commitments_stop,
            counter_before: header.counter_before,
            counter_after: header.counter_after,
            floor: self.floor,
            bookkeeping: self.bookkeeping.clone(),
            open: still_open,
            filled,
            not_filled_root_known: self.filling.root_known,
            never_sequenced: self.never_sequenced,
            reissued: self.reissues.len() as u64,
            reissue_note: self.reissue_note,
            reissue: self.reissues.clone(),
            moves: self.moves.clone(),
            superseded: self.superseded.clone(),
            appended: header.appended,
            left_out: self.appending.left_out.clone(),
            keys: self.keys.clone(),
            keys_missed: keys_missed(&self.events, &self.keys, &survey.keys),
            keys_refused: self.keys_refused,
            must_not_commit: Vec::new(),
        };
        StreamPlan {
            header,
            keys: self.keys,
            reissues: self.reissues,
            superseded: self.superseded,
            moves: self.moves,
            events: self.events,
            tombstones: self.filling.tombstones,
            commitments: self.commitments,
            bookkeeping: self.bookkeeping,
            appending: self.appending,
            open: self.open,
            summary,
        }
    }

    /// The line that opens the stream's section: it announces how many of each are to come.
    fn header(&self, examined: &Examined, survey: &Survey, still_open: &[PlannedOpen]) -> PlannedStream {
        let reissued = if self.reissues_left {
            self.reissues.len()
        } else {
            0
        };
        PlannedStream {
            stream: examined.state.stream,
            fingerprint: examined.scan.fingerprint,
            head_before: examined.state.last.unwrap_or(0),
            counter_before: examined.state.counter,
            counter_after: self.counter,
            floor: self.floor.clone(),
            batches: self.solved.clone(),
            not_heard: survey.not_heard(&examined.scan.tally.agents),
            events: self.events.len() as u64,
            commitments: self.commitments.len() as u64,
            appended: self.appending.events.len() as u64,
            keys: self.keys.len() as u64,
            tombstones: self.filling.tombstones.len() as u64,
            open_positions: still_open
                .iter()
                .map(PlannedOpen::count)
                .fold(0, u64::saturating_add),
            moves: self.moves.len() as u64,
            superseded: self.superseded.len() as u64,
            reissued: reissued as u64,
        }
    }
}

/// The batches whose root came out equal, of a grade that the operator admits.
fn solved(input: &StreamInput<'_>) -> Vec<PlannedBatch> {
    let is_solved = |id| {
        let mut outcomes = input.judgement.outcomes.iter();
        outcomes.any(|(of, outcome)| *of == id && matches!(outcome, TargetOutcome::Solved { .. }))
    };
    let targets = input.examined.targets.iter();
    targets
        .filter(|t| input.options.accept.admits(t.grade) && is_solved(t.batch_id))
        .map(|t| PlannedBatch {
            batch_id: t.batch_id,
            sequence_start: t.range.start(),
            sequence_end: t.range.end(),
            merkle_root: t.root,
            grade: t.grade,
        })
        .collect()
}

/// Keys that an audit of the repaired log will miss.
fn keys_missed(events: &[PlannedEvent], planned: &[PlannedKey], registry: &KeyRegistry) -> Vec<MissedKey> {
    let mut missed: BTreeMap<(AgentId, u32), MissedKey> = BTreeMap::new();
    for PlannedEvent {
        event, sequenced_at, ..
    } in events
    {
        let (tenant_id, agent_id, key_id) =
            (event.stream.tenant_id, event.source_agent_id, event.agent_key_id);
        if !event.agent_signature_scheme.is_known() || registry.is_unreadable(tenant_id, agent_id, key_id) {
            continue;
        }
        let mut of_plan = planned.iter().map(|planned| &planned.key);
        let of_plan = of_plan.find(|key| (key.agent_id, key.key_id) == (agent_id, key_id));
        let why = match of_plan.or_else(|| registry.get(tenant_id, agent_id, key_id)) {
            Some(key) => key.refusal_at(*sequenced_at),
            None => Some("it is not registered".to_owned()),
        };
        if let Some(why) = why {
            let entry = missed.entry((agent_id, key_id)).or_insert(MissedKey {
                agent_id,
                key_id,
                events: 0,
                why,
            });
            entry.events += 1;
        }
    }
    missed.into_values().collect()
}
