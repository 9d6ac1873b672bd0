//! Writing such a file. Row groups are encoded and compressed on other threads while the next ones are collected, and
//! written in their order.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use serde::Serialize;
use sha2::{Digest, Sha256};
use ves::Hash32;

use super::{ROW_GROUPS, RowGroup, guarded};
use crate::error::ArchiveError;

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
///
/// In memory are the row group that is being collected, and as many that are being encoded as there are threads.
pub(crate) struct PieceWriter<K> {
    file: SerializedFileWriter<Hashing>,
    columns: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    /// What is written.
    groups: Vec<RowGroup<K>>,
    /// What is being encoded, the oldest first.
    encoding: VecDeque<Encoding<K>>,
    /// What is being collected.
    group: Option<Collected<K>>,
    /// How many rows there are in ended row groups.
    ended_rows: u64,
}

/// A row group that is being collected.
struct Collected<K> {
    from: K,
    to: K,
    rows: u64,
    batches: Vec<RecordBatch>,
}

/// A row group that is being encoded on another thread.
struct Encoding<K> {
    from: K,
    to: K,
    rows: u64,
    columns: Receiver<Result<Vec<ArrowColumnChunk>, String>>,
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
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).expect("a level of zstd")))
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
        // It puts the schema of Arrow into the footer, which the writer of row groups leaves to others.
        let (file, columns) = ArrowWriter::try_new(hashing, Arc::clone(schema), Some(properties))
            .and_then(ArrowWriter::into_serialized_writer)
            .map_err(ArchiveError::columns("beginning a file"))?;
        Ok(Self {
            file,
            columns,
            schema: Arc::clone(schema),
            groups: Vec::new(),
            encoding: VecDeque::new(),
            group: None,
            ended_rows: 0,
        })
    }

    /// How many rows the current row group has.
    pub fn rows_in_group(&self) -> u64 {
        self.group.as_ref().map_or(0, |group| group.rows)
    }

    /// How many rows there are.
    pub fn rows(&self) -> u64 {
        self.ended_rows + self.rows_in_group()
    }

    /// Adds rows, which follow on those before: from this key to that one.
    pub fn push(&mut self, rows: RecordBatch, from: &K, to: &K) {
        let group = self.group.get_or_insert_with(|| Collected {
            from: from.clone(),
            to: to.clone(),
            rows: 0,
            batches: Vec::new(),
        });
        group.to = to.clone();
        group.rows += rows.num_rows() as u64;
        group.batches.push(rows);
    }

    /// Ends the row group, if one was begun.
    pub fn end_group(&mut self) -> Result<(), ArchiveError> {
        let Some(Collected {
            from,
            to,
            rows,
            batches,
        }) = self.group.take()
        else {
            return Ok(());
        };
        let index = self.groups.len() + self.encoding.len();
        let writers = self
            .columns
            .create_column_writers(index)
            .map_err(ArchiveError::columns("beginning a row group"))?;
        let (send, columns) = sync_channel(1);
        let schema = Arc::clone(&self.schema);
        rayon::spawn(move || {
            // Nobody wants it if the file was given up.
            let _ = send.send(guarded(|| encode(writers, &schema, &batches)));
        });
        self.ended_rows += rows;
        self.encoding.push_back(Encoding {
            from,
            to,
            rows,
            columns,
        });
        match self.encoding.len() > rayon::current_num_threads() {
            true => self.write_oldest(),
            false => Ok(()),
        }
    }

    /// Writes the oldest of the row groups that are being encoded, once it is.
    fn write_oldest(&mut self) -> Result<(), ArchiveError> {
        let Some(oldest) = self.encoding.pop_front() else {
            return Ok(());
        };
        let writing = "writing a row group";
        let columns = oldest.columns.recv().map_err(ArchiveError::columns(writing))?;
        let columns = columns.map_err(ArchiveError::columns(writing))?;
        let write = |file: &mut SerializedFileWriter<Hashing>| {
            let mut group = file.next_row_group()?;
            for column in columns {
                column.append_to_row_group(&mut group)?;
            }
            group.close()
        };
        write(&mut self.file).map_err(ArchiveError::columns(writing))?;
        self.file.flush().map_err(ArchiveError::io("a temporary file"))?;
        let (bytes, sha256) = self.file.inner_mut().take_piece();
        self.groups.push(RowGroup {
            from: oldest.from,
            to: oldest.to,
            rows: oldest.rows,
            bytes,
            sha256,
        });
        Ok(())
    }

    /// Ends the file.
    pub fn finish(mut self) -> Result<WrittenPieces, ArchiveError> {
        self.end_group()?;
        while !self.encoding.is_empty() {
            self.write_oldest()?;
        }
        let ending = "ending a file";
        let groups = serde_json::to_string(&self.groups).map_err(ArchiveError::columns(ending))?;
        self.file
            .append_key_value_metadata(KeyValue::new(ROW_GROUPS.to_owned(), groups));
        let mut sink = self.file.into_inner().map_err(ArchiveError::columns(ending))?;
        let (tail_bytes, tail_sha256) = sink.take_piece();
        Ok(WrittenPieces {
            rows: self.ended_rows,
            bytes: sink.bytes,
            sha256: Hash32(sink.all.finalize().into()),
            tail_bytes,
            tail_sha256,
            file: sink.file,
        })
    }
}

/// Encodes and compresses the columns of a row group.
fn encode(
    mut writers: Vec<ArrowColumnWriter>,
    schema: &Schema,
    batches: &[RecordBatch],
) -> Result<Vec<ArrowColumnChunk>, ParquetError> {
    for batch in batches {
        let columns = schema.fields().iter().zip(batch.columns());
        for (writer, (field, column)) in writers.iter_mut().zip(columns) {
            // No column is nested: each is one leaf.
            for leaf in compute_leaves(field, column)? {
                writer.write(&leaf)?;
            }
        }
    }
    writers.into_iter().map(ArrowColumnWriter::close).collect()
}
