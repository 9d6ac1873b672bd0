//! Range proofs: that consecutive leaves are in a tree, at their places, without the others.
//!
//! The tree's leaves before and behind the range are covered by whole subtrees, as large as they come.
//! The proof is the roots of those subtrees from left to right, at most two a level; subtrees that are
//! padding only are left out, since everybody knows their roots. With the leaves of the range between
//! them the root follows. As in an inclusion proof, which is the case of one leaf, a leaf's place is
//! given by the number of leaves and the range, not by the proof.

use std::ops::RangeInclusive;

use crate::digest::Hash32;
use crate::merkle::{node_hash, pad_root, tree_depth};

/// The largest subtrees that cover `from..to`, as (first leaf, height), from left to right.
fn cover(from: u64, to: u64) -> impl Iterator<Item = (u64, u32)> {
    let mut at = from;
    std::iter::from_fn(move || {
        let left = to.checked_sub(at).filter(|left| *left > 0)?;
        // As large as its place allows, and as fits.
        let height = at.trailing_zeros().min(left.ilog2());
        let subtree = (at, height);
        at += 1 << height;
        Some(subtree)
    })
}

/// Nodes that came in from left to right: two of a height become their parent as soon as both are there.
#[derive(Debug, Clone, Default)]
struct Stack(Vec<(u32, Hash32)>);

impl Stack {
    fn push(&mut self, mut height: u32, mut node: Hash32) {
        while let Some((_, left)) = self.0.pop_if(|(of, _)| *of == height) {
            node = node_hash(&left, &node);
            height += 1;
        }
        self.0.push((height, node));
    }
}

/// Why a range or its proof cannot be of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RangeProofError {
    /// A tree has 1 to 2^62 leaves, and the range must be some of them.
    #[error("leaves {first} to {last} of {leaf_count} are not a range of a tree")]
    Range {
        /// How many leaves the tree is said to have.
        leaf_count: u64,
        /// The first leaf's index.
        first: u64,
        /// The last leaf's index.
        last: u64,
    },
    /// The proof does not have as many nodes as the range needs.
    #[error("the range needs {needed} nodes beside it, the proof has {given}")]
    Nodes {
        /// So many follow from the range.
        needed: usize,
        /// So many are there.
        given: usize,
    },
    /// There are more or fewer leaves than the range has.
    #[error("the range has {needed} leaves, {given} were given")]
    Leaves {
        /// So many follow from the range.
        needed: u64,
        /// So many were given.
        given: u64,
    },
}

fn check_range(leaf_count: u64, range: &RangeInclusive<u64>) -> Result<(), RangeProofError> {
    let (first, last) = (*range.start(), *range.end());
    if leaf_count > 1 << 62 || first > last || last >= leaf_count {
        return Err(RangeProofError::Range {
            leaf_count,
            first,
            last,
        });
    }
    Ok(())
}

/// The subtrees beside a range whose roots are not known from the number of leaves alone.
fn beside(leaf_count: u64, range: &RangeInclusive<u64>) -> Vec<(u64, u32)> {
    let padded = 1_u64 << tree_depth(leaf_count);
    let before = cover(0, *range.start());
    let behind = cover(range.end() + 1, padded).take_while(|(first, _)| *first < leaf_count);
    before.chain(behind).collect()
}

/// Makes a range proof from all leaves of a tree, given in order, one after the other.
#[derive(Debug, Clone)]
pub struct RangeProver {
    leaf_count: u64,
    /// The subtrees to come, the next one last.
    wanted: Vec<(u64, u32)>,
    at: u64,
    stack: Stack,
    nodes: Vec<Hash32>,
}

impl RangeProver {
    /// A proof for the leaves with these indices (from 0) of a tree of `leaf_count` leaves.
    ///
    /// # Errors
    /// If there are no such leaves.
    pub fn new(leaf_count: u64, range: &RangeInclusive<u64>) -> Result<Self, RangeProofError> {
        check_range(leaf_count, range)?;
        let mut wanted = beside(leaf_count, range);
        wanted.reverse();
        Ok(Self {
            leaf_count,
            wanted,
            at: 0,
            stack: Stack::default(),
            nodes: Vec::new(),
        })
    }

