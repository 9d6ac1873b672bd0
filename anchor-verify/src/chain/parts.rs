//! What an anchors file holds besides the anchors, so that it proves itself. See `docs/anchors-file.md`.
//!
//! Headers and receipts are kept as the bytes that the chain hashes: whatever later forks add to them, their hashes
//! can be checked, and nothing has to be encoded again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use alloy::primitives::{Bytes, U256, keccak256};
use serde::{Deserialize, Serialize};
use ves::{BatchId, Hash32};

use super::header::{self, HeaderBytes};
use crate::anchor::{Anchor, ContractAddress};

/// Proofs of the anchors: headers, receipts, storage proofs. All of it is what somebody's node answered, to be
/// checked by [`examine`](super::examine) and not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChainParts {
    /// The block that the chain was read up to.
    pub checkpoint: Option<Checkpoint>,
    /// From which block on anchors were searched, whether or not all that was searched could be held against headers.
    pub searched_from: Option<u64>,
    /// Which blocks were searched for which contract's logs, and are known to hold no others than those that are here.
    pub scanned: Vec<Scan>,
    /// Logs of the contracts, with the topic of an anchor, that no sequencer can have meant.
    pub refused: Vec<RefusedAnchor>,
    /// Block headers.
    pub headers: Vec<HeaderBytes>,
    /// All receipts of blocks with anchors.
    pub receipts: Vec<BlockReceipts>,
    /// Storage proofs.
    pub proofs: Vec<StorageProofs>,
}

/// A block, by number and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The block's number.
    pub number: u64,
    /// The block's hash.
    pub hash: Hash32,
}

/// Blocks that were searched for the logs of a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scan {
    /// The contract whose logs, or storage, it is.
    pub contract: ContractAddress,
    /// The first block.
    pub from: u64,
    /// The last block.
    pub to: u64,
}

/// A log that has the topic of an anchor and cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedAnchor {
    /// The block's number.
    pub block_number: u64,
    /// The log's number in the block.
    pub log_index: u64,
    /// The hash of the block that it is of.
    pub block_hash: Hash32,
    /// The transaction that wrote the log.
    pub transaction_hash: Hash32,
    /// The contract that wrote the log.
    pub contract: ContractAddress,
    /// The batch that it names, where that is a UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
    /// The stream that it names, as [`Anchor::tenant_store_key`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_store_key: Option<Hash32>,
    /// Why it cannot be an anchor.
    pub why: String,
}

impl fmt::Display for RefusedAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            log_index,
            block_number,
            contract,
            why,
            ..
        } = self;
        write!(
            f,
            "log {log_index} of block {block_number} of contract {contract}"
        )?;
        if let Some(batch) = self.batch_id {
            write!(f, ", batch {batch}")?;
        }
        write!(f, ": {why}")
    }
}

/// All receipts of a block, as its receipts trie holds them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockReceipts {
    /// The hash of the block that it is of.
    pub block_hash: Hash32,
    /// The receipts in the order of the transactions: the type's byte (none for legacy) and RLP.
    pub receipts: Vec<Bytes>,
}

/// Proofs of what a contract's storage held at a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageProofs {
    /// The hash of the block that it is of.
    pub block_hash: Hash32,
    /// The contract whose logs, or storage, it is.
    pub contract: ContractAddress,
    /// The contract's account.
    pub account: AccountProof,
    /// Nodes of the storage trie, each once; [`SlotProof::path`] counts in them.
    pub nodes: Vec<Bytes>,
    /// The proofs of each batch.
    pub batches: Vec<BatchProof>,
    /// What the contract keeps about all of its batches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heads: Vec<HeadProof>,
}

/// What an account is, and the proof of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountProof {
    /// How many contracts the account has created, and one.
    pub nonce: u64,
    /// What the account holds, in wei.
    pub balance: U256,
    /// The root of its storage trie.
    pub storage_root: Hash32,
    /// The hash of its code.
    pub code_hash: Hash32,
    /// Nodes of the state trie, root first.
    pub path: Vec<Bytes>,
}

/// The proofs of the slots in which a contract keeps one batch. Which slots those are follows from contract and batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchProof {
    /// The batch whose slots they are.
    pub batch_id: BatchId,
    /// One for each slot, in the order of the struct.
    pub slots: Vec<SlotProof>,
}

/// Which of a contract's own words about its batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case", deny_unknown_fields)]
pub enum ChainHead {
    /// StateSetAnchor: how many batches it has, of all streams.
    Count,
    /// StateSetAnchor: the last number of the stream's newest batch (`getLatestSequence`).
    LatestSequence {
        /// Keccak-256 of tenant and store, by which contracts name a stream.
        tenant_store_key: Hash32,
    },
    /// SetRegistry: the stream's newest batch (`getLatestBatchId`).
    LatestBatch {
        /// Keccak-256 of tenant and store, by which contracts name a stream.
        tenant_store_key: Hash32,
    },
}

