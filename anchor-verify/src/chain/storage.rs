//! What the contracts keep, where, and the proofs of it.
//!
//! Slots and trie keys are derived here from contract and batch, over all 32 bytes of the batch id; a file names
//! neither.

use alloy::primitives::{Bytes, U256, keccak256};
use alloy::rlp::{self, Decodable};
use alloy_trie::nodes::TrieNode;
use alloy_trie::proof::verify_proof;
use alloy_trie::{Nibbles, TrieAccount};
use ves::{BatchId, Hash32};

use super::parts::{AccountProof, BatchProof, SlotProof, StorageProofs};
use crate::anchor::{Anchor, AnchorKind, ContractAddress};

/// The most nodes on a path: a key has 64 nibbles, and the value may lie behind the last.
const MAX_PATH: usize = 65;

/// The most bytes of a node: a branch of 16 hashes and a value.
const MAX_NODE: usize = 1024;

/// How many slots of the struct in which a contract keeps a batch are proved.
pub(crate) fn slot_count(kind: AnchorKind) -> usize {
    slot_names(kind).len()
}

/// What the slots hold, in their order.
fn slot_names(kind: AnchorKind) -> &'static [&'static str] {
    match kind {
        AnchorKind::StateSetAnchor => &[
            "batchId",
            "tenantId",
            "storeId",
            "eventsRoot",
            "stateRoot",
            "range and count",
            "time",
        ],
        AnchorKind::SetRegistry => &["eventsRoot", "newStateRoot", "range, count and time"],
    }
}

/// Where a contract keeps a batch: `keccak256(batchId ‖ slot of the mapping)` and the slots that follow.
pub(crate) fn slots(kind: AnchorKind, batch: &BatchId) -> Vec<Hash32> {
    let mapping = match kind {
        AnchorKind::StateSetAnchor => 0,
        AnchorKind::SetRegistry => 1,
    };
    let mut preimage = [0; 64];
    preimage[..16].copy_from_slice(batch.as_bytes());
    preimage[63] = mapping;
    let base = U256::from_be_bytes(keccak256(preimage).0);
    (0..slot_count(kind))
        .map(|slot| Hash32(base.wrapping_add(U256::from(slot)).to_be_bytes()))
        .collect()
}

/// What these slots hold if the contract has this anchor; `None` where it follows from the anchor only together
/// with the time.
fn expected(anchor: &Anchor, timestamp: Option<u64>) -> Vec<Option<[u8; 32]>> {
    let id = |bytes: &[u8; 16]| {
        let mut word = [0; 32];
        word[..16].copy_from_slice(bytes);
        word
    };
    let mut packed = [0; 32];
    packed[24..32].copy_from_slice(&anchor.sequence_start.to_be_bytes());
    packed[16..24].copy_from_slice(&anchor.sequence_end.to_be_bytes());
    packed[12..16].copy_from_slice(&anchor.event_count.to_be_bytes());
    match anchor.kind {
        AnchorKind::StateSetAnchor => {
            let stream = anchor.stream;
            vec![
                Some(id(anchor.batch_id.as_bytes())),
                stream.map(|s| id(s.tenant_id.as_bytes())),
                stream.map(|s| id(s.store_id.as_bytes())),
                Some(anchor.events_root.0),
                Some(anchor.state_root.0),
                Some(packed),
                timestamp.map(|t| U256::from(t).to_be_bytes()),
            ]
        }
        AnchorKind::SetRegistry => {
            let with_time = timestamp.map(|timestamp| {
                packed[4..12].copy_from_slice(&timestamp.to_be_bytes());
                packed
            });
            vec![Some(anchor.events_root.0), Some(anchor.state_root.0), with_time]
        }
    }
}

