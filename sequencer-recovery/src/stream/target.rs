//! Batches whose root is known and whose events are not all there: what a search for placements can be checked by.

use std::collections::BTreeMap;

use ves::span::Span;
use ves::{BatchId, Hash32, Timestamp};

use crate::grade::Grade;

/// A batch whose root is known, with at least one missing position.
#[derive(Debug, Clone)]
pub struct Target {
    /// The batch.
    pub batch_id: BatchId,
    /// Its positions.
    pub range: Span,
    /// Its root.
    pub root: Hash32,
    /// `Proven` for an anchored root, `Committed` for one of the log's own commitments.
    pub grade: Grade,
    /// Leaves of the positions that the log has.
    pub present: BTreeMap<u64, Hash32>,
    /// When the events of those positions were numbered.
    pub times: BTreeMap<u64, Timestamp>,
}
