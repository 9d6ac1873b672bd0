//! What the checkpointer remembers from run to run: how far each stream is signed, and what it signed and has not put where
//! it belongs yet.
//!
//! A note is written here before it is written anywhere else. So whoever kills a run leaves a note that the next run
//! publishes as it is, and never a second one that says otherwise.

use std::collections::{BTreeMap, BTreeSet};

use checkpoints::Continues;
use serde::{Deserialize, Serialize};
use ves::log_tree::CompactRange;
use ves::{Hash32, StreamKey};

use crate::log_identity::LogIdentity;
use crate::roots::Grown;

/// The `schema` of the file.
pub const SCHEMA: &str = "checkpoint-state/1";

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointState {
    /// [`SCHEMA`].
    pub schema: String,
    /// The log that is signed.
    pub log: LogIdentity,
    /// The deployment's name.
    pub deployment: String,
    /// The recovery epoch by which another timeline was last taken for the same log. It does so once: a copy for which the
    /// same command is run must not sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Hash32>,
    /// How far the files of checkpoints were read, by name.
    pub read: BTreeMap<String, ReadUpTo>,
    /// Streams of which something was read there that they were not compared with yet. They are read from their first event
    /// on, with all that was ever signed of them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unresolved: BTreeSet<String>,
    /// The trees, by stream.
    pub trees: Vec<SignedTree>,
    /// What was signed and may not be in its file yet, in order.
    pub pending: Vec<Pending>,
}

/// A stream's tree as far as it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedTree {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// Which tree of the stream.
    pub generation: u32,
    /// How many events are signed.
    pub size: u64,
    /// The roots of the tree's complete subtrees, largest first.
    pub peaks: Vec<Hash32>,
    /// The leaf of the last event that is signed.
    pub last_leaf: Option<Hash32>,
    /// What the tree continues, if it is not the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<Continues>,
    /// The sizes that witnesses are known to have, by URL.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub witnessed: BTreeMap<String, u64>,
}

/// How far a file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadUpTo {
    /// Up to this byte.
    pub offset: u64,
    /// SHA-256 of the bytes directly before it: another file, or one that was altered, has others there.
    pub before: Hash32,
}

/// An entry that may not be in its file yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    /// The file's name in the folder; empty if there is one file.
    pub file: String,
    /// The entry, byte for byte.
    pub entry: String,
}

impl CheckpointState {
    /// Nothing is signed yet.
    pub fn new(log: LogIdentity, deployment: &str) -> Self {
        Self {
            schema: SCHEMA.into(),
            log,
            deployment: deployment.into(),
            epoch: None,
            read: BTreeMap::new(),
            unresolved: BTreeSet::new(),
            trees: Vec::new(),
            pending: Vec::new(),
        }
    }
}

impl SignedTree {
    /// The tree itself; `None` if there cannot be such a one.
    pub fn grown(&self) -> Option<Grown> {
        let tree = CompactRange::from_parts(self.size, self.peaks.clone())?;
        let last_leaf = self.last_leaf;
        (last_leaf.is_some() == (self.size > 0)).then_some(Grown { tree, last_leaf })
    }

    /// Takes the tree over.
    pub fn set(&mut self, grown: &Grown) {
        self.size = grown.tree.size();
        self.peaks = grown.tree.peaks().to_vec();
        self.last_leaf = grown.last_leaf;
    }
}
