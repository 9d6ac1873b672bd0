//! A stream as a transparency log: the append-only Merkle tree of RFC 6962 over its leaves.
//!
//! The leaves are those of [`crate::merkle::leaf_hash`], in the order of their numbers from 1 on, and each is one record of
//! the tree: SHA-256(0x00 ‖ leaf). A node is SHA-256(0x01 ‖ left ‖ right), and nothing is padded: the left part of a tree
//! of n leaves has the largest power of two below n. So the root over n leaves binds which event stands at each of 1…n,
//! and of two roots it can be proven, by a few hashes, that one tree only continues the other.
//!
//! Places in the tree are counted from 0, as in the RFC: the event with number p is leaf p − 1.

use std::collections::BTreeSet;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::digest::Hash32;
use crate::kernel::Batch;

/// A record of the tree: SHA-256(0x00 ‖ data). Of a stream, the data is the 32 bytes of a leaf.
pub fn record_hash(data: &[u8]) -> Hash32 {
    Hash32(Sha256::new_with_prefix([0]).chain_update(data).finalize().into())
}

/// An inner node: SHA-256(0x01 ‖ left ‖ right), 65 bytes.
pub fn node_hash(left: &Hash32, right: &Hash32) -> Hash32 {
    let hasher = Sha256::new_with_prefix([1]);
    Hash32(
        hasher
            .chain_update(left.0)
            .chain_update(right.0)
            .finalize()
            .into(),
    )
}

/// The root of a tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Hash32 {
    Hash32(Sha256::digest([]).into())
}

/// The leaves of one subtree that are hashed in one go.
const SUBTREE: usize = 1 << SUBTREE_HEIGHT;
const SUBTREE_HEIGHT: u32 = 10;
/// So many messages are gathered before they are hashed, so that they stay in the first cache.
const GATHERED: usize = 64;

/// Hashes messages of one kind, a group at a time.
fn hash_all<T>(batch: &mut Batch, items: &[T], out: &mut [Hash32], write: impl Fn(&T, &mut Vec<u8>)) {
    for (items, out) in items.chunks(GATHERED).zip(out.chunks_mut(GATHERED)) {
        for item in items {
            write(item, batch.start());
            batch.finish();
        }
        out.copy_from_slice(batch.hash());
    }
}

fn records(batch: &mut Batch, leaves: &[Hash32], out: &mut [Hash32]) {
    hash_all(batch, leaves, out, |leaf, bytes| {
        bytes.push(0);
        bytes.extend_from_slice(&leaf.0);
    });
}

fn parents(batch: &mut Batch, nodes: &[Hash32], out: &mut [Hash32]) {
    hash_all(batch, nodes.as_chunks::<2>().0, out, |[left, right], bytes| {
        bytes.push(1);
        bytes.extend_from_slice(&left.0);
        bytes.extend_from_slice(&right.0);
    });
}

/// The node over a power of two of leaves, at most [`SUBTREE`].
fn subtree(leaves: &[Hash32]) -> Hash32 {
    let mut batch = Batch::default();
    let mut buffers = [[Hash32::ZERO; SUBTREE]; 2];
    let [mut from, mut to] = buffers.each_mut();
    records(&mut batch, leaves, &mut from[..leaves.len()]);
    let mut len = leaves.len();
    while len > 1 {
        parents(&mut batch, &from[..len], &mut to[..len / 2]);
        std::mem::swap(&mut from, &mut to);
        len /= 2;
    }
    from[0]
}

/// A tree that can be continued: the roots of its complete subtrees, largest first. It has as many of them as its size
/// has binary ones, so it stays small whatever the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompactRange {
    size: u64,
    peaks: Vec<Hash32>,
}

