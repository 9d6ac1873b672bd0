//! When a batch was anchored: by the times of blocks.

use std::collections::HashMap;

use ves::{Hash32, Timestamp};

use crate::anchor::Anchor;
use crate::anchors_file::AnchorsFile;
use crate::chain::header;

/// How far the clocks of a sequencer and of a chain's blocks may differ, in microseconds: ten minutes.
const CLOCK_SKEW: i64 = 600 * 1_000_000;

/// The times of the file's blocks, if any of its anchors does not name its own.
pub(super) fn block_times(file: &AnchorsFile) -> HashMap<Hash32, u64> {
    if file.anchors.iter().all(|anchor| anchor.block_timestamp.is_some()) {
        return HashMap::new();
    }
    let blocks = file
        .chain
        .headers
        .iter()
        .filter_map(|entry| header::read(&entry.rlp).ok());
    blocks.map(|block| (block.hash, block.timestamp)).collect()
}

/// When a batch was anchored at the latest: what is in it was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AnchoredAt {
    pub time: Timestamp,
    pub block: u64,
}

impl AnchoredAt {
    /// The time of an anchor's block, as the anchor names it or its header does.
    pub fn of(anchor: &Anchor, headers: &HashMap<Hash32, u64>) -> Option<Self> {
        let seconds = anchor
            .block_timestamp
            .or_else(|| headers.get(&anchor.block_hash).copied())?;
        Some(Self {
            time: Timestamp::from_unix_seconds(seconds)?,
            block: anchor.block_number,
        })
    }

    /// Whether something is said to be so much later that no clock explains it.
    pub fn is_before(&self, moment: Timestamp) -> bool {
        moment.0 > self.time.0.saturating_add(CLOCK_SKEW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_later_only_if_no_clock_explains_it() {
        let at = AnchoredAt {
            time: Timestamp(1_000_000_000_000),
            block: 1,
        };
        assert!(!at.is_before(at.time));
        assert!(!at.is_before(Timestamp(at.time.0 + CLOCK_SKEW)));
        assert!(at.is_before(Timestamp(at.time.0 + CLOCK_SKEW + 1)));
        let last = AnchoredAt {
            time: Timestamp(i64::MAX),
            block: 1,
        };
        assert!(!last.is_before(Timestamp(i64::MAX)));
    }
}
