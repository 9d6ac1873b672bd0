//! Trying guesses against a root.
//!
//! Of a Merkle tree only the paths above its open positions change between two guesses; everything else is hashed once.
//! It is that of a batch, or the one over a whole stream that checkpoints are signed over. [`Paths`] holds those paths, and of two guesses that follow each other it hashes only what differs.
//! Guesses are tried in groups on all cores; which one is found does not depend on which core was faster.

use std::cell::RefCell;
use std::time::Instant;

use rayon::prelude::*;
use ves::Hash32;
use ves::log_tree::{self, CompactRange};
use ves::merkle::{self, pad_leaf};

/// The part of a Merkle tree that depends on its open positions.
///
/// Level 0 are the open leaves, in the order of their positions; each level above holds the nodes with an open leaf
/// below them; the last one is the root.
#[derive(Debug, Clone)]
pub struct Paths {
    /// For each level above the leaves: the children of each node.
    nodes: Vec<Vec<[Child; 2]>>,
    /// For each level but the last: which node of the level above is over this one.
    above: Vec<Vec<u32>>,
    /// The hashes of all levels, for the leaves that were set last.
    hashes: Vec<Vec<Hash32>>,
    /// Marks and list of the nodes to hash again, level by level.
    changed: Vec<u32>,
    /// How two nodes become one.
    node: fn(&Hash32, &Hash32) -> Hash32,
}

#[derive(Debug, Clone, Copy)]
enum Child {
    /// The same in every guess.
    Fixed(Hash32),
    /// This node of the level below.
    Open(u32),
    /// None: what is beside it stands in for its parent.
    Absent,
}

/// What a tree has beside the leaves that are given.
trait Shape {
    /// What stands where a right neighbour is missing, at a level.
    fn pad(&self, level: u32) -> Option<Hash32>;
    /// The node before the first of a level, if that level has one.
    fn before(&self, level: u32) -> Option<Hash32>;
    /// Whether there are nodes before the first above a level.
    fn more_above(&self, level: u32) -> bool;
    /// How two nodes become one.
    fn node(&self) -> fn(&Hash32, &Hash32) -> Hash32;
}

/// A batch's tree, padded to a power of two.
struct OfBatch(RefCell<Vec<Hash32>>);

impl Shape for OfBatch {
    fn pad(&self, level: u32) -> Option<Hash32> {
        let mut pads = self.0.borrow_mut();
        while pads.len() <= level as usize {
            let pad = pads
                .last()
                .map_or_else(pad_leaf, |pad| merkle::node_hash(pad, pad));
            pads.push(pad);
        }
        pads.get(level as usize).copied()
    }

    fn before(&self, _level: u32) -> Option<Hash32> {
        None
    }

    fn more_above(&self, _level: u32) -> bool {
        false
    }

    fn node(&self) -> fn(&Hash32, &Hash32) -> Hash32 {
        merkle::node_hash
    }
}

/// The tree over a whole stream, of which the part before the leaves is known.
struct OfLog<'a>(&'a CompactRange);

impl Shape for OfLog<'_> {
    fn pad(&self, _level: u32) -> Option<Hash32> {
        None
    }

    fn before(&self, level: u32) -> Option<Hash32> {
        self.0.peak(level).copied()
    }

    fn more_above(&self, level: u32) -> bool {
        self.0
            .size()
            .checked_shr(level + 1)
            .is_some_and(|above| above > 0)
    }

    fn node(&self) -> fn(&Hash32, &Hash32) -> Hash32 {
        log_tree::node_hash
    }
}

impl Paths {
    /// The paths above the leaves `open` (ascending indexes into `leaves`) of a batch; what stands in those leaves does
    /// not matter. `None` without leaves, or if an index is out of bounds.
    pub fn of_batch(leaves: &[Hash32], open: &[usize]) -> Option<Self> {
        Self::build(leaves.to_vec(), open, &OfBatch(RefCell::default()))
    }

    /// The same of the tree over a stream that `leaves` continue; they are records of it
    /// ([`ves::log_tree::record_hash`]).
    pub fn of_log(base: &CompactRange, leaves: Vec<Hash32>, open: &[usize]) -> Option<Self> {
        Self::build(leaves, open, &OfLog(base))
    }