    /// The next leaf.
    pub fn push(&mut self, leaf: Hash32) {
        let at = self.at;
        self.at += 1;
        let Some((first, height)) = self.wanted.last().copied().filter(|(first, _)| *first <= at) else {
            return;
        };
        self.stack.push(0, leaf);
        let end = first + (1 << height);
        // The last subtree may end in padding.
        if self.at == end || self.at == self.leaf_count {
            for (pad_first, pad_height) in cover(self.at, end) {
                debug_assert!(pad_first >= self.leaf_count);
                self.stack.push(pad_height, pad_root(pad_height));
            }
            self.nodes.extend(self.stack.0.drain(..).map(|(_, node)| node));
            self.wanted.pop();
        }
    }

    /// The proof: roots of subtrees from left to right.
    ///
    /// # Errors
    /// If there were more or fewer leaves than said.
    pub fn finish(self) -> Result<Vec<Hash32>, RangeProofError> {
        if self.at != self.leaf_count {
            return Err(RangeProofError::Leaves {
                needed: self.leaf_count,
                given: self.at,
            });
        }
        Ok(self.nodes)
    }
}

/// The root that follows from a range's leaves and its proof. The leaves are given in order, one after
/// the other; what is held beside them grows with the tree's depth only.
#[derive(Debug, Clone)]
pub struct RangeRoot {
    leaf_count: u64,
    range: RangeInclusive<u64>,
    given: u64,
    stack: Stack,
    behind: Vec<Hash32>,
}

impl RangeRoot {
    /// For the leaves with these indices (from 0) of a tree of `leaf_count` leaves, with the proof's nodes.
    ///
    /// # Errors
    /// If there are no such leaves, or a proof for them has another number of nodes.
    pub fn new(
        leaf_count: u64,
        range: RangeInclusive<u64>,
        nodes: &[Hash32],
    ) -> Result<Self, RangeProofError> {
        check_range(leaf_count, &range)?;
        let subtrees = beside(leaf_count, &range);
        if subtrees.len() != nodes.len() {
            return Err(RangeProofError::Nodes {
                needed: subtrees.len(),
                given: nodes.len(),
            });
        }
        let before = subtrees.partition_point(|(first, _)| first < range.start());
        let mut stack = Stack::default();
        for ((_, height), node) in subtrees[..before].iter().zip(nodes) {
            stack.push(*height, *node);
        }
        Ok(Self {
            leaf_count,
            range,
            given: 0,
            stack,
            behind: nodes[before..].to_vec(),
        })
    }

    /// The next leaf of the range.
    pub fn push(&mut self, leaf: Hash32) {
        self.given += 1;
        // What is too much is refused at the end; it must not move what is there.
        if self.given <= self.needed() {
            self.stack.push(0, leaf);
        }
    }

    fn needed(&self) -> u64 {
        self.range.end() - self.range.start() + 1
    }

