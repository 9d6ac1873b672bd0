//! What the generations of a stream say, together, of a log that continues the newest of them.

use ves::Hash32;

use super::{CountedCheckpoint, Generation, Run, StreamCheckpoints};

impl StreamCheckpoints {
    /// Up to which number each generation's tree is that of a log which continues the newest: `None` for the newest, 0
    /// where that cannot be told, since the generation behind it is not there.
    pub fn limits(&self) -> Vec<Option<u64>> {
        let mut limits = vec![None; self.generations.len()];
        let mut behind: Option<(&Generation, u64)> = None;
        for (generation, limit) in self.generations.iter().zip(&mut limits).rev() {
            if let Some((next, common)) = behind {
                let follows = generation.origin.generation + 1 == next.origin.generation;
                *limit = Some(if follows { common } else { 0 });
            }
            if let Some(continues) = generation.continues() {
                let common = limit.map_or(continues.size, |limit| limit.min(continues.size));
                behind = Some((generation, common));
            } else if !generation.checkpoints.is_empty() {
                behind = Some((generation, 0));
            }
        }
        limits
    }

    /// The checkpoints that bind a log which continues the newest generation, by size: those of that one, and of those
    /// before it as far as they have their numbers in common with it.
    pub fn binding(&self) -> Vec<&CountedCheckpoint> {
        let limits = self.limits();
        let of = |(generation, limit): (&'_ Generation, Option<u64>)| {
            let end = limit.map_or(generation.checkpoints.len(), |limit| {
                generation
                    .checkpoints
                    .partition_point(|held| held.checkpoint.size <= limit)
            });
            0..end
        };
        let mut all: Vec<&CountedCheckpoint> = self
            .generations
            .iter()
            .zip(limits)
            .flat_map(|(generation, limit)| &generation.checkpoints[of((generation, limit))])
            .collect();
        all.sort_by_key(|held| held.checkpoint.size);
        all
    }

    /// How many leaves are proven of a log which continues the newest generation.
    pub fn proven_count(&self) -> u64 {
        count(&self.proven_leaves())
    }

    /// The leaves that are proven of a log which continues the newest generation.
    pub fn proven_leaves(&self) -> ProvenLeaves<'_> {
        let mut runs: Vec<(u64, &Run)> = Vec::new();
        for (generation, limit) in self.generations.iter().zip(self.limits()) {
            let cut = |run: &'_ Run| limit.map_or(run.end(), |limit| limit.min(run.end()));
            let proven = generation.runs.iter().map(|run| (cut(run), run));
            runs.extend(proven.filter(|(end, run)| *end > run.base.size()));
        }
        // The next one last.
        runs.sort_by_key(|(_, run)| std::cmp::Reverse(run.base.size()));
        ProvenLeaves { runs }
    }
}

impl Generation {
    /// The leaves that are proven of this tree.
    pub fn proven_leaves(&self) -> ProvenLeaves<'_> {
        let with_leaves = self.runs.iter().filter(|run| !run.leaves.is_empty());
        let mut runs: Vec<(u64, &Run)> = with_leaves.map(|run| (run.end(), run)).collect();
        runs.sort_by_key(|(_, run)| std::cmp::Reverse(run.base.size()));
        ProvenLeaves { runs }
    }

    /// How many leaves are proven of this tree.
    pub fn proven_count(&self) -> u64 {
        count(&self.proven_leaves())
    }
}

/// How many numbers have a leaf.
fn count(proven: &ProvenLeaves<'_>) -> u64 {
    let (mut total, mut reached) = (0, 0);
    for (end, run) in proven.runs.iter().rev() {
        total += end.saturating_sub(run.base.size().max(reached));
        reached = reached.max(*end);
    }
    total
}

/// Leaves that are proven, asked for in the order of their numbers.
#[derive(Debug, Clone)]
pub struct ProvenLeaves<'a> {
    /// With the last number that counts of each.
    runs: Vec<(u64, &'a Run)>,
}

impl ProvenLeaves<'_> {
    /// The leaf of a number, which is not below any that was asked for before.
    pub fn at(&mut self, position: u64) -> Option<Hash32> {
        while self.runs.pop_if(|(end, _)| *end < position).is_some() {}
        self.runs.last()?.1.leaf(position)
    }
}