impl ChainHead {
    /// Where the contract keeps it.
    pub(crate) fn slot(&self) -> Hash32 {
        let of_mapping = |key: &Hash32, mapping: u8| {
            let mut preimage = [0; 64];
            preimage[..32].copy_from_slice(&key.0);
            preimage[63] = mapping;
            Hash32(keccak256(preimage).0)
        };
        match self {
            Self::Count => Hash32(U256::from(2).to_be_bytes()),
            Self::LatestSequence { tenant_store_key } => of_mapping(tenant_store_key, 1),
            Self::LatestBatch { tenant_store_key } => of_mapping(tenant_store_key, 2),
        }
    }
}

/// The proof of what a contract keeps about all of its batches. Which slot that is follows from what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadProof {
    /// What it is.
    pub head: ChainHead,
    /// The proof of the slot that holds it.
    pub slot: SlotProof,
}

/// The proof of one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotProof {
    /// What it holds; zero if it is not there.
    pub value: Hash32,
    /// Where in [`StorageProofs::nodes`] its path is, root first.
    pub path: Vec<u32>,
}

impl ChainParts {
    /// Takes what another file holds.
    pub fn extend(&mut self, other: Self) {
        self.checkpoint = self.checkpoint.max(other.checkpoint);
        self.searched_from = match (self.searched_from, other.searched_from) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.scanned.extend(other.scanned);
        self.refused.extend(other.refused);
        self.headers.extend(other.headers);
        self.receipts.extend(other.receipts);
        self.proofs.extend(other.proofs);
    }

    /// In one order, each thing once, so that the same content gives the same bytes.
    #[must_use]
    pub fn ordered(mut self) -> Self {
        self.headers
            .sort_by_cached_key(|entry| (number(entry), entry.hash, entry.rlp.clone()));
        self.headers.dedup();
        self.receipts
            .sort_by(|a, b| (a.block_hash, &a.receipts).cmp(&(b.block_hash, &b.receipts)));
        self.receipts.dedup();
        self.refused.sort_unstable();
        self.refused.dedup();
        self.scanned = merge_scans(self.scanned);
        self.proofs = merge_proofs(self.proofs);
        self
    }

    /// The same with the storage proofs of these anchors alone. What the contracts keep about all of their batches says
    /// nothing about a selection, and is left out.
    pub(crate) fn for_selection(&self, anchors: &[Anchor]) -> Self {
        let batches: HashSet<_> = anchors.iter().map(|a| (a.contract, a.batch_id)).collect();
        let mut chain = self.clone();
        for proofs in &mut chain.proofs {
            let contract = proofs.contract;
            proofs.heads.clear();
            proofs
                .batches
                .retain(|batch| batches.contains(&(contract, batch.batch_id)));
        }
        chain.proofs.retain(|proofs| !proofs.batches.is_empty());
        chain.ordered()
    }

    /// What proves these anchors.
    pub(crate) fn only(&self, anchors: &[Anchor]) -> Self {
        let batches: HashSet<_> = anchors.iter().map(|a| (a.contract, a.batch_id)).collect();
        let blocks: HashSet<_> = anchors.iter().map(|a| a.block_hash).collect();
        let numbers: HashMap<Hash32, u64> = self
            .headers
            .iter()
            .filter_map(|entry| Some((entry.hash, number(entry)?)))
            .collect();
        // All copies of a proof go along: which of them hold is judged together, by whoever reads them.
        let proofs: Vec<StorageProofs> = self
            .proofs
            .iter()
            .map(|proofs| {
                let wanted = |batch: &&BatchProof| batches.contains(&(proofs.contract, batch.batch_id));
                StorageProofs {
                    batches: proofs.batches.iter().filter(wanted).cloned().collect(),
                    heads: Vec::new(),
                    ..proofs.clone()
                }
            })
            .filter(|proofs| !proofs.batches.is_empty() && numbers.contains_key(&proofs.block_hash))
            .collect();
        let proved: HashSet<_> = proofs
            .iter()
            .flat_map(|entry| entry.batches.iter().map(|batch| (entry.contract, batch.batch_id)))
            .collect();
        let by_storage = proved.len() == batches.len();
        let lowest = if by_storage {
            proofs
                .iter()
                .filter_map(|entry| numbers.get(&entry.block_hash).copied())
                .min()
        } else {
            anchors.iter().map(|a| a.block_number).min()
        };
        let needed = |entry: &&HeaderBytes| {
            blocks.contains(&entry.hash)
                || lowest.is_some_and(|lowest| number(entry).is_some_and(|n| n >= lowest))
        };
        let receipts = if by_storage {
            Vec::new()
        } else {
            self.receipts
                .iter()
                .filter(|entry| blocks.contains(&entry.block_hash))
                .cloned()
                .collect()
        };
        Self {
            checkpoint: self.checkpoint,
            searched_from: None,
            scanned: Vec::new(),
            refused: Vec::new(),
            headers: self.headers.iter().filter(needed).cloned().collect(),
            receipts,
            proofs,
        }
        .ordered()
    }
}

