//! Reissue: after a recovery the sequencer went on from its old counter before anybody looked, and gave numbers out
//! again that others had been promised. The log then has two histories: the one that was anchored, and the one that
//! stands there now.
//!
//! Since a rewound counter counts up from where it was, the newcomers are everything from one position on. That
//! position is found by what cannot lie: an anchored root that comes out equal once the events from there on are
//! taken out and others put in their places; an event that was numbered after its batch had been anchored; a signed
//! receipt of another event. Then the search for placements ([`crate::place::placement`]) is asked again, with the newcomers
//! taken out: what it finds is the anchored history, and what it finds no place for is the other one.
//!
//! Nothing is moved unless the operator says so ([`OnReissue`]). `docs/reissue.md` says what each choice does.

mod signs;
mod views;

use std::collections::{BTreeMap, BTreeSet};

use event_log::{Commitment, LogEntry, View};
use outbox_sync::{OutboxStatus, RowCheck};
use rayon::prelude::*;
use ves::merkle::leaf_hash;
use ves::span::{Span, Spans};
use ves::{EventId, Hash32, KeyRegistry, Receipt, StreamKey, Timestamp};

use super::accept_keys::Accepted;
use super::options::{OnReissue, PlanOptions};
use super::planned::{PlannedEvent, PlannedMove, PlannedReissue, PlannedSuperseded};
use super::stream_plan::{Draft, StreamInput, StreamPlan};
use super::tombstone::RecoveryAgents;
use crate::error::RecoveryError;
use crate::finding::{Code, Finding, Remedy};
use crate::grade::Grade;
use crate::place::placement::{Budget, Judgement, Placement, Question, judge};
use crate::stream::examine::Examined;
use crate::stream::survey::Survey;
use crate::stream::target::Target;
use crate::witness::evidence::{Candidate, Holders, Saying, StreamEvidence};

pub use signs::find;

/// An event that stands where another one stood before the recovery.
#[derive(Debug, Clone)]
pub struct Newcomer {
    /// Where it stands.
    pub position: u64,
    /// The event.
    pub event_id: EventId,
    /// When it was numbered.
    pub sequenced_at: Timestamp,
    /// Its stored signing hash and signature, which its leaf at any position is made of.
    content: (Hash32, ves::SignatureBytes),
    /// The receipt that it got for that number.
    receipt: Option<Receipt>,
}

/// Numbers of one stream that were given out twice, and both histories.
#[derive(Debug)]
pub struct Reissue {
    stream: StreamKey,
    /// The first position from which on the log was written again.
    pub from: u64,
    /// What shows it.
    pub signs: Vec<String>,
    /// What stands there now, ascending.
    pub newcomers: Vec<Newcomer>,
    /// Where the events belong according to the evidence, the newcomers taken out.
    pub judgement: Judgement,
    /// That evidence: the newcomers are candidates, too, since some may be lost events that were pushed again.
    pub evidence: StreamEvidence,
    /// Positions missing with the newcomers taken out.
    missing: Spans,
    targets: Vec<Target>,
}

/// What is known of a stream and its witnesses.
#[derive(Clone, Copy)]
pub struct ReissueInput<'a> {
    /// The stream.
    pub examined: &'a Examined,
    /// What witnesses say of it.
    pub evidence: &'a StreamEvidence,
    /// Who they are.
    pub holders: &'a Holders,
    /// The agents' keys.
    pub keys: &'a KeyRegistry,
    /// How much work the search for placements may do.
    pub budget: Budget,
}

/// Entries with what their checks say.
fn checked(entries: Vec<LogEntry>, keys: &KeyRegistry) -> Vec<(LogEntry, RowCheck)> {
    let check = |entry: LogEntry| {
        let check = outbox_sync::check(&entry.event, keys, entry.sequenced_at);
        (entry, check)
    };
    entries.into_par_iter().map(check).collect()
}

