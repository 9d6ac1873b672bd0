//! A Parquet file whose row groups are hashed each by itself, so that a reader can check what it takes and need not take
//! the rest.

mod write;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::{Buf, Bytes};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{ChunkReader, Length};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use ves::Hash32;

use crate::error::ArchiveError;
use crate::manifest::sha256;
use crate::store::Store;

pub(crate) use write::{PieceWriter, WrittenPieces, properties};

/// The key under which the footer names the row groups.
const ROW_GROUPS: &str = "event-archive.row-groups";

/// A row group, as the footer names it. The rows are in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RowGroup<K> {
    /// The key of its first row.
    pub from: K,
    /// The key of its last row.
    pub to: K,
    /// How many rows it has.
    pub rows: u64,
    /// How many bytes it has; it begins where the one before ends.
    pub bytes: u64,
    /// SHA-256 of these bytes.
    pub sha256: Hash32,
}

/// What a manifest says of such a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PieceFile<'a> {
    /// Where it lies, from the archive's root.
    pub path: &'a str,
    /// How many rows are in it.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// How many bytes at its end are no row groups.
    pub tail_bytes: u64,
    /// SHA-256 of these bytes.
    pub tail_sha256: Hash32,
}

/// Some bytes of a file, at their place.
#[derive(Clone)]
pub(crate) struct Piece {
    /// The size of the file.
    length: u64,
    /// Where the bytes begin in it.
    start: u64,
    bytes: Bytes,
}

impl Piece {
    fn from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let at = start
            .checked_sub(self.start)
            .and_then(|at| usize::try_from(at).ok());
        let at = at.filter(|at| *at <= self.bytes.len());
        let at = at
            .ok_or_else(|| ParquetError::General("bytes of another part of the file are asked for".into()))?;
        Ok(self.bytes.slice(at..))
    }
}

impl Length for Piece {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Piece {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.from(start)?;
        match bytes.len() >= length {
            true => Ok(bytes.slice(..length)),
            false => Err(ParquetError::General("it ends too early".into())),
        }
    }
}

/// Such a file, of which the end has been read and checked.
pub(crate) struct PieceReader<K> {
    path: String,
    bytes: u64,
    metadata: ArrowReaderMetadata,
    groups: Vec<RowGroup<K>>,
    tail: Piece,
}

impl<K: DeserializeOwned + Ord> PieceReader<K> {
    /// Reads the end of an object, in one request.
    pub fn open(store: &Store, file: &PieceFile<'_>, schema: &SchemaRef) -> Result<Self, ArchiveError> {
        let start = file.bytes.saturating_sub(file.tail_bytes);
        let bytes = store.get_range(file.path, start..file.bytes)?;
        let damaged = |what: String| ArchiveError::damaged(file.path, what);
        let found = sha256(&bytes);
        if found != file.tail_sha256 {
            return Err(damaged(format!(
                "its end hashes to {found}, not to {}",
                file.tail_sha256
            )));
        }
        let tail = Piece {
            length: file.bytes,
            start,
            bytes,
        };
        let options = ArrowReaderOptions::new().with_schema(Arc::clone(schema));
        let metadata = guarded(|| ArrowReaderMetadata::load(&tail, options))
            .map_err(|what| damaged(format!("not a file of an archive: {what}")))?;
        let groups: Vec<RowGroup<K>> = row_groups(metadata.metadata()).map_err(damaged)?;
        let sum = |of: fn(&RowGroup<K>) -> u64| groups.iter().map(of).fold(0, u64::saturating_add);
        let ordered =
            groups.iter().all(|group| group.from <= group.to) && groups.is_sorted_by(|a, b| a.to < b.from);
        if sum(|group| group.rows) != file.rows || sum(|group| group.bytes) != start || !ordered {
            return Err(damaged(
                "its row groups are not those that the manifest tells of".into(),
            ));
        }
        Ok(Self {
            path: file.path.to_owned(),
            bytes: file.bytes,
            metadata,
            groups,
            tail,
        })
    }

    /// The row groups, in order.
    pub fn groups(&self) -> &[RowGroup<K>] {
        &self.groups
    }

    /// What the footer says.
    pub fn metadata(&self) -> &ParquetMetaData {
        self.metadata.metadata()
    }

    /// The bytes behind the row groups: filters, indexes, footer.
    pub fn tail(&self) -> &Piece {
        &self.tail
    }

    fn range(&self, group: usize) -> Range<u64> {
        let start: u64 = self.groups[..group].iter().map(|group| group.bytes).sum();
        start..start + self.groups[group].bytes
    }

    /// Fetches the bytes of a row group, in one request. They are checked when they are read.
    pub fn fetch(&self, store: &Store, group: usize) -> Result<FetchedPiece, ArchiveError> {
        let range = self.range(group);
        let bytes = store.get_range(&self.path, range.clone())?;
        Ok(FetchedPiece {
            piece: Piece {
                length: self.bytes,
                start: range.start,
                bytes,
            },
            metadata: self.metadata.clone(),
            path: self.path.clone(),
            rows: self.groups[group].rows,
            sha256: self.groups[group].sha256,
            index: group,
        })
    }
}

/// The row groups that the footer names.
fn row_groups<K: DeserializeOwned>(file: &ParquetMetaData) -> Result<Vec<RowGroup<K>>, String> {
    let values = file.file_metadata().key_value_metadata();
    let named = values.into_iter().flatten().find(|value| value.key == ROW_GROUPS);
    let named = named
        .and_then(|value| value.value.as_deref())
        .ok_or("its footer names no row groups")?;
    let groups: Vec<RowGroup<K>> =
        serde_json::from_str(named).map_err(|error| format!("its footer names no row groups: {error}"))?;
    let rows = file
        .row_groups()
        .iter()
        .map(|group| u64::try_from(group.num_rows()).ok());
    match rows.eq(groups.iter().map(|group| Some(group.rows))) {
        true => Ok(groups),
        false => Err("its row groups are not those that its footer names".into()),
    }
}

/// A row group as it was fetched: any thread can read it.
pub(crate) struct FetchedPiece {
    piece: Piece,
    metadata: ArrowReaderMetadata,
    path: String,
    rows: u64,
    sha256: Hash32,
    index: usize,
}

impl FetchedPiece {
    /// The object that it is of.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Checks the bytes, and reads the rows.
    pub fn rows(&self) -> Result<Vec<RecordBatch>, ArchiveError> {
        let damaged = |what: String| ArchiveError::damaged(&self.path, what);
        let found = sha256(&self.piece.bytes);
        if found != self.sha256 {
            let what = format!(
                "row group {} hashes to {found}, not to {}",
                self.index, self.sha256
            );
            return Err(damaged(what));
        }
        let read = || {
            ParquetRecordBatchReaderBuilder::new_with_metadata(self.piece.clone(), self.metadata.clone())
                .with_row_groups(vec![self.index])
                .with_batch_size(usize::try_from(self.rows).unwrap_or(usize::MAX).min(1 << 20))
                .build()?
                .map(|rows| rows.map_err(ParquetError::from))
                .collect()
        };
        guarded(read).map_err(damaged)
    }
}

/// Runs what reads foreign bytes: the library may panic at what nobody has written by it.
pub(crate) fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err("it cannot be read at all".to_owned()),
    }
}
