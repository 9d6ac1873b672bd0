//! What rows contradict: an event by itself, a commitment by itself, beside the one before it, and beside the anchors of its
//! range. `verify` and the audit of `sequencer-recovery` judge by the same rules, so that neither calls sound what the other
//! calls wrong.

mod event;

use std::collections::HashMap;

use cli_common::finding::Code;
use event_log::Commitment;
use ves::{Hash32, Span, Timestamp, merkle, stream};

use crate::anchors_file::AnchorsFile;
use crate::batches::AnchoredBatch;
use crate::chain::header;
pub use event::{EventFault, EventVerdict, KeyName, Unchecked};

/// How far the clocks of a sequencer and of a chain's blocks may differ, in microseconds: ten minutes.
const CLOCK_SKEW: i64 = 600 * 1_000_000;

/// What is wrong: the rule that is broken, and how.
pub type Wrong = (Code, String);

/// The times of the blocks whose headers a file of anchors has, in seconds since 1970; of none if each of its anchors names
/// its own.
pub fn block_times(file: &AnchorsFile) -> HashMap<Hash32, u64> {
    if file.anchors.iter().all(|anchor| anchor.block_timestamp.is_some()) {
        return HashMap::new();
    }
    let headers = file.chain.headers.iter();
    let blocks = headers.filter_map(|entry| header::read(&entry.rlp).ok());
    blocks.map(|block| (block.hash, block.timestamp)).collect()
}

/// When a batch was anchored at the latest: what is in it was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AnchoredAt {
    time: Timestamp,
    block: u64,
}

impl AnchoredAt {
    /// By a block's number and its time in seconds since 1970; `None` if that is no time.
    pub fn new(block: u64, seconds: u64) -> Option<Self> {
        let time = Timestamp::from_unix_seconds(seconds)?;
        Some(Self { time, block })
    }

    /// When a batch was first anchored, as far as its places name times.
    pub fn first(batch: &AnchoredBatch) -> Option<Self> {
        let places = batch.places.iter();
        let times = places.filter_map(|place| Self::new(place.block_number, place.block_timestamp?));
        times.min()
    }

    /// Whether something is said to be so much later that no clock explains it.
    pub fn is_before(&self, moment: Timestamp) -> bool {
        moment.0 > self.time.0.saturating_add(CLOCK_SKEW)
    }

    /// What is wrong with the time at which an event is said to be sequenced, which no hash binds.
    pub fn sequenced_later(&self, at: Timestamp) -> Option<Wrong> {
        self.is_before(at).then(|| {
            let what = format!(
                "it is said to be sequenced at {at}, block {} that anchors it is of {}",
                self.block, self.time
            );
            (Code::EventSequencedAt, what)
        })
    }
}

/// A commitment against its own range: its counts and its state root.
pub fn commitment(c: &Commitment) -> Vec<Wrong> {
    let (start, end, id) = (c.sequence_start, c.sequence_end, c.batch_id);
    let leaves = u64::from(c.leaf_count);
    let counts = (u64::from(c.padded_leaf_count), c.tree_depth);
    let mut wrong = Vec::new();
    let width = Span::new(start, end).map(Span::count);
    if width != Some(leaves)
        || start == 0
        || counts != (merkle::padded_leaf_count(leaves), merkle::tree_depth(leaves))
    {
        let what = format!(
            "commitment {id} counts {leaves} leaves, {} with padding, and a depth of {}, over the numbers {start} to {end}",
            counts.0, counts.1
        );
        wrong.push((Code::CommitmentGap, what));
    }
    let (previous, root) = (&c.prev_state_root, &c.merkle_root);
    let state_root = stream::state_root(&c.stream, previous, root, start, end, c.leaf_count);
    if state_root != c.new_state_root {
        let what = format!(
            "commitment {id} has the state root {}, its fields give {state_root}",
            c.new_state_root
        );
        wrong.push((Code::CommitmentStateRoot, what));
    }
    wrong
}

/// A commitment against the one before it; `None` before the first of a stream.
pub fn succession(before: Option<&Commitment>, c: &Commitment) -> Vec<Wrong> {
    let id = c.batch_id;
    let mut wrong = Vec::new();
    let Some(before) = before else {
        if c.prev_state_root != stream::GENESIS_STATE_ROOT {
            let what = format!(
                "commitment {id} is the first of its stream, and goes on from the state root {}",
                c.prev_state_root
            );
            wrong.push((Code::CommitmentStateRoot, what));
        }
        return wrong;
    };
    if before.sequence_end.checked_add(1) != Some(c.sequence_start) {
        let what = format!(
            "commitment {id} starts at {}, commitment {} before it ends at {}",
            c.sequence_start, before.batch_id, before.sequence_end
        );
        wrong.push((Code::CommitmentGap, what));
    }
    if before.new_state_root != c.prev_state_root {
        let what = format!(
            "commitment {id} goes on from the state root {}, commitment {} before it ended with {}",
            c.prev_state_root, before.batch_id, before.new_state_root
        );
        wrong.push((Code::CommitmentStateRoot, what));
    }
    wrong
}

