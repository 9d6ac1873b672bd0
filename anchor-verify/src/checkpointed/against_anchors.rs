//! Leaves that checkpoints prove, held against anchors: the root of a batch follows from its leaves.

use checkpoints::StreamCheckpoints;
use checkpoints::history::ProvenLeaves;
use ves::merkle::RootBuilder;
use ves::{BatchId, Hash32};

use crate::batches::AnchoredBatch;

/// An anchored batch whose root is not that of the proven leaves.
#[derive(Debug, Clone)]
pub struct Contradicted {
    /// The batch.
    pub batch_id: BatchId,
    /// Its numbers.
    pub range: (u64, u64),
    /// What was anchored.
    pub anchored: Hash32,
    /// What the leaves give.
    pub root: Hash32,
}

/// What came of it, for one stream in one deployment.
#[derive(Debug, Clone, Default)]
pub struct Compared {
    /// Batches whose root is that of the proven leaves, of whatever generation.
    pub matches: u64,
    /// Batches with another.
    pub contradicted: Vec<Contradicted>,
    /// Batches of which not every leaf is proven.
    pub unknown: u64,
    /// Batches whose anchors contradict each other: they are no evidence.
    pub contested: u64,
}

/// Compares the anchored batches of a stream, by position, with the leaves that its checkpoints prove.
pub fn compare(of: &StreamCheckpoints, anchored: &[AnchoredBatch]) -> Compared {
    let mut compared = Compared {
        contested: anchored.iter().filter(|batch| batch.contested).count() as u64,
        ..Compared::default()
    };
    // Those that are not contested lie one behind the other, so that leaves can be asked for in order.
    let mut batches: Vec<&AnchoredBatch> = anchored.iter().filter(|batch| !batch.contested).collect();
    batches.dedup_by_key(|batch| (batch.sequence_start, batch.sequence_end));
    let mut trees: Vec<ProvenLeaves<'_>> = of
        .generations
        .iter()
        .map(|generation| generation.proven_leaves())
        .collect();
    for batch in batches {
        let roots: Vec<Hash32> = trees
            .iter_mut()
            .filter_map(|leaves| root(leaves, batch))
            .collect();
        match roots.last() {
            None => compared.unknown += 1,
            // What was anchored before a generation left it belongs to the one before.
            Some(_) if roots.contains(&batch.events_root) => compared.matches += 1,
            Some(root) => compared.contradicted.push(Contradicted {
                batch_id: batch.batch_id,
                range: (batch.sequence_start, batch.sequence_end),
                anchored: batch.events_root,
                root: *root,
            }),
        }
    }
    compared
}

/// The root of a batch, if all of its leaves are proven.
fn root(leaves: &mut ProvenLeaves<'_>, batch: &AnchoredBatch) -> Option<Hash32> {
    let mut root = RootBuilder::default();
    for number in batch.sequence_start..=batch.sequence_end {
        root.push(leaves.at(number)?);
    }
    root.root()
}
