//! Batches of which an input has only a part of the events, with the hashes that stand for the others.

use std::ops::{ControlFlow, RangeInclusive};

use event_log::{LogError, View};
use serde::{Deserialize, Serialize};
use ves::merkle::leaf_hash;
use ves::range_proof::{RangeProofError, RangeProver, RangeRoot};
use ves::{Hash32, StoreId, StreamKey, TenantId};

/// So many batches of a bundle may be there in part: those that its range cuts at either end. More than a few are only
/// in a log whose batches overlap.
pub const MAX_PARTIAL: usize = 32;

/// A part of a batch, and the range proof that ties it to the batch's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartialBatch {
    /// The stream's tenant.
    pub tenant_id: TenantId,
    /// The stream's store.
    pub store_id: StoreId,
    /// The batch's first number.
    pub sequence_start: u64,
    /// The batch's last number (inclusive).
    pub sequence_end: u64,
    /// The first number that the input has.
    pub from: u64,
    /// The last number that the input has (inclusive).
    pub to: u64,
    /// The roots of the subtrees over the others, from left to right ([`ves::range_proof`]).
    pub nodes: Vec<Hash32>,
}

impl PartialBatch {
    /// Whether it is the part of this batch that lies in `range`.
    pub(crate) fn is(&self, stream: &StreamKey, start: u64, end: u64, range: &RangeInclusive<u64>) -> bool {
        (self.tenant_id, self.store_id) == (stream.tenant_id, stream.store_id)
            && (self.sequence_start, self.sequence_end) == (start, end)
            && (self.from, self.to) == (start.max(*range.start()), end.min(*range.end()))
    }

    /// What makes the batch's root of the leaves of the part.
    ///
    /// # Errors
    /// If the numbers or the nodes cannot be of a batch.
    pub(crate) fn root(&self) -> Result<RangeRoot, RangeProofError> {
        let (leaf_count, leaves) = indices(self.sequence_start, self.sequence_end, self.from, self.to)?;
        RangeRoot::new(leaf_count, leaves, &self.nodes)
    }
}

/// How many leaves a batch has, and which of them have these numbers.
fn indices(start: u64, end: u64, from: u64, to: u64) -> Result<(u64, RangeInclusive<u64>), RangeProofError> {
    let no_range = RangeProofError::Range {
        leaf_count: 0,
        first: from,
        last: to,
    };
    let leaf_count = end.checked_sub(start).and_then(|n| n.checked_add(1));
    match (leaf_count, from.checked_sub(start), to.checked_sub(start)) {
        (Some(leaf_count), Some(first), Some(last)) => Ok((leaf_count, first..=last)),
        _ => Err(no_range),
    }
}

/// The part of a batch that lies in `range`, with the hashes of the others; `None` if the log does not have all of
/// them.
///
/// # Errors
/// If the database fails.
pub(crate) async fn prove_part(
    view: &mut View,
    stream: &StreamKey,
    (start, end): (u64, u64),
    range: &RangeInclusive<u64>,
) -> Result<Option<PartialBatch>, LogError> {
    let (from, to) = (start.max(*range.start()), end.min(*range.end()));
    let prover =
        indices(start, end, from, to).and_then(|(leaf_count, leaves)| RangeProver::new(leaf_count, &leaves));
    let Ok(mut prover) = prover else { return Ok(None) };
    let mut next = start;
    view.for_each_leaf_input(stream, start..=end, &mut |chunk| {
        for input in chunk {
            match input {
                Ok(input) if input.sequence_number == next => {
                    let hash = &input.event_signing_hash;
                    prover.push(leaf_hash(stream, next, hash, &input.agent_signature));
                    next = next.saturating_add(1);
                }
                _ => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    })
    .await?;
    Ok(prover.finish().ok().map(|nodes| PartialBatch {
        tenant_id: stream.tenant_id,
        store_id: stream.store_id,
        sequence_start: start,
        sequence_end: end,
        from,
        to,
        nodes,
    }))
}
