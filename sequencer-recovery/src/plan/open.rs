//! Positions that stay open once a plan is applied, with what is known of each.

use super::planned::{KnownBatch, PlannedOpen};
use crate::place::placement::{Judgement, Placement};
use crate::stream::batches::Batch;
use crate::witness::evidence::StreamEvidence;

/// What nobody knows, or nobody knows well enough: what was judged to be open, and the placements that the operator's
/// grade does not admit. Ascending, cut at the bounds of known batches.
pub(super) fn open_positions(
    judgement: &Judgement,
    unused: &[Placement],
    evidence: &StreamEvidence,
    batches: &[Batch],
) -> Vec<PlannedOpen> {
    let judged = judgement.open.iter().map(|o| PlannedOpen {
        from: o.range.start(),
        to: o.range.end(),
        grade: o.grade,
        reason: o.reason.clone(),
        rivals: o.rivals.clone(),
        batch: None,
        filled: false,
    });
    let not_admitted = unused.iter().map(|p| PlannedOpen {
        from: p.position,
        to: p.position,
        grade: p.grade,
        reason: format!("{}; used with --accept {}", p.basis, p.grade),
        rivals: vec![evidence.candidates[p.candidate].event.event_id],
        batch: None,
        filled: false,
    });
    let mut open: Vec<PlannedOpen> = judged.chain(not_admitted).collect();
    open.sort_by_key(|o| o.from);
    by_batch(open, batches)
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
