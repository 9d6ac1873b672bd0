//! What a chain hashes: headers, receipts, nodes of tries. Hashes that must come out are set right by the targets, so that
//! mutations get to the readers behind them.

use alloy::consensus::Header;
use alloy::primitives::{B256, Bloom, Bytes, U256, keccak256};
use alloy::rlp::{self, Decodable as _};
use alloy_trie::nodes::LeafNode;
use alloy_trie::root::ordered_trie_root_encoded;
use alloy_trie::{Nibbles, TrieAccount};
use anchor_verify::chain::parts::{
    AccountProof, BatchProof, BlockReceipts, ChainHead, HeadProof, SlotProof, StorageProofs,
};
use anchor_verify::chain::{ChainParts, HeaderBytes, header_state_root};
use anchor_verify::{
    Anchor, AnchorKind, AnchorStanding, AnchorsFile, ContractAddress, contracts, tenant_store_key,
};
use ves::{BatchId, Hash32, StreamKey};

use crate::anchors::judge;

/// The contract of all anchors here.
const CONTRACT: ContractAddress = ContractAddress([0x11; 20]);

/// A header in RLP, held against another reader of headers.
pub(crate) fn header(bytes: &[u8]) {
    let hash = Hash32(keccak256(bytes).0);
    let entry = HeaderBytes {
        hash,
        rlp: Bytes::copy_from_slice(bytes),
    };
    let file = with_headers(Vec::new(), vec![entry]);
    let state_root = header_state_root(&file, &hash);
    if let Ok(header) = Header::decode(&mut &*bytes)
        && rlp::encode(&header) == bytes
        && u64::try_from(header.difficulty).is_ok()
        && bytes.len() <= 1 << 16
    {
        assert_eq!(
            state_root,
            Some(Hash32(header.state_root.0)),
            "both readers give one root"
        );
    }
    judge(&file);
    log(bytes);
}

/// A log of a contract: topics of 32 bytes, and data.
fn log(bytes: &[u8]) {
    let topics: Vec<[u8; 32]> = bytes.as_chunks::<32>().0.iter().take(4).copied().collect();
    let data = &bytes[32 * topics.len()..];
    for topic in contracts::anchor_topics() {
        for topics in [topics.clone(), [&[topic.0], topics.as_slice()].concat()] {
            let _ = contracts::decode(&topics, data);
        }
    }
}

fn with_headers(anchors: Vec<Anchor>, headers: Vec<HeaderBytes>) -> AnchorsFile {
    AnchorsFile::new(Some(1), anchors).with_chain(ChainParts {
        headers,
        ..ChainParts::default()
    })
}

/// The header of a block with these roots, in which any log may be.
fn block(state_root: B256, receipts_root: B256) -> HeaderBytes {
    let header = Header {
        state_root,
        receipts_root,
        logs_bloom: Bloom::repeat_byte(0xff),
        number: 7,
        timestamp: 1_700_000_000,
        ..Header::default()
    };
    let rlp = Bytes::from(rlp::encode(&header));
    HeaderBytes {
        hash: Hash32(keccak256(&rlp).0),
        rlp,
    }
}

/// An anchor in a block, as its contract would have written it.
fn anchor(kind: AnchorKind, block: &HeaderBytes) -> Anchor {
    let stream: StreamKey = "00000000-0000-4000-8000-000000000001/00000000-0000-4000-8000-000000000002"
        .parse()
        .expect("a stream");
    Anchor {
        block_number: 7,
        log_index: 0,
        block_hash: block.hash,
        transaction_hash: Hash32::ZERO,
        block_timestamp: None,
        contract: CONTRACT,
        kind,
        batch_id: batch(),
        stream: Some(stream),
        tenant_store_key: tenant_store_key(&stream),
        events_root: Hash32([0x22; 32]),
        state_root: Hash32([0x33; 32]),
        sequence_start: 1,
        sequence_end: 4,
        event_count: 4,
    }
}

fn batch() -> BatchId {
    "00000000-0000-4000-8000-000000000003".parse().expect("a batch")
}

/// Pieces of an input, each behind its length in two bytes.
fn pieces(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let (piece, behind) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
        pieces.push(piece.to_vec());
        bytes = behind;
    }
    pieces
}

/// Receipts of a block whose header has their root.
pub(crate) fn receipts(bytes: &[u8]) {
    let receipts: Vec<Bytes> = pieces(bytes).into_iter().map(Bytes::from).collect();
    let block = block(B256::ZERO, ordered_trie_root_encoded(&receipts));
    let anchors = [AnchorKind::StateSetAnchor, AnchorKind::SetRegistry].map(|kind| anchor(kind, &block));
    let mut file = with_headers(anchors.to_vec(), vec![block.clone()]);
    file.chain.receipts = vec![BlockReceipts {
        block_hash: block.hash,
        receipts,
    }];
    judge(&file);
}

/// What stands in a node where the hash of the next one belongs.
const NEXT: [u8; 32] = [0xee; 32];

/// Storage proofs, under an account that is proved. An input is the values of the slots and the nodes of one path, root first;
/// where a node has [`NEXT`], the hash of the node behind it is put.
pub(crate) fn proofs(bytes: &[u8]) {
    let mut pieces = pieces(bytes);
    let values = if pieces.is_empty() {
        Vec::new()
    } else {
        pieces.remove(0)
    };
    let nodes = linked(pieces);
    let storage_root = nodes.first().map_or(B256::ZERO, keccak256);
    let account = TrieAccount {
        nonce: 1,
        balance: U256::ZERO,
        storage_root,
        code_hash: keccak256(b""),
    };
    let key = Nibbles::unpack(keccak256(CONTRACT.0));
    let leaf = Bytes::from(rlp::encode(LeafNode::new(key, rlp::encode(account))));
    let block = block(keccak256(&leaf), B256::ZERO);
    let path: Vec<u32> = (0..nodes.len() as u32).collect();
    let slot = |n: usize| SlotProof {
        value: Hash32(std::array::from_fn(|at| {
            values.get(32 * n + at).copied().unwrap_or(0)
        })),
        path: path.clone(),
    };
    for (kind, count) in [(AnchorKind::StateSetAnchor, 7), (AnchorKind::SetRegistry, 3)] {
        let anchor = anchor(kind, &block);
        let mut file = with_headers(vec![anchor], vec![block.clone()]);
        file.chain.proofs = vec![StorageProofs {
            block_hash: block.hash,
            contract: CONTRACT,
            account: AccountProof {
                nonce: 1,
                balance: U256::ZERO,
                storage_root: Hash32(storage_root.0),
                code_hash: Hash32(account.code_hash.0),
                path: vec![leaf.clone()],
            },
            nodes: nodes.clone(),
            batches: vec![BatchProof {
                batch_id: batch(),
                slots: (0..count).map(slot).collect(),
            }],
            heads: vec![HeadProof {
                head: ChainHead::Count,
                slot: slot(0),
            }],
        }];
        let report = judge(&file);
        let trusted = matches!(report.standings[0], AnchorStanding::Trusted { .. });
        assert!(!trusted, "nobody finds a storage with these roots by chance");
    }
}

fn linked(pieces: Vec<Vec<u8>>) -> Vec<Bytes> {
    let mut nodes: Vec<Bytes> = Vec::new();
    for mut node in pieces.into_iter().rev().take(80) {
        if let Some(next) = nodes.last()
            && let Some(at) = node.windows(32).position(|window| window == NEXT)
        {
            node[at..at + 32].copy_from_slice(keccak256(next).as_slice());
        }
        nodes.push(Bytes::from(node));
    }
    nodes.reverse();
    nodes
}