/// Whether what was proved is this anchor.
///
/// # Errors
/// What is different.
pub(crate) fn says_the_same(
    anchor: &Anchor,
    timestamp: Option<u64>,
    values: &[Hash32],
) -> Result<(), String> {
    if values.iter().all(Hash32::is_zero) {
        return Err("the contract's storage does not hold the batch".into());
    }
    let expected = expected(anchor, timestamp).into_iter();
    for (at, (name, expected)) in slot_names(anchor.kind).iter().zip(expected).enumerate() {
        let value = values.get(at).ok_or_else(|| format!("no proof of its {name}"))?;
        match expected {
            Some(expected) if expected != value.0 => {
                return Err(format!("the contract's storage holds another {name}: {value}"));
            }
            // The time alone is not known: all but its bytes must be right.
            None if anchor.kind == AnchorKind::SetRegistry => {
                let mut packed = value.0;
                packed[4..12].fill(0);
                let without = Anchor { ..*anchor };
                let known = self::expected(&without, Some(0));
                if known.get(at).copied().flatten() != Some(packed) {
                    return Err(format!("the contract's storage holds another {name}: {value}"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Checks that the contract's account is what the file says, under a block's state root.
///
/// # Errors
/// Why it is not proved.
pub(crate) fn check_account(
    state_root: &Hash32,
    contract: &ContractAddress,
    account: &AccountProof,
) -> Result<(), String> {
    let claimed = TrieAccount {
        nonce: account.nonce,
        balance: account.balance,
        storage_root: account.storage_root.0.into(),
        code_hash: account.code_hash.0.into(),
    };
    let nodes: Vec<&Bytes> = account.path.iter().collect();
    prove(
        state_root,
        &keccak256(contract.0).0,
        Some(rlp::encode(claimed)),
        &nodes,
    )
    .map_err(|why| format!("the proof of contract {contract}'s account does not hold: {why}"))
}

/// The values of a batch's slots, each proved under the account's storage root.
///
/// # Errors
/// Why they are not proved.
pub(crate) fn check_batch(
    kind: AnchorKind,
    proofs: &StorageProofs,
    batch: &BatchProof,
) -> Result<Vec<Hash32>, String> {
    let slots = slots(kind, &batch.batch_id);
    let names = slot_names(kind);
    if let Some(name) = names.get(batch.slots.len()) {
        return Err(format!(
            "{} slots are proved, not {}: there is no proof of slot {} ({name})",
            batch.slots.len(),
            slots.len(),
            batch.slots.len()
        ));
    }
    if batch.slots.len() > slots.len() {
        return Err(format!(
            "{} slots are proved, and a batch has {}",
            batch.slots.len(),
            slots.len()
        ));
    }
    for (at, (slot, proof)) in slots.iter().zip(&batch.slots).enumerate() {
        let at = format!("{at} ({})", names[at]);
        slot_value(proofs, slot, proof).map_err(|why| format!("the proof of slot {at} {why}"))?;
    }
    Ok(batch.slots.iter().map(|slot| slot.value).collect())
}

/// The value of a slot, proved under the account's storage root.
///
/// # Errors
/// Why it is not proved.
pub(crate) fn slot_value(proofs: &StorageProofs, slot: &Hash32, proof: &SlotProof) -> Result<U256, String> {
    let mut nodes = Vec::with_capacity(proof.path.len().min(MAX_PATH));
    for index in &proof.path {
        let node = usize::try_from(*index)
            .ok()
            .and_then(|index| proofs.nodes.get(index));
        nodes.push(node.ok_or_else(|| format!("names node {index}, which is not there"))?);
        if nodes.len() > MAX_PATH {
            return Err("is longer than any path".into());
        }
    }
    let value = U256::from_be_bytes(proof.value.0);
    check_slot(&proofs.account.storage_root, slot, value, &nodes)
        .map_err(|why| format!("does not hold: {why}"))?;
    Ok(value)
}

/// Checks that a slot holds this value, under its account's storage root.
///
/// # Errors
/// Why it is not proved.
pub(crate) fn check_slot(
    storage_root: &Hash32,
    slot: &Hash32,
    value: U256,
    nodes: &[&Bytes],
) -> Result<(), String> {
    // A trie holds no zeros: a slot that is zero is not in it.
    let value = (!value.is_zero()).then(|| rlp::encode(value));
    prove(storage_root, &keccak256(slot.0).0, value, nodes)
}

/// Checks that a trie holds `value` under `key`, or nothing.
fn prove(root: &Hash32, key: &[u8; 32], value: Option<Vec<u8>>, nodes: &[&Bytes]) -> Result<(), String> {
    if nodes.len() > MAX_PATH || nodes.iter().any(|node| node.len() > MAX_NODE) {
        return Err("it is longer than any path".into());
    }
    // Forged nodes could go deeper than any key, which the verifier does not expect.
    let mut depth = 0;
    for node in nodes {
        depth += depth_of(node, 0)?;
    }
    if depth > 64 {
        return Err("it goes deeper than any key".into());
    }
    verify_proof(root.0.into(), Nibbles::unpack(key), value, nodes.iter().copied()).map_err(|e| {
        // The whole of a node says nothing to a reader.
        e.to_string().chars().take(160).collect()
    })
}

/// How many nibbles of a key a node uses up at most, with the nodes that are written into it.
fn depth_of(node: &[u8], nested: usize) -> Result<usize, String> {
    // Each nested node is shorter than the one around it; nodes written into others have less than 32 bytes.
    if nested > 32 {
        return Err("its nodes are nested too deep".into());
    }
    let inner = |child: &[u8]| {
        if child.len() == 33 {
            Ok(0)
        } else {
            depth_of(child, nested + 1)
        }
    };
    match TrieNode::decode(&mut &*node).map_err(|e| format!("a node that is none: {e}"))? {
        TrieNode::EmptyRoot => Ok(0),
        TrieNode::Leaf(leaf) => Ok(leaf.key.len()),
        TrieNode::Extension(extension) => Ok(extension.key.len() + inner(&extension.child)?),
        TrieNode::Branch(branch) => {
            let mut most = 0;
            for child in &branch.stack {
                most = most.max(inner(child)?);
            }
            Ok(1 + most)
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;
    use alloy_trie::nodes::{BranchNode, ExtensionNode, LeafNode, RlpNode};
    use alloy_trie::{HashBuilder, TrieMask};

    use super::*;

    fn hash(node: &[u8]) -> Hash32 {
        Hash32(keccak256(node).0)
    }

    fn leaf(path: &[u8], value: &[u8]) -> Bytes {
        rlp::encode(LeafNode::new(Nibbles::from_nibbles(path), value.to_vec())).into()
    }

    const KEY: [u8; 32] = [0x5a; 32];

    fn nibbles() -> Vec<u8> {
        KEY.iter().flat_map(|byte| [byte >> 4, byte & 15]).collect()
    }

    #[test]
    fn a_value_is_proved_and_another_or_none_is_not() {
        let node = leaf(&nibbles(), b"value");
        let root = hash(&node);
        assert_eq!(prove(&root, &KEY, Some(b"value".to_vec()), &[&node]), Ok(()));
        assert!(prove(&root, &KEY, Some(b"other".to_vec()), &[&node]).is_err());
        assert!(prove(&root, &KEY, None, &[&node]).is_err());
        assert!(prove(&root, &[0x5b; 32], Some(b"value".to_vec()), &[&node]).is_err());
        assert_eq!(prove(&root, &[0x5b; 32], None, &[&node]), Ok(()));
        assert!(prove(&Hash32([1; 32]), &KEY, Some(b"value".to_vec()), &[&node]).is_err());
        assert!(prove(&root, &KEY, Some(b"value".to_vec()), &[]).is_err());
        assert!(prove(&root, &KEY, None, &[]).is_err());
    }

    /// Whoever may write one slot may write there the hash of a node of his own. A verifier that goes on behind a leaf
    /// takes the value for a child and proves whatever he likes.
    #[test]
    fn a_node_behind_the_leaf_proves_nothing() {
        // Long enough to be named by its hash.
        let forged = leaf(&[], &rlp::encode(U256::MAX));
        let stored = rlp::encode(U256::from_be_bytes(keccak256(&forged).0));
        assert_eq!(stored.len(), 33);
        let node = leaf(&nibbles(), &stored);
        let root = hash(&node);
        assert_eq!(prove(&root, &KEY, Some(stored.clone()), &[&node]), Ok(()));
        assert!(prove(&root, &KEY, Some(rlp::encode(U256::MAX)), &[&node, &forged]).is_err());
        assert!(prove(&root, &KEY, Some(stored), &[&node, &forged]).is_err());
        assert!(prove(&root, &KEY, None, &[&node, &forged]).is_err());
    }

    /// Nodes that no trie has, but that a hostile file can have with the right hashes.
    #[test]
    fn impossible_nodes_are_refused_without_a_panic() {
        let extension = |key: &[u8], child: &[u8]| -> Bytes {
            let child = RlpNode::from_raw(child).unwrap();
            rlp::encode(ExtensionNode::new(Nibbles::from_nibbles(key), child)).into()
        };
        let small_leaf = leaf(&[1], b"x");
        // An extension written into a branch whose child is a leaf, or nothing.
        for child in [&small_leaf[..], &[0x80][..], &extension(&[2], &small_leaf)[..]] {
            let inner = extension(&[3], child);
            // Another child makes the branch long enough to be named by its hash.
            let children = vec![
                RlpNode::from_raw(&inner).unwrap(),
                RlpNode::word_rlp(&B256::repeat_byte(9)),
            ];
            let branch = BranchNode::new(children, TrieMask::new(1 << 5 | 1 << 9));
            let branch: Bytes = rlp::encode(branch).into();
            assert!(prove(&hash(&branch), &KEY, Some(b"x".to_vec()), &[&branch]).is_err());
            assert!(prove(&hash(&branch), &KEY, None, &[&branch]).is_err());
        }
        // Two extensions that together are longer than any key: alloy-trie 0.9.9 itself panics at them.
        let second = extension(&[10; 40], RlpNode::word_rlp(&B256::repeat_byte(1)).as_slice());
        let first = extension(
            &nibbles()[..40],
            RlpNode::word_rlp(&keccak256(&second)).as_slice(),
        );
        let why = prove(&hash(&first), &KEY, None, &[&first, &second]).unwrap_err();
        assert!(why.contains("deeper"), "{why}");
        // A leaf whose key is longer than any.
        let mut long = vec![0xe3, 0xa1, 0x20];
        long.extend([0x11; 32]);
        long.push(0x01);
        long[0] = 0xc0 + (long.len() - 1) as u8;
        let mut too_long = vec![0xe5, 0xa2, 0x20];
        too_long.extend([0x11; 33]);
        too_long.push(0x01);
        for node in [
            long,
            too_long,
            vec![],
            vec![0x80],
            vec![0xc0],
            vec![0xf8],
            vec![0xff; 9],
            vec![0xc1; 600],
        ] {
            let node = Bytes::from(node);
            let _ = prove(&hash(&node), &KEY, None, &[&node]);
            assert!(prove(&hash(&node), &KEY, Some(vec![1]), &[&node]).is_err());
        }
        let many: Vec<&Bytes> = vec![&small_leaf; 66];
        assert!(prove(&hash(&small_leaf), &KEY, None, &many).is_err());
    }

    #[test]
    fn deep_paths_of_real_tries_are_not_too_deep() {
        let mut keys: Vec<B256> = (0..2000_u64).map(|i| keccak256(i.to_be_bytes())).collect();
        keys.sort();
        let targets = [keys[0], keys[1999]].map(Nibbles::unpack);
        let retainer = alloy_trie::proof::ProofRetainer::new(targets.to_vec());
        let mut builder = HashBuilder::default().with_proof_retainer(retainer);
        for key in &keys {
            builder.add_leaf(Nibbles::unpack(key), &[1]);
        }
        let root = Hash32(builder.root().0);
        let proofs = builder.take_proof_nodes();
        for target in [keys[0], keys[1999]] {
            let path: Vec<Bytes> = proofs
                .matching_nodes_sorted(&Nibbles::unpack(target))
                .into_iter()
                .map(|(_, node)| node)
                .collect();
            let path: Vec<&Bytes> = path.iter().collect();
            assert_eq!(prove(&root, &target.0, Some(vec![1]), &path), Ok(()));
            assert!(prove(&root, &target.0, None, &path).is_err());
            assert!(prove(&root, &target.0, Some(vec![1]), &path[..path.len() - 1]).is_err());
        }
    }

    #[test]
    fn slots_are_those_of_the_contracts() {
        // As named in the contracts' own description, for batch 8a83c7fa-6497-4a28-a922-28a6cee8101c.
        let batch = BatchId("8a83c7fa-6497-4a28-a922-28a6cee8101c".parse().unwrap());
        let first = |kind| slots(kind, &batch)[0].to_string();
        assert_eq!(
            first(AnchorKind::StateSetAnchor),
            "393b035ba870100a71d7b9cddc3941182440c40fc6a2c8bc994cdc6a741d3d09"
        );
        assert_eq!(
            first(AnchorKind::SetRegistry),
            "bd196889bbbaf10b3cdca13a5ae2df31058907ae7035fda844499a1d220c3712"
        );
    }
}