impl CompactRange {
    /// From what [`CompactRange::size`] and [`CompactRange::peaks`] gave; `None` if there cannot be so many peaks.
    pub fn from_parts(size: u64, peaks: Vec<Hash32>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// How many leaves it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of its complete subtrees, largest first.
    pub fn peaks(&self) -> &[Hash32] {
        &self.peaks
    }

    /// The peak of a height, if its size has that power of two.
    pub fn peak(&self, height: u32) -> Option<&Hash32> {
        let above = self.size.checked_shr(height)?;
        let index = (above.count_ones() as usize).checked_sub(1)?;
        (above & 1 == 1).then(|| &self.peaks[index])
    }

    /// The root over all leaves so far.
    pub fn root(&self) -> Hash32 {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => empty_root(),
            Some(last) => peaks.fold(*last, |right, left| node_hash(left, &right)),
        }
    }

    /// Appends the next leaf.
    pub fn push(&mut self, leaf: &Hash32) {
        self.push_node(record_hash(&leaf.0), 0);
    }

    /// Appends the next leaves, which is faster than one by one.
    pub fn extend(&mut self, mut leaves: &[Hash32]) {
        while !leaves.is_empty() {
            // The largest subtree that begins here and is complete.
            let aligned = self.size.trailing_zeros().min(SUBTREE_HEIGHT);
            let height = leaves.len().ilog2().min(aligned);
            if height == SUBTREE_HEIGHT {
                let whole = leaves.len() & !(SUBTREE - 1);
                let roots: Vec<Hash32> = leaves[..whole].par_chunks(SUBTREE).map(subtree).collect();
                roots
                    .into_iter()
                    .for_each(|root| self.push_node(root, SUBTREE_HEIGHT));
                leaves = &leaves[whole..];
                continue;
            }
            let (first, rest) = leaves.split_at(1 << height);
            self.push_node(subtree(first), height);
            leaves = rest;
        }
    }

    /// Appends the next leaves, and gives the head at each of these sizes that it comes to.
    pub fn extend_through(
        &mut self,
        mut leaves: &[Hash32],
        sizes: &BTreeSet<u64>,
        mut at: impl FnMut(TreeHead),
    ) {
        while !leaves.is_empty() {
            let next = sizes.range(self.size + 1..).next().copied();
            let room = next.map_or(u64::MAX, |next| next - self.size);
            let take = leaves.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            let (now, later) = leaves.split_at(take);
            self.extend(now);
            leaves = later;
            if next == Some(self.size) {
                let root = self.root();
                at(TreeHead {
                    size: self.size,
                    root,
                });
            }
        }
    }

    /// Appends a complete subtree. The size so far must be a multiple of it.
    fn push_node(&mut self, mut node: Hash32, height: u32) {
        let mut merged = height;
        while self.size >> merged & 1 == 1 {
            let left = self.peaks.pop().unwrap_or(Hash32::ZERO);
            node = node_hash(&left, &node);
            merged += 1;
        }
        self.peaks.push(node);
        self.size += 1 << height;
    }
}

/// A tree of which the leaves behind some point are in memory, and of those before it a [`CompactRange`]: what proofs are
/// made from. About 64 bytes a leaf.
#[derive(Debug, Clone)]
pub struct Tree {
    base: CompactRange,
    levels: Vec<Level>,
    size: u64,
}

/// The nodes of one height whose subtrees are complete, from `first` on. The first is the peak of the base, if it has one
/// of that height.
#[derive(Debug, Clone)]
struct Level {
    first: u64,
    nodes: Vec<Hash32>,
}

impl Tree {
    /// The tree of `base` continued by `leaves`.
    pub fn new(base: CompactRange, leaves: &[Hash32]) -> Self {
        let mut batch = Batch::default();
        let mut level = vec![Hash32::ZERO; leaves.len()];
        records(&mut batch, leaves, &mut level);
        let mut levels: Vec<Level> = Vec::new();
        for height in 0.. {
            let mut first = base.size.checked_shr(height).unwrap_or(0);
            if let Some(peak) = base.peak(height) {
                level.insert(0, *peak);
                first -= 1;
            }
            if level.is_empty() {
                break;
            }
            let mut above = vec![Hash32::ZERO; level.len() / 2];
            parents(&mut batch, &level[..2 * above.len()], &mut above);
            levels.push(Level { first, nodes: level });
            level = above;
        }
        let size = base.size + leaves.len() as u64;
        Self { base, levels, size }
    }