    fn build(leaves: Vec<Hash32>, open: &[usize], shape: &dyn Shape) -> Option<Self> {
        if leaves.is_empty() || open.last().is_some_and(|last| *last >= leaves.len()) {
            return None;
        }
        let mut all = leaves;
        let mut active = open.to_vec();
        let mut paths = Self {
            nodes: Vec::new(),
            above: Vec::new(),
            hashes: vec![vec![Hash32::ZERO; open.len()]],
            changed: Vec::new(),
            node: shape.node(),
        };
        for level in 0.. {
            if let Some(before) = shape.before(level) {
                all.insert(0, before);
                active.iter_mut().for_each(|index| *index += 1);
            }
            if all.len() == 1 && !shape.more_above(level) {
                break;
            }
            let mut parents: Vec<usize> = active.iter().map(|i| i / 2).collect();
            let mut above = Vec::with_capacity(active.len());
            let mut count = 0;
            for (n, parent) in parents.iter().enumerate() {
                count += u32::from(n == 0 || parents[n - 1] != *parent);
                above.push(count - 1);
            }
            parents.dedup();
            let pad = shape.pad(level);
            let child = |index: usize| match (active.binary_search(&index), all.get(index).copied().or(pad)) {
                (Ok(open), _) => Child::Open(u32::try_from(open).unwrap_or(u32::MAX)),
                (Err(_), Some(hash)) => Child::Fixed(hash),
                (Err(_), None) => Child::Absent,
            };
            let nodes = parents.iter().map(|p| [child(2 * p), child(2 * p + 1)]).collect();
            let next = all
                .chunks(2)
                .map(|pair| match pair.get(1).or(pad.as_ref()) {
                    Some(right) => (paths.node)(&pair[0], right),
                    None => pair[0],
                })
                .collect();
            paths.nodes.push(nodes);
            paths.above.push(above);
            paths.hashes.push(vec![Hash32::ZERO; parents.len()]);
            (all, active) = (next, parents);
        }
        // Nothing is open: the root is what it is.
        if open.is_empty() {
            paths.hashes = vec![all];
            (paths.nodes, paths.above) = (Vec::new(), Vec::new());
        }
        Some(paths)
    }

    /// How many hashes a guess costs at most.
    pub fn cost(&self) -> u64 {
        self.nodes
            .iter()
            .map(|level| level.len() as u64)
            .sum::<u64>()
            .max(1)
    }

    /// Sets open leaves (ascending indexes into `open`) and hashes what is above them.
    pub fn set(&mut self, leaves: impl IntoIterator<Item = (u32, Hash32)>) {
        let mut changed = std::mem::take(&mut self.changed);
        changed.clear();
        for (index, leaf) in leaves {
            self.hashes[0][index as usize] = leaf;
            changed.push(index);
        }
        for (level, nodes) in self.nodes.iter().enumerate() {
            let above = &self.above[level];
            for node in &mut changed {
                *node = above[*node as usize];
            }
            changed.dedup();
            let (below, here) = self.hashes.split_at_mut(level + 1);
            let below = &below[level];
            for &node in &changed {
                let [left, right] = nodes[node as usize].map(|child| match child {
                    Child::Fixed(hash) => Some(hash),
                    Child::Open(index) => Some(below[index as usize]),
                    Child::Absent => None,
                });
                if let Some(left) = left {
                    here[0][node as usize] = right.map_or(left, |right| (self.node)(&left, &right));
                }
            }
        }
        self.changed = changed;
    }

    /// The root for the leaves that were set last.
    pub fn root(&self) -> Option<Hash32> {
        self.hashes.last()?.first().copied()
    }
}

/// What may stand at one open position.
#[derive(Debug, Clone, Default)]
pub struct Slot {
    /// The leaf of each choice.
    pub leaves: Vec<Hash32>,
}

/// So many guesses in a row are tried by one core, each from the one before.
const RUN: usize = 64;
/// The most guesses that are drawn before they are tried.
const GROUP: usize = 2048;

/// How a search ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchEnd {
    /// This guess gives the root.
    Found(Vec<u32>),
    /// There are no more guesses.
    Exhausted,
    /// As many as may be tried were tried.
    Candidates,
    /// The time ran out.
    Seconds,
}

/// How much work the search may do.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Roots tried for one batch.
    pub tries: u64,
    /// Hashes computed for one batch; bounds the work on large batches.
    pub hashes: u64,
    /// When to stop searching, whatever is left.
    pub until: Option<Instant>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            tries: 20_000,
            hashes: 20_000_000,
            until: None,
        }
    }
}

/// What a search may still do.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Guesses tried so far.
    pub tried: u64,
    /// Guesses that may be tried in all.
    pub tries: u64,
    /// When to stop.
    pub until: Option<Instant>,
}

impl Allowance {
    /// Whether nothing is left, and why.
    pub fn spent(&self) -> Option<SearchEnd> {
        if self.tried >= self.tries {
            return Some(SearchEnd::Candidates);
        }
        self.until
            .is_some_and(|until| Instant::now() >= until)
            .then_some(SearchEnd::Seconds)
    }
}

