//! What can be done with read rows on any thread: leaves and columns.

use anchor_verify::verify::source::Chunk;
use arrow::array::RecordBatch;
use event_log::{LogEntry, RowError};
use ves::kernel::{self, LeafInput};
use ves::{EventId, Hash32, StreamKey};

use crate::error::ArchiveError;
use crate::events;

/// Rows of one stream, in order, ready to be written.
pub(super) struct Prepared {
    pub stream: StreamKey,
    pub numbers: Vec<u64>,
    pub leaves: Vec<Hash32>,
    pub events: Vec<EventId>,
    pub rows: Result<RecordBatch, ArchiveError>,
    /// Rows that cannot be read.
    pub unreadable: Vec<RowError>,
}

/// Prepares a chunk: a piece for each run of rows of one stream.
pub(super) fn prepare(chunk: Chunk) -> Vec<Prepared> {
    let mut pieces = Vec::new();
    let mut run: Vec<LogEntry> = Vec::new();
    let mut unreadable: Vec<RowError> = Vec::new();
    for row in chunk.read() {
        let entry = match row {
            Ok(held) => held.entry,
            Err(error) => {
                unreadable.push(error);
                continue;
            }
        };
        if run
            .first()
            .is_some_and(|first| first.event.stream != entry.event.stream)
        {
            pieces.extend(piece(&std::mem::take(&mut run), Vec::new()));
        }
        run.push(entry);
    }
    pieces.extend(piece(&run, Vec::new()));
    let of_stream = |error: &RowError| error.stream;
    for run in unreadable.chunk_by(|a, b| of_stream(a) == of_stream(b)) {
        // A row of no stream that is known is named by the outline.
        pieces.extend(of_stream(&run[0]).map(|stream| Prepared {
            stream,
            numbers: Vec::new(),
            leaves: Vec::new(),
            events: Vec::new(),
            rows: events::to_rows(&[]),
            unreadable: run.to_vec(),
        }));
    }
    pieces
}

fn piece(entries: &[LogEntry], unreadable: Vec<RowError>) -> Option<Prepared> {
    let stream = entries.first()?.event.stream;
    Some(Prepared {
        stream,
        numbers: entries.iter().map(|entry| entry.sequence_number).collect(),
        leaves: leaves(&stream, entries),
        events: entries.iter().map(|entry| entry.event.event_id).collect(),
        rows: events::to_rows(entries),
        unreadable,
    })
}

/// The leaves of entries of one stream, as commitments have them.
pub(super) fn leaves(stream: &StreamKey, entries: &[LogEntry]) -> Vec<Hash32> {
    let inputs: Vec<LeafInput> = entries
        .iter()
        .map(|entry| LeafInput {
            sequence_number: entry.sequence_number,
            event_signing_hash: entry.event_signing_hash,
            agent_signature: entry.event.agent_signature,
        })
        .collect();
    let mut leaves = vec![Hash32::ZERO; inputs.len()];
    kernel::leaf_hashes(stream, &inputs, &mut leaves);
    leaves
}