    /// How many leaves it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn node(&self, height: u32, index: u64) -> Option<Hash32> {
        let in_level = self.levels.get(height as usize).and_then(|level| {
            let at = usize::try_from(index.checked_sub(level.first)?).ok()?;
            level.nodes.get(at)
        });
        let peak = || {
            let last = self.base.size.checked_shr(height)?.checked_sub(1)?;
            self.base.peak(height).filter(|_| index == last)
        };
        in_level.or_else(peak).copied()
    }

    /// The hash over the leaves from `from` up to, and without, `to`; `None` if it takes what is behind the base's peaks.
    fn hash_of(&self, from: u64, to: u64) -> Option<Hash32> {
        let count = to - from;
        if count.is_power_of_two() {
            let height = count.trailing_zeros();
            return self.node(height, from >> height);
        }
        let middle = from + left_part(count);
        Some(node_hash(
            &self.hash_of(from, middle)?,
            &self.hash_of(middle, to)?,
        ))
    }

    /// The root that the tree had at a size; `None` if it never had it, or before what is in memory.
    pub fn root_at(&self, size: u64) -> Option<Hash32> {
        match size {
            0 => Some(empty_root()),
            _ if size > self.size => None,
            _ => self.hash_of(0, size),
        }
    }

    /// The inclusion proof of the leaf at `index` in the tree of `size` leaves (RFC 6962, 2.1.1); `None` where the tree
    /// does not reach.
    pub fn inclusion_proof(&self, index: u64, size: u64) -> Option<Vec<Hash32>> {
        if index >= size || size > self.size {
            return None;
        }
        let mut path = Vec::new();
        let (mut from, mut to) = (0, size);
        // From the root down; the proof is read from the leaf up.
        while to - from > 1 {
            let middle = from + left_part(to - from);
            if index < middle {
                path.push(self.hash_of(middle, to)?);
                to = middle;
            } else {
                path.push(self.hash_of(from, middle)?);
                from = middle;
            }
        }
        path.reverse();
        Some(path)
    }

    /// The proof that the tree of `new` leaves continues that of `old` (RFC 6962, 2.1.2); `None` where the tree does not
    /// reach.
    pub fn consistency_proof(&self, old: u64, new: u64) -> Option<Vec<Hash32>> {
        if old > new || new > self.size {
            return None;
        }
        if old == 0 || old == new {
            return Some(Vec::new());
        }
        let mut proof = Vec::new();
        let (mut from, mut to, mut whole) = (0, new, true);
        while to != old {
            let middle = from + left_part(to - from);
            if old <= middle {
                proof.push(self.hash_of(middle, to)?);
                to = middle;
            } else {
                proof.push(self.hash_of(from, middle)?);
                (from, whole) = (middle, false);
            }
        }
        // The verifier has the root of the whole old tree, and of no part of it.
        if !whole {
            proof.push(self.hash_of(from, to)?);
        }
        proof.reverse();
        Some(proof)
    }
}

