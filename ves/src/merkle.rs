//! Merkle trees over a stream's events.
//!
//! A leaf binds stream, sequence number, signing hash and signature, so a root fixes the exact order
//! and content of its range. Leaves are padded with [`pad_leaf`] to the next power of two; a single
//! leaf is its own root, at depth 0.

use std::sync::LazyLock;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::digest::{Hash32, Preimage, SignatureBytes};
use crate::id::StreamKey;
use crate::kernel::{self, Kernel, LeafPrefix};

pub use crate::kernel::LeafInput;

impl From<&StreamKey> for LeafPrefix {
    fn from(stream: &StreamKey) -> Self {
        Self::new(stream.tenant_id.as_bytes(), stream.store_id.as_bytes())
    }
}

/// A leaf: SHA-256 over 147 bytes, `VES_LEAF_V1` ‖ tenant ‖ store ‖ u64 sequence ‖
/// event_signing_hash ‖ agent_signature(64).
pub fn leaf_hash(
    stream: &StreamKey,
    sequence_number: u64,
    event_signing_hash: &Hash32,
    agent_signature: &SignatureBytes,
) -> Hash32 {
    Preimage::new("VES_LEAF_V1")
        .bytes(stream.tenant_id.as_bytes())
        .bytes(stream.store_id.as_bytes())
        .u64(sequence_number)
        .bytes(&event_signing_hash.0)
        .bytes(&agent_signature.0)
        .finish()
}

/// An inner node: SHA-256 over 75 bytes, `VES_NODE_V1` ‖ left ‖ right.
pub fn node_hash(left: &Hash32, right: &Hash32) -> Hash32 {
    Preimage::new("VES_NODE_V1")
        .bytes(&left.0)
        .bytes(&right.0)
        .finish()
}

/// The padding leaf: SHA-256(`VES_PAD_LEAF_V1`).
pub fn pad_leaf() -> Hash32 {
    Preimage::new("VES_PAD_LEAF_V1").finish()
}

/// How many leaves a tree of `leaf_count` leaves is padded to: the next power of two.
pub fn padded_leaf_count(leaf_count: u64) -> u64 {
    leaf_count.next_power_of_two()
}

/// The depth of a tree of `leaf_count` leaves; 0 for one leaf.
pub fn tree_depth(leaf_count: u64) -> u32 {
    padded_leaf_count(leaf_count).trailing_zeros()
}

/// The leaves of one subtree that a worker hashes in place: what it needs fits the caches next to it.
const SUBTREE: usize = 1 << SUBTREE_HEIGHT;
const SUBTREE_HEIGHT: usize = 10;

/// `PADS[i]`: the root of a subtree of padding of height i. Whole subtrees of padding are not hashed.
static PADS: LazyLock<[Hash32; 64]> = LazyLock::new(|| {
    let mut pads = [pad_leaf(); 64];
    for height in 1..pads.len() {
        pads[height] = node_hash(&pads[height - 1], &pads[height - 1]);
    }
    pads
});

/// The root of a subtree of padding; its height is at most 63.
pub(crate) fn pad_root(height: u32) -> Hash32 {
    PADS[height as usize]
}

/// The node of height `to` over `nodes`, which are the first of height `from` below it (at least one;
/// the others are padding). Overwrites them.
fn fold(nodes: &mut [Hash32], from: usize, to: usize) -> Hash32 {
    let kernel = Kernel::current();
    let mut len = nodes.len();
    for pad in &PADS[from..to] {
        let last = (len % 2 == 1).then(|| node_hash(&nodes[len - 1], pad));
        kernel.parents_in_place(&mut nodes[..len]);
        len /= 2;
        if let Some(last) = last {
            nodes[len] = last;
            len += 1;
        }
    }
    nodes[0]
}

