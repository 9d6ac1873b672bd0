//! Rows as the database gave them, to be understood elsewhere: whoever reads a log only fetches, and other threads
//! make values of it.

use rusqlite::types::ValueRef;
use sqlx::postgres::PgRow;
use ves::StreamKey;

use crate::entry::{ENTRY_SEQUENCE, LogEntry, number_of, read_entry};
use crate::error::RowError;
use crate::value::Row;

/// Events of one stream with their receipts, in order, fetched and not yet understood.
pub struct RawEntries {
    stream: StreamKey,
    rows: RawRows,
}

pub(crate) enum RawRows {
    Postgres(Vec<PgRow>),
    Snapshot(RawTable),
    /// What stands in place of rows that the server does not give out.
    Unreadable(Vec<RowError>),
}

impl RawRows {
    /// The last number among the rows of PostgreSQL, and how many rows with it there are, those `before` included.
    pub(crate) fn last_number(&self, before: Option<(i64, u64)>) -> Option<(i64, u64)> {
        let RawRows::Postgres(rows) = self else {
            return before;
        };
        let mut numbers = rows
            .iter()
            .rev()
            .map_while(|row| number_of(Row::Postgres(row), ENTRY_SEQUENCE));
        let last = numbers.next()?;
        let same = 1 + numbers.take_while(|number| *number == last).count();
        let handed_over = before.filter(|(number, _)| *number == last && same == rows.len());
        Some((last, same as u64 + handed_over.map_or(0, |(_, count)| count)))
    }
}

impl RawEntries {
    pub(crate) fn new(stream: StreamKey, rows: RawRows) -> Self {
        Self { stream, rows }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        match &self.rows {
            RawRows::Postgres(rows) => rows.len(),
            RawRows::Snapshot(table) => table.len(),
            RawRows::Unreadable(rows) => rows.len(),
        }
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes values of the rows; one that cannot be understood becomes an error in its place.
    pub fn read(self) -> Vec<Result<LogEntry, RowError>> {
        let stream = self.stream;
        match self.rows {
            RawRows::Postgres(rows) => rows
                .into_iter()
                .map(|row| read_entry(Row::Postgres(&row), &stream))
                .collect(),
            RawRows::Snapshot(table) => (0..table.len())
                .map(|at| read_entry(Row::Raw(table.row(at)), &stream))
                .collect(),
            RawRows::Unreadable(rows) => rows.into_iter().map(Err).collect(),
        }
    }
}

/// A value of a snapshot; texts and blobs are ranges of the table's bytes.
#[derive(Debug, Clone, Copy)]
enum RawCell {
    Null,
    Integer(i64),
    Real(f64),
    Text(usize, usize),
    Blob(usize, usize),
}

/// Rows of a query on a snapshot, in two allocations.
#[derive(Debug, Default)]
pub(crate) struct RawTable {
    width: usize,
    cells: Vec<RawCell>,
    bytes: Vec<u8>,
}

impl RawTable {
    /// An empty table whose rows will have so many columns, with room for about so many rows.
    pub(crate) fn new(width: usize, rows: usize) -> Self {
        Self {
            width,
            cells: Vec::with_capacity(rows * width),
            bytes: Vec::with_capacity(rows * 1024),
        }
    }

    /// How many rows are complete.
    pub(crate) fn len(&self) -> usize {
        self.cells.len() / self.width.max(1)
    }

    /// How many bytes its texts and blobs have.
    pub(crate) fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a value to the row that is being made.
    pub(crate) fn push(&mut self, value: ValueRef<'_>) {
        let start = self.bytes.len();
        let cell = match value {
            ValueRef::Null => RawCell::Null,
            ValueRef::Integer(number) => RawCell::Integer(number),
            ValueRef::Real(number) => RawCell::Real(number),
            ValueRef::Text(bytes) => {
                self.bytes.extend_from_slice(bytes);
                RawCell::Text(start, self.bytes.len())
            }
            ValueRef::Blob(bytes) => {
                self.bytes.extend_from_slice(bytes);
                RawCell::Blob(start, self.bytes.len())
            }
        };
        self.cells.push(cell);
    }

    /// A complete row.
    pub(crate) fn row(&self, at: usize) -> RawRow<'_> {
        RawRow {
            cells: &self.cells[at * self.width..(at + 1) * self.width],
            bytes: &self.bytes,
        }
    }

    /// The value that was appended `back` values ago; 1 is the last.
    pub(crate) fn recent(&self, back: usize) -> ValueRef<'_> {
        value_of(self.cells[self.cells.len() - back], &self.bytes)
    }
}

/// A row of a [`RawTable`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawRow<'a> {
    cells: &'a [RawCell],
    bytes: &'a [u8],
}

impl<'a> RawRow<'a> {
    /// The value of a column.
    pub(crate) fn value(&self, index: usize) -> ValueRef<'a> {
        value_of(self.cells[index], self.bytes)
    }
}

fn value_of(cell: RawCell, bytes: &[u8]) -> ValueRef<'_> {
    match cell {
        RawCell::Null => ValueRef::Null,
        RawCell::Integer(number) => ValueRef::Integer(number),
        RawCell::Real(number) => ValueRef::Real(number),
        RawCell::Text(start, end) => ValueRef::Text(&bytes[start..end]),
        RawCell::Blob(start, end) => ValueRef::Blob(&bytes[start..end]),
    }
}