/// The size of the left part of a tree: the largest power of two below its size, which is at least 2.
fn left_part(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The root of a tree of `size` leaves whose leaf at `index` is `leaf`, by an inclusion proof (RFC 9162, 2.1.3.2); `None`
/// if the proof's length does not fit place and size.
pub fn root_of_inclusion(leaf: &Hash32, index: u64, size: u64, proof: &[Hash32]) -> Option<Hash32> {
    if index >= size {
        return None;
    }
    let (mut at, mut last) = (index, size - 1);
    let mut root = record_hash(&leaf.0);
    for sibling in proof {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            root = node_hash(sibling, &root);
            // A node without a sibling on its right stands in for its parents.
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            root = node_hash(&root, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    (last == 0).then_some(root)
}

/// A tree's head: how many leaves, and the root over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeHead {
    /// How many leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash32,
}

/// Whether `new` continues `old`, by a consistency proof (RFC 9162, 2.1.4.2).
pub fn is_consistent(old: TreeHead, new: TreeHead, proof: &[Hash32]) -> bool {
    if old.size > new.size {
        return false;
    }
    if old.size == new.size {
        return proof.is_empty() && old.root == new.root;
    }
    if old.size == 0 {
        return proof.is_empty() && old.root == empty_root();
    }
    // Of a complete tree the root itself is the first node of the proof.
    let (first, proof) = match proof {
        proof if old.size.is_power_of_two() => (old.root, proof),
        [first, rest @ ..] => (*first, rest),
        [] => return false,
    };
    let (mut at, mut last) = (old.size - 1, new.size - 1);
    while at & 1 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let (mut old_root, mut new_root) = (first, first);
    for node in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            (old_root, new_root) = (node_hash(node, &old_root), node_hash(node, &new_root));
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            new_root = node_hash(&new_root, node);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && old_root == old.root && new_root == new.root
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaves(n: usize) -> Vec<Hash32> {
        (0..n as u64)
            .map(|i| crate::digest::Preimage::new("test leaf").u64(i).finish())
            .collect()
    }

    /// The definition of RFC 6962, word by word.
    fn by_definition(leaves: &[Hash32]) -> Hash32 {
        match leaves {
            [] => empty_root(),
            [leaf] => record_hash(&leaf.0),
            _ => {
                let (left, right) = leaves.split_at(left_part(leaves.len() as u64) as usize);
                node_hash(&by_definition(left), &by_definition(right))
            }
        }
    }

    /// The roots over the records that certificate transparency's implementations are tested with.
    #[test]
    fn the_known_trees_of_certificate_transparency() {
        let data: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut range = CompactRange::default();
        for (data, root) in data.into_iter().zip(roots) {
            range.push_node(record_hash(data), 0);
            assert_eq!(range.root().to_string(), root, "{} leaves", range.size());
        }
        assert_eq!(
            empty_root().to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn every_small_tree_gives_one_root_and_its_proofs_hold() {
        let leaves = leaves(70);
        let roots: Vec<Hash32> = (0..=leaves.len()).map(|n| by_definition(&leaves[..n])).collect();
        let head = |n: usize| TreeHead {
            size: n as u64,
            root: roots[n],
        };
        for base in [0, 1, 2, 3, 7, 8, 11, 32, 33, 70] {
            let mut range = CompactRange::default();
            range.extend(&leaves[..base]);
            let tree = Tree::new(range, &leaves[base..]);
            for (new, root) in roots.iter().enumerate().skip(base) {
                assert_eq!(tree.root_at(new as u64), Some(*root), "{base} {new}");
                for old in 0..=new {
                    let proof = tree.consistency_proof(old as u64, new as u64);
                    // Before the base only its peaks are known.
                    let Some(proof) = proof else {
                        assert!(old < base, "{base}: {old} {new}");
                        continue;
                    };
                    assert!(is_consistent(head(old), head(new), &proof), "{base}: {old} {new}");
                    if old != new && old > 0 {
                        let other = TreeHead {
                            root: Hash32::ZERO,
                            ..head(old)
                        };
                        assert!(!is_consistent(other, head(new), &proof));
                        assert!(!is_consistent(head(new), head(old), &proof));
                    }
                }
                for (index, leaf) in leaves.iter().enumerate().take(new).skip(base) {
                    let proof = tree.inclusion_proof(index as u64, new as u64).unwrap();
                    let found = root_of_inclusion(leaf, index as u64, new as u64, &proof);
                    assert_eq!(found, Some(*root), "{base}: {index} of {new}");
                }
            }
        }
    }

    #[test]
    fn large_ranges_are_the_same_in_whatever_pieces_they_come() {
        let leaves = leaves(5000);
        for n in [1023, 1024, 1025, 2048, 4097, 5000] {
            let mut range = CompactRange::default();
            range.extend(&leaves[..n]);
            assert_eq!(range.root(), by_definition(&leaves[..n]), "{n}");
            let again = CompactRange::from_parts(range.size(), range.peaks().to_vec());
            assert_eq!(again, Some(range));
        }
        assert_eq!(CompactRange::from_parts(3, vec![Hash32::ZERO]), None);
    }

    proptest! {
        #[test]
        fn heads_are_given_at_the_sizes_that_are_asked_for(
            cuts in prop::collection::vec(0usize..50, 1..12),
            sizes in prop::collection::btree_set(0u64..400, 0..20),
        ) {
            let leaves = leaves(cuts.iter().sum());
            let (mut range, mut from, mut heads) = (CompactRange::default(), 0, Vec::new());
            for cut in cuts {
                range.extend_through(&leaves[from..from + cut], &sizes, |head| heads.push(head));
                from += cut;
            }
            let expected: Vec<TreeHead> = sizes
                .iter()
                .filter(|size| (1..=leaves.len() as u64).contains(size))
                .map(|&size| TreeHead { size, root: by_definition(&leaves[..size as usize]) })
                .collect();
            prop_assert_eq!(heads, expected);
            prop_assert_eq!(range.root(), by_definition(&leaves));
        }

        #[test]
        fn pieces_of_any_size_give_the_root_of_the_definition(cuts in prop::collection::vec(0usize..300, 1..12)) {
            let leaves = leaves(cuts.iter().sum());
            let mut range = CompactRange::default();
            let mut from = 0;
            for cut in cuts {
                range.extend(&leaves[from..from + cut]);
                from += cut;
            }
            prop_assert_eq!(range.size(), leaves.len() as u64);
            prop_assert_eq!(range.root(), by_definition(&leaves));
        }

        /// Whatever is put in the place of a proof, a leaf or a root: nothing is taken for proven, and nothing panics.
        #[test]
        fn nothing_altered_is_proven(
            size in 2u64..200,
            index in any::<prop::sample::Index>(),
            old in any::<prop::sample::Index>(),
            change in 0usize..6,
            at in any::<prop::sample::Index>(),
        ) {
            let leaves = leaves(size as usize);
            let tree = Tree::new(CompactRange::default(), &leaves);
            let (index, old) = (index.index(size as usize), 1 + old.index(size as usize - 1));
            let root = by_definition(&leaves);
            let mut proof = tree.inclusion_proof(index as u64, size).unwrap();
            let mut steps = tree.consistency_proof(old as u64, size).unwrap();
            let (mut claimed_index, mut claimed_size) = (index as u64, size);
            match change {
                0 => { proof.pop(); steps.pop(); }
                1 => { proof.push(root); steps.push(root); }
                2 => {
                    let n = at.index(proof.len());
                    proof[n].0[0] ^= 1;
                    let n = at.index(steps.len());
                    steps[n].0[0] ^= 1;
                }
                3 => claimed_index = (index as u64 + 1) % size,
                4 => claimed_size = size + 1 + at.index(1000) as u64,
                _ => { proof.reverse(); proof.push(Hash32::ZERO); steps.insert(0, Hash32::ZERO); }
            }
            let found = root_of_inclusion(&leaves[index], claimed_index, claimed_size, &proof);
            // A longer tree may have a path of the same shape: the size is bound by the signed head.
            if change != 4 {
                prop_assert_ne!(found, Some(root));
            }
            if change < 3 || change == 5 {
                let old_head = TreeHead { size: old as u64, root: by_definition(&leaves[..old]) };
                let new_head = TreeHead { size, root };
                prop_assert!(!is_consistent(old_head, new_head, &steps));
            }
        }
    }
}
