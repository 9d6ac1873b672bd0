//! What the guard saw when it last let a log pass: the least that a log must be the next time.

use serde::{Deserialize, Serialize};
use ves::digest::Preimage;
use ves::log_tree::CompactRange;
use ves::{Hash32, StreamKey};

use crate::checkpoint::promises::Path;
use crate::log_identity::LogIdentity;
use crate::roots::Grown;

/// The `schema` of the file.
pub const SCHEMA: &str = "guard-notes/1";

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notes {
    /// [`SCHEMA`].
    pub schema: String,
    /// The log.
    pub log: LogIdentity,
    /// The recovery epoch by which it was let pass last. It explains nothing that was noted since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Hash32>,
    /// Its streams.
    pub streams: Vec<Note>,
}

/// A stream as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// The generation of its tree.
    pub generation: u32,
    /// Its highest number.
    pub head: u64,
    /// Its counter.
    pub counter: u64,
    /// The leaf at its highest number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_leaf: Option<Hash32>,
    /// Its tree, as far as it was compared with checkpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
}

/// A tree that goes through checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compared {
    /// So many events.
    pub size: u64,
    /// The roots of its complete subtrees, largest first.
    pub peaks: Vec<Hash32>,
    /// Its last leaf.
    pub last_leaf: Option<Hash32>,
    /// Which roots it was compared with: other ones need another look.
    pub with: Hash32,
}

impl Compared {
    /// A tree that goes through the part of a path that it reaches.
    pub fn new(grown: &Grown, path: &Path) -> Self {
        let size = grown.tree.size();
        Self {
            size,
            peaks: grown.tree.peaks().to_vec(),
            last_leaf: grown.last_leaf,
            with: digest(path, size),
        }
    }

    /// The tree, if it was compared with all that this path asks up to there.
    pub fn grown(&self, path: &Path) -> Option<Grown> {
        let tree = CompactRange::from_parts(self.size, self.peaks.clone())?;
        let last_leaf = self.last_leaf;
        (self.with == digest(path, self.size)).then_some(Grown { tree, last_leaf })
    }
}

/// Which roots a path asks for, up to a size.
fn digest(path: &Path, size: u64) -> Hash32 {
    let all = path.range(..=size);
    let all = all.fold(Preimage::new("guard"), |all, (size, (root, _))| {
        all.u64(*size).bytes(&root.0)
    });
    all.finish()
}
