//! That one event is under a checkpoint, as a file that is checked offline (C2SP `tlog-proof`).
//!
//! The record that is proven is not in the file: it is the event's leaf ([`ves::merkle::leaf_hash`]), which whoever checks
//! computes from the event.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ves::Hash32;
use ves::log_tree::root_of_inclusion;

use crate::checkpoint::{Checkpoint, base64_hash, base64_of, decimal};
use crate::note::Note;

/// The first line.
const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// No tree of a stream is higher.
const MAX_PATH: usize = 64;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// Whatever else whoever made it wrote down, of which the proof says nothing.
    pub extra: Option<Vec<u8>>,
    /// The event's number in its stream, less one.
    pub index: u64,
    /// The siblings, from the record's own up to those below the root.
    pub path: Vec<Hash32>,
    /// The checkpoint, as it was signed.
    pub note: Note,
}

impl TlogProof {
    /// Whether it proves that `leaf` is at its place under this checkpoint, which is to be that of its note.
    pub fn proves(&self, leaf: &Hash32, checkpoint: &Checkpoint) -> bool {
        root_of_inclusion(leaf, self.index, checkpoint.size, &self.path) == Some(checkpoint.root)
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", BASE64.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.path {
            writeln!(f, "{}", base64_of(hash))?;
        }
        write!(f, "\n{}", self.note)
    }
}

impl FromStr for TlogProof {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lines = text.strip_prefix(HEADER).and_then(|rest| rest.strip_prefix('\n'));
        let lines = lines.ok_or_else(|| format!("its first line is not {HEADER}"))?;
        let (head, note) = lines.split_once("\n\n").ok_or("it has no checkpoint")?;
        let mut head = head.split('\n').peekable();
        let extra = head.next_if(|line| line.starts_with("extra "));
        let extra = extra.map(|line| BASE64.decode(&line["extra ".len()..]));
        let index = head.next().and_then(|line| line.strip_prefix("index "));
        let index = index.and_then(decimal).ok_or("its line index cannot be read")?;
        let path: Option<Vec<Hash32>> = head.take(MAX_PATH + 1).map(base64_hash).collect();
        let path = path.filter(|path| path.len() <= MAX_PATH);
        Ok(Self {
            extra: extra.transpose().map_err(|_| "its line extra is not base64")?,
            index,
            path: path.ok_or("its hashes cannot be read")?,
            note: note.parse().map_err(|error| format!("its checkpoint: {error}"))?,
        })
    }
}
