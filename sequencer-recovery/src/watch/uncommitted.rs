//! The leaves of rows that were judged and that no commitment is known of yet. When it comes, its root follows from them, and
//! the rows need not be read a second time.

use std::collections::BTreeMap;

use ves::span::Span;
use ves::{Hash32, StreamKey, merkle};

/// So many leaves are kept of all streams together, about 10 MB; of a stream that would need more, none are, and its rows
/// are read again.
const MOST: usize = 200_000;
/// And so many of one stream: one that nobody commits does not take the room of the others.
const MOST_OF_ONE: usize = 100_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Uncommitted {
    streams: BTreeMap<StreamKey, BTreeMap<u64, Hash32>>,
    count: usize,
}

impl Uncommitted {
    /// Keeps the leaves of rows, by number.
    pub fn keep(&mut self, stream: &StreamKey, leaves: BTreeMap<u64, Hash32>) {
        let of = self.streams.entry(*stream).or_default();
        if self.count + leaves.len() > MOST || of.len() + leaves.len() > MOST_OF_ONE {
            self.forget(stream);
            return;
        }
        let before = of.len();
        of.extend(leaves);
        self.count += of.len() - before;
    }

    /// The root over a range, if all of its leaves are kept.
    pub fn root(&self, stream: &StreamKey, range: Span) -> Option<Hash32> {
        let of = self.streams.get(stream)?;
        let leaves = of.range(range.start()..=range.end());
        let leaves: Vec<Hash32> = leaves.map(|(_, leaf)| *leaf).collect();
        let whole = leaves.len() as u64 == range.count();
        whole.then(|| merkle::root(&leaves)).flatten()
    }

    /// What a commitment covers is not needed any more.
    pub fn committed(&mut self, stream: &StreamKey, to: u64) {
        let Some(of) = self.streams.get_mut(stream) else {
            return;
        };
        let left = of.split_off(&to.saturating_add(1));
        self.count -= of.len();
        *of = left;
        if of.is_empty() {
            self.streams.remove(stream);
        }
    }

    /// Keeps nothing of a stream: it is not what it was.
    pub fn forget(&mut self, stream: &StreamKey) {
        self.count -= self.streams.remove(stream).map_or(0, |of| of.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ves::{StoreId, TenantId};

    fn stream(n: u128) -> StreamKey {
        StreamKey {
            tenant_id: TenantId(uuid::Uuid::from_u128(1)),
            store_id: StoreId(uuid::Uuid::from_u128(n)),
        }
    }

    fn leaf(n: u64) -> Hash32 {
        let mut hash = Hash32::ZERO;
        hash.0[..8].copy_from_slice(&n.to_be_bytes());
        hash
    }

    fn leaves(range: std::ops::RangeInclusive<u64>) -> BTreeMap<u64, Hash32> {
        range.map(|n| (n, leaf(n))).collect()
    }

    #[test]
    fn a_root_is_of_leaves_that_are_all_there() {
        let mut kept = Uncommitted::default();
        kept.keep(&stream(1), leaves(5..=8));
        kept.keep(&stream(1), leaves(9..=12));
        let root = |kept: &Uncommitted, from, to| kept.root(&stream(1), Span::new(from, to).unwrap());
        let all: Vec<Hash32> = (6..=11).map(leaf).collect();
        assert_eq!(root(&kept, 6, 11), merkle::root(&all));
        assert_eq!(root(&kept, 4, 6), None);
        assert_eq!(root(&kept, 11, 13), None);
        assert_eq!(kept.root(&stream(2), Span::at(6)), None);
        // A hole.
        kept.keep(&stream(1), leaves(14..=15));
        assert_eq!(root(&kept, 11, 14), None);
        kept.committed(&stream(1), 11);
        assert_eq!(root(&kept, 11, 12), None);
        assert_eq!(root(&kept, 12, 12), Some(leaf(12)));
        assert_eq!(kept.count, 3);
        kept.committed(&stream(1), 15);
        assert_eq!((kept.count, kept.streams.len()), (0, 0));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let mut kept = Uncommitted::default();
        let half = MOST_OF_ONE as u64;
        kept.keep(&stream(1), leaves(1..=1000));
        kept.keep(&stream(2), leaves(1..=half));
        kept.keep(&stream(3), leaves(1..=half - 1000));
        assert_eq!(kept.count, MOST);
        kept.keep(&stream(1), leaves(1001..=1001));
        assert_eq!(kept.root(&stream(1), Span::at(1)), None);
        assert_eq!(kept.count, MOST - 1000);
        kept.keep(&stream(2), leaves(half + 1..=half + 1));
        assert_eq!(kept.root(&stream(2), Span::at(1)), None);
        kept.forget(&stream(3));
        assert_eq!((kept.count, kept.streams.len()), (0, 0));
    }
}
