//! The anchors file: see `docs/anchors-file.md` for its form.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use cli_common::files;
use serde::{Deserialize, Serialize};
use ves::{Hash32, StreamKey};

use crate::anchor::{Anchor, tenant_store_key};
use crate::chain::header::HeaderBytes;
use crate::chain::parts::{BlockReceipts, ChainParts, Checkpoint, RefusedAnchor, Scan, StorageProofs};
use crate::files::{Existing, write_whole};

/// The form that this version writes.
pub const SCHEMA: &str = "anchors/2";

/// The older form, anchors alone, which is read too.
pub const SCHEMA_1: &str = "anchors/1";

/// The largest file that is read: about 300 000 anchors, or 200 000 headers.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

/// Why a file could not be read as an anchors file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {kind}", path.display())]
pub struct AnchorsError {
    /// The file as it was named.
    pub path: PathBuf,
    /// Why.
    pub kind: AnchorsErrorKind,
}

/// Why text could not be read as an anchors file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnchorsErrorKind {
    /// The operating system refused.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Larger than [`MAX_FILE_BYTES`].
    #[error("is larger than {} MiB; split it", MAX_FILE_BYTES >> 20)]
    TooLarge,
    /// JSON of another kind, or not JSON.
    #[error("is not an anchors file: {0}{hint}", hint = if *.1 { ". Saved JSON-RPC logs become one with `anchor-verify import`" } else { "" })]
    NotAnchors(String, bool),
    /// Not what a JSON-RPC client saves of `eth_getLogs`.
    #[error("has no logs that can be read: {0}")]
    NotLogs(String),
    /// A file that the toolkit itself wrote.
    #[error("is the toolkit's own ({0}), not what a node answered")]
    Own(String),
    /// An anchors file of another version.
    #[error(
        "has the schema {0:?}; this version reads {SCHEMA_1:?} and {SCHEMA:?}. Import the logs again with this version"
    )]
    OtherSchema(String),
    /// An anchor that contradicts itself.
    #[error("anchor {index}: {what}")]
    BadAnchor {
        /// Its place in the file, counted from 0.
        index: usize,
        /// What is wrong with it.
        what: String,
    },
    /// Files of two chains.
    #[error("is of chain {found}, the others are of chain {expected}")]
    OtherChain {
        /// The chain of the others.
        expected: u64,
        /// This file's.
        found: u64,
    },
}

/// Anchors, and the chain that they are said to be on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnchorsFile {
    /// The chain, where it is known: logs do not name it.
    pub chain_id: Option<u64>,
    /// The anchors, in the order of the chain, each log once.
    pub anchors: Vec<Anchor>,
    /// What proves them.
    pub chain: ChainParts,
}

/// `anchors/1`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileJson1 {
    #[serde(rename = "schema")]
    _schema: String,
    #[serde(default)]
    chain_id: Option<u64>,
    anchors: Vec<Anchor>,
}

/// `anchors/2`. The parts stand here one by one, since serde refuses no unknown fields beside flattened ones.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileJson2 {
    #[serde(rename = "schema")]
    _schema: String,
    #[serde(default)]
    chain_id: Option<u64>,
    #[serde(default)]
    checkpoint: Option<Checkpoint>,
    #[serde(default)]
    searched_from: Option<u64>,
    #[serde(default)]
    scanned: Vec<Scan>,
    anchors: Vec<Anchor>,
    #[serde(default)]
    refused: Vec<RefusedAnchor>,
    #[serde(default)]
    headers: Vec<HeaderBytes>,
    #[serde(default)]
    receipts: Vec<BlockReceipts>,
    #[serde(default)]
    proofs: Vec<StorageProofs>,
}

impl AnchorsFile {
    /// Puts anchors in order and drops repeated logs.
    pub fn new(chain_id: Option<u64>, mut anchors: Vec<Anchor>) -> Self {
        anchors.sort_by_cached_key(|a| (a.key(), a.stream, a.block_timestamp));
        anchors.dedup_by(|later, kept| {
            let one = |a: Option<u64>, b: Option<u64>| a.is_none() || b.is_none() || a == b;
            let same = later.key() == kept.key() && one(kept.block_timestamp, later.block_timestamp);
            if same {
                kept.stream = kept.stream.or(later.stream);
                kept.block_timestamp = kept.block_timestamp.or(later.block_timestamp);
            }
            same
        });
        Self {
            chain_id,
            anchors,
            chain: ChainParts::default(),
        }
    }

