//! The tree over a stream, grown along the pass over its events, and compared with the checkpoints.

use std::collections::{BTreeMap, BTreeSet};

use ves::log_tree::CompactRange;
use ves::{Hash32, Timestamp};

use crate::stream::checkpointed::Checkpointed;

/// Leaves are gathered before they are hashed.
const GATHERED: usize = 1024;
/// So many leaves behind the first hole are kept, for the search by roots: 40 MB.
const MAX_BEHIND: usize = 1 << 20;
/// So many positions whose event is not the one that was signed are listed.
const LISTED: usize = 1000;

/// What the log's events give.
#[derive(Debug, Clone, Default)]
pub struct TreeScan {
    /// The tree over the numbers from 1 on that are all there.
    pub prefix: CompactRange,
    /// Its roots at the sizes of the checkpoints, as far as it reaches.
    pub roots: BTreeMap<u64, Hash32>,
    /// Leaves behind the first hole, up to the last checkpoint, and when their events were numbered.
    pub behind: BTreeMap<u64, (Hash32, Timestamp)>,
    /// More are there than are kept.
    pub behind_cut: bool,
    /// Where the event is not the one that a checkpoint confirms: the first of them, and how many.
    pub differs: Vec<u64>,
    /// How many those are.
    pub differ: u64,
}

/// Grows a [`TreeScan`] from leaves in order.
pub(super) struct TreeFold<'a> {
    checkpointed: &'a Checkpointed,
    /// The sizes of the checkpoints.
    sizes: BTreeSet<u64>,
    last_size: u64,
    pending: Vec<Hash32>,
    whole: bool,
    scan: TreeScan,
}

impl<'a> TreeFold<'a> {
    pub(super) fn new(checkpointed: &'a Checkpointed) -> Self {
        let sizes: BTreeSet<u64> = checkpointed.heads().map(|held| held.checkpoint.size).collect();
        Self {
            checkpointed,
            last_size: sizes.last().copied().unwrap_or(0),
            sizes,
            pending: Vec::new(),
            whole: true,
            scan: TreeScan::default(),
        }
    }

    pub(super) fn leaf(&mut self, position: u64, leaf: Hash32, at: Timestamp) {
        // What no checkpoint covers is compared with nothing.
        if position > self.last_size {
            return;
        }
        if self
            .checkpointed
            .leaf(position)
            .is_some_and(|signed| signed != leaf)
        {
            self.scan.differ += 1;
            if self.scan.differs.len() < LISTED {
                self.scan.differs.push(position);
            }
        }
        self.whole &= position == self.scan.prefix.size() + self.pending.len() as u64 + 1;
        if !self.whole {
            if self.scan.behind.len() < MAX_BEHIND {
                self.scan.behind.insert(position, (leaf, at));
            } else {
                self.scan.behind_cut = true;
            }
            return;
        }
        self.pending.push(leaf);
        if self.pending.len() == GATHERED {
            self.grow();
        }
    }

    fn grow(&mut self) {
        let Self {
            scan, pending, sizes, ..
        } = self;
        let TreeScan { prefix, roots, .. } = scan;
        prefix.extend_through(pending, sizes, |head| {
            roots.insert(head.size, head.root);
        });
        pending.clear();
    }

    pub(super) fn finish(mut self) -> TreeScan {
        self.grow();
        self.scan
    }
}
