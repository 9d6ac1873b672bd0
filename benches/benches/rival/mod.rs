//! A VES root as `rs_merkle` computes it, from leaves hashed by `sha2`.

use rs_merkle::{Hasher, MerkleTree};
use sha2::{Digest, Sha256};
use ves::kernel::LeafInput;
use ves::{Hash32, StreamKey, merkle};

#[derive(Clone)]
struct Ves;

impl Hasher for Ves {
    type Hash = [u8; 32];

    fn hash(data: &[u8]) -> [u8; 32] {
        Sha256::digest(data).into()
    }

    fn concat_and_hash(left: &[u8; 32], right: Option<&[u8; 32]>) -> [u8; 32] {
        let Some(right) = right else { return *left };
        let mut hasher = Sha256::new_with_prefix(b"VES_NODE_V1");
        hasher.update(left);
        hasher.update(right);
        hasher.finalize().into()
    }
}

/// The root over the leaves of events; the crate knows no padding, so the leaves are padded before.
pub fn root(stream: &StreamKey, inputs: &[LeafInput]) -> Option<Hash32> {
    let mut preimage = [0; 147];
    preimage[..11].copy_from_slice(b"VES_LEAF_V1");
    preimage[11..27].copy_from_slice(stream.tenant_id.as_bytes());
    preimage[27..43].copy_from_slice(stream.store_id.as_bytes());
    let mut leaves: Vec<[u8; 32]> = Vec::with_capacity(inputs.len().next_power_of_two());
    for input in inputs {
        preimage[43..51].copy_from_slice(&input.sequence_number.to_be_bytes());
        preimage[51..83].copy_from_slice(&input.event_signing_hash.0);
        preimage[83..].copy_from_slice(&input.agent_signature.0);
        leaves.push(Ves::hash(&preimage));
    }
    leaves.resize(inputs.len().next_power_of_two(), merkle::pad_leaf().0);
    MerkleTree::<Ves>::from_leaves(&leaves).root().map(Hash32)
}
