//! Saved storage proofs, matched with anchors by the slots that contract and batch give.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use alloy::primitives::{B256, Bytes, U256, keccak256};
use serde::Deserialize;
use ves::{BatchId, Hash32};

use super::{Importer, RefusedLog, Saved};
use crate::anchor::{Anchor, AnchorKind, ContractAddress};
use crate::chain::parts::{
    AccountProof, BatchProof, ChainHead, HeadProof, NodePool, SlotProof, StorageProofs,
};
use crate::chain::{heads, storage};

/// So many copies of a batch's storage proof are kept: a few nodes may contradict each other, a hostile file could do so
/// without end.
const MAX_COPIES: usize = 8;

/// An answer of `eth_getProof`, of a block if that is known.
#[derive(Debug)]
pub(super) struct SavedProof {
    pub source: String,
    pub index: usize,
    pub block: Option<Hash32>,
    pub proof: ProofJson,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProofJson {
    address: ContractAddress,
    nonce: U256,
    balance: U256,
    code_hash: Hash32,
    storage_hash: Hash32,
    account_proof: Vec<Bytes>,
    storage_proof: Vec<SlotJson>,
}

#[derive(Debug, Deserialize)]
struct SlotJson {
    key: U256,
    value: U256,
    proof: Vec<Bytes>,
}

/// One answer for a slot: its value, and the path to it.
type Answer = (U256, Vec<Bytes>);

/// What is proved of one account at one block.
struct Group {
    account: AccountProof,
    /// Every answer for a slot, each once and in one order.
    slots: HashMap<U256, BTreeSet<Answer>>,
}

impl Group {
    fn answers(&self, slot: &Hash32) -> impl Iterator<Item = &Answer> + use<'_> {
        self.slots.get(&U256::from_be_bytes(slot.0)).into_iter().flatten()
    }

    /// Whether an answer holds under the account's storage root.
    fn holds(&self, slot: &Hash32, (value, path): &Answer) -> bool {
        let nodes: Vec<&Bytes> = path.iter().collect();
        storage::check_slot(&self.account.storage_root, slot, *value, &nodes).is_ok()
    }

    /// The proofs of a batch: those that hold first. What does not is kept beside them, and judged with them.
    fn batch(&self, kind: AnchorKind, batch_id: BatchId, pool: &mut NodePool) -> Vec<BatchProof> {
        let answers: Vec<Vec<&Answer>> = storage::slots(kind, &batch_id)
            .iter()
            .map(|slot| {
                let mut answers: Vec<&Answer> = self.answers(slot).collect();
                answers.sort_by_cached_key(|answer| !self.holds(slot, answer));
                answers
            })
            .collect();
        if answers.iter().any(Vec::is_empty) {
            return Vec::new();
        }
        let copies = answers.iter().map(Vec::len).max().unwrap_or(0).min(MAX_COPIES);
        let copy = |copy: usize| {
            let of_slots = answers.iter();
            let slots = of_slots.filter_map(|of_slot| of_slot.get(copy).or_else(|| of_slot.first()));
            BatchProof {
                batch_id,
                slots: slots.map(|answer| slot_proof(answer, pool)).collect(),
            }
        };
        (0..copies).map(copy).collect()
    }

    /// The proof of what the contract keeps about all of its batches, if it holds.
    fn head(&self, head: ChainHead, pool: &mut NodePool) -> Option<HeadProof> {
        let slot = head.slot();
        let answer = self.answers(&slot).find(|answer| self.holds(&slot, answer))?;
        let slot = slot_proof(answer, pool);
        Some(HeadProof { head, slot })
    }
}

fn slot_proof((value, path): &Answer, pool: &mut NodePool) -> SlotProof {
    SlotProof {
        value: Hash32(B256::from(*value).0),
        path: path.iter().map(|node| pool.add(node.clone())).collect(),
    }
}

