//! Nodes and leaves of Merkle trees on one thread, each kernel beside `sha2`.

use benches::{Clock, Options, Table, hashes, inputs, noise, stream};
use sha2::{Digest, Sha256};
use ves::Hash32;
use ves::kernel::{Batch, Kernel};

/// What fits the second-level cache, as a worker's share of a tree does.
const COUNT: usize = 1024;

fn at_least(kernel: Kernel, avx512: f64) -> Option<f64> {
    match kernel {
        Kernel::Avx512 => Some(avx512),
        Kernel::ShaNi => Some(1.8),
        Kernel::Avx2 | Kernel::Portable => None,
    }
}

fn main() {
    let options = Options::from_args();
    let stream = stream();
    let level = hashes(2 * COUNT);
    let inputs = inputs(COUNT);
    let mut table = Table::new(&options, Clock::Thread, "`sha2`", "hash");
    for kernel in Kernel::available() {
        let mut theirs = vec![Hash32::ZERO; COUNT];
        let mut ours = theirs.clone();
        table.compare(
            &format!("nodes, {kernel}"),
            COUNT,
            at_least(kernel, 4.5),
            || {
                for (pair, out) in level.chunks_exact(2).zip(&mut theirs) {
                    let mut hasher = Sha256::new_with_prefix(b"VES_NODE_V1");
                    hasher.update(pair[0].0);
                    hasher.update(pair[1].0);
                    out.0 = hasher.finalize().into();
                }
                theirs[COUNT - 1]
            },
            || {
                kernel.node_hashes(&level, &mut ours);
                ours[COUNT - 1]
            },
        );
    }
    for kernel in Kernel::available() {
        let mut theirs = vec![Hash32::ZERO; COUNT];
        let mut ours = theirs.clone();
        table.compare(
            &format!("leaves, {kernel}"),
            COUNT,
            at_least(kernel, 3.8),
            || {
                for (input, out) in inputs.iter().zip(&mut theirs) {
                    let mut hasher = Sha256::new_with_prefix(b"VES_LEAF_V1");
                    hasher.update(stream.tenant_id.as_bytes());
                    hasher.update(stream.store_id.as_bytes());
                    hasher.update(input.sequence_number.to_be_bytes());
                    hasher.update(input.event_signing_hash.0);
                    hasher.update(input.agent_signature.0);
                    out.0 = hasher.finalize().into();
                }
                theirs[COUNT - 1]
            },
            || {
                kernel.leaf_hashes(&stream, &inputs, &mut ours);
                ours[COUNT - 1]
            },
        );
    }
    let messages: Vec<Vec<u8>> = (0..COUNT)
        .map(|i| {
            let mut message = vec![0; 300 + i * 7 % 400];
            noise(i as u64, &mut message);
            message
        })
        .collect();
    for kernel in Kernel::available() {
        let mut batch = Batch::default();
        table.compare(
            &format!("messages of 300 to 700 bytes, {kernel}"),
            COUNT,
            None,
            || {
                let hashes: Vec<[u8; 32]> = messages.iter().map(|m| Sha256::digest(m).into()).collect();
                Hash32(hashes[COUNT - 1])
            },
            || {
                for message in &messages {
                    batch.start().extend_from_slice(message);
                    batch.finish();
                }
                batch.hash_with(kernel)[COUNT - 1]
            },
        );
    }
}
