//! Reissue: after a recovery the sequencer went on from its old counter before anybody looked, and gave numbers out
//! again that others had been promised. The log then has two histories: the one that was anchored, and the one that
//! stands there now.
//!
//! Since a rewound counter counts up from where it was, the newcomers are everything from one position on. That
//! position is found by what cannot lie: an anchored root that comes out equal once the events from there on are
//! taken out and others put in their places; an event that was numbered after its batch had been anchored; a signed
//! receipt of another event. Then the search for placements ([`crate::placement`]) is asked again, with the newcomers
//! taken out: what it finds is the anchored history, and what it finds no place for is the other one.
//!
//! Nothing is moved unless the operator says so ([`OnReissue`]). `docs/plan.md` says what each choice does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{ControlFlow, RangeInclusive};
use std::str::FromStr;

use cli_common::Cancel;
use event_log::{Commitment, LogEntry, View};
use outbox_sync::{OutboxStatus, RowCheck};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use ves::merkle::leaf_hash;
use ves::{EventId, Hash32, KeyRegistry, Receipt, StreamKey, Timestamp};

use crate::accept_keys::Accepted;
use crate::error::RecoveryError;
use crate::evidence::{Candidate, Holders, Saying, StreamEvidence};
use crate::examine::{BatchVerdict, Examined};
use crate::finding::{Code, Finding};
use crate::gap::{self, Gap};
use crate::grade::Grade;
use crate::placement::{Budget, Judgement, Open, Outcome, Placement, Question, Target, judge};
use crate::plan::{self, PlanOptions, StreamPlan};
use crate::plan_file::{PlannedEvent, PlannedMove, PlannedReissue, PlannedSuperseded};
use crate::survey::Survey;
use crate::tombstone::RecoveryAgents;

/// What to do about numbers that were given out twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnReissue {
    /// The anchored events go to their places, the newcomers get new numbers after the floor.
    KeepAnchored,
    /// The newcomers keep the numbers; the conflict is recorded, and stays.
    KeepCurrent,
}

impl fmt::Display for OnReissue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            OnReissue::KeepAnchored => "keep-anchored",
            OnReissue::KeepCurrent => "keep-current",
        })
    }
}

impl FromStr for OnReissue {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        [OnReissue::KeepAnchored, OnReissue::KeepCurrent]
            .into_iter()
            .find(|choice| choice.to_string() == s)
            .ok_or_else(|| format!("{s:?} is not one of keep-anchored, keep-current"))
    }
}

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
    missing: Vec<RangeInclusive<u64>>,
    targets: Vec<Target>,
}

/// A block's clock and the sequencer's may differ by so much.
const CLOCK_SKEW: i64 = 60_000_000;

/// A batch that does not have the root that was anchored, though the log has events of it.
struct Suspect<'a> {
    target: Target,
    /// All of it is there.
    whole: bool,
    present: &'a BTreeMap<u64, Hash32>,
    /// The first event that was numbered after the batch had been anchored.
    late: Option<u64>,
    /// The first position for which a witness names an event that is not the one standing there.
    named: Option<u64>,
}

/// What is known of a stream and its witnesses.
#[derive(Clone, Copy)]
pub struct Given<'a> {
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

impl Suspect<'_> {
    /// Something else than an anchored event stands in it, whatever witnesses say.
    fn certain(&self) -> bool {
        self.whole || self.late.is_some()
    }
}

/// So many positions of a batch are tried as the one from which on it was written again.
const MAX_CUTS: usize = 128;

/// The events from such a position on are held in memory, and the search tries them: no more than so many.
const MAX_TAKEN: usize = 10_000;