/// The evidence as it would be if the log ended before `cut`: what stands at or after it becomes a candidate.
fn without(evidence: &StreamEvidence, entries: &[(LogEntry, RowCheck)], cut: u64) -> StreamEvidence {
    let mut evidence = evidence.clone();
    for (entry, check) in entries.iter().filter(|(e, _)| e.sequence_number >= cut) {
        let (event, position) = (&entry.event, entry.sequence_number);
        // A position that the agent knew its event at no longer says anything about the order of its others.
        let local_seq = evidence
            .known_order
            .get_mut(&event.source_agent_id)
            .and_then(|known| known.remove(&position));
        if !check.payload.is_match() || check.signing_hash != entry.event_signing_hash {
            continue;
        }
        evidence.standing.insert(position, evidence.candidates.len());
        evidence.add_candidate(Candidate {
            event: event.clone(),
            signing_hash: check.signing_hash,
            signature: check.signature.clone(),
            holders: Vec::new(),
            status: local_seq.map(|_| OutboxStatus::Synced),
            local_seq,
        });
        for (position, claim) in evidence.elsewhere.remove(&event.event_id).unwrap_or_default() {
            // The log does not contradict this one: it is about the number that the event had before.
            if let Some(count) = evidence
                .contradicted_claims
                .get_mut(&(claim.holder, claim.saying))
            {
                *count -= 1;
            }
            evidence.add_claim(position, claim);
        }
    }
    evidence.contradicted_claims.retain(|_, count| *count > 0);
    evidence
}

/// Whether a checkpoint confirms an event where it stands.
fn is_signed(examined: &Examined, entry: &LogEntry) -> bool {
    let leaf = leaf_hash(
        &examined.state.stream,
        entry.sequence_number,
        &entry.event_signing_hash,
        &entry.event.agent_signature,
    );
    examined.checkpointed.leaf(entry.sequence_number) == Some(leaf)
}

impl Reissue {
    async fn draw_up(
        view: &mut View,
        given: &ReissueInput<'_>,
        from: u64,
        signs: Vec<String>,
    ) -> Result<Self, RecoveryError> {
        let ReissueInput {
            examined,
            holders,
            keys,
            budget,
            ..
        } = *given;
        let stream = examined.state.stream;
        // What an anchored root or a checkpoint confirms where it stands is no newcomer.
        let confirmed: Spans = examined
            .anchored_scans()
            .filter(|(a, scanned)| !a.contested && scanned.root == Some(a.events_root))
            .filter_map(|(a, _)| Span::new(a.sequence_start, a.sequence_end))
            .collect();
        let last = examined.state.last.unwrap_or(0);
        let mut entries = view.entries(&stream, from..=last).await?.rows;
        entries.retain(|e| !confirmed.contains(e.sequence_number) && !is_signed(examined, e));
        let entries = checked(entries, keys);
        let evidence = without(given.evidence, &entries, from);
        let mut targets: Vec<Target> = examined
            .anchored_scans()
            .filter(|(a, scanned)| !a.contested && scanned.root != Some(a.events_root))
            .filter_map(|(a, scanned)| {
                let present = scanned.leaves.range(..from);
                Some(Target {
                    batch_id: a.batch_id,
                    range: Span::new(a.sequence_start, a.sequence_end)?,
                    root: a.events_root,
                    grade: Grade::Proven,
                    present: present.map(|(p, leaf)| (*p, *leaf)).collect(),
                    times: scanned.times.range(..from).map(|(p, at)| (*p, *at)).collect(),
                })
            })
            .filter(|t| t.range.count() > t.present.len() as u64)
            .collect();
        let of_log = examined.targets.iter();
        targets.extend(
            of_log
                .filter(|t| t.grade == Grade::Committed && t.range.end() < from)
                .cloned(),
        );
        let vacated = entries.iter().map(|(e, _)| e.sequence_number);
        let missing = examined.missing_spans().union(&Spans::of_positions(vacated));
        let question = Question {
            stream: &stream,
            missing: &missing,
            targets: &targets,
            history: &examined.scan.history.before(from),
            checkpointed: &examined.checkpointed,
            log_tree: None,
        };
        let judgement = judge(&question, &evidence, holders, budget);
        // An event that belongs where it stands (pushed again at the same place in the order) has only one history.
        let in_place: BTreeSet<u64> = judgement
            .placements
            .iter()
            .filter(|p| {
                p.grade >= Grade::Checkpointed && evidence.standing.get(&p.position) == Some(&p.candidate)
            })
            .map(|p| p.position)
            .collect();
        let newcomers = entries
            .into_iter()
            .map(|(entry, _)| entry)
            .filter(|e| !in_place.contains(&e.sequence_number))
            .map(|entry| Newcomer {
                position: entry.sequence_number,
                event_id: entry.event.event_id,
                sequenced_at: entry.sequenced_at,
                content: (entry.event_signing_hash, entry.event.agent_signature),
                receipt: entry.receipt,
            })
            .collect();
        Ok(Self {
            stream,
            from,
            signs,
            newcomers,
            judgement,
            evidence,
            missing,
            targets,
        })
    }

