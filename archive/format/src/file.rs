//! An object with events: a Parquet file whose row groups are hashed each by itself, so that a reader can check what it
//! takes and need not take the rest.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::{Buf, Bytes};
use event_log::LogEntry;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{BloomFilterPosition, EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::reader::{ChunkReader, Length};

use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ves::merkle::RootBuilder;
use ves::{Hash32, StreamKey};

use crate::error::ArchiveError;
use crate::events::{self, SCHEMA};
use crate::manifest::{EventsFile, sha256};
use crate::store::Store;

/// The key under which the footer names the row groups.
const ROW_GROUPS: &str = "event-archive.row-groups";
/// How many filters say wrongly that an event may be in a row group: one in so many.
const FALSE_POSITIVES: f64 = 1.0 / 1000.0;
/// Columns of bytes that look random: there is nothing to find twice, and no order that would help a reader.
const RANDOM: [&str; 9] = [
    "event_id",
    "command_id",
    "payload",
    "payload_encrypted",
    "payload_plain_hash",
    "event_signing_hash",
    "agent_signature",
    "receipt_hash",
    "sequencer_signature",
];
/// Columns of numbers that grow.
const GROWING: [&str; 5] = [
    "sequence_number",
    "receipt_sequence_number",
    "created_at",
    "sequenced_at",
    "receipt_sequenced_at",
];

/// A row group, as the footer names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowGroup {
    /// The number of its first event.
    pub from: u64,
    /// The number of its last event.
    pub to: u64,
    /// How many events it has.
    pub rows: u64,
    /// How many bytes it has; it begins where the one before ends.
    pub bytes: u64,
    /// SHA-256 of these bytes.
    pub sha256: Hash32,
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

/// Writes one object with events, into a temporary file.
pub(crate) struct EventsWriter {
    writer: ArrowWriter<Hashing>,
    groups: Vec<RowGroup>,
    group: Option<(u64, u64, u64)>,
    leaves: RootBuilder,
    from: u64,
}

/// A file that is to become an object.
pub(crate) struct Written {
    pub file: File,
    /// All that the manifest says of it, but for its batches.
    pub entry: EventsFile,
}

impl EventsWriter {
    /// Begins an object for the numbers from this one on, with row groups of about so many rows.
    pub fn create(from: u64, group_rows: u64) -> Result<Self, ArchiveError> {
        let file = tempfile::tempfile().map_err(ArchiveError::io("a temporary file"))?;
        let hashing = Hashing {
            file,
            all: Sha256::new(),
            piece: Sha256::new(),
            piece_bytes: 0,
            bytes: 0,
        };
        let writer = ArrowWriter::try_new(hashing, Arc::clone(&SCHEMA), Some(properties(group_rows)))
            .map_err(ArchiveError::columns("beginning a file of events"))?;
        Ok(Self {
            writer,
            groups: Vec::new(),
            group: None,
            leaves: RootBuilder::default(),
            from,
        })
    }

    /// How many rows the current row group has.
    pub fn rows_in_group(&self) -> u64 {
        self.group.map_or(0, |(_, _, rows)| rows)
    }

    /// How many rows there are.
    pub fn rows(&self) -> u64 {
        self.groups.iter().map(|group| group.rows).sum::<u64>() + self.rows_in_group()
    }

    /// Adds events, which follow on those before, with their leaves.
    pub fn push(&mut self, entries: &[LogEntry], leaves: &[Hash32]) -> Result<(), ArchiveError> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(());
        };
        let rows = events::to_rows(entries)?;
        self.writer
            .write(&rows)
            .map_err(ArchiveError::columns("writing events"))?;
        self.leaves.extend(leaves);
        let from = self.group.map_or(first.sequence_number, |(from, ..)| from);
        let rows = self.rows_in_group() + entries.len() as u64;
        self.group = Some((from, last.sequence_number, rows));
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

    /// Ends the file, which holds at least one event.
    pub fn finish(mut self, stream: &StreamKey, batches: u64) -> Result<Written, ArchiveError> {
        self.end_group()?;
        let rows = self.rows();
        let groups = serde_json::to_string(&self.groups).map_err(ArchiveError::columns("ending a file"))?;
        self.writer
            .append_key_value_metadata(KeyValue::new(ROW_GROUPS.to_owned(), groups));
        let mut sink = self
            .writer
            .into_inner()
            .map_err(ArchiveError::columns("ending a file of events"))?;
        let (tail_bytes, tail_sha256) = sink.take_piece();
        let sha256 = Hash32(sink.all.finalize().into());
        let to = self.groups.last().map_or(self.from, |group| group.to);
        let entry = EventsFile {
            path: format!(
                "events/{}/{}/{:020}-{:020}.{}.parquet",
                stream.tenant_id,
                stream.store_id,
                self.from,
                to,
                hex::encode(&sha256.0[..8])
            ),
            from: self.from,
            to,
            rows,
            batches,
            leaves_root: self.leaves.root().unwrap_or(Hash32::ZERO),
            bytes: sink.bytes,
            sha256,
            tail_bytes,
            tail_sha256,
        };
        Ok(Written { file: sink.file, entry })
    }
}