/// Looks for numbers that were given out twice in one stream. What it did not look at is added to `not_checked`.
///
/// # Errors
/// What the log's database says; [`RecoveryError::Cancelled`].
pub async fn find(
    view: &mut View,
    given: &Given<'_>,
    not_checked: &mut Vec<String>,
    cancel: &Cancel,
) -> Result<Option<Reissue>, RecoveryError> {
    let Given {
        examined, evidence, ..
    } = *given;
    let stream = examined.state.stream;
    let mut signs = Vec::new();
    let mut from: Option<u64> = None;
    let gaps = examined.missing_ranges();
    // A receipt is kept only if its event is not in the log: at a position that is filled, another one stands there.
    let receipted = evidence.receipts.keys().copied().find(|p| !contains(&gaps, *p));
    if let Some(position) = receipted.filter(|p| examined.state.last.is_some_and(|last| *p <= last)) {
        from = Some(position);
        signs.push(format!(
            "a signed receipt gives number {position} to an event that is not there"
        ));
    }
    let mut suspects = suspects(view, examined, evidence).await?;
    suspects.retain(|s| s.whole || s.late.is_some() || s.named.is_some());
    // A batch that can be made whole around what stands there holds no newcomer.
    let partial: Vec<Target> = suspects
        .iter()
        .filter(|s| !s.certain())
        .map(|s| Target {
            present: s.present.clone(),
            ..s.target.clone()
        })
        .collect();
    let question = Question {
        stream: &stream,
        missing: &gaps,
        targets: &partial,
        history: &examined.scan.history,
    };
    let usual = judge(&question, evidence, given.holders, given.budget);
    let solved = |id| {
        usual
            .outcomes
            .iter()
            .any(|(of, o)| *of == id && matches!(o, Outcome::Solved { .. }))
    };
    suspects.retain(|s| s.certain() || !solved(s.target.batch_id));
    for suspect in &suspects {
        cancel.check()?;
        let id = suspect.target.batch_id;
        if let Some(position) = suspect.late {
            from = Some(from.map_or(position, |from| from.min(position)));
            signs.push(format!(
                "{position} was numbered after batch {id}, which it is in, had been anchored"
            ));
            break;
        }
        if let Some(position) = try_cuts(view, suspect, given, not_checked, cancel).await? {
            if from.is_none_or(|from| position < from) {
                from = Some(position);
            }
            signs.push(format!(
                "the anchored root of batch {id} comes out equal with other events than the log has from {position} on"
            ));
            break;
        }
    }
    let Some(from) = from else { return Ok(None) };
    let found = Reissue::draw_up(view, given, from, signs).await?;
    Ok(Some(found).filter(|f| !f.newcomers.is_empty()))
}

fn contains(ranges: &[RangeInclusive<u64>], position: u64) -> bool {
    let after = ranges.partition_point(|range| *range.end() < position);
    ranges.get(after).is_some_and(|range| range.contains(&position))
}

/// The anchored batches that could hold newcomers, ascending.
async fn suspects<'a>(
    view: &mut View,
    examined: &'a Examined,
    evidence: &StreamEvidence,
) -> Result<Vec<Suspect<'a>>, RecoveryError> {
    let stream = examined.state.stream;
    let named: BTreeSet<u64> = evidence
        .elsewhere
        .values()
        .flatten()
        .map(|(position, _)| *position)
        .collect();
    let mut suspects = Vec::new();
    for (anchor, scanned) in examined.anchored_scans() {
        let present = &scanned.leaves;
        let (Some(first), Some(last)) = (present.keys().next(), present.keys().next_back()) else {
            continue;
        };
        // A tombstone was put there on purpose, under a root that it was known never to match.
        let range = anchor.sequence_start..=anchor.sequence_end;
        let tombstones = &examined.scan.tally.tombstones.positions;
        let unreadable = examined.unreadable_in(*range.start(), *range.end());
        // And which event it is that stands there and cannot be read, no root can tell.
        if anchor.contested || unreadable > 0 || tombstones.iter().any(|at| range.contains(at)) {
            continue;
        }
        let anchored_at = anchor
            .places
            .iter()
            .filter_map(|place| place.block_timestamp.and_then(Timestamp::from_unix_seconds))
            .min();
        let mut late = None;
        if let Some(anchored_at) = anchored_at {
            view.for_each_entry(&stream, *first..=*last, &mut |rows| {
                let entries = rows.into_iter().flatten();
                late = entries
                    .filter(|e| e.sequenced_at.0 > anchored_at.0.saturating_add(CLOCK_SKEW))
                    .map(|e| e.sequence_number)
                    .next();
                match late {
                    Some(_) => ControlFlow::Break(()),
                    None => ControlFlow::Continue(()),
                }
            })
            .await?;
        }
        let says_otherwise = |position: &u64| {
            let claims = evidence.claims.get(position).into_iter().flatten();
            named.contains(position)
                || claims
                    .into_iter()
                    .any(|c| !evidence.candidates_of(c.event_id).is_empty())
        };
        suspects.push(Suspect {
            target: Target {
                batch_id: anchor.batch_id,
                range: anchor.sequence_start..=anchor.sequence_end,
                root: anchor.events_root,
                grade: Grade::Proven,
                present: BTreeMap::new(),
                times: scanned.times.clone(),
            },
            whole: scanned.root.is_some(),
            present,
            late,
            named: present.keys().copied().find(says_otherwise),
        });
    }
    suspects.sort_by_key(|s| *s.target.range.start());
    Ok(suspects)
}

