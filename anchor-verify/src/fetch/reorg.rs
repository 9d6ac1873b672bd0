//! Whether the blocks of a file are still the chain's, and what no longer is.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ves::Hash32;

use super::{FetchError, Reorg, Run};
use crate::anchor::Anchor;
use crate::anchors_file::AnchorsFile;
use crate::chain::header;
use crate::chain::parts::Scan;

impl Run<'_> {
    /// Finds out whether the blocks of the file are still the chain's, and drops what no longer is.
    pub(super) async fn reorganise(&mut self, file: &mut AnchorsFile) -> Result<Option<Reorg>, FetchError> {
        // What was damaged is read again.
        let chain = &mut file.chain;
        chain
            .headers
            .retain(|entry| header::read(&entry.rlp).is_ok_and(|block| block.hash == entry.hash));
        self.keep(&chain.headers);

        let mut seen: BTreeMap<u64, BTreeSet<Hash32>> = BTreeMap::new();
        let anchors = file
            .anchors
            .iter()
            .map(|anchor| (anchor.block_number, anchor.block_hash));
        let headers = file
            .chain
            .headers
            .iter()
            .filter_map(|entry| header::read(&entry.rlp).ok());
        let headers = headers.map(|block| (block.number, block.hash));
        let checkpoint = file
            .chain
            .checkpoint
            .map(|checkpoint| (checkpoint.number, checkpoint.hash));
        for (number, hash) in anchors.chain(headers).chain(checkpoint) {
            seen.entry(number).or_default().insert(hash);
        }
        // A node that is behind says nothing about later blocks.
        let latest = self.latest().await?;
        seen.retain(|number, _| *number <= latest);
        // Files of two branches may have been put together.
        let mut branch: Option<(u64, Hash32, Option<Hash32>)> = None;
        let mut stale: HashSet<Hash32> = HashSet::new();
        for (number, hashes) in seen.iter_mut().filter(|(_, hashes)| hashes.len() > 1) {
            let is = self.hash_at(*number).await?;
            for hash in hashes.iter().filter(|hash| Some(**hash) != is) {
                stale.insert(*hash);
                branch.get_or_insert((*number, *hash, is));
            }
            hashes.retain(|hash| Some(*hash) == is);
        }
        let (stay, mut dropped): (Vec<Anchor>, Vec<Anchor>) = file
            .anchors
            .iter()
            .partition(|anchor| !stale.contains(&anchor.block_hash));
        file.anchors = stay;
        file.chain.headers.retain(|entry| !stale.contains(&entry.hash));
        file.chain
            .receipts
            .retain(|entry| !stale.contains(&entry.block_hash));
        file.chain
            .proofs
            .retain(|entry| !stale.contains(&entry.block_hash));
        file.chain
            .refused
            .retain(|refused| !stale.contains(&refused.block_hash));
        file.chain.checkpoint = file
            .chain
            .checkpoint
            .filter(|checkpoint| !stale.contains(&checkpoint.hash));
        let branch = branch.map(|(from, was, is)| Reorg {
            common: from.checked_sub(1),
            from,
            was,
            is,
            dropped: dropped.clone(),
            again: 0,
        });

        let known: Vec<(u64, Hash32)> = seen
            .into_iter()
            .filter_map(|(number, hashes)| Some((number, hashes.first().copied()?)))
            .collect();
        // Blocks are the same up to some number and others from there on.
        let (mut same, mut other) = (0, known.len());
        let mut now = None;
        if let Some((number, hash)) = known.last() {
            let is = self.hash_at(*number).await?;
            if is == Some(*hash) {
                return Ok(branch);
            }
            (other, now) = (known.len() - 1, is);
        }
        while same < other {
            let middle = same + (other - same) / 2;
            let (number, hash) = known[middle];
            let is = self.hash_at(number).await?;
            if is == Some(hash) {
                same = middle + 1;
            } else {
                (other, now) = (middle, is);
            }
        }
        let Some((from, was)) = known.get(other).copied() else {
            return Ok(branch);
        };
        let common = other.checked_sub(1).map(|last| known[last].0);
        let kept = |number: u64| common.is_some_and(|common| number <= common);
        let (stay, later): (Vec<Anchor>, Vec<Anchor>) =
            file.anchors.iter().partition(|anchor| kept(anchor.block_number));
        file.anchors = stay;
        dropped.extend(later);
        let chain = &mut file.chain;
        chain
            .headers
            .retain(|entry| header::read(&entry.rlp).is_ok_and(|block| kept(block.number)));
        let blocks: HashSet<Hash32> = known
            .iter()
            .filter(|(number, _)| kept(*number))
            .map(|(_, hash)| *hash)
            .collect();
        chain.receipts.retain(|entry| blocks.contains(&entry.block_hash));
        chain.proofs.retain(|entry| blocks.contains(&entry.block_hash));
        chain.refused.retain(|refused| kept(refused.block_number));
        chain.checkpoint = None;
        chain.scanned = std::mem::take(&mut chain.scanned)
            .into_iter()
            .filter_map(|scan| {
                Some(Scan {
                    to: scan.to.min(common?),
                    ..scan
                })
                .filter(|scan| scan.from <= scan.to)
            })
            .collect();
        Ok(Some(Reorg {
            common,
            from,
            was,
            is: now,
            dropped,
            again: 0,
        }))
    }
}
