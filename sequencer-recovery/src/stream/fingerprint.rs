//! Fingerprints: what a stream looked like when a plan was made, in 32 bytes, so that `apply` can refuse
//! a log that has moved on.

use event_log::{Commitment, LeafInput};
use ves::digest::Preimage;
use ves::{Hash32, Receipt, StreamKey};

/// Computes the fingerprint of one stream:
/// SHA-256(`SEQUENCER_RECOVERY_FINGERPRINT_V1` ‖ tenant ‖ store ‖ u32 1 ‖ u64 counter (u32 0 without a
/// counter row) ‖ u64 number of commitments ‖ for each in order of its start: batch_id ‖ u64 start ‖
/// u64 end ‖ merkle_root ‖ new_state_root ‖ then for each event in order: u64 sequence ‖ event_id ‖
/// event_signing_hash ‖ agent_signature ‖ u32 1 ‖ receipt_hash (u32 0 without a receipt)).
#[derive(Clone)]
pub struct FingerprintBuilder(Preimage);

impl FingerprintBuilder {
    /// Starts with the counter and the commitments, ordered by their start.
    pub fn new(stream: &StreamKey, counter: Option<u64>, commitments: &[Commitment]) -> Self {
        let mut preimage = Preimage::new("SEQUENCER_RECOVERY_FINGERPRINT_V1")
            .bytes(stream.tenant_id.as_bytes())
            .bytes(stream.store_id.as_bytes());
        preimage = match counter {
            Some(counter) => preimage.u32(1).u64(counter),
            None => preimage.u32(0),
        };
        preimage = preimage.u64(commitments.len() as u64);
        for c in commitments {
            preimage = preimage
                .bytes(c.batch_id.as_bytes())
                .u64(c.sequence_start)
                .u64(c.sequence_end)
                .bytes(&c.merkle_root.0)
                .bytes(&c.new_state_root.0);
        }
        Self(preimage)
    }

    /// Appends the next event, with its receipt.
    pub fn event(&mut self, input: &LeafInput, receipt: Option<&Receipt>) {
        let preimage = self
            .0
            .clone()
            .u64(input.sequence_number)
            .bytes(input.event_id.as_bytes())
            .bytes(&input.event_signing_hash.0)
            .bytes(&input.agent_signature.0);
        self.0 = match receipt {
            Some(receipt) => preimage.u32(1).bytes(&receipt.receipt_hash.0),
            None => preimage.u32(0),
        };
    }

    /// The fingerprint.
    pub fn finish(self) -> Hash32 {
        self.0.finish()
    }
}