/// Takes the events of a batch out from one position on, from each that it could be, and looks for others that give
/// the anchored root. Says from where on it comes out equal.
async fn try_cuts(
    view: &mut View,
    suspect: &Suspect<'_>,
    given: &Given<'_>,
    not_checked: &mut Vec<String>,
    cancel: &Cancel,
) -> Result<Option<u64>, RecoveryError> {
    let stream = &given.examined.state.stream;
    let budget = given.budget;
    // From a low position on more is taken out than from a high one.
    let lowest = suspect
        .present
        .keys()
        .rev()
        .nth(MAX_TAKEN - 1)
        .copied()
        .unwrap_or(1);
    let all = suspect.named.into_iter().chain(suspect.present.keys().copied());
    let mut cuts: Vec<u64> = Vec::new();
    for position in all.filter(|position| *position >= lowest) {
        if cuts.len() < MAX_CUTS && !cuts.contains(&position) {
            cuts.push(position);
        }
    }
    let positions = suspect.present.len();
    if cuts.len() < positions {
        not_checked.push(format!(
            "stream {stream}, batch {}: whether it was written again from one of {} position(s) on; {} were tried",
            suspect.target.batch_id,
            positions - cuts.len(),
            cuts.len()
        ));
    }
    let budget = Budget {
        tries: (budget.tries / cuts.len().max(1) as u64).max(64),
        ..budget
    };
    let lowest = cuts.iter().min().copied().unwrap_or(1);
    let entries = view
        .entries(stream, lowest..=*suspect.target.range.end())
        .await?
        .rows;
    let entries = checked(entries, given.keys);
    for cut in cuts {
        cancel.check()?;
        let evidence = without(given.evidence, &entries, cut);
        let target = Target {
            present: suspect
                .present
                .range(..cut)
                .map(|(p, leaf)| (*p, *leaf))
                .collect(),
            times: suspect
                .target
                .times
                .range(..cut)
                .map(|(p, at)| (*p, *at))
                .collect(),
            ..suspect.target.clone()
        };
        let taken = suspect.present.range(cut..).map(|(p, _)| *p);
        let absent = target.range.clone().filter(|p| !suspect.present.contains_key(p));
        let open: BTreeSet<u64> = taken.chain(absent).collect();
        let missing = gap::ranges(open);
        let question = Question {
            stream,
            missing: &missing,
            targets: &[target],
            history: &given.examined.scan.history.before(cut),
        };
        let judgement = judge(&question, &evidence, given.holders, budget);
        if !matches!(judgement.outcomes[..], [(_, Outcome::Solved { .. })]) {
            continue;
        }
        let another = |p: &&Placement| {
            suspect.present.contains_key(&p.position)
                && evidence.standing.get(&p.position) != Some(&p.candidate)
        };
        if let Some(first) = judgement.placements.iter().find(another) {
            return Ok(Some(first.position));
        }
    }
    Ok(None)
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

impl Reissue {
    async fn draw_up(
        view: &mut View,
        given: &Given<'_>,
        from: u64,
        signs: Vec<String>,
    ) -> Result<Self, RecoveryError> {
        let Given {
            examined,
            holders,
            keys,
            budget,
            ..
        } = *given;
        let stream = examined.state.stream;
        // What an anchored root confirms where it stands is no newcomer.
        let confirmed: Vec<RangeInclusive<u64>> = examined
            .anchored_scans()
            .filter(|(a, scanned)| !a.contested && scanned.root == Some(a.events_root))
            .map(|(a, _)| a.sequence_start..=a.sequence_end)
            .collect();
        let is_confirmed = |p: u64| confirmed.iter().any(|range| range.contains(&p));
        let last = examined.state.last.unwrap_or(0);
        let mut entries = view.entries(&stream, from..=last).await?.rows;
        entries.retain(|e| !is_confirmed(e.sequence_number));
        let entries = checked(entries, keys);
        let evidence = without(given.evidence, &entries, from);
        let mut targets: Vec<Target> = examined
            .anchored_scans()
            .filter(|(a, scanned)| !a.contested && scanned.root != Some(a.events_root))
            .map(|(a, scanned)| Target {
                batch_id: a.batch_id,
                range: a.sequence_start..=a.sequence_end,
                root: a.events_root,
                grade: Grade::Proven,
                present: scanned
                    .leaves
                    .range(..from)
                    .map(|(p, leaf)| (*p, *leaf))
                    .collect(),
                times: scanned.times.range(..from).map(|(p, at)| (*p, *at)).collect(),
            })
            .filter(|t| t.range.end() >= t.range.start())
            .filter(|t| t.range.end() - t.range.start() >= t.present.len() as u64)
            .collect();
        let of_log = examined.targets.iter();
        targets.extend(
            of_log
                .filter(|t| t.grade == Grade::Committed && *t.range.end() < from)
                .cloned(),
        );
        let vacated = entries.iter().map(|(e, _)| e.sequence_number);
        let missing = union(&examined.missing_ranges(), &gap::ranges(vacated));
        let question = Question {
            stream: &stream,
            missing: &missing,
            targets: &targets,
            history: &examined.scan.history.before(from),
        };
        let judgement = judge(&question, &evidence, holders, budget);
        // An event that belongs where it stands (pushed again at the same place in the order) has only one history.
        let in_place: BTreeSet<u64> = judgement
            .placements
            .iter()
            .filter(|p| p.grade == Grade::Proven && evidence.standing.get(&p.position) == Some(&p.candidate))
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
            .next("sequencer-recovery plan --on-reissue keep-anchored|keep-current, with the same options")
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

    /// Plans the stream by the operator's decision.
    ///
    /// # Errors
    /// What the log's database says; a floor below a proof.
    pub async fn plan_stream(
        &self,
        view: &mut View,
        examined: &Examined,
        options: &PlanOptions,
        survey: &Survey,
        now: Timestamp,
    ) -> Result<StreamPlan, RecoveryError> {
        // What is appended goes behind what moves to the end, and its checks depend on what stands there then; what
        // is lost for good shows only when one history stands.
        let later = options.append.is_some() || options.fill.is_some() || !options.accept_keys.is_empty();
        let options = &PlanOptions {
            append: None,
            fill: None,
            ..options.clone()
        };
        let mut plan = match options.on_reissue {
            Some(OnReissue::KeepAnchored) => self.keep_anchored(view, examined, options, survey, now).await?,
            decided => {
                let judgement = self.judgement_around(examined, decided.is_some());
                let mut plan = plan::plan_stream(
                    view,
                    examined,
                    &self.evidence,
                    judgement,
                    options,
                    survey,
                    None,
                    now,
                    Accepted::default(),
                    &mut RecoveryAgents::default(),
                )
                .await?;
                let cost = self.cost_of_leaving(examined);
                plan.header.reissued = self.newcomers.len() as u64;
                plan.summary.reissue_note = Some(match decided {
                    Some(_) => format!("kept as they are: {cost}"),
                    None => format!(
                        "nothing from {} on is touched until you decide with --on-reissue keep-anchored or keep-current",
                        self.from
                    ),
                });
                plan
            }
        };
        if later {
            let note = plan.summary.reissue_note.get_or_insert_default();
            note.push_str(
                "; nothing is appended, filled or registered in this stream before that is settled: plan again afterwards",
            );
        }
        plan.reissues = self.histories(examined, &survey.collected.holders);
        plan.summary.reissued = self.newcomers.len() as u64;
        plan.summary.reissue = plan.reissues.clone();
        Ok(plan)
    }

    /// The judgement for a log in which the newcomers stay: what was found for the positions that are really missing.
    fn judgement_around(&self, examined: &Examined, decided: bool) -> Judgement {
        let gaps = examined.missing_ranges();
        let (mut placements, mut open) = (Vec::new(), Vec::new());
        for placement in &self.judgement.placements {
            if !contains(&gaps, placement.position) {
                continue;
            }
            let candidate = &self.evidence.candidates[placement.candidate];
            let in_log = self
                .newcomers
                .iter()
                .any(|n| n.event_id == candidate.event.event_id);
            let wait = !decided && placement.position >= self.from;
            let reason = if in_log {
                "the event that was promised it stands under another number now"
            } else if !candidate.signature.is_valid() && placement.position >= self.from {
                "its batch cannot be made whole while it holds numbers that were given out twice, and without it the \
                 event's signature is NOT CHECKED"
            } else if wait {
                "numbers were given out twice from here on or before: decide with --on-reissue"
            } else {
                placements.push(placement.clone());
                continue;
            };
            open.push(Open {
                range: placement.position..=placement.position,
                grade: placement.grade,
                reason: reason.into(),
                rivals: vec![candidate.event.event_id],
            });
        }
        for known in &self.judgement.open {
            for range in intersection(&gaps, &known.range) {
                open.push(Open {
                    range,
                    ..known.clone()
                });
            }
        }
        open.sort_by_key(|o| *o.range.start());
        // A batch that holds newcomers, or stays open, does not get its root.
        let filled: BTreeSet<u64> = placements.iter().map(|p| p.position).collect();
        let outcomes = self
            .judgement
            .outcomes
            .iter()
            .filter(|(id, outcome)| {
                let target = self.targets.iter().find(|t| t.batch_id == *id);
                let holds = |range: &RangeInclusive<u64>| {
                    self.newcomers.iter().any(|n| range.contains(&n.position))
                        || intersection(&gaps, range)
                            .into_iter()
                            .flatten()
                            .any(|p| !filled.contains(&p))
                };
                !matches!(outcome, Outcome::Solved { .. }) || target.is_some_and(|t| !holds(&t.range))
            })
            .cloned()
            .collect();
        Judgement {
            placements,
            open,
            outcomes,
            spoken_for: self.judgement.spoken_for.clone(),
        }
    }

    /// The log with the newcomers taken out, as the plan for the anchored history sees it.
    fn taken_out(&self, examined: &Examined) -> (Examined, Vec<Commitment>) {
        let mut virtual_log = examined.clone();
        virtual_log.gaps = gaps_of(&self.missing, examined);
        virtual_log.targets.clone_from(&self.targets);
        let touched =
            |start: u64, end: u64| self.newcomers.iter().any(|n| (start..=end).contains(&n.position));
        let anchored = |c: &Commitment| {
            examined.anchored.iter().any(|a| {
                a.batch_id == c.batch_id
                    && a.events_root == c.merkle_root
                    && a.state_root == c.new_state_root
                    && (a.sequence_start, a.sequence_end) == (c.sequence_start, c.sequence_end)
            })
        };
        // Committed again under another id, since the first time was forgotten: it can never be anchored beside the other.
        let again = |c: &Commitment| {
            examined.anchored.iter().any(|a| {
                !a.contested && a.sequence_start <= c.sequence_end && c.sequence_start <= a.sequence_end
            })
        };
        let (superseded, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut virtual_log.commitments)
            .into_iter()
            .partition(|c| (touched(c.sequence_start, c.sequence_end) || again(c)) && !anchored(c));
        virtual_log.commitments = kept;
        virtual_log
            .batches
            .retain(|b| b.anchored || !superseded.iter().any(|c| c.batch_id == b.batch_id));
        for batch in &mut virtual_log.batches {
            if touched(batch.sequence_start, batch.sequence_end) {
                batch.verdict = BatchVerdict::NotChecked;
                let range = batch.sequence_start..=batch.sequence_end;
                let missing = self
                    .missing
                    .iter()
                    .flat_map(|m| intersection(std::slice::from_ref(m), &range));
                batch.missing = missing.map(|r| r.end() - r.start() + 1).sum();
            }
        }
        let books = &mut virtual_log.bookkeeping;
        // A moved event gets its receipt with its number.
        let newcomers: Vec<RangeInclusive<u64>> = gap::ranges(self.newcomers.iter().map(|n| n.position));
        books.receipts = books
            .receipts
            .iter()
            .flat_map(|range| subtract(range, &newcomers))
            .collect();
        (virtual_log, superseded)
    }

    async fn keep_anchored(
        &self,
        view: &mut View,
        examined: &Examined,
        options: &PlanOptions,
        survey: &Survey,
        now: Timestamp,
    ) -> Result<StreamPlan, RecoveryError> {
        let (mut virtual_log, superseded) = self.taken_out(examined);
        if let Some(checkpoint) = view.projection_checkpoint(&self.stream).await?
            && checkpoint >= self.from
        {
            let before = virtual_log.bookkeeping.projection.unwrap_or(u64::MAX);
            virtual_log.bookkeeping.projection = Some(before.min(self.from - 1));
        }
        let judgement = self.judgement.clone();
        let mut plan = plan::plan_stream(
            view,
            &virtual_log,
            &self.evidence,
            judgement,
            options,
            survey,
            Some(self.from),
            now,
            Accepted::default(),
            &mut RecoveryAgents::default(),
        )
        .await?;
        let by_id: BTreeMap<EventId, &Newcomer> = self.newcomers.iter().map(|n| (n.event_id, n)).collect();
        let in_place: BTreeSet<EventId> = self
            .evidence
            .standing
            .values()
            .map(|c| self.evidence.candidates[*c].event.event_id)
            .filter(|id| !by_id.contains_key(id))
            .collect();
        let mut moves = Vec::new();
        let mut gone: BTreeSet<EventId> = BTreeSet::new();
        let mut events = Vec::new();
        for event in std::mem::take(&mut plan.events) {
            match by_id.get(&event.event.event_id) {
                Some(newcomer) => {
                    gone.insert(newcomer.event_id);
                    if newcomer.position != event.sequence {
                        moves.push(self.back_to(newcomer, event));
                    }
                }
                None if in_place.contains(&event.event.event_id) => {}
                None => events.push(event),
            }
        }
        let mut next = plan.header.counter_after.unwrap_or(0);
        let mut to: BTreeMap<u64, u64> = moves.iter().map(|m| (m.from, m.to)).collect();
        for newcomer in self.newcomers.iter().filter(|n| !gone.contains(&n.event_id)) {
            next = next.saturating_add(1);
            to.insert(newcomer.position, next);
            moves.push(PlannedMove {
                event_id: newcomer.event_id,
                from: newcomer.position,
                to: next,
                grade: None,
                basis: "it was given a number that another event had been promised; it gets a new one, after all others"
                    .into(),
                sequenced_at: newcomer.sequenced_at,
                leaf: self.leaf(newcomer, next),
                receipt: None,
                superseded_receipt: newcomer.receipt.as_ref().map(|r| r.receipt_hash),
            });
        }
        moves.sort_by_key(|m| m.from);
        for (_, position) in &mut plan.bookkeeping.remember {
            if let Some(to) = to.get(position) {
                *position = *to;
            }
        }
        plan.header.counter_after = plan.header.counter_after.map(|c| c.max(next));
        plan.header.events = events.len() as u64;
        plan.header.moves = moves.len() as u64;
        plan.header.superseded = superseded.len() as u64;
        let mut by_grade: BTreeMap<Grade, u64> = BTreeMap::new();
        for event in &events {
            *by_grade.entry(event.grade).or_default() += 1;
        }
        plan.summary.bookkeeping = plan.bookkeeping.clone();
        plan.summary.events = plan.header.events;
        plan.summary.by_grade = by_grade;
        plan.summary.counter_after = plan.header.counter_after;
        plan.summary.moves.clone_from(&moves);
        plan.summary.superseded = superseded.iter().map(superseded_line).collect();
        plan.summary.reissue_note = Some(format!(
            "{} event(s) move to the end, {} go back to the number that they had; their receipts are superseded: their \
             agents hold numbers that are no longer theirs",
            moves.iter().filter(|m| m.grade.is_none()).count(),
            moves.iter().filter(|m| m.grade.is_some()).count()
        ));
        plan.superseded = plan.summary.superseded.clone();
        plan.events = events;
        plan.moves = moves;
        Ok(plan)
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
    let gaps = examined.missing_ranges();
    let last = examined.state.last?;
    let mut positions = evidence
        .claims
        .range(..=last)
        .filter(|(position, claims)| {
            !contains(&gaps, **position)
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

/// Missing ranges as gaps of what is then present.
fn gaps_of(missing: &[RangeInclusive<u64>], examined: &Examined) -> Vec<Gap> {
    let mut present = Vec::new();
    let mut next = 1;
    for range in missing {
        if *range.start() > next {
            present.push(next..=range.start() - 1);
        }
        next = range.end().saturating_add(1);
    }
    if next <= examined.head_known {
        present.push(next..=examined.head_known);
    }
    gap::gaps(&present, examined.head_known)
}

/// Ascending, disjoint ranges joined.
fn union(a: &[RangeInclusive<u64>], b: &[RangeInclusive<u64>]) -> Vec<RangeInclusive<u64>> {
    let mut all: Vec<RangeInclusive<u64>> = a.iter().chain(b).cloned().collect();
    all.sort_by_key(|r| *r.start());
    let mut joined: Vec<RangeInclusive<u64>> = Vec::new();
    for range in all {
        match joined.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => joined.push(range),
        }
    }
    joined
}

fn intersection(ranges: &[RangeInclusive<u64>], with: &RangeInclusive<u64>) -> Vec<RangeInclusive<u64>> {
    ranges
        .iter()
        .map(|r| *r.start().max(with.start())..=*r.end().min(with.end()))
        .filter(|r| !r.is_empty())
        .collect()
}

/// The parts of a range that are in none of the ascending ranges `of`.
fn subtract(range: &RangeInclusive<u64>, of: &[RangeInclusive<u64>]) -> Vec<RangeInclusive<u64>> {
    let mut parts = Vec::new();
    let mut next = *range.start();
    for taken in of
        .iter()
        .filter(|t| t.end() >= range.start() && t.start() <= range.end())
    {
        if *taken.start() > next {
            parts.push(next..=taken.start() - 1);
        }
        next = taken.end().saturating_add(1);
    }
    if next <= *range.end() {
        parts.push(next..=*range.end());
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_cut_and_taken_out() {
        assert_eq!(union(&[3..=5, 9..=9], &[6..=7, 12..=14]), [3..=7, 9..=9, 12..=14]);
        assert_eq!(union(&[1..=u64::MAX], &[4..=4]), [1..=u64::MAX]);
        assert_eq!(intersection(&[1..=4, 8..=9], &(3..=8)), [3..=4, 8..=8]);
        assert_eq!(subtract(&(1..=10), &[2..=3, 10..=12]), [1..=1, 4..=9]);
        assert_eq!(subtract(&(2..=3), &[1..=9]), Vec::<RangeInclusive<u64>>::new());
        assert!(contains(&[3..=5], 5) && !contains(&[3..=5], 6));
        assert!("keep".parse::<OnReissue>().is_err());
        assert_eq!("keep-anchored".parse(), Ok(OnReissue::KeepAnchored));
    }
}