    /// The root.
    ///
    /// # Errors
    /// If there were more or fewer leaves than the range has.
    pub fn finish(mut self) -> Result<Hash32, RangeProofError> {
        let needed = self.needed();
        if self.given != needed {
            return Err(RangeProofError::Leaves {
                needed,
                given: self.given,
            });
        }
        let padded = 1 << tree_depth(self.leaf_count);
        let mut nodes = self.behind.into_iter();
        for (first, height) in cover(self.range.end() + 1, padded) {
            // The nodes were counted against the same subtrees.
            let node = if first < self.leaf_count {
                nodes.next()
            } else {
                None
            };
            self.stack.push(height, node.unwrap_or_else(|| pad_root(height)));
        }
        debug_assert_eq!(self.stack.0.len(), 1);
        Ok(self.stack.0[0].1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::merkle::{inclusion_proof, root};

    fn leaves(count: u64) -> Vec<Hash32> {
        (0..count)
            .map(|n| {
                let mut leaf = [0x5a; 32];
                leaf[..8].copy_from_slice(&n.to_be_bytes());
                Hash32(leaf)
            })
            .collect()
    }

    fn prove(leaves: &[Hash32], range: &RangeInclusive<u64>) -> Vec<Hash32> {
        let mut prover = RangeProver::new(leaves.len() as u64, range).unwrap();
        leaves.iter().for_each(|leaf| prover.push(*leaf));
        prover.finish().unwrap()
    }

    fn root_of(
        count: u64,
        range: &RangeInclusive<u64>,
        leaves: &[Hash32],
        nodes: &[Hash32],
    ) -> Result<Hash32, RangeProofError> {
        let mut builder = RangeRoot::new(count, range.clone(), nodes)?;
        leaves.iter().for_each(|leaf| builder.push(*leaf));
        builder.finish()
    }

    #[test]
    fn every_range_of_every_small_tree() {
        for count in 1..=33_u64 {
            let all = leaves(count);
            let expected = root(&all).unwrap();
            for first in 0..count {
                for last in first..count {
                    let range = first..=last;
                    let nodes = prove(&all, &range);
                    assert!(nodes.len() <= 2 * tree_depth(count) as usize);
                    let held = &all[first as usize..=last as usize];
                    assert_eq!(
                        root_of(count, &range, held, &nodes),
                        Ok(expected),
                        "{count} {range:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_whole_tree_needs_nothing_beside_it() {
        for count in [1, 2, 3, 1000, 1024] {
            assert!(prove(&leaves(count), &(0..=count - 1)).is_empty());
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for (count, range) in [
            (0, 0..=0),
            (5, 0..=5),
            (5, 5..=5),
            (5, RangeInclusive::new(3, 2)),
            (u64::MAX, 0..=1),
            ((1 << 62) + 1, 0..=1),
        ] {
            assert!(matches!(
                RangeProver::new(count, &range),
                Err(RangeProofError::Range { .. })
            ));
            assert!(matches!(
                RangeRoot::new(count, range, &[]),
                Err(RangeProofError::Range { .. })
            ));
        }
    }

    #[test]
    fn the_largest_tree_costs_no_more_than_its_depth() {
        let nodes = vec![Hash32([1; 32]); beside(1 << 62, &(12345..=12345)).len()];
        assert_eq!(nodes.len(), 62);
        root_of(1 << 62, &(12345..=12345), &[Hash32([2; 32])], &nodes).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn one_leaf_is_an_inclusion_proof(count in 1_u64..3000, at in any::<prop::sample::Index>()) {
            let all = leaves(count);
            let at = at.index(all.len());
            let mut path = inclusion_proof(&all, at).unwrap().proof_path;
            // Without the padding, and in another order.
            let nodes = prove(&all, &(at as u64..=at as u64));
            prop_assert!(nodes.iter().all(|node| path.contains(node)));
            path.retain(|node| !nodes.contains(node));
            prop_assert!(path.iter().all(|node| (0..63).any(|height| pad_root(height) == *node)));
        }

        #[test]
        fn anything_altered_gives_another_root_or_an_error(
            count in 2_u64..300,
            ends in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
            at in any::<prop::sample::Index>(),
            what in 0..6,
        ) {
            let all = leaves(count);
            let (a, b) = (ends.0.index(all.len()) as u64, ends.1.index(all.len()) as u64);
            let range = a.min(b)..=a.max(b);
            let expected = root(&all).unwrap();
            let mut nodes = prove(&all, &range);
            let mut held = all[*range.start() as usize..=*range.end() as usize].to_vec();
            let mut claimed = range.clone();
            match what {
                0 => held[at.index((range.end() - range.start() + 1) as usize)].0[31] ^= 1,
                1 if !nodes.is_empty() => { let at = at.index(nodes.len()); nodes[at].0[0] ^= 1; }
                2 => nodes.push(pad_root(0)),
                3 if !nodes.is_empty() => { nodes.remove(at.index(nodes.len())); }
                4 => { held.pop(); }
                // The same leaves one place further.
                5 if *range.end() + 1 < count => claimed = range.start() + 1..=range.end() + 1,
                _ => return Ok(()),
            }
            prop_assert_ne!(root_of(count, &claimed, &held, &nodes), Ok(expected));
        }
    }
}
