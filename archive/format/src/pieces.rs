//! A Parquet file whose row groups are hashed each by itself, so that a reader can check what it takes and need not take
//! the rest.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::{Buf, Bytes};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::reader::{ChunkReader, Length};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ves::Hash32;

use crate::error::ArchiveError;
use crate::manifest::sha256;
use crate::store::Store;

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

/// Writes what passes through it, and hashes it: all of it, and what came since the last look.
struct Hashing {
    file: File,
    all: Sha256,
    piece: Sha256,
    piece_bytes: u64,
    bytes: u64,
}

impl Hashing {
    fn take_piece(&mut self) -> (u64, Hash32) {
        let bytes = std::mem::take(&mut self.piece_bytes);
        (bytes, Hash32(self.piece.finalize_reset().into()))
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        let bytes = &bytes[..written];
        self.all.update(bytes);
        self.piece.update(bytes);
        self.piece_bytes += written as u64;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes such a file, into a temporary one.
pub(crate) struct PieceWriter<K> {
    writer: ArrowWriter<Hashing>,
    groups: Vec<RowGroup<K>>,
    group: Option<(K, K, u64)>,
}

/// A file that is to become an object.
pub(crate) struct WrittenPieces {
    pub file: File,
    pub rows: u64,
    pub bytes: u64,
    pub sha256: Hash32,
    pub tail_bytes: u64,
    pub tail_sha256: Hash32,
}

/// What all files of an archive have in common. Row groups end where their writer says, and nowhere else.
pub(crate) fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_created_by(concat!("event-archive ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).expect("a level of zstd")))
        .set_max_row_group_row_count(None)
}

impl<K: Clone + Serialize> PieceWriter<K> {
    /// Begins a file.
    pub fn create(schema: &SchemaRef, properties: WriterProperties) -> Result<Self, ArchiveError> {
        let file = tempfile::tempfile().map_err(ArchiveError::io("a temporary file"))?;
        let hashing = Hashing {
            file,
            all: Sha256::new(),
            piece: Sha256::new(),
            piece_bytes: 0,
            bytes: 0,
        };
        let writer = ArrowWriter::try_new(hashing, Arc::clone(schema), Some(properties))
            .map_err(ArchiveError::columns("beginning a file"))?;
        Ok(Self {
            writer,
            groups: Vec::new(),
            group: None,
        })
    }

    /// How many rows the current row group has.
    pub fn rows_in_group(&self) -> u64 {
        self.group.as_ref().map_or(0, |(_, _, rows)| *rows)
    }

    /// How many rows there are.
    pub fn rows(&self) -> u64 {
        self.groups.iter().map(|group| group.rows).sum::<u64>() + self.rows_in_group()
    }

    /// Adds rows, which follow on those before: from this key to that one.
    pub fn push(&mut self, rows: &RecordBatch, from: &K, to: &K) -> Result<(), ArchiveError> {
        self.writer
            .write(rows)
            .map_err(ArchiveError::columns("writing rows"))?;
        let before = self.rows_in_group();
        let from = self.group.take().map_or_else(|| from.clone(), |(from, ..)| from);
        self.group = Some((from, to.clone(), before + rows.num_rows() as u64));
        Ok(())
    }

    /// Ends the row group.
    pub fn end_group(&mut self) -> Result<(), ArchiveError> {
        let Some((from, to, rows)) = self.group.take() else {
            return Ok(());
        };
        self.writer
            .flush()
            .map_err(ArchiveError::columns("writing a row group"))?;
        self.writer.sync().map_err(ArchiveError::io("a temporary file"))?;
        let (bytes, sha256) = self.writer.inner_mut().take_piece();
        self.groups.push(RowGroup {
            from,
            to,
            rows,
            bytes,
            sha256,
        });
        Ok(())
    }

    /// Ends the file.
    pub fn finish(mut self) -> Result<WrittenPieces, ArchiveError> {
        self.end_group()?;
        let rows = self.rows();
        let groups = serde_json::to_string(&self.groups).map_err(ArchiveError::columns("ending a file"))?;
        self.writer
            .append_key_value_metadata(KeyValue::new(ROW_GROUPS.to_owned(), groups));
        let mut sink = self
            .writer
            .into_inner()
            .map_err(ArchiveError::columns("ending a file"))?;
        let (tail_bytes, tail_sha256) = sink.take_piece();
        Ok(WrittenPieces {
            rows,
            bytes: sink.bytes,
            sha256: Hash32(sink.all.finalize().into()),
            tail_bytes,
            tail_sha256,
            file: sink.file,
        })
    }
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
