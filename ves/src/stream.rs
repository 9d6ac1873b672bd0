//! Streams as the protocol names them: the stream id, the lock that goes with it, and the chain of
//! state roots that links a stream's commitments.

use crate::digest::{Hash32, Preimage};
use crate::id::StreamKey;

/// `stream_id` = SHA-256(`VES_STREAM_V1` ‖ tenant ‖ store).
pub fn stream_id(stream: &StreamKey) -> Hash32 {
    Preimage::new("VES_STREAM_V1")
        .bytes(stream.tenant_id.as_bytes())
        .bytes(stream.store_id.as_bytes())
        .finish()
}

/// The key of the advisory lock that the sequencer holds while it creates a commitment:
/// the first 8 bytes of the stream id as a big-endian i64.
pub fn advisory_lock_key(stream: &StreamKey) -> i64 {
    let id = stream_id(stream).0;
    i64::from_be_bytes([id[0], id[1], id[2], id[3], id[4], id[5], id[6], id[7]])
}

/// The previous state root of a stream's first commitment: 32 zero bytes.
pub const GENESIS_STATE_ROOT: Hash32 = Hash32::ZERO;

/// The state root after a commitment:
/// SHA-256(`VES_STATE_ROOT_V1` ‖ stream_id ‖ prev_state_root ‖ merkle_root ‖ u64 sequence_start ‖
/// u64 sequence_end ‖ u32 leaf_count).
pub fn state_root(
    stream: &StreamKey,
    prev_state_root: &Hash32,
    merkle_root: &Hash32,
    sequence_start: u64,
    sequence_end: u64,
    leaf_count: u32,
) -> Hash32 {
    Preimage::new("VES_STATE_ROOT_V1")
        .bytes(&stream_id(stream).0)
        .bytes(&prev_state_root.0)
        .bytes(&merkle_root.0)
        .u64(sequence_start)
        .u64(sequence_end)
        .u32(leaf_count)
        .finish()
}