/// The root over the leaves that `leaves_of` writes for each chunk of `items`, subtree by subtree on
/// all threads of the pool. Beside the items it holds one subtree a thread, and one hash a subtree.
fn root_of_chunks<T: Sync>(items: &[T], leaves_of: impl Fn(&[T], &mut [Hash32]) + Sync) -> Option<Hash32> {
    let depth = tree_depth(items.len() as u64) as usize;
    let subtree = |items: &[T]| {
        let mut leaves = [Hash32::ZERO; SUBTREE];
        let leaves = &mut leaves[..items.len()];
        leaves_of(items, leaves);
        fold(leaves, 0, depth.min(SUBTREE_HEIGHT))
    };
    match items.len() {
        0 => None,
        // Handing out less than two subtrees costs more than it brings.
        1..=SUBTREE => Some(subtree(items)),
        _ => {
            // Left alone, rayon would cut this into a few large tasks, and a thread that comes late or is held up keeps the
            // other waiting for the rest of one.
            let mut roots: Vec<Hash32> = items.par_chunks(SUBTREE).with_max_len(1).map(subtree).collect();
            Some(fold(&mut roots, SUBTREE_HEIGHT, depth))
        }
    }
}

/// The root over leaves in order; `None` if there are none.
pub fn root(leaves: &[Hash32]) -> Option<Hash32> {
    root_of_chunks(leaves, |from, to| to.copy_from_slice(from))
}

/// The root over the leaves of events in order; `None` if there are none. The numbers are the
/// inputs' own: whether they are consecutive is for the caller to know.
pub fn root_of_leaf_inputs(stream: &StreamKey, inputs: &[LeafInput]) -> Option<Hash32> {
    root_of_chunks(inputs, |from, to| kernel::leaf_hashes(stream, from, to))
}

/// [`root_of_leaf_inputs`] of inputs that need not be in memory all at once.
pub fn root_of_leaf_iter<I>(stream: &StreamKey, inputs: I) -> Option<Hash32>
where
    I: IntoParallelIterator<Item = LeafInput>,
    I::Iter: IndexedParallelIterator,
{
    let inputs = inputs.into_par_iter();
    let depth = tree_depth(inputs.len() as u64) as usize;
    // A few inputs are gathered before they become leaves.
    let subtrees = inputs.fold_chunks(
        SUBTREE,
        || (Vec::with_capacity(64), Vec::with_capacity(SUBTREE)),
        |(mut pending, mut leaves), input| {
            pending.push(input);
            if pending.len() == pending.capacity() {
                append_leaves(stream, &mut pending, &mut leaves);
            }
            (pending, leaves)
        },
    );
    let mut roots: Vec<Hash32> = subtrees
        .map(|(mut pending, mut leaves)| {
            append_leaves(stream, &mut pending, &mut leaves);
            fold(&mut leaves, 0, depth.min(SUBTREE_HEIGHT))
        })
        .collect();
    if roots.is_empty() {
        None
    } else {
        Some(fold(&mut roots, depth.min(SUBTREE_HEIGHT), depth))
    }
}

fn append_leaves(stream: &StreamKey, inputs: &mut Vec<LeafInput>, leaves: &mut Vec<Hash32>) {
    let before = leaves.len();
    leaves.resize(before + inputs.len(), Hash32::ZERO);
    kernel::leaf_hashes(stream, inputs, &mut leaves[before..]);
    inputs.clear();
}

/// All levels of a tree that are not padding alone, leaves first, root last.
struct Levels {
    levels: Vec<Vec<Hash32>>,
}

impl Levels {
    fn new(leaves: &[Hash32]) -> Self {
        let mut levels = vec![leaves.to_vec()];
        for pad in &PADS[..tree_depth(leaves.len() as u64) as usize] {
            let level = &levels[levels.len() - 1];
            let mut parents = vec![Hash32::ZERO; level.len() / 2];
            level[..2 * parents.len()]
                .par_chunks(2 * SUBTREE)
                .zip(parents.par_chunks_mut(SUBTREE))
                .for_each(|(pairs, parents)| kernel::node_hashes(pairs, parents));
            if let [last] = level.as_chunks::<2>().1 {
                parents.push(node_hash(last, pad));
            }
            levels.push(parents);
        }
        Self { levels }
    }
}

/// Computes a root from leaves that arrive one by one, in memory logarithmic in their number.
#[derive(Debug, Clone, Default)]
pub struct RootBuilder {
    /// Roots of the complete subtrees so far, largest first; the second value is the height.
    peaks: Vec<(Hash32, u32)>,
    count: u64,
}

