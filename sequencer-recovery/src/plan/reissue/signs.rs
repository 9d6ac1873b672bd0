//! What shows that numbers were given out twice, and from which position on.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use cli_common::Cancel;
use event_log::View;
use ves::span::{Span, Spans};
use ves::{Hash32, Timestamp};

use super::{Reissue, ReissueInput, checked, without};
use crate::error::RecoveryError;
use crate::grade::Grade;
use crate::place::placement::{Budget, Placement, Question, TargetOutcome, judge};
use crate::stream::checkpointed::Checkpointed;
use crate::stream::examine::Examined;
use crate::stream::target::Target;
use crate::witness::evidence::StreamEvidence;

/// A block's clock and the sequencer's may differ by so much.
const CLOCK_SKEW_MICROS: i64 = 60_000_000;

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

impl Suspect<'_> {
    /// Something else than an anchored event stands in it, whatever witnesses say.
    fn certain(&self) -> bool {
        self.whole || self.late.is_some()
    }
}

/// How many positions of a batch to try as the start of the rewrite.
const MAX_CUTS: usize = 128;

/// How many events from such a position on to hold in memory and search.
const MAX_TAKEN: usize = 10_000;

/// Looks for numbers that were given out twice in one stream. What it did not look at is added to `not_checked`.
///
/// # Errors
/// What the log's database says; [`RecoveryError::Cancelled`].
pub async fn find(
    view: &mut View,
    given: &ReissueInput<'_>,
    not_checked: &mut Vec<String>,
    cancel: &Cancel,
) -> Result<Option<Reissue>, RecoveryError> {
    let ReissueInput {
        examined, evidence, ..
    } = *given;
    let stream = examined.state.stream;
    let (mut from, mut signs) = signs_of_events(view, given).await?;
    let gaps = examined.missing_spans();
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
        checkpointed: &examined.checkpointed,
        log_tree: None,
    };
    let usual = judge(&question, evidence, given.holders, given.budget);
    let solved = |id| {
        usual
            .outcomes
            .iter()
            .any(|(of, o)| *of == id && matches!(o, TargetOutcome::Solved { .. }))
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

/// What single events show: the first position of which a signed receipt or a checkpoint says otherwise than the log.
async fn signs_of_events(
    view: &mut View,
    given: &ReissueInput<'_>,
) -> Result<(Option<u64>, Vec<String>), RecoveryError> {
    let examined = given.examined;
    let (mut from, mut signs) = (None, Vec::new());
    let gaps = examined.missing_spans();
    // A receipt is kept only if its event is not in the log: at a position that is filled, another one stands there.
    let mut receipted = given.evidence.receipts.keys().copied();
    let receipted = receipted.find(|p| !gaps.contains(*p));
    if let Some(position) = receipted.filter(|p| examined.state.last.is_some_and(|last| *p <= last)) {
        from = Some(position);
        signs.push(format!(
            "a signed receipt gives number {position} to an event that is not there"
        ));
    }
    if let Some(position) = not_the_signed_one(view, given).await? {
        from = Some(from.map_or(position, |from: u64| from.min(position)));
        signs.push(format!(
            "the event at {position} is another than that of {}",
            examined.checkpointed.basis(position)
        ));
    }
    Ok((from, signs))
}

/// The first event of the log that verifies and is not the one that checkpoints confirm for its number. What does not verify
/// was altered, and a tombstone was put there on purpose.
async fn not_the_signed_one(view: &mut View, given: &ReissueInput<'_>) -> Result<Option<u64>, RecoveryError> {
    let scan = &given.examined.scan;
    let tombstones = &scan.tally.tombstones.positions;
    let differs = scan.tree.differs.iter().filter(|p| !tombstones.contains(p));
    for &position in differs.take(MAX_CUTS) {
        let rows = view
            .entries(&given.examined.state.stream, position..=position)
            .await?;
        let sound = checked(rows.rows, given.keys).into_iter().any(|(entry, check)| {
            check.payload.is_match()
                && check.signing_hash == entry.event_signing_hash
                && check.signature.is_valid()
        });
        if sound {
            return Ok(Some(position));
        }
    }
    Ok(None)
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
        let Some(range) = Span::new(anchor.sequence_start, anchor.sequence_end) else {
            continue;
        };
        let tombstones = &examined.scan.tally.tombstones.positions;
        let unreadable = examined.scan.unreadable_in(range.start(), range.end());
        // And which event it is that stands there and cannot be read, no root can tell.
        if anchor.contested || unreadable > 0 || tombstones.iter().any(|at| range.contains(*at)) {
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
                    .filter(|e| e.sequenced_at.0 > anchored_at.0.saturating_add(CLOCK_SKEW_MICROS))
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
                range,
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
    suspects.sort_by_key(|s| s.target.range);
    Ok(suspects)
}

/// Takes the events of a batch out from one position on, from each that it could be, and looks for others that give
/// the anchored root. Says from where on it comes out equal.
async fn try_cuts(
    view: &mut View,
    suspect: &Suspect<'_>,
    given: &ReissueInput<'_>,
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
        .entries(stream, lowest..=suspect.target.range.end())
        .await?
        .rows;
    let entries = checked(entries, given.keys);
    // Here the batch's root alone decides.
    let none = Checkpointed::default();
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
        let present = Spans::of_positions(suspect.present.keys().copied());
        let missing = present
            .complement(target.range)
            .union(&Spans::of_positions(taken));
        let question = Question {
            stream,
            missing: &missing,
            targets: &[target],
            history: &given.examined.scan.history.before(cut),
            checkpointed: &none,
            log_tree: None,
        };
        let judgement = judge(&question, &evidence, given.holders, budget);
        if !matches!(judgement.outcomes[..], [(_, TargetOutcome::Solved { .. })]) {
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