fn properties(group_rows: u64) -> WriterProperties {
    let event_id = ColumnPath::from("event_id");
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("event-archive ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).expect("a level of zstd")))
        // Row groups end where batches do, and nowhere else.
        .set_max_row_group_row_count(None)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_bloom_filter_position(BloomFilterPosition::End)
        .set_column_bloom_filter_enabled(event_id.clone(), true)
        .set_column_bloom_filter_fpp(event_id.clone(), FALSE_POSITIVES)
        .set_column_bloom_filter_ndv(event_id, group_rows)
        .set_sorting_columns(Some(vec![SortingColumn {
            column_idx: 2,
            descending: false,
            nulls_first: false,
        }]));
    for column in RANDOM {
        let column = ColumnPath::from(column);
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_statistics_enabled(column, EnabledStatistics::None);
    }
    for column in GROWING {
        let column = ColumnPath::from(column);
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
    }
    properties.build()
}

/// Some bytes of a file, at their place.
#[derive(Clone)]
struct Piece {
    /// The size of the file.
    length: u64,
    /// Where the bytes begin in it.
    start: u64,
    bytes: Bytes,
}

impl Piece {
    fn from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let at = start.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        let at = at.filter(|at| *at <= self.bytes.len());
        let at = at.ok_or_else(|| ParquetError::General("bytes of another part of the file are asked for".into()))?;
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

/// An object with events, of which the end has been read and checked.
pub(crate) struct EventsReader {
    entry: EventsFile,
    stream: StreamKey,
    metadata: ArrowReaderMetadata,
    groups: Arc<Vec<RowGroup>>,
    tail: Bytes,
}

impl EventsReader {
    /// Reads the end of an object, in one request.
    pub fn open(store: &Store, stream: StreamKey, entry: &EventsFile) -> Result<Self, ArchiveError> {
        let start = entry.bytes - entry.tail_bytes;
        let bytes = store.get_range(&entry.path, start..entry.bytes)?;
        let damaged = |what: String| ArchiveError::damaged(&entry.path, what);
        let found = sha256(&bytes);
        if found != entry.tail_sha256 {
            return Err(damaged(format!("its end hashes to {found}, not to {}", entry.tail_sha256)));
        }
        let tail = Piece {
            length: entry.bytes,
            start,
            bytes,
        };
        let options = ArrowReaderOptions::new().with_schema(Arc::clone(&SCHEMA));
        let metadata = guarded(|| ArrowReaderMetadata::load(&tail, options))
            .map_err(|what| damaged(format!("no file of events: {what}")))?;
        let groups = row_groups(&metadata).map_err(damaged)?;
        let rows: u64 = groups.iter().map(|group| group.rows).sum();
        let bytes: u64 = groups.iter().map(|group| group.bytes).sum();
        let ordered = groups.iter().all(|group| group.from <= group.to)
            && groups.is_sorted_by(|a, b| a.to < b.from)
            && groups.first().is_none_or(|group| group.from >= entry.from)
            && groups.last().is_none_or(|group| group.to == entry.to);
        if rows != entry.rows || bytes != start || !ordered {
            return Err(damaged("its row groups are not those that the manifest tells of".into()));
        }
        Ok(Self {
            entry: entry.clone(),
            stream,
            metadata,
            groups: Arc::new(groups),
            tail: tail.bytes,
        })
    }

    /// The row groups, in order.
    pub fn groups(&self) -> &[RowGroup] {
        &self.groups
    }

    /// The filters, indexes and footer.
    pub fn tail(&self) -> &Bytes {
        &self.tail
    }

    fn range(&self, group: usize) -> Range<u64> {
        let start: u64 = self.groups[..group].iter().map(|group| group.bytes).sum();
        start..start + self.groups[group].bytes
    }

    /// Fetches the bytes of a row group, in one request. They are checked when they are read.
    pub fn fetch(&self, store: &Store, group: usize) -> Result<FetchedGroup, ArchiveError> {
        let range = self.range(group);
        let bytes = store.get_range(&self.entry.path, range.clone())?;
        Ok(FetchedGroup {
            piece: Piece {
                length: self.entry.bytes,
                start: range.start,
                bytes,
            },
            metadata: self.metadata.clone(),
            path: self.entry.path.clone(),
            stream: self.stream,
            group: self.groups[group].clone(),
            index: group,
        })
    }
}

/// The row groups that the footer names.
fn row_groups(metadata: &ArrowReaderMetadata) -> Result<Vec<RowGroup>, String> {
    let file = metadata.metadata();
    let values = file.file_metadata().key_value_metadata();
    let named = values.into_iter().flatten().find(|value| value.key == ROW_GROUPS);
    let named = named.and_then(|value| value.value.as_deref()).ok_or("its footer names no row groups")?;
    let groups: Vec<RowGroup> =
        serde_json::from_str(named).map_err(|error| format!("its footer names no row groups: {error}"))?;
    let rows = file.row_groups().iter().map(|group| u64::try_from(group.num_rows()).ok());
    match rows.eq(groups.iter().map(|group| Some(group.rows))) {
        true => Ok(groups),
        false => Err("its row groups are not those that its footer names".into()),
    }
}

/// A row group as it was fetched: any thread can make events of it.
pub(crate) struct FetchedGroup {
    piece: Piece,
    metadata: ArrowReaderMetadata,
    path: String,
    stream: StreamKey,
    /// Which one it is.
    pub group: RowGroup,
    index: usize,
}

impl FetchedGroup {
    /// Checks the bytes, and reads the rows of these columns of the schema; all, if none are named.
    pub fn rows(&self) -> Result<Vec<RecordBatch>, ArchiveError> {
        let damaged = |what: String| ArchiveError::damaged(&self.path, what);
        let found = sha256(&self.piece.bytes);
        if found != self.group.sha256 {
            let (from, to) = (self.group.from, self.group.to);
            let what = format!("the bytes of events {from} to {to} hash to {found}, not to {}", self.group.sha256);
            return Err(damaged(what));
        }
        let read = || {
            ParquetRecordBatchReaderBuilder::new_with_metadata(self.piece.clone(), self.metadata.clone())
                .with_row_groups(vec![self.index])
                .with_batch_size(usize::try_from(self.group.rows).unwrap_or(usize::MAX).min(1 << 20))
                .build()?
                .map(|rows| rows.map_err(ParquetError::from))
                .collect()
        };
        guarded(read).map_err(damaged)
    }

    /// Checks the bytes, and makes events of them.
    pub fn entries(&self) -> Result<Vec<LogEntry>, ArchiveError> {
        let mut entries = Vec::new();
        for rows in self.rows()? {
            entries.extend(events::to_entries(&rows, &self.path)?);
        }
        let in_place = |entry: &LogEntry| {
            entry.event.stream == self.stream
                && (self.group.from..=self.group.to).contains(&entry.sequence_number)
        };
        let ordered = entries.is_sorted_by(|a, b| a.sequence_number < b.sequence_number);
        if !ordered || entries.len() as u64 != self.group.rows || !entries.iter().all(in_place) {
            let what = "it holds other events than its footer says";
            return Err(ArchiveError::damaged(&self.path, what));
        }
        Ok(entries)
    }
}

/// Runs what reads foreign bytes: the library may panic at what nobody has written by it.
pub(crate) fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err("it cannot be read at all".to_owned()),
    }
}