impl RootBuilder {
    /// Appends the next leaf.
    pub fn push(&mut self, leaf: Hash32) {
        self.push_node(leaf, 0);
    }

    /// Appends the next leaves, which is faster than one by one.
    pub fn extend(&mut self, mut leaves: &[Hash32]) {
        let mut buffer = [Hash32::ZERO; SUBTREE];
        while !leaves.is_empty() {
            // The largest subtree that begins here and is complete.
            let aligned = self.count.trailing_zeros().min(SUBTREE_HEIGHT as u32);
            let height = leaves.len().ilog2().min(aligned);
            let (subtree, rest) = leaves.split_at(1 << height);
            let nodes = &mut buffer[..subtree.len()];
            nodes.copy_from_slice(subtree);
            self.push_node(fold(nodes, 0, height as usize), height);
            leaves = rest;
        }
    }

    /// Appends a complete subtree. What is there must be a multiple of it in size.
    fn push_node(&mut self, node: Hash32, height: u32) {
        self.count += 1 << height;
        let mut node = (node, height);
        while let Some(&(left, height)) = self.peaks.last() {
            if height != node.1 {
                break;
            }
            self.peaks.pop();
            node = (node_hash(&left, &node.0), height + 1);
        }
        self.peaks.push(node);
    }

    /// How many leaves were appended.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The root over all leaves so far, padded; `None` if there are none.
    pub fn root(&self) -> Option<Hash32> {
        let mut peaks = self.peaks.iter().rev();
        let &(mut node, mut height) = peaks.next()?;
        for &(left, left_height) in peaks {
            for pad in &PADS[height as usize..left_height as usize] {
                node = node_hash(&node, pad);
            }
            node = node_hash(&left, &node);
            height = left_height + 1;
        }
        Some(node)
    }
}

/// A proof that one leaf is under a root: its siblings from the leaf upwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InclusionProof {
    /// The leaf's place in its batch, counted from 0.
    pub leaf_index: u64,
    /// The siblings, from the leaf's level up to below the root.
    pub proof_path: Vec<Hash32>,
}

impl InclusionProof {
    /// Deeper trees than this have more leaves than a u64 can count.
    pub const MAX_DEPTH: usize = 63;

    /// The sequencer's `directions`: true where the sibling is on the right.
    pub fn directions(&self) -> Vec<bool> {
        (0..self.proof_path.len())
            .map(|level| self.leaf_index >> level & 1 == 0)
            .collect()
    }

    /// The root that `leaf` has by this proof; `None` if the index does not fit the path's length,
    /// so that one path cannot pass for two places.
    pub fn root(&self, leaf: &Hash32) -> Option<Hash32> {
        if self.proof_path.len() > Self::MAX_DEPTH || self.leaf_index >> self.proof_path.len() != 0 {
            return None;
        }
        let mut node = *leaf;
        for (level, sibling) in self.proof_path.iter().enumerate() {
            node = if self.leaf_index >> level & 1 == 0 {
                node_hash(&node, sibling)
            } else {
                node_hash(sibling, &node)
            };
        }
        Some(node)
    }

    /// Whether `leaf` is under `root` at this proof's place.
    pub fn verifies(&self, leaf: &Hash32, root: &Hash32) -> bool {
        self.root(leaf).as_ref() == Some(root)
    }
}

/// The inclusion proof of the leaf at `leaf_index`; `None` if there is no such leaf.
pub fn inclusion_proof(leaves: &[Hash32], leaf_index: usize) -> Option<InclusionProof> {
    if leaf_index >= leaves.len() {
        return None;
    }
    Tree::new(leaves)?.proof(leaf_index)
}

/// A whole tree in memory (about 64 bytes a leaf), for several proofs under one root.
pub struct Tree(Levels);

impl Tree {
    /// The tree over leaves in order; `None` if there are none.
    pub fn new(leaves: &[Hash32]) -> Option<Self> {
        (!leaves.is_empty()).then(|| Self(Levels::new(leaves)))
    }

