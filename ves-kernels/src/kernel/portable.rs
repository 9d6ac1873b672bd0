//! The reference: one message after the other, by the `sha2` crate.

use sha2::{Digest, Sha256};

use super::batch::Message;
use super::{LeafInput, LeafPrefix, NODE_DOMAIN};
use crate::bytes::Hash32;

fn node_hash(left: &Hash32, right: &Hash32) -> Hash32 {
    let mut preimage = [0; 75];
    preimage[..11].copy_from_slice(NODE_DOMAIN);
    preimage[11..43].copy_from_slice(&left.0);
    preimage[43..].copy_from_slice(&right.0);
    Hash32(Sha256::digest(preimage).into())
}

pub(super) fn parents_in_place(level: &mut [Hash32]) {
    for i in 0..level.len() / 2 {
        level[i] = node_hash(&level[2 * i], &level[2 * i + 1]);
    }
}

pub(super) fn node_hashes(level: &[Hash32], out: &mut [Hash32]) {
    for (pair, parent) in level.as_chunks::<2>().0.iter().zip(out) {
        *parent = node_hash(&pair[0], &pair[1]);
    }
}

pub(super) fn leaf_hashes(prefix: &LeafPrefix, inputs: &[LeafInput], out: &mut [Hash32]) {
    let mut preimage = [0; 147];
    preimage[..43].copy_from_slice(&prefix.bytes);
    for (input, leaf) in inputs.iter().zip(out) {
        preimage[43..51].copy_from_slice(&input.sequence_number.to_be_bytes());
        preimage[51..83].copy_from_slice(&input.event_signing_hash.0);
        preimage[83..].copy_from_slice(&input.agent_signature.0);
        *leaf = Hash32(Sha256::digest(preimage).into());
    }
}

pub(super) fn batch(bytes: &[u8], messages: &[Message], out: &mut [Hash32]) {
    for message in messages {
        let text = &bytes[message.start..message.start + message.len];
        out[message.index] = Hash32(Sha256::digest(text).into());
    }
}