/// The number that a header names.
pub(crate) fn number(entry: &HeaderBytes) -> Option<u64> {
    header::read(&entry.rlp).ok().map(|block| block.number)
}

fn merge_scans(mut scans: Vec<Scan>) -> Vec<Scan> {
    scans.retain(|scan| scan.from <= scan.to);
    scans.sort_unstable();
    let mut merged: Vec<Scan> = Vec::new();
    for scan in scans {
        match merged.last_mut() {
            Some(last) if last.contract == scan.contract && scan.from <= last.to.saturating_add(1) => {
                last.to = last.to.max(scan.to);
            }
            _ => merged.push(scan),
        }
    }
    merged
}

/// What the proofs of one contract at one block are put together by.
type AccountKey = (Hash32, ContractAddress, u64, U256, Hash32, Hash32, Vec<Bytes>);

/// A slot with the nodes themselves; a node that is not there is `None`.
type Slot = (Hash32, Vec<Option<Bytes>>);

/// The proofs of one account.
#[derive(Default)]
struct OfAccount {
    batches: BTreeSet<(BatchId, Vec<Slot>)>,
    heads: BTreeSet<(ChainHead, Slot)>,
}

/// Puts the proofs of one contract at one block together, and each node there once.
fn merge_proofs(proofs: Vec<StorageProofs>) -> Vec<StorageProofs> {
    let mut groups: BTreeMap<AccountKey, OfAccount> = BTreeMap::new();
    for entry in proofs {
        let AccountProof {
            nonce,
            balance,
            storage_root,
            code_hash,
            path,
        } = entry.account;
        let key = (
            entry.block_hash,
            entry.contract,
            nonce,
            balance,
            storage_root,
            code_hash,
            path,
        );
        let nodes = &entry.nodes;
        let node = |index: &u32| {
            usize::try_from(*index)
                .ok()
                .and_then(|index| nodes.get(index))
                .cloned()
        };
        let with_nodes = |slot: &SlotProof| -> Slot { (slot.value, slot.path.iter().map(node).collect()) };
        let of_account = groups.entry(key).or_default();
        for batch in &entry.batches {
            let slots = batch.slots.iter().map(with_nodes).collect();
            of_account.batches.insert((batch.batch_id, slots));
        }
        for head in &entry.heads {
            of_account.heads.insert((head.head, with_nodes(&head.slot)));
        }
    }
    groups
        .into_iter()
        .map(|(key, proofs)| proofs.pooled(key))
        .collect()
}

impl OfAccount {
    fn pooled(self, key: AccountKey) -> StorageProofs {
        let (block_hash, contract, nonce, balance, storage_root, code_hash, path) = key;
        let mut nodes = NodePool::default();
        let mut pooled = |(value, path): Slot| SlotProof {
            value,
            path: path
                .into_iter()
                .map(|node| node.map_or(u32::MAX, |node| nodes.add(node)))
                .collect(),
        };
        let mut batches = Vec::with_capacity(self.batches.len());
        for (batch_id, slots) in self.batches {
            let slots = slots.into_iter().map(&mut pooled).collect();
            batches.push(BatchProof { batch_id, slots });
        }
        let mut heads = Vec::with_capacity(self.heads.len());
        for (head, slot) in self.heads {
            let slot = pooled(slot);
            heads.push(HeadProof { head, slot });
        }
        StorageProofs {
            block_hash,
            contract,
            account: AccountProof {
                nonce,
                balance,
                storage_root,
                code_hash,
                path,
            },
            nodes: nodes.nodes,
            batches,
            heads,
        }
    }
}

/// Nodes, each once.
#[derive(Debug, Default)]
pub(crate) struct NodePool {
    pub nodes: Vec<Bytes>,
    places: HashMap<Bytes, u32>,
}

impl NodePool {
    /// Where a node is, after putting it there if it is new.
    pub fn add(&mut self, node: Bytes) -> u32 {
        // More nodes than a u32 counts fit in no file.
        let next = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        *self.places.entry(node.clone()).or_insert_with(|| {
            self.nodes.push(node);
            next
        })
    }
}
