//! Saved receipts, put together by block.

use std::collections::{HashMap, HashSet};

use alloy::primitives::Bytes;
use ves::Hash32;

use super::{Importer, RefusedLog, Saved};
use crate::chain::parts::BlockReceipts;
use crate::chain::receipt;

/// So many ways to put a block's receipts together are tried: a few nodes may contradict each other, a hostile file could
/// do so without end.
const MAX_CHOICES: usize = 64;

/// The blocks whose receipts were judged.
#[derive(Debug, Default)]
pub(super) struct TakenReceipts {
    /// Those whose receipts give the root of their header.
    pub proven: HashSet<Hash32>,
    /// Those whose receipts do not make a whole.
    pub refused: HashSet<Hash32>,
}

impl Importer {
    /// Puts the receipts of each block in order. Those that do not give the block's root are refused; a copy that is
    /// wrong does not spoil one that is right.
    pub(super) fn take_receipts(&mut self) -> TakenReceipts {
        let roots: HashMap<Hash32, Hash32> = self
            .blocks()
            .map(|block| (block.hash, block.receipts_root))
            .collect();
        let mut taken = TakenReceipts::default();
        for (block_hash, encoded) in std::mem::take(&mut self.receipts) {
            let mut copies: Vec<(u64, Bytes)> = encoded
                .iter()
                .map(|receipt| (receipt.index, receipt.bytes.clone()))
                .collect();
            copies.sort();
            copies.dedup();
            let count = copies.len();
            let root = roots.get(&block_hash);
            let whole = root.and_then(|root| receipt::fitting(encoded, root));
            let unused = whole.is_none();
            let why = match whole.or_else(|| whole_set(copies, root)) {
                Some(receipts) => {
                    let more = if unused { count - receipts.len() } else { 0 };
                    self.chain.receipts.push(BlockReceipts { block_hash, receipts });
                    if root.is_some() {
                        taken.proven.insert(block_hash);
                    }
                    if more == 0 {
                        continue;
                    }
                    format!(
                        "{more} receipt(s) of block {block_hash} are not those that give its receipts root, and were \
                         not used"
                    )
                }
                None => {
                    taken.refused.insert(block_hash);
                    format!(
                        "the {count} receipts of block {block_hash} do not give its receipts root: some are missing, \
                         were altered, or are of a kind that is not known"
                    )
                }
            };
            let source = self.receipt_sources.get(&block_hash).cloned().unwrap_or_default();
            self.import.refused.push(RefusedLog {
                source,
                what: Saved::Receipt,
                index: 0,
                why,
            });
        }
        taken
    }
}

/// The receipts of a block, one for each place and complete, of all the copies that there are (ordered by place). Where
/// copies differ, those that give the root; `None` if none do.
fn whole_set(copies: Vec<(u64, Bytes)>, root: Option<&Hash32>) -> Option<Vec<Bytes>> {
    let mut places: Vec<Vec<Bytes>> = Vec::new();
    for (index, bytes) in copies {
        let next = places.len() as u64;
        match places.last_mut() {
            Some(of_place) if index + 1 == next => of_place.push(bytes),
            _ if index == next => places.push(vec![bytes]),
            _ => return None,
        }
    }
    let differing: Vec<usize> = (0..places.len()).filter(|at| places[*at].len() > 1).collect();
    let choices = differing
        .iter()
        .try_fold(1_usize, |all, at| all.checked_mul(places[*at].len()));
    for choice in 0..choices.map_or(MAX_CHOICES, |all| all.min(MAX_CHOICES)) {
        let mut rest = choice;
        let mut picked = vec![0; places.len()];
        for at in &differing {
            picked[*at] = rest % places[*at].len();
            rest /= places[*at].len();
        }
        let set: Vec<Bytes> = places
            .iter()
            .zip(&picked)
            .map(|(of, at)| of[*at].clone())
            .collect();
        match root {
            Some(root) if receipt::root(&set) == *root => return Some(set),
            // Nobody can say which of several is right.
            None if differing.is_empty() => return Some(set),
            _ => {}
        }
    }
    None
}