/// The anchors of one range.
#[derive(Debug, Default, Clone)]
pub struct Anchoring {
    /// When the range was anchored at the latest, as far as that is known.
    pub at: Option<AnchoredAt>,
    /// The transaction and the block of each of its anchors. An anchor that receipts alone know has zeros for its transaction.
    pub places: Vec<(Hash32, u64)>,
    /// The chain that the anchors are of, if it is known.
    pub chain_id: Option<u64>,
}

impl Anchoring {
    /// Whether a commitment names a place on the chain.
    pub fn is_named(c: &Commitment) -> bool {
        (c.chain_tx_hash, c.chain_block_number) != (None, None)
    }

    /// Whether an anchor is at the place that a commitment names.
    pub fn is_there(&self, c: &Commitment) -> bool {
        self.places.iter().any(|(transaction, block)| {
            c.chain_tx_hash
                .is_none_or(|said| transaction.is_zero() || said == *transaction)
                && c.chain_block_number.is_none_or(|said| said == *block)
        })
    }

    /// A commitment that is said to be made after its range was anchored.
    pub fn too_late(&self, c: &Commitment) -> Option<Wrong> {
        let at = self.at.filter(|at| at.is_before(c.committed_at))?;
        let what = format!(
            "commitment {} is of {}, block {} that anchors it of {}",
            c.batch_id, c.committed_at, at.block, at.time
        );
        Some((Code::CommitmentTime, what))
    }

    /// A commitment that names another chain than that of its anchors.
    pub fn other_chain(&self, c: &Commitment) -> Option<Wrong> {
        let (said, chain) = (c.chain_id?, self.chain_id?);
        (u64::from(said) != chain).then(|| {
            let what = format!(
                "commitment {} is said to be on chain {said}, the anchors are of chain {chain}",
                c.batch_id
            );
            (Code::CommitmentChain, what)
        })
    }

    /// A commitment that names a place on the chain at which none of its anchors is. Where none of a log's commitments names
    /// the place of an anchor, it is the anchors that are others: see [`Elsewhere`].
    pub fn other_place(&self, c: &Commitment) -> Option<Wrong> {
        (Self::is_named(c) && !self.is_there(c)).then(|| {
            let said =
                |what: &str, value: Option<String>| value.map_or(String::new(), |v| format!(" {what} {v}"));
            let what = format!(
                "commitment {} is said to be anchored in{}{}, and none of the anchors of its range is there",
                c.batch_id,
                said("transaction", c.chain_tx_hash.map(|hash| hash.to_string())),
                said("block", c.chain_block_number.map(|block| block.to_string())),
            );
            (Code::CommitmentChain, what)
        })
    }
}

/// Whether a log was anchored in another contract than the given one: where several commitments name a place and none of them
/// fits, it is the anchors that are others; a single one that does not fit is wrong itself.
#[derive(Debug, Default, Clone, Copy)]
pub struct Elsewhere {
    named: usize,
    there: usize,
}

impl Elsewhere {
    /// Takes in a commitment of a range that has anchors.
    pub fn add(&mut self, c: &Commitment, anchoring: &Anchoring) {
        self.named += usize::from(Anchoring::is_named(c));
        self.there += usize::from(Anchoring::is_named(c) && anchoring.is_there(c));
    }

    /// Takes in what was seen elsewhere in the log.
    pub fn extend(&mut self, other: Self) {
        self.named += other.named;
        self.there += other.there;
    }

    /// Whether a commitment names the place of an anchor. Where only a part of a log is seen, nothing less tells that the anchors
    /// are those that the commitments speak of.
    pub fn is_any_there(self) -> bool {
        self.there > 0
    }

    /// What is said of the places then, which are not held against the commitments; `None` if they are.
    pub fn not_checked(self) -> Option<String> {
        let Self { named, there } = self;
        (named > 1 && there == 0).then(|| {
            format!(
                "the transactions and blocks that {named} commitments name: none of them is that of an anchor (are the \
                 anchors of another contract?)"
            )
        })
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