    /// The last position of a newcomer.
    pub fn to(&self) -> u64 {
        self.newcomers.last().map_or(self.from, |n| n.position)
    }

    /// Both histories, number by number.
    pub fn histories(&self, examined: &Examined, holders: &Holders) -> Vec<PlannedReissue> {
        let placed: BTreeMap<u64, &Placement> = self
            .judgement
            .placements
            .iter()
            .map(|p| (p.position, p))
            .collect();
        self.newcomers
            .iter()
            .map(|newcomer| {
                let before = placed.get(&newcomer.position);
                let candidate = before.map(|p| &self.evidence.candidates[p.candidate]);
                let batch = examined
                    .anchored
                    .iter()
                    .find(|a| (a.sequence_start..=a.sequence_end).contains(&newcomer.position));
                PlannedReissue {
                    sequence: newcomer.position,
                    batch_id: batch.map(|a| a.batch_id),
                    before: candidate.map(|c| c.event.event_id),
                    before_grade: before.map_or(Grade::Lost, |p| p.grade),
                    before_basis: before.map_or_else(
                        || "nobody knows what it was for sure".to_owned(),
                        |p| p.basis.clone(),
                    ),
                    before_held_by: candidate
                        .map(|c| c.holders.iter().map(|h| holders.name(*h).to_owned()).collect())
                        .unwrap_or_default(),
                    now: newcomer.event_id,
                    now_sequenced_at: newcomer.sequenced_at,
                }
            })
            .collect()
    }

    /// What the audit says of it.
    pub fn finding(&self) -> Finding {
        let count = self.newcomers.len() as u64;
        let message = format!(
            "{count} number(s) from {} to {} were given out twice: {}",
            self.from,
            self.to(),
            self.signs.join("; ")
        );
        Finding::new(Code::Reissue, message)
            .stream(self.stream)
            .range(self.from, self.to())
            .count(count)
            .remedy(Remedy::ChooseHistory)
    }

    /// What stays wrong if nothing is moved, in a sentence.
    fn cost_of_leaving(&self, examined: &Examined) -> String {
        let broken = examined
            .anchored
            .iter()
            .filter(|a| {
                self.newcomers
                    .iter()
                    .any(|n| (a.sequence_start..=a.sequence_end).contains(&n.position))
            })
            .count();
        format!(
            "from {} on the log has another history than the {broken} anchored batch(es) there: commitments after them \
             cannot continue the anchored state roots, and SetRegistry refuses them",
            self.from
        )
    }