/// Tries guesses in their order until one gives the root. A guess names for each open position one of its choices.
pub fn search(
    paths: &Paths,
    slots: &mut impl Choices,
    root: &Hash32,
    allowance: &mut Allowance,
    mut next: impl FnMut(&mut dyn Choices) -> Option<Vec<u32>>,
) -> SearchEnd {
    let mut size = RUN / 4;
    loop {
        if let Some(ended) = allowance.spent() {
            return ended;
        }
        let left = usize::try_from(allowance.tries - allowance.tried).unwrap_or(usize::MAX);
        let mut group = Vec::with_capacity(size.min(left));
        while group.len() < size.min(left) {
            match next(slots) {
                Some(guess) => group.push(guess),
                None => break,
            }
        }
        if group.is_empty() {
            return SearchEnd::Exhausted;
        }
        match first_match(paths, slots.slots(), root, &group) {
            Some(index) => {
                allowance.tried += index as u64 + 1;
                return SearchEnd::Found(group.swap_remove(index));
            }
            None => allowance.tried += group.len() as u64,
        }
        size = (size * 2).min(GROUP);
    }
}

/// Choices that may grow while guesses are drawn.
pub trait Choices {
    /// The choices by open position.
    fn slots(&self) -> &[Slot];
    /// The number of a candidate among the choices of a position; it becomes one if it is none yet.
    fn choice(&mut self, slot: usize, candidate: usize) -> u32;
}

