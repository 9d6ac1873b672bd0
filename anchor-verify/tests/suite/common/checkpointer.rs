//! Files of checkpoints over the events of a world, as a deployment would have written them.

use std::path::{Path, PathBuf};

use checkpoints::checkpoint::{Checkpoint, Continues, Origin};
use checkpoints::file::{Entry, LeavesOfFile};
use checkpoints::note::{KeyKind, SignatureLine, VerifierKey};
use ed25519_dalek::SigningKey;
use ves::log_tree::CompactRange;
use ves::{Hash32, StreamKey, Timestamp, merkle};

pub const DEPLOYMENT: &str = "orders.example.com";
pub const WITNESS: &str = "witness.example/1";

/// The key of the deployment.
pub fn key() -> SigningKey {
    SigningKey::from_bytes(&[11; 32])
}

/// The key of the witness.
pub fn witness_key() -> SigningKey {
    SigningKey::from_bytes(&[12; 32])
}

/// The key with which the operator signs epochs.
pub fn operator() -> SigningKey {
    SigningKey::from_bytes(&[13; 32])
}

/// What readers know of the deployment's key.
pub fn vkey() -> String {
    VerifierKey::new(DEPLOYMENT, KeyKind::Log, key().verifying_key())
        .unwrap()
        .to_string()
}

/// What readers know of the witness's key.
pub fn witness_vkey() -> String {
    VerifierKey::new(WITNESS, KeyKind::Witness, witness_key().verifying_key())
        .unwrap()
        .to_string()
}

/// The leaves of a stream of a world's log, in order.
pub fn leaves(log: &fixtures::StreamLog, stream: &StreamKey) -> Vec<Hash32> {
    let leaf = |(number, logged): (&u64, &fixtures::LoggedEvent)| {
        merkle::leaf_hash(
            stream,
            *number,
            &logged.signing_hash,
            &logged.event.agent_signature,
        )
    };
    log.events.iter().map(leaf).collect()
}

pub fn tree(leaves: &[Hash32]) -> CompactRange {
    let mut range = CompactRange::default();
    range.extend(leaves);
    range
}

/// One tree of a stream, of which checkpoints are made.
#[derive(Clone)]
pub struct Tree {
    pub stream: StreamKey,
    pub generation: u32,
    pub leaves: Vec<Hash32>,
    pub continues: Option<Continues>,
}

impl Tree {
    pub fn new(stream: StreamKey, leaves: Vec<Hash32>) -> Self {
        Self {
            stream,
            generation: 1,
            leaves,
            continues: None,
        }
    }

    /// The checkpoint of a size, signed `size` seconds after the epoch, with the leaves from `first` on.
    pub fn entry(&self, size: u64, first: Option<u64>) -> Entry {
        self.entry_at(size, first, size as i64)
    }

    pub fn entry_at(&self, size: u64, first: Option<u64>, seconds: i64) -> Entry {
        let range = tree(&self.leaves[..size as usize]);
        let checkpoint = Checkpoint {
            origin: Origin {
                deployment: DEPLOYMENT.to_owned(),
                stream: self.stream,
                generation: self.generation,
            },
            size,
            root: range.root(),
            time: Some(Timestamp(seconds * 1_000_000)),
            continues: self.continues,
        };
        Entry {
            leaves: first.map(|first| LeavesOfFile {
                first,
                hashes: self.leaves[first as usize - 1..size as usize].to_vec(),
            }),
            peaks: range.peaks().to_vec(),
            note: checkpoint.sign(&key()),
            checkpoint,
        }
    }

    /// Checkpoints of these sizes, each with the leaves since the one before.
    pub fn entries(&self, sizes: &[u64]) -> Vec<Entry> {
        let mut before = 0;
        let entry = |size: &u64| {
            let entry = self.entry(*size, Some(before + 1));
            before = *size;
            entry
        };
        sizes.iter().map(entry).collect()
    }

    /// The same history up to a number, another one behind it.
    pub fn parting_after(&self, number: u64) -> Self {
        let mut other = self.clone();
        for leaf in &mut other.leaves[number as usize..] {
            leaf.0[0] ^= 1;
        }
        other
    }
}

/// With the witness's cosignature.
pub fn cosigned(mut entry: Entry) -> Entry {
    let line = SignatureLine::by_witness(WITNESS, &witness_key(), &entry.note.text, 1_700_000_000);
    entry.note.signatures.push(line);
    entry
}

/// Writes a file of checkpoints.
pub fn write(folder: &Path, name: &str, entries: &[Entry]) -> PathBuf {
    let path = folder.join(name);
    let text: String = entries.iter().map(Entry::to_text).collect();
    std::fs::write(&path, text).unwrap();
    path
}