    /// Plans the stream by the operator's decision: `(options, survey, the database's time)`.
    ///
    /// # Errors
    /// What the log's database says; a floor below a proof.
    pub(super) async fn plan_stream(
        &self,
        view: &mut View,
        examined: &Examined,
        (options, survey, now): (&PlanOptions, &Survey, Timestamp),
    ) -> Result<StreamPlan, RecoveryError> {
        // What is appended goes behind what moves to the end, and its checks depend on what stands there then; what
        // is lost for good shows only when one history stands.
        let later = options.append.is_some() || options.fill.is_some() || !options.accept_keys.is_empty();
        let options = &PlanOptions {
            append: None,
            fill: None,
            ..options.clone()
        };
        let input = StreamInput {
            examined,
            evidence: &self.evidence,
            judgement: &self.judgement,
            survey,
            options,
            rewritten_from: None,
            now,
        };
        let mut draft = match options.on_reissue {
            Some(OnReissue::KeepAnchored) => self.keep_anchored(view, input).await?,
            decided => self.keep_current(view, input, decided.is_some()).await?,
        };
        if later {
            let note = draft.reissue_note.get_or_insert_default();
            note.push_str(
                "; nothing is appended, filled or registered in this stream before that is settled: plan again afterwards",
            );
        }
        draft.reissues = self.histories(examined, &survey.collected.holders);
        Ok(draft.finish(examined, survey))
    }

    /// The newcomers keep their numbers, whether that was decided or not yet.
    async fn keep_current(
        &self,
        view: &mut View,
        input: StreamInput<'_>,
        decided: bool,
    ) -> Result<Draft, RecoveryError> {
        let examined = input.examined;
        let input = StreamInput {
            judgement: &self.judgement_around(examined, decided),
            ..input
        };
        let mut draft = Draft::of(view, &input, Accepted::default(), &mut RecoveryAgents::default()).await?;
        draft.reissues_left = true;
        draft.reissue_note = Some(if decided {
            format!("kept as they are: {}", self.cost_of_leaving(examined))
        } else {
            format!(
                "nothing from {} on is touched until you decide with --on-reissue keep-anchored or keep-current",
                self.from
            )
        });
        Ok(draft)
    }

    /// The stream is planned without the newcomers; then they get their places in it.
    async fn keep_anchored(&self, view: &mut View, input: StreamInput<'_>) -> Result<Draft, RecoveryError> {
        let (mut without, superseded) = self.taken_out(input.examined);
        if let Some(checkpoint) = view.projection_checkpoint(&self.stream).await?
            && checkpoint >= self.from
        {
            let before = without.bookkeeping.projection.unwrap_or(u64::MAX);
            without.bookkeeping.projection = Some(before.min(self.from - 1));
        }
        let input = StreamInput {
            examined: &without,
            rewritten_from: Some(self.from),
            ..input
        };
        let mut draft = Draft::of(view, &input, Accepted::default(), &mut RecoveryAgents::default()).await?;
        draft.superseded = superseded.iter().map(superseded_line).collect();
        self.settle(&mut draft);
        draft.reissue_note = Some(format!(
            "{} event(s) move to the end, {} go back to the number that they had; their receipts are superseded: their \
             agents hold numbers that are no longer theirs",
            draft.moves.iter().filter(|m| m.grade.is_none()).count(),
            draft.moves.iter().filter(|m| m.grade.is_some()).count()
        ));
        Ok(draft)
    }