/// The first guess of a group that gives the root.
pub fn first_match(paths: &Paths, slots: &[Slot], root: &Hash32, group: &[Vec<u32>]) -> Option<usize> {
    let run = |(start, guesses): (usize, &[Vec<u32>])| {
        let mut paths = paths.clone();
        let mut before: Option<&Vec<u32>> = None;
        guesses.iter().enumerate().find_map(|(n, guess)| {
            let differs = |slot: &usize| before.is_none_or(|before| before[*slot] != guess[*slot]);
            paths.set(
                (0..guess.len())
                    .filter(differs)
                    .map(|slot| (slot as u32, slots[slot].leaves[guess[slot] as usize])),
            );
            before = Some(guess);
            (paths.root() == Some(*root)).then_some(start * RUN + n)
        })
    };
    if group.len() <= RUN {
        return run((0, group));
    }
    group
        .par_chunks(RUN)
        .enumerate()
        .map(run)
        .find_first(Option::is_some)
        .flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ves::merkle;

    use super::*;

    fn leaf(n: u32) -> Hash32 {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        Hash32(bytes)
    }

    struct Fixed(Vec<Slot>);

    impl Choices for Fixed {
        fn slots(&self) -> &[Slot] {
            &self.0
        }
        fn choice(&mut self, _slot: usize, candidate: usize) -> u32 {
            candidate as u32
        }
    }

    proptest! {
        /// Whatever is open and in whatever order leaves are set, the root is that of the whole tree.
        #[test]
        fn the_paths_give_the_root_of_the_whole_tree(
            width in 1usize..70,
            open in prop::collection::btree_set(0usize..70, 0..20),
            rounds in prop::collection::vec(prop::collection::vec(any::<u32>(), 20), 1..6),
        ) {
            let open: Vec<usize> = open.into_iter().filter(|i| *i < width).collect();
            let mut leaves: Vec<Hash32> = (0..width as u32).map(leaf).collect();
            let mut paths = Paths::of_batch(&leaves, &open).unwrap();
            let mut first = true;
            for round in rounds {
                // After the first guess only some leaves change.
                let set: Vec<(u32, Hash32)> = (0..open.len())
                    .filter(|i| first || round[*i] % 3 == 0)
                    .map(|i| (i as u32, leaf(round[i])))
                    .collect();
                first = false;
                for (i, hash) in &set {
                    leaves[open[*i as usize]] = *hash;
                }
                paths.set(set);
                prop_assert_eq!(paths.root(), merkle::root(&leaves));
            }
        }

        /// The same of the tree over a stream, whatever stands before the leaves.
        #[test]
        fn the_paths_give_the_root_of_the_whole_log(
            before in 0usize..70,
            width in 1usize..70,
            open in prop::collection::btree_set(0usize..70, 0..20),
            round in prop::collection::vec(any::<u32>(), 20),
        ) {
            let open: Vec<usize> = open.into_iter().filter(|i| *i < width).collect();
            let mut leaves: Vec<Hash32> = (0..(before + width) as u32).map(leaf).collect();
            let mut base = CompactRange::default();
            base.extend(&leaves[..before]);
            let records = leaves[before..].iter().map(|leaf| log_tree::record_hash(&leaf.0)).collect();
            let mut paths = Paths::of_log(&base, records, &open).unwrap();
            let set: Vec<(u32, Hash32)> = (0..open.len()).map(|i| (i as u32, leaf(round[i]))).collect();
            for (i, hash) in &set {
                leaves[before + open[*i as usize]] = *hash;
            }
            paths.set(set.into_iter().map(|(i, leaf)| (i, log_tree::record_hash(&leaf.0))));
            base.extend(&leaves[before..]);
            prop_assert_eq!(paths.root(), Some(base.root()));
        }

        /// The first match is found whichever core looks at it.
        #[test]
        fn of_several_matches_the_first_is_found(at in prop::collection::btree_set(0usize..400, 1..5)) {
            let leaves: Vec<Hash32> = (0..8).map(leaf).collect();
            let paths = Paths::of_batch(&leaves, &[3]).unwrap();
            let slots = [Slot { leaves: vec![leaf(3), leaf(99)] }];
            let group: Vec<Vec<u32>> = (0..400).map(|n| vec![u32::from(!at.contains(&n))]).collect();
            let root = merkle::root(&leaves).unwrap();
            prop_assert_eq!(first_match(&paths, &slots, &root, &group), at.first().copied());
        }
    }

    #[test]
    fn a_search_stops_at_its_limits_and_says_which() {
        let leaves: Vec<Hash32> = (0..8).map(leaf).collect();
        let paths = Paths::of_batch(&leaves, &[3]).unwrap();
        let mut slots = Fixed(vec![Slot {
            leaves: vec![leaf(98), leaf(99), leaf(3)],
        }]);
        let root = merkle::root(&leaves).unwrap();
        let mut run = |count: u32, tries: u64, until: Option<Instant>| {
            let mut given = 0;
            let mut allowance = Allowance {
                tried: 0,
                tries,
                until,
            };
            let ended = search(&paths, &mut slots, &root, &mut allowance, |_| {
                given += 1;
                (given <= count).then(|| vec![if given == 150 { 2 } else { given % 2 }])
            });
            (ended, allowance.tried)
        };
        assert_eq!(run(1000, 1000, None), (SearchEnd::Found(vec![2]), 150));
        assert_eq!(run(149, 1000, None), (SearchEnd::Exhausted, 149));
        assert_eq!(run(1000, 149, None), (SearchEnd::Candidates, 149));
        assert_eq!(run(1000, 1000, Some(Instant::now())), (SearchEnd::Seconds, 0));
    }

    #[test]
    fn a_guess_costs_as_many_hashes_as_there_are_nodes_above_the_open_leaves() {
        let leaves: Vec<Hash32> = (0..8).map(leaf).collect();
        let of_batch = |open: &[usize]| Paths::of_batch(&leaves, open).unwrap().cost();
        assert_eq!((of_batch(&[3]), of_batch(&[2, 3]), of_batch(&[0, 7])), (3, 3, 5));
        assert_eq!(of_batch(&[]), 1);
        // The tree over a stream, of which 8 events are known: one node more, in which both halves meet.
        let mut base = CompactRange::default();
        base.extend(&leaves);
        let of_log = |open: &[usize]| Paths::of_log(&base, leaves.clone(), open).unwrap().cost();
        assert_eq!((of_log(&[3]), of_log(&[0, 7])), (4, 6));
    }

    #[test]
    fn what_is_open_must_be_among_the_leaves() {
        assert!(Paths::of_batch(&[leaf(1)], &[1]).is_none());
        assert!(Paths::of_batch(&[leaf(1)], &[0]).is_some());
        assert!(Paths::of_batch(&[], &[]).is_none());
    }

    #[test]
    fn few_guesses_are_drawn_before_the_first_are_tried() {
        let leaves: Vec<Hash32> = (0..8).map(leaf).collect();
        let paths = Paths::of_batch(&leaves, &[3]).unwrap();
        let mut slots = Fixed(vec![Slot {
            leaves: vec![leaf(3)],
        }]);
        let mut allowance = Allowance {
            tried: 0,
            tries: 1000,
            until: None,
        };
        let mut drawn = 0;
        let root = merkle::root(&leaves).unwrap();
        let ended = search(&paths, &mut slots, &root, &mut allowance, |_| {
            drawn += 1;
            Some(vec![0])
        });
        assert_eq!(ended, SearchEnd::Found(vec![0]));
        assert_eq!((drawn, allowance.tried), (RUN / 4, 1));
    }
}