    /// With what proves the anchors, put in order.
    #[must_use]
    pub fn with_chain(mut self, chain: ChainParts) -> Self {
        self.chain = chain.ordered();
        self
    }

    /// The anchors of several files as one.
    ///
    /// # Errors
    /// Files that name two chains.
    pub fn merge(files: Vec<(PathBuf, AnchorsFile)>) -> Result<Self, AnchorsError> {
        let mut chain_id = None;
        let mut anchors = Vec::new();
        let mut chain = ChainParts::default();
        for (path, file) in files {
            match (chain_id, file.chain_id) {
                (Some(expected), Some(found)) if expected != found => {
                    return Err(AnchorsError {
                        path,
                        kind: AnchorsErrorKind::OtherChain { expected, found },
                    });
                }
                (None, Some(_)) => chain_id = file.chain_id,
                _ => {}
            }
            anchors.extend(file.anchors);
            chain.extend(file.chain);
        }
        Ok(Self::new(chain_id, anchors).with_chain(chain))
    }

    /// Reads an anchors file.
    ///
    /// # Errors
    /// See [`AnchorsErrorKind`].
    pub fn read(path: &Path) -> Result<Self, AnchorsError> {
        let error = |kind| AnchorsError {
            path: path.to_owned(),
            kind,
        };
        let bytes = read_limited(path, MAX_FILE_BYTES)
            .map_err(|e| error(e.into()))?
            .ok_or_else(|| error(AnchorsErrorKind::TooLarge))?;
        Self::from_json(&bytes).map_err(error)
    }