    /// Gives each newcomer its place: a lost event that was pushed again its old one, the others those after the
    /// counter. What stands where it belongs needs nothing.
    fn settle(&self, draft: &mut Draft) {
        let by_id: BTreeMap<EventId, &Newcomer> = self.newcomers.iter().map(|n| (n.event_id, n)).collect();
        let standing = self.evidence.standing.values();
        let in_place: BTreeSet<EventId> = standing
            .map(|c| self.evidence.candidates[*c].event.event_id)
            .filter(|id| !by_id.contains_key(id))
            .collect();
        let mut settled: BTreeSet<EventId> = BTreeSet::new();
        for event in std::mem::take(&mut draft.events) {
            match by_id.get(&event.event.event_id) {
                Some(newcomer) => {
                    settled.insert(newcomer.event_id);
                    if newcomer.position != event.sequence {
                        draft.moves.push(self.back_to(newcomer, event));
                    }
                }
                None if in_place.contains(&event.event.event_id) => {}
                None => draft.events.push(event),
            }
        }
        let mut next = draft.counter.unwrap_or(0);
        for newcomer in self.newcomers.iter().filter(|n| !settled.contains(&n.event_id)) {
            next = next.saturating_add(1);
            draft.moves.push(self.to_the_end(newcomer, next));
        }
        draft.moves.sort_by_key(|m| m.from);
        draft.counter = draft.counter.map(|counter| counter.max(next));
        let to: BTreeMap<u64, u64> = draft.moves.iter().map(|m| (m.from, m.to)).collect();
        for (_, position) in &mut draft.bookkeeping.remember {
            if let Some(to) = to.get(position) {
                *position = *to;
            }
        }
    }

    fn to_the_end(&self, newcomer: &Newcomer, number: u64) -> PlannedMove {
        PlannedMove {
            event_id: newcomer.event_id,
            from: newcomer.position,
            to: number,
            grade: None,
            basis: "it was given a number that another event had been promised; it gets a new one, after all others"
                .into(),
            sequenced_at: newcomer.sequenced_at,
            leaf: self.leaf(newcomer, number),
            receipt: None,
            superseded_receipt: newcomer.receipt.as_ref().map(|r| r.receipt_hash),
        }
    }

    fn leaf(&self, newcomer: &Newcomer, position: u64) -> Hash32 {
        leaf_hash(&self.stream, position, &newcomer.content.0, &newcomer.content.1)
    }

    /// A lost event that was pushed again goes back to its own number.
    fn back_to(&self, newcomer: &Newcomer, planned: PlannedEvent) -> PlannedMove {
        PlannedMove {
            event_id: newcomer.event_id,
            from: newcomer.position,
            to: planned.sequence,
            grade: Some(planned.grade),
            basis: planned.basis,
            sequenced_at: planned.sequenced_at,
            leaf: self.leaf(newcomer, planned.sequence),
            receipt: planned.receipt,
            superseded_receipt: newcomer.receipt.as_ref().map(|r| r.receipt_hash),
        }
    }
}

/// What the audit says if copies of the sequencer's own words (other logs, signed pulled rows) have other events at
/// positions that the log has filled, and nothing decides between them.
pub fn contradicting_copies(examined: &Examined, evidence: &StreamEvidence) -> Option<Finding> {
    let told = |saying: Saying| matches!(saying, Saying::Log | Saying::Pulled);
    let gaps = examined.missing_spans();
    let last = examined.state.last?;
    let mut positions = evidence
        .claims
        .range(..=last)
        .filter(|(position, claims)| {
            !gaps.contains(**position)
                && claims
                    .iter()
                    .any(|c| told(c.saying) && !evidence.candidates_of(c.event_id).is_empty())
        })
        .map(|(position, _)| *position);
    let first = positions.next()?;
    let (count, to) = positions.fold((1, first), |(count, _), position| (count + 1, position));
    let message = format!(
        "witnesses have other events at {count} position(s) that the log has filled, the first at {first}; no anchor \
         or receipt decides between them, and the log's stay"
    );
    let finding = Finding::new(Code::Reissue, message).stream(examined.state.stream);
    Some(finding.range(first, to).count(count))
}

fn superseded_line(c: &Commitment) -> PlannedSuperseded {
    PlannedSuperseded {
        batch_id: c.batch_id,
        sequence_start: c.sequence_start,
        sequence_end: c.sequence_end,
        merkle_root: c.merkle_root,
    }
}
