//! What the contracts themselves keep about all of their batches: the newest of each stream, and how many there are.
//! Where receipts cannot say that no anchor was left out, this bounds what can be hidden.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::U256;
use ves::{BatchId, Hash32};

use super::examine::Chain;
use super::parts::{ChainHead, HeadProof, StorageProofs};
use super::storage;
use crate::anchor::{Anchor, AnchorKind, ContractAddress};
use crate::anchors_file::AnchorsFile;

/// The heads that a contract of this kind keeps about these streams.
pub(crate) fn of(kind: AnchorKind, streams: &BTreeSet<Hash32>) -> Vec<ChainHead> {
    let streams = streams.iter().copied();
    match kind {
        AnchorKind::StateSetAnchor => std::iter::once(ChainHead::Count)
            .chain(streams.map(|tenant_store_key| ChainHead::LatestSequence { tenant_store_key }))
            .collect(),
        AnchorKind::SetRegistry => streams
            .map(|tenant_store_key| ChainHead::LatestBatch { tenant_store_key })
            .collect(),
    }
}

/// What the heads in a file's storage proofs say: what bounds the anchors that are hidden, and which are surely missing.
pub(super) fn bounds(file: &AnchorsFile, chain: &Chain<'_>) -> (Vec<String>, Vec<String>) {
    let (mut bounds, mut missing) = (Vec::new(), Vec::new());
    let mut kinds: BTreeMap<(ContractAddress, AnchorKind), Vec<&Anchor>> = BTreeMap::new();
    for anchor in &file.anchors {
        kinds
            .entry((anchor.contract, anchor.kind))
            .or_default()
            .push(anchor);
    }
    for ((contract, kind), anchors) in kinds {
        match newest(file, chain, contract) {
            Ok((proofs, number)) => {
                let of = OfContract {
                    contract,
                    anchors: &anchors,
                    number,
                };
                for head in &proofs.heads {
                    match of.judge(proofs, head) {
                        Ok(Some(bound)) => bounds.push(bound),
                        Ok(None) => {}
                        Err(what) => missing.push(what),
                    }
                }
                bounds.push(of.remains(kind, proofs));
            }
            Err(why) => bounds.push(format!(
                "how many anchors of contract {contract} may be hidden: {why}"
            )),
        }
    }
    (bounds, missing)
}

/// The newest proofs of a contract's heads in a block that is tied to the trusted one.
fn newest<'a>(
    file: &'a AnchorsFile,
    chain: &Chain<'_>,
    contract: ContractAddress,
) -> Result<(&'a StorageProofs, u64), String> {
    let tied = |proofs: &&StorageProofs| {
        let block = chain.tied_block(&proofs.block_hash)?;
        let holds = storage::check_account(&block.state_root, &contract, &proofs.account);
        holds.is_ok().then_some(block.number)
    };
    let of_contract = file
        .chain
        .proofs
        .iter()
        .filter(|proofs| proofs.contract == contract && !proofs.heads.is_empty());
    let newest = of_contract
        .filter_map(|proofs| Some((proofs, tied(&proofs)?)))
        .max_by_key(|(_, number)| *number);
    newest.ok_or_else(|| "no proof of its own heads is tied to the trusted block".to_owned())
}

/// The anchors of one contract, and the block in which its heads are proved.
struct OfContract<'a> {
    contract: ContractAddress,
    anchors: &'a [&'a Anchor],
    number: u64,
}