impl Importer {
    /// Finds the slots of each anchor, and of what the contracts keep about all of them, among the proofs.
    pub(super) fn match_proofs(&mut self, anchors: &[Anchor]) {
        let slots: usize = self
            .proofs
            .iter()
            .map(|saved| saved.proof.storage_proof.len())
            .sum();
        let groups = self.group_proofs();
        let batches: BTreeSet<_> = anchors.iter().map(|a| (a.contract, a.kind, a.batch_id)).collect();
        let heads = heads_of(anchors);
        let mut used = 0;
        for ((contract, block_hash), of_block) in groups {
            for group in of_block {
                let mut pool = NodePool::default();
                let first = (contract, AnchorKind::StateSetAnchor, BatchId(uuid::Uuid::nil()));
                let of_contract = batches.range(first..).take_while(|(c, ..)| *c == contract);
                let mut proved = Vec::new();
                for (_, kind, batch_id) in of_contract {
                    let copies = group.batch(*kind, *batch_id, &mut pool);
                    used += copies.first().map_or(0, |copy| copy.slots.len());
                    proved.extend(copies);
                }
                let of_contract = heads.get(&contract).into_iter().flatten();
                let heads: Vec<HeadProof> = of_contract
                    .filter_map(|head| group.head(*head, &mut pool))
                    .collect();
                used += heads.len();
                if !(proved.is_empty() && heads.is_empty()) {
                    self.chain.proofs.push(StorageProofs {
                        block_hash,
                        contract,
                        account: group.account,
                        nodes: pool.nodes,
                        batches: proved,
                        heads,
                    });
                }
            }
        }
        self.import.other_slots = slots.saturating_sub(used);
    }

    /// Puts the proofs of one account at one block together. Those whose block is not known are refused.
    fn group_proofs(&mut self) -> BTreeMap<(ContractAddress, Hash32), Vec<Group>> {
        // Of blocks with one state, the first: whatever is tied to a later one is tied to it.
        let mut by_root: HashMap<Hash32, (u64, Hash32)> = HashMap::new();
        for block in self.blocks() {
            let first = by_root
                .entry(block.state_root)
                .or_insert((block.number, block.hash));
            *first = (*first).min((block.number, block.hash));
        }
        let mut groups: BTreeMap<(ContractAddress, Hash32), Vec<Group>> = BTreeMap::new();
        for saved in std::mem::take(&mut self.proofs) {
            let SavedProof {
                source,
                index,
                block,
                proof,
            } = saved;
            // The first node of the account's path hashes to the state root, and so names the block.
            let root = proof.account_proof.first().map(|node| Hash32(keccak256(node).0));
            let block = block.or_else(|| by_root.get(&root?).map(|(_, hash)| *hash));
            let (Some(block), Ok(nonce)) = (block, u64::try_from(proof.nonce)) else {
                let why = "nothing says which block it is of: neither its file nor a header".into();
                self.import.refused.push(RefusedLog {
                    source,
                    what: Saved::Proof,
                    index,
                    why,
                });
                continue;
            };
            let account = AccountProof {
                nonce,
                balance: proof.balance,
                storage_root: proof.storage_hash,
                code_hash: proof.code_hash,
                path: proof.account_proof,
            };
            let of_block = groups.entry((proof.address, block)).or_default();
            let at = of_block
                .iter()
                .position(|group| group.account == account)
                .unwrap_or_else(|| {
                    of_block.push(Group {
                        account,
                        slots: HashMap::new(),
                    });
                    of_block.len() - 1
                });
            for slot in proof.storage_proof {
                let answers = of_block[at].slots.entry(slot.key).or_default();
                answers.insert((slot.value, slot.proof));
            }
        }
        groups
    }
}

/// What the contracts of these anchors keep about all of their batches.
fn heads_of(anchors: &[Anchor]) -> BTreeMap<ContractAddress, Vec<ChainHead>> {
    let mut streams: BTreeMap<(ContractAddress, AnchorKind), BTreeSet<Hash32>> = BTreeMap::new();
    for anchor in anchors {
        let of_contract = streams.entry((anchor.contract, anchor.kind)).or_default();
        of_contract.insert(anchor.tenant_store_key);
    }
    let mut heads: BTreeMap<ContractAddress, Vec<ChainHead>> = BTreeMap::new();
    for ((contract, kind), streams) in streams {
        heads
            .entry(contract)
            .or_default()
            .extend(heads::of(kind, &streams));
    }
    heads
}