    /// Reads the text of an anchors file. Fields that are not known are refused: they could qualify what the others
    /// say, and a later version that adds one calls itself by another name.
    ///
    /// # Errors
    /// See [`AnchorsErrorKind`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, AnchorsErrorKind> {
        #[derive(Deserialize)]
        struct SchemaOnly {
            schema: Option<String>,
        }
        // Another version may differ in everything but its name, so the name comes first.
        let schema = serde_json::from_slice::<SchemaOnly>(bytes)
            .map_err(|e| AnchorsErrorKind::NotAnchors(e.to_string(), looks_like_logs(bytes)))?
            .schema;
        let bad = |e: serde_json::Error| AnchorsErrorKind::NotAnchors(e.to_string(), false);
        let file = match schema.as_deref() {
            Some(SCHEMA_1) => {
                let file: FileJson1 = serde_json::from_slice(bytes).map_err(bad)?;
                Self {
                    chain_id: file.chain_id,
                    anchors: file.anchors,
                    chain: ChainParts::default(),
                }
            }
            Some(SCHEMA) => {
                let file: FileJson2 = serde_json::from_slice(bytes).map_err(bad)?;
                let FileJson2 {
                    checkpoint,
                    searched_from,
                    scanned,
                    refused,
                    headers,
                    receipts,
                    proofs,
                    ..
                } = file;
                let chain = ChainParts {
                    checkpoint,
                    searched_from,
                    scanned,
                    refused,
                    headers,
                    receipts,
                    proofs,
                };
                Self {
                    chain_id: file.chain_id,
                    anchors: file.anchors,
                    chain,
                }
            }
            Some(other) => return Err(AnchorsErrorKind::OtherSchema(other.chars().take(60).collect())),
            None => {
                return Err(AnchorsErrorKind::NotAnchors(
                    "it has no schema".into(),
                    looks_like_logs(bytes),
                ));
            }
        };
        for (index, anchor) in file.anchors.iter().enumerate() {
            anchor
                .check()
                .map_err(|what| AnchorsErrorKind::BadAnchor { index, what })?;
        }
        Ok(Self::new(file.chain_id, file.anchors).with_chain(file.chain))
    }

    /// Writes the file's text, one anchor, header, block or contract a line: the same content gives the same bytes.
    ///
    /// # Errors
    /// Those of the output.
    pub fn write_json(&self, mut out: impl Write) -> io::Result<()> {
        let chain = &self.chain;
        write!(out, "{{\n  \"schema\": \"{SCHEMA}\"")?;
        if let Some(chain_id) = self.chain_id {
            write!(out, ",\n  \"chain_id\": {chain_id}")?;
        }
        if let Some(checkpoint) = &chain.checkpoint {
            out.write_all(b",\n  \"checkpoint\": ")?;
            serde_json::to_writer(&mut out, checkpoint)?;
        }
        if let Some(from) = chain.searched_from {
            write!(out, ",\n  \"searched_from\": {from}")?;
        }
        write_lines(&mut out, "scanned", &chain.scanned, false)?;
        write_lines(&mut out, "anchors", &self.anchors, true)?;
        write_lines(&mut out, "refused", &chain.refused, false)?;
        write_lines(&mut out, "headers", &chain.headers, false)?;
        write_lines(&mut out, "receipts", &chain.receipts, false)?;
        write_lines(&mut out, "proofs", &chain.proofs, false)?;
        out.write_all(b"\n}\n")
    }

    /// Writes the file in place of the one that is there, or not at all.
    ///
    /// # Errors
    /// As [`AnchorsFile::write_as`].
    pub fn write(&self, path: &Path) -> io::Result<()> {
        self.write_as(path, Existing::Replace)
    }

    /// Writes the file whole, or not at all.
    ///
    /// # Errors
    /// It cannot be written, or something is there that may not be replaced; what was there is still there.
    pub fn write_as(&self, path: &Path, existing: Existing) -> io::Result<()> {
        write_whole(path, existing, |out| self.write_json(out))
    }

    /// The anchors that `keep` takes, with all headers and receipts: so that whoever reads them can see that none was left
    /// out of the selection.
    #[must_use]
    pub fn select(&self, keep: impl Fn(&Anchor) -> bool) -> Self {
        let anchors: Vec<Anchor> = self
            .anchors
            .iter()
            .filter(|anchor| keep(anchor))
            .copied()
            .collect();
        let chain = match anchors.len() == self.anchors.len() {
            true => self.chain.clone(),
            false => self.chain.for_selection(&anchors),
        };
        Self {
            chain_id: self.chain_id,
            anchors,
            chain,
        }
    }

    /// The anchors that `keep` takes, with what proves them and no more: for the proof of one event, say. Where storage
    /// proofs of a block that is tied to the checkpoint prove all of them, receipts and older headers are left out.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&Anchor) -> bool) -> Self {
        let anchors: Vec<Anchor> = self
            .anchors
            .iter()
            .filter(|anchor| keep(anchor))
            .copied()
            .collect();
        let chain = self.chain.only(&anchors);
        Self {
            chain_id: self.chain_id,
            anchors,
            chain,
        }
    }

    /// Names the stream of SetRegistry's anchors where it is known: from `streams`, and from the streams that the other
    /// contract's anchors in this file name. Returns how many were resolved.
    pub fn resolve(&mut self, streams: &[StreamKey]) -> usize {
        let known: std::collections::HashMap<Hash32, StreamKey> = self
            .anchors
            .iter()
            .filter_map(|anchor| anchor.stream)
            .chain(streams.iter().copied())
            .map(|stream| (tenant_store_key(&stream), stream))
            .collect();
        let mut resolved = 0;
        for anchor in self.anchors.iter_mut().filter(|anchor| anchor.stream.is_none()) {
            anchor.stream = known.get(&anchor.tenant_store_key).copied();
            resolved += usize::from(anchor.stream.is_some());
        }
        resolved
    }
}

/// A field with a list, an item a line. An empty one is left out unless it must be there.
fn write_lines<T: Serialize>(out: &mut impl Write, name: &str, items: &[T], always: bool) -> io::Result<()> {
    if items.is_empty() && !always {
        return Ok(());
    }
    write!(out, ",\n  \"{name}\": [")?;
    for (index, item) in items.iter().enumerate() {
        out.write_all(if index == 0 { b"\n    " } else { b",\n    " })?;
        serde_json::to_writer(&mut *out, item)?;
    }
    out.write_all(if items.is_empty() { b"]" } else { b"\n  ]" })
}

/// All bytes of a file; `None` if there are more than `limit`.
pub(crate) fn read_limited(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    files::open_text(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

fn looks_like_logs(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(4096)];
    [&b"\"topics\""[..], b"\"jsonrpc\""]
        .iter()
        .any(|word| start.windows(word.len()).any(|w| w == *word))
}
