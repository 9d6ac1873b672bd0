//! An object with events of one stream.

use parquet::basic::{Compression, Encoding};
use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{BloomFilterPosition, EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use std::fs::File;

use arrow::array::RecordBatch;
use event_log::LogEntry;
use ves::merkle::RootBuilder;
use ves::{EventId, Hash32, StreamKey};

use crate::error::ArchiveError;
use crate::events::{self, SCHEMA};
use crate::manifest::EventsFile;
use crate::pieces::{FetchedPiece, PieceFile, PieceReader, PieceWriter, RowGroup, guarded, properties};
use crate::store::Store;

/// How many filters say wrongly that an event may be in a row group: one in so many.
const FALSE_POSITIVES: f64 = 1.0 / 1000.0;
/// Which column the event's id is.
const EVENT_ID: usize = 3;
/// Columns of bytes that look random: there is nothing to find twice, and no order that would help a reader.
const RANDOM: [&str; 4] = ["event_id", "command_id", "payload", "payload_encrypted"];
/// And those that are random to the last byte, as hashes and signatures are: compressing them takes time and saves nothing.
const INCOMPRESSIBLE: [&str; 5] = [
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

/// Writes one object with events, into a temporary file.
pub(crate) struct EventsWriter {
    pieces: PieceWriter<u64>,
    leaves: RootBuilder,
    from: u64,
}

/// A file that is to become an object.
pub(crate) struct Written {
    pub file: File,
    /// All that the manifest says of it.
    pub entry: EventsFile,
}

impl EventsWriter {
    /// Begins an object for the numbers from this one on, with row groups of about so many rows.
    pub fn create(from: u64, group_rows: u64) -> Result<Self, ArchiveError> {
        Ok(Self {
            pieces: PieceWriter::create(&SCHEMA, of_events(group_rows))?,
            leaves: RootBuilder::default(),
            from,
        })
    }

    /// How many rows the current row group has.
    pub fn rows_in_group(&self) -> u64 {
        self.pieces.rows_in_group()
    }

    /// How many rows there are.
    pub fn rows(&self) -> u64 {
        self.pieces.rows()
    }

    /// Adds rows of events, which follow on those before, with their numbers and leaves.
    pub fn push(&mut self, rows: RecordBatch, numbers: &[u64], leaves: &[Hash32]) {
        if let (Some(first), Some(last)) = (numbers.first(), numbers.last()) {
            self.pieces.push(rows, first, last);
            self.leaves.extend(leaves);
        }
    }

    /// Ends the row group.
    pub fn end_group(&mut self) -> Result<(), ArchiveError> {
        self.pieces.end_group()
    }

    /// Ends the file, which holds at least one event and is meant for the numbers up to this one.
    pub fn finish(self, stream: &StreamKey, to: u64, batches: u64) -> Result<Written, ArchiveError> {
        let written = self.pieces.finish()?;
        let entry = EventsFile {
            path: format!(
                "events/{}/{}/{:020}-{to:020}.{}.parquet",
                stream.tenant_id,
                stream.store_id,
                self.from,
                hex::encode(&written.sha256.0[..8])
            ),
            from: self.from,
            to,
            rows: written.rows,
            batches,
            leaves_root: self.leaves.root().unwrap_or(Hash32::ZERO),
            bytes: written.bytes,
            sha256: written.sha256,
            tail_bytes: written.tail_bytes,
            tail_sha256: written.tail_sha256,
        };
        Ok(Written {
            file: written.file,
            entry,
        })
    }
}

fn of_events(group_rows: u64) -> WriterProperties {
    let event_id = ColumnPath::from("event_id");
    let mut properties = properties()
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_bloom_filter_position(BloomFilterPosition::End)
        .set_column_bloom_filter_enabled(event_id.clone(), true)
        .set_column_bloom_filter_fpp(event_id.clone(), FALSE_POSITIVES)
        .set_column_bloom_filter_max_ndv(event_id, group_rows)
        .set_sorting_columns(Some(vec![SortingColumn {
            column_idx: 2,
            descending: false,
            nulls_first: false,
        }]));
    for column in RANDOM.into_iter().chain(INCOMPRESSIBLE) {
        let column = ColumnPath::from(column);
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_statistics_enabled(column, EnabledStatistics::None);
    }
    for column in INCOMPRESSIBLE {
        properties = properties.set_column_compression(ColumnPath::from(column), Compression::UNCOMPRESSED);
    }
    for column in GROWING {
        let column = ColumnPath::from(column);
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
    }
    properties.build()
}

/// An object with events, of which the end has been read and checked.
pub(crate) struct EventsReader {
    pieces: PieceReader<u64>,
    path: String,
    stream: StreamKey,
}

impl EventsReader {
    /// Reads the end of an object, in one request.
    pub fn open(store: &Store, stream: StreamKey, entry: &EventsFile) -> Result<Self, ArchiveError> {
        let file = PieceFile {
            path: &entry.path,
            rows: entry.rows,
            bytes: entry.bytes,
            tail_bytes: entry.tail_bytes,
            tail_sha256: entry.tail_sha256,
        };
        let pieces: PieceReader<u64> = PieceReader::open(store, &file, &SCHEMA)?;
        let groups = pieces.groups();
        let within = groups.first().is_none_or(|group| group.from >= entry.from)
            && groups.last().is_none_or(|group| group.to <= entry.to);
        if !within {
            let what = "its events are not of the numbers that the manifest tells of";
            return Err(ArchiveError::damaged(&entry.path, what));
        }
        Ok(Self {
            pieces,
            path: entry.path.clone(),
            stream,
        })
    }

    /// The row groups, in order.
    pub fn groups(&self) -> &[RowGroup<u64>] {
        self.pieces.groups()
    }

    /// The row groups that may hold an event, by their filters.
    pub fn groups_with(&self, event: EventId) -> Result<Vec<usize>, ArchiveError> {
        let damaged = |what: String| ArchiveError::damaged(&self.path, what);
        let may_hold = |group: usize| -> Result<bool, ArchiveError> {
            let column = self.pieces.metadata().row_group(group).column(EVENT_ID);
            let read = || Sbbf::read_from_column_chunk(column, self.pieces.tail());
            let filter = guarded(read).map_err(damaged)?;
            // Without a filter nothing is known.
            Ok(filter.is_none_or(|filter| filter.check(event.as_bytes().as_slice())))
        };
        let mut groups = Vec::new();
        for group in 0..self.groups().len() {
            if may_hold(group)? {
                groups.push(group);
            }
        }
        Ok(groups)
    }

    /// Fetches the bytes of a row group, in one request. They are checked when they are read.
    pub fn fetch(&self, store: &Store, group: usize) -> Result<FetchedGroup, ArchiveError> {
        Ok(FetchedGroup {
            piece: self.pieces.fetch(store, group)?,
            stream: self.stream,
            group: self.groups()[group].clone(),
        })
    }
}

/// A row group as it was fetched: any thread can make events of it.
pub(crate) struct FetchedGroup {
    piece: FetchedPiece,
    stream: StreamKey,
    /// Which one it is.
    pub group: RowGroup<u64>,
}

impl FetchedGroup {
    /// Whose events they are.
    pub fn stream(&self) -> StreamKey {
        self.stream
    }

    /// Checks the bytes, and makes events of them.
    pub fn entries(&self) -> Result<Vec<LogEntry>, ArchiveError> {
        let mut entries = Vec::new();
        for rows in self.piece.rows()? {
            entries.extend(events::to_entries(&rows, self.piece.path())?);
        }
        let in_place = |entry: &LogEntry| {
            entry.event.stream == self.stream
                && (self.group.from..=self.group.to).contains(&entry.sequence_number)
        };
        let ordered = entries.is_sorted_by(|a, b| a.sequence_number < b.sequence_number);
        if !ordered || entries.len() as u64 != self.group.rows || !entries.iter().all(in_place) {
            let what = "it holds other events than its footer says";
            return Err(ArchiveError::damaged(self.piece.path(), what));
        }
        Ok(entries)
    }
}