    /// How many leaves it has, padding not counted.
    pub fn leaf_count(&self) -> usize {
        self.0.levels[0].len()
    }

    /// Its root.
    pub fn root(&self) -> Hash32 {
        self.0.levels[self.0.levels.len() - 1][0]
    }

    /// The inclusion proof of the leaf at `leaf_index`; `None` if there is no such leaf.
    pub fn proof(&self, leaf_index: usize) -> Option<InclusionProof> {
        let tree = &self.0;
        if leaf_index >= self.leaf_count() {
            return None;
        }
        let depth = tree.levels.len() - 1;
        let proof_path = (0..depth)
            .map(|height| {
                let sibling = (leaf_index >> height) ^ 1;
                *tree.levels[height].get(sibling).unwrap_or(&PADS[height])
            })
            .collect();
        Some(InclusionProof {
            leaf_index: leaf_index as u64,
            proof_path,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaves(n: usize) -> Vec<Hash32> {
        (0..n as u64)
            .map(|i| Preimage::new("test leaf").u64(i).finish())
            .collect()
    }

    /// The definition, word by word: pad to a power of two, hash pairs until one is left.
    fn root_by_definition(leaves: &[Hash32]) -> Hash32 {
        let mut level = leaves.to_vec();
        level.resize(leaves.len().next_power_of_two(), pad_leaf());
        while level.len() > 1 {
            level = level
                .chunks(2)
                .map(|pair| node_hash(&pair[0], &pair[1]))
                .collect();
        }
        level[0]
    }

    #[test]
    fn every_small_tree_has_one_root_three_ways() {
        for n in 1..=130 {
            let leaves = leaves(n);
            let expected = root_by_definition(&leaves);
            assert_eq!(root(&leaves), Some(expected), "{n} leaves");
            let mut builder = RootBuilder::default();
            leaves.iter().for_each(|leaf| builder.push(*leaf));
            assert_eq!(builder.root(), Some(expected), "{n} leaves, one by one");
            assert_eq!(builder.count(), n as u64);
            let mut builder = RootBuilder::default();
            leaves.chunks(7).for_each(|leaves| builder.extend(leaves));
            assert_eq!(builder.root(), Some(expected), "{n} leaves, seven by seven");
            assert_eq!(inclusion_proof(&leaves, n), None);
            for i in 0..n {
                let proof = inclusion_proof(&leaves, i).unwrap();
                assert_eq!(proof.proof_path.len() as u32, tree_depth(n as u64));
                assert!(proof.verifies(&leaves[i], &expected), "leaf {i} of {n}");
            }
        }
        assert_eq!(root(&[]), None);
        assert_eq!(RootBuilder::default().root(), None);
    }

    fn inputs(n: usize) -> Vec<LeafInput> {
        (5..n as u64 + 5)
            .map(|sequence_number| {
                let event_signing_hash = Preimage::new("test event").u64(sequence_number).finish();
                let mut agent_signature = SignatureBytes::ZERO;
                agent_signature.0[..32].copy_from_slice(&event_signing_hash.0);
                LeafInput {
                    sequence_number,
                    event_signing_hash,
                    agent_signature,
                }
            })
            .collect()
    }

    #[test]
    fn large_trees_agree_on_both_sides_of_whole_subtrees() {
        let stream = StreamKey::new(uuid::Uuid::from_u128(1).into(), uuid::Uuid::from_u128(2).into());
        for n in [1, 2, 63, 1023, 1024, 1025, 2047, 2048, 2049, 3000, 4097, 5000] {
            let inputs = inputs(n);
            let leaves: Vec<Hash32> = inputs
                .iter()
                .map(|i| {
                    leaf_hash(
                        &stream,
                        i.sequence_number,
                        &i.event_signing_hash,
                        &i.agent_signature,
                    )
                })
                .collect();
            let expected = Some(root_by_definition(&leaves));
            assert_eq!(root(&leaves), expected, "{n}");
            assert_eq!(root_of_leaf_inputs(&stream, &inputs), expected, "{n} inputs");
            assert_eq!(
                root_of_leaf_iter(&stream, inputs),
                expected,
                "{n} inputs, as they come"
            );
            let mut builder = RootBuilder::default();
            leaves.chunks(1500).for_each(|leaves| builder.extend(leaves));
            assert_eq!(builder.root(), expected, "{n} in chunks");
            let proof = inclusion_proof(&leaves, n - 1).unwrap();
            assert_eq!(proof.root(&leaves[n - 1]), expected, "{n}, the last one's proof");
        }
        assert_eq!(root_of_leaf_inputs(&stream, &[]), None);
        assert_eq!(root_of_leaf_iter(&stream, Vec::new()), None);
    }

    #[test]
    fn a_tree_of_a_million_leaves_gives_each_proof_at_once() {
        let leaves = leaves(1_000_003);
        let tree = Tree::new(&leaves).unwrap();
        assert_eq!(
            (tree.leaf_count(), Some(tree.root())),
            (leaves.len(), root(&leaves))
        );
        let begun = std::time::Instant::now();
        for i in (0..leaves.len()).step_by(9973) {
            let proof = tree.proof(i).unwrap();
            assert!(proof.proof_path.len() == 20 && proof.verifies(&leaves[i], &tree.root()));
        }
        // A hundred proofs made and checked; a millisecond for one would be slow.
        assert!(begun.elapsed().as_millis() < 2000, "{:?}", begun.elapsed());
        assert_eq!(tree.proof(leaves.len()), None);
        assert!(Tree::new(&[]).is_none());
    }

    #[test]
    fn directions_say_on_which_side_each_sibling_is() {
        let proof = |leaves: &[Hash32], index| inclusion_proof(leaves, index).unwrap();
        let leaves = leaves(13);
        assert_eq!(proof(&leaves[..1], 0).directions(), [] as [bool; 0]);
        assert_eq!(proof(&leaves[..4], 0).directions(), [true, true]);
        assert_eq!(proof(&leaves[..8], 5).directions(), [false, true, false]);
        // The sequencer's own way of checking: by path and directions, without the index.
        let root = root(&leaves).unwrap();
        for (index, leaf) in leaves.iter().enumerate() {
            let proof = proof(&leaves, index);
            let steps = proof.proof_path.iter().zip(proof.directions());
            let by_directions = steps.fold(*leaf, |node, (sibling, right)| match right {
                true => node_hash(&node, sibling),
                false => node_hash(sibling, &node),
            });
            assert_eq!(by_directions, root, "{index}");
        }
    }

    #[test]
    fn a_path_may_be_as_long_as_the_deepest_tree_and_no_longer() {
        // A tree of padding alone.
        let path = |length| InclusionProof {
            leaf_index: 0,
            proof_path: (0..length).map(|height: u32| pad_root(height.min(63))).collect(),
        };
        let leaf = pad_leaf();
        let deepest = path(InclusionProof::MAX_DEPTH as u32).root(&leaf);
        assert_eq!(deepest, Some(pad_root(63)));
        for length in [64, 65, 200] {
            assert_eq!(path(length).root(&leaf), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn a_proof_holds_for_its_leaf_and_place_only(n in 2usize..200, at in any::<prop::sample::Index>(), other in any::<prop::sample::Index>()) {
            let leaves = leaves(n);
            let (i, j) = (at.index(n), other.index(n));
            prop_assume!(i != j);
            let root = root(&leaves).unwrap();
            let proof = inclusion_proof(&leaves, i).unwrap();
            prop_assert!(!proof.verifies(&leaves[j], &root));
            let moved = InclusionProof { leaf_index: j as u64, ..proof.clone() };
            prop_assert!(!moved.verifies(&leaves[i], &root));
            // The same path claimed for an index beyond the tree must not wrap around.
            let wrapped = InclusionProof { leaf_index: i as u64 + (1 << proof.proof_path.len()), ..proof.clone() };
            prop_assert!(!wrapped.verifies(&leaves[i], &root));
            let mut cut = proof.clone();
            cut.proof_path.pop();
            prop_assert!(!cut.verifies(&leaves[i], &root));
        }
    }
}
