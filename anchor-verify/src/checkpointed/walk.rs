//! A stream's leaves, in the order of their numbers, held against its checkpoints: one tree that grows with them, its root
//! compared at the size of each.

use std::collections::BTreeSet;

use checkpoints::StreamCheckpoints;
use checkpoints::history::{CountedCheckpoint, ProvenLeaves};
use event_log::Hole;
use ves::log_tree::{CompactRange, TreeHead};
use ves::span::Span;
use ves::{Hash32, StreamKey};

/// So many leaves are hashed together, where they come one by one.
const LEAVES: usize = 1024;

/// A checkpoint whose root is not that of the leaves.
#[derive(Debug, Clone)]
pub struct Mismatch<'a> {
    /// The smallest one.
    pub held: &'a CountedCheckpoint,
    /// The root that the leaves give.
    pub root: Hash32,
    /// How many there are.
    pub count: u64,
}

/// The checkpoints of one deployment, as far as a walk has come.
#[derive(Debug, Clone)]
pub struct Lane<'a> {
    /// Whose they are.
    pub of: &'a StreamCheckpoints,
    /// Those that bind the log, by size; the next one is at `at`.
    targets: Vec<&'a CountedCheckpoint>,
    at: usize,
    proven: ProvenLeaves<'a>,
    /// How many leaves were compared with proven ones.
    pub compared: u64,
    /// The first number whose leaf is not the proven one.
    pub first_difference: Option<u64>,
    /// How many checkpoints have the root that the leaves give.
    pub matches: u64,
    /// The largest of them.
    pub matched: Option<&'a CountedCheckpoint>,
    /// Those that have another.
    pub mismatch: Option<Mismatch<'a>>,
    /// The last number up to which there were leaves.
    pub reached: u64,
    /// Why they end there, if something stands in the way.
    pub stopped: Option<String>,
    /// The leaves were those of a part of a log: where it ends nothing is missing.
    pub of_part: bool,
}

impl<'a> Lane<'a> {
    fn new(of: &'a StreamCheckpoints) -> Self {
        Self {
            of,
            targets: of.binding(),
            at: 0,
            proven: of.proven_leaves(),
            compared: 0,
            first_difference: None,
            matches: 0,
            matched: None,
            mismatch: None,
            reached: 0,
            stopped: None,
            of_part: false,
        }
    }

    fn next(&self) -> Option<u64> {
        self.targets.get(self.at).map(|held| held.checkpoint.size)
    }

    /// The largest checkpoint that the leaves did not reach, if one is left.
    pub fn beyond(&self) -> Option<&'a CountedCheckpoint> {
        self.targets[self.at..].last().copied()
    }

    /// How many checkpoints the leaves did not reach.
    pub fn unreached(&self) -> u64 {
        (self.targets.len() - self.at) as u64
    }

    /// Compares the checkpoints of this size.
    fn compare_head(&mut self, head: TreeHead) {
        while self.next() == Some(head.size) {
            self.compare_root(head.root);
        }
    }

    fn compare_root(&mut self, root: Hash32) {
        let held = self.targets[self.at];
        self.at += 1;
        if held.checkpoint.root == root {
            self.matches += 1;
            self.matched = Some(held);
            return;
        }
        match &mut self.mismatch {
            Some(mismatch) => mismatch.count += 1,
            None => {
                let count = 1;
                self.mismatch = Some(Mismatch { held, root, count });
            }
        }
    }

    fn compare_leaf(&mut self, number: u64, leaf: &Hash32) {
        if self.first_difference.is_some() {
            return;
        }
        if let Some(proven) = self.proven.at(number) {
            self.compared += 1;
            if proven != *leaf {
                self.first_difference = Some(number);
            }
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Walk<'a> {
    /// The deployments that signed checkpoints of the stream.
    lanes: Vec<Lane<'a>>,
    tree: CompactRange,
    /// The sizes of their checkpoints.
    sizes: BTreeSet<u64>,
    /// Leaves that are not in the tree yet.
    pending: Vec<Hash32>,
    /// The number that comes next.
    next: u64,
    /// Why no leaf follows the last one: no root can be told behind it.
    hole: Option<Hole>,
}

impl<'a> Walk<'a> {
    /// A walk over a stream's leaves; `None` if nothing binds it.
    pub fn new(history: &'a checkpoints::History, stream: &StreamKey) -> Option<Self> {
        let lanes: Vec<Lane<'a>> = history.of(stream).map(Lane::new).collect();
        let bound = lanes.iter().any(|lane| !lane.targets.is_empty());
        let sizes = lanes.iter().flat_map(|lane| &lane.targets);
        let mut walk = Self {
            sizes: sizes.map(|held| held.checkpoint.size).collect(),
            lanes,
            tree: CompactRange::default(),
            pending: Vec::new(),
            next: 1,
            hole: None,
        };
        let head = TreeHead {
            size: 0,
            root: walk.tree.root(),
        };
        walk.lanes.iter_mut().for_each(|lane| lane.compare_head(head));
        bound.then_some(walk)
    }

    /// The highest number that any checkpoint names.
    pub fn highest(&self) -> u64 {
        let last = |lane: &Lane<'_>| lane.targets.last().map_or(0, |held| held.checkpoint.size);
        self.lanes.iter().map(last).max().unwrap_or(0)
    }

    /// Takes the leaves of the next numbers.
    pub fn leaves(&mut self, leaves: &[Hash32]) {
        for (number, leaf) in (self.next..).zip(leaves) {
            self.lanes
                .iter_mut()
                .for_each(|lane| lane.compare_leaf(number, leaf));
        }
        self.next += leaves.len() as u64;
        self.grow(leaves);
    }

    /// Takes the leaf of a number. What is not the next one leaves the tree as it is from there on; leaves are compared
    /// all the same.
    pub fn leaf(&mut self, number: u64, leaf: Hash32) {
        self.lanes
            .iter_mut()
            .for_each(|lane| lane.compare_leaf(number, &leaf));
        if number != self.next {
            let missing = number
                .checked_sub(1)
                .and_then(|before| Span::new(self.next, before));
            self.hole
                .get_or_insert(missing.map_or(Hole::Duplicate(number), Hole::Missing));
        }
        if self.hole.is_some() {
            return;
        }
        self.next += 1;
        self.pending.push(leaf);
        if self.pending.len() >= LEAVES {
            self.flush();
        }
    }

    /// Takes what came one by one into the tree.
    fn flush(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        self.grow(&pending);
        self.pending = pending;
        self.pending.clear();
    }

    /// What came of it; `hole` is why the leaves end, if whoever read them knows.
    pub fn finish(mut self, hole: Option<Hole>) -> (Vec<Lane<'a>>, Option<Hole>) {
        self.flush();
        let hole = hole.or(self.hole);
        for lane in &mut self.lanes {
            lane.reached = self.next - 1;
            lane.stopped = hole.as_ref().map(ToString::to_string);
        }
        (self.lanes, hole)
    }

    fn grow(&mut self, leaves: &[Hash32]) {
        let Self {
            tree, sizes, lanes, ..
        } = self;
        // Behind the last of them no root is wanted.
        if sizes.last().is_none_or(|last| *last <= tree.size()) {
            return;
        }
        tree.extend_through(leaves, sizes, |head| {
            lanes.iter_mut().for_each(|lane| lane.compare_head(head));
        });
    }
}

#[cfg(test)]
mod tests;
