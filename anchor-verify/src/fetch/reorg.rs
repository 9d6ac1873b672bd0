//! Whether the blocks of a file are still the chain's, and what no longer is.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ves::Hash32;

use super::{FetchError, Reorg, Run};
use crate::anchor::Anchor;
use crate::anchors_file::AnchorsFile;
use crate::chain::header;
use crate::chain::parts::Scan;

/// The hashes that a file has of each block number.
type Seen = BTreeMap<u64, BTreeSet<Hash32>>;

/// The first block that the chain has otherwise than the file.
struct Branch {
    /// The number of that block.
    from: u64,
    /// Its hash in the file.
    was: Hash32,
    /// Its hash on the chain, if the chain has such a block.
    is: Option<Hash32>,
}

impl Run<'_> {
    /// Finds out whether the blocks of the file are still the chain's, and drops what no longer is.
    pub(super) async fn reorganise(&mut self, file: &mut AnchorsFile) -> Result<Option<Reorg>, FetchError> {
        // What was damaged is read again.
        file.chain
            .headers
            .retain(|entry| header::read(&entry.rlp).is_ok_and(|block| block.hash == entry.hash));
        self.keep(&file.chain.headers);

        let mut seen = seen(file);
        // A node that is behind says nothing about later blocks.
        let latest = self.latest().await?;
        seen.retain(|number, _| *number <= latest);
        let (branch, stale) = self.settle_doubles(&mut seen).await?;
        let mut dropped = drop_blocks(file, &stale);

        let known: Vec<(u64, Hash32)> = seen
            .into_iter()
            .filter_map(|(number, hashes)| Some((number, hashes.first().copied()?)))
            .collect();
        let Some((other, is)) = self.first_other(&known).await? else {
            return Ok(branch.map(|branch| branch.told(branch.from.checked_sub(1), dropped)));
        };
        let common = other.checked_sub(1).map(|last| known[last].0);
        dropped.extend(drop_after(file, common, &known));
        let (from, was) = known[other];
        Ok(Some(Branch { from, was, is }.told(common, dropped)))
    }

    /// Leaves one hash of each number, where files of two branches were put together. Returns the first block that the
    /// chain has otherwise, and all that it does not have.
    async fn settle_doubles(
        &mut self,
        seen: &mut Seen,
    ) -> Result<(Option<Branch>, HashSet<Hash32>), FetchError> {
        let mut branch = None;
        let mut stale = HashSet::new();
        for (number, hashes) in seen.iter_mut().filter(|(_, hashes)| hashes.len() > 1) {
            let is = self.hash_at(*number).await?;
            for hash in hashes.iter().filter(|hash| Some(**hash) != is) {
                stale.insert(*hash);
                branch.get_or_insert(Branch {
                    from: *number,
                    was: *hash,
                    is,
                });
            }
            hashes.retain(|hash| Some(*hash) == is);
        }
        Ok((branch, stale))
    }

    /// The index of the first block that the chain has otherwise, and the chain's hash there: blocks are the same up to some
    /// number and others from there on. `None` if all are the chain's.
    async fn first_other(
        &mut self,
        known: &[(u64, Hash32)],
    ) -> Result<Option<(usize, Option<Hash32>)>, FetchError> {
        let Some((number, hash)) = known.last() else {
            return Ok(None);
        };
        let mut is_other = self.hash_at(*number).await?;
        if is_other == Some(*hash) {
            return Ok(None);
        }
        let (mut same, mut other) = (0, known.len() - 1);
        while same < other {
            let middle = same + (other - same) / 2;
            let (number, hash) = known[middle];
            let is = self.hash_at(number).await?;
            if is == Some(hash) {
                same = middle + 1;
            } else {
                (other, is_other) = (middle, is);
            }
        }
        Ok(Some((other, is_other)))
    }
}

impl Branch {
    fn told(&self, common: Option<u64>, dropped: Vec<Anchor>) -> Reorg {
        Reorg {
            common,
            from: self.from,
            was: self.was,
            is: self.is,
            dropped,
            again: 0,
        }
    }
}

/// All blocks that a file knows the hash of.
fn seen(file: &AnchorsFile) -> Seen {
    let anchors = file
        .anchors
        .iter()
        .map(|anchor| (anchor.block_number, anchor.block_hash));
    let headers = file.chain.headers.iter();
    let headers = headers
        .filter_map(|entry| header::read(&entry.rlp).ok())
        .map(|block| (block.number, block.hash));
    let checkpoint = file.chain.checkpoint.map(|at| (at.number, at.hash));
    let mut seen = Seen::new();
    for (number, hash) in anchors.chain(headers).chain(checkpoint) {
        seen.entry(number).or_default().insert(hash);
    }
    seen
}

/// Drops what is of these blocks. Returns the anchors among it.
fn drop_blocks(file: &mut AnchorsFile, stale: &HashSet<Hash32>) -> Vec<Anchor> {
    let stays = |hash: &Hash32| !stale.contains(hash);
    let (stay, dropped) = file.anchors.iter().partition(|anchor| stays(&anchor.block_hash));
    file.anchors = stay;
    let chain = &mut file.chain;
    chain.headers.retain(|entry| stays(&entry.hash));
    chain.receipts.retain(|entry| stays(&entry.block_hash));
    chain.proofs.retain(|entry| stays(&entry.block_hash));
    chain.refused.retain(|refused| stays(&refused.block_hash));
    chain.checkpoint = chain.checkpoint.filter(|checkpoint| stays(&checkpoint.hash));
    dropped
}

/// Drops what is behind the last common block. Returns the anchors among it.
fn drop_after(file: &mut AnchorsFile, common: Option<u64>, known: &[(u64, Hash32)]) -> Vec<Anchor> {
    let kept = |number: u64| common.is_some_and(|common| number <= common);
    let (stay, dropped) = file.anchors.iter().partition(|anchor| kept(anchor.block_number));
    file.anchors = stay;
    let blocks: HashSet<Hash32> = known
        .iter()
        .filter(|(number, _)| kept(*number))
        .map(|(_, hash)| *hash)
        .collect();
    let chain = &mut file.chain;
    chain
        .headers
        .retain(|entry| header::read(&entry.rlp).is_ok_and(|block| kept(block.number)));
    chain.receipts.retain(|entry| blocks.contains(&entry.block_hash));
    chain.proofs.retain(|entry| blocks.contains(&entry.block_hash));
    chain.refused.retain(|refused| kept(refused.block_number));
    chain.checkpoint = None;
    let shortened = |scan: Scan| {
        let to = scan.to.min(common?);
        (scan.from <= to).then_some(Scan { to, ..scan })
    };
    chain.scanned = std::mem::take(&mut chain.scanned)
        .into_iter()
        .filter_map(shortened)
        .collect();
    dropped
}
