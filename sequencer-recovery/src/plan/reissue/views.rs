//! The stream as it would be without the newcomers, and around them.

use std::collections::BTreeSet;

use event_log::Commitment;
use ves::span::{Span, Spans};

use super::Reissue;
use crate::gap::{self, Gap};
use crate::place::placement::{Judgement, Open, TargetOutcome};
use crate::stream::batches::BatchVerdict;
use crate::stream::examine::Examined;

impl Reissue {
    /// The judgement for a log in which the newcomers stay: what was found for the positions that are really missing.
    pub(super) fn judgement_around(&self, examined: &Examined, decided: bool) -> Judgement {
        let gaps = examined.missing_spans();
        let (mut placements, mut open) = (Vec::new(), Vec::new());
        for placement in &self.judgement.placements {
            if !gaps.contains(placement.position) {
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
                range: Span::at(placement.position),
                grade: placement.grade,
                reason: reason.into(),
                rivals: vec![candidate.event.event_id],
            });
        }
        for known in &self.judgement.open {
            for range in gaps.within(known.range).iter() {
                open.push(Open {
                    range,
                    ..known.clone()
                });
            }
        }
        open.sort_by_key(|o| o.range);
        // A batch that holds newcomers, or stays open, does not get its root.
        let filled: BTreeSet<u64> = placements.iter().map(|p| p.position).collect();
        let outcomes = self
            .judgement
            .outcomes
            .iter()
            .filter(|(id, outcome)| {
                let target = self.targets.iter().find(|t| t.batch_id == *id);
                let holds = |range: Span| {
                    self.newcomers.iter().any(|n| range.contains(n.position))
                        || gaps.within(range).positions().any(|p| !filled.contains(&p))
                };
                !matches!(outcome, TargetOutcome::Solved { .. }) || target.is_some_and(|t| !holds(t.range))
            })
            .cloned()
            .collect();
        Judgement {
            placements,
            open,
            outcomes,
            heads: Vec::new(),
            spoken_for: self.judgement.spoken_for.clone(),
        }
    }

    /// The log with the newcomers taken out, as the plan for the anchored history sees it.
    pub(super) fn taken_out(&self, examined: &Examined) -> (Examined, Vec<Commitment>) {
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
                let range = Span::new(batch.sequence_start, batch.sequence_end);
                batch.missing = range.map_or(0, |range| self.missing.within(range).count());
            }
        }
        let books = &mut virtual_log.bookkeeping;
        // A moved event gets its receipt with its number.
        let newcomers = Spans::of_positions(self.newcomers.iter().map(|n| n.position));
        books.receipts = books.receipts.subtract(&newcomers);
        (virtual_log, superseded)
    }
}

/// Missing positions as gaps of what is then present.
fn gaps_of(missing: &Spans, examined: &Examined) -> Vec<Gap> {
    let present = Span::up_to(examined.head_known).map(|all| missing.complement(all));
    let present: Vec<_> = present.unwrap_or_default().into();
    gap::gaps(&present, examined.head_known)
}