impl OfContract<'_> {
    /// Anchors that the contract had at the block, as far as is known.
    fn known(&self) -> impl Iterator<Item = &&Anchor> {
        let number = self.number;
        self.anchors
            .iter()
            .filter(move |anchor| anchor.block_number <= number)
    }

    /// What one head bounds. The error names what is missing.
    fn judge(&self, proofs: &StorageProofs, head: &HeadProof) -> Result<Option<String>, String> {
        let Self { contract, number, .. } = self;
        let Ok(value) = storage::slot_value(proofs, &head.head.slot(), &head.slot) else {
            return Ok(Some(format!(
                "what contract {contract} keeps about its batches at block {number}: the proof does not hold"
            )));
        };
        let of_stream = |key: &Hash32| -> Vec<&Anchor> {
            self.known()
                .copied()
                .filter(|a| a.tenant_store_key == *key)
                .collect()
        };
        let name = |key: &Hash32| {
            let stream = self.anchors.iter().find(|a| a.tenant_store_key == *key);
            stream
                .and_then(|anchor| anchor.stream)
                .map_or_else(|| key.to_string(), |stream| stream.to_string())
        };
        match &head.head {
            ChainHead::Count => Ok(Some(self.count(value))),
            ChainHead::LatestSequence { tenant_store_key } => {
                let known = of_stream(tenant_store_key);
                if known.iter().any(|a| U256::from(a.sequence_end) == value) {
                    return Ok(None);
                }
                Err(format!(
                    "the newest batch of stream {} in contract {contract} ends at {value} (its storage at block {number} \
                     says so), and no anchor of it is there",
                    name(tenant_store_key)
                ))
            }
            ChainHead::LatestBatch { tenant_store_key } => {
                let word: [u8; 32] = value.to_be_bytes();
                let is = |a: &&Anchor| a.batch_id.as_bytes()[..] == word[..16] && word[16..] == [0; 16];
                if of_stream(tenant_store_key).iter().any(is) {
                    return Ok(None);
                }
                let mut id = [0; 16];
                id.copy_from_slice(&word[..16]);
                Err(format!(
                    "batch {} is the newest of stream {} in contract {contract} (its storage at block {number} says so), \
                     and no anchor of it is there",
                    BatchId(uuid::Uuid::from_bytes(id)),
                    name(tenant_store_key)
                ))
            }
        }
    }

    fn count(&self, value: U256) -> String {
        let Self { contract, number, .. } = self;
        let known: BTreeSet<BatchId> = self.known().map(|anchor| anchor.batch_id).collect();
        let here = U256::from(known.len());
        match value.cmp(&here) {
            std::cmp::Ordering::Equal => format!(
                "contract {contract} counts {value} batches at block {number}, and as many are here: by its own count none \
                 is hidden up to there"
            ),
            std::cmp::Ordering::Greater => format!(
                "contract {contract} counts {value} batches at block {number}, and {here} are here: {} are hidden",
                value - here
            ),
            std::cmp::Ordering::Less => format!(
                "contract {contract} counts {value} batches at block {number}, and {here} are here: its count says nothing"
            ),
        }
    }

    /// What is still not bounded.
    fn remains(&self, kind: AnchorKind, proofs: &StorageProofs) -> String {
        let Self { contract, number, .. } = self;
        let counted = proofs.heads.iter().any(|head| head.head == ChainHead::Count);
        match kind {
            AnchorKind::StateSetAnchor if counted => {
                format!("anchors of contract {contract} after block {number}: nothing bounds them")
            }
            AnchorKind::StateSetAnchor => format!(
                "rivals of older batches of contract {contract}, and anchors of streams that are not here: its newest \
                 numbers at block {number} do not bound them"
            ),
            AnchorKind::SetRegistry => {
                let mut by_stream: BTreeMap<Hash32, Vec<&Anchor>> = BTreeMap::new();
                for anchor in self.known() {
                    by_stream.entry(anchor.tenant_store_key).or_default().push(anchor);
                }
                let whole = by_stream.values().filter(|anchors| follows(anchors)).count();
                format!(
                    "hidden anchors of contract {contract}: in {whole} of {} streams the batches up to the newest follow \
                     each other without a gap, so that in its strict mode none can be hidden between them; that the mode \
                     was on all the time, streams that are not here, and what came after block {number}, nothing bounds",
                    by_stream.len()
                )
            }
        }
    }
}

/// Whether the ranges of a stream's batches follow each other.
fn follows(anchors: &[&Anchor]) -> bool {
    let mut ranges: Vec<(u64, u64)> = anchors
        .iter()
        .map(|anchor| (anchor.sequence_start, anchor.sequence_end))
        .collect();
    ranges.sort_unstable();
    ranges
        .windows(2)
        .all(|pair| pair[0].1.checked_add(1) == Some(pair[1].0))
}
