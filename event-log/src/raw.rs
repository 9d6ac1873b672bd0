//! Rows as the database gave them, to be understood elsewhere: whoever reads a log only fetches, and other threads
//! make values of it.

use std::ops::Range;

use rusqlite::types::ValueRef;
use sqlx::{Row as _, ValueRef as _};
use ves::StreamKey;

use crate::cells::RawTable;
use crate::entry::{LogEntry, number_of, read_entry};
use crate::error::RowError;
use crate::value::Row;

/// Events of one stream with their receipts, in order, fetched and not yet understood.
pub struct RawEntries {
    stream: StreamKey,
    rows: RawRows,
}

pub(crate) enum RawRows {
    /// Values in PostgreSQL's binary format, all of them blobs.
    Postgres(RawTable),
    Snapshot(RawTable),
    /// What stands in place of rows that the server does not give out.
    Unreadable(Vec<RowError>),
}

/// Appends a row that is just being read: of a snapshot its values, of PostgreSQL their bytes as blobs.
///
/// # Errors
/// What the driver says.
pub(crate) fn push_row(table: &mut RawTable, row: Row<'_>, columns: usize) -> Result<(), String> {
    push_columns(table, row, 0..columns)
}

/// As [`push_row`], of some columns.
///
/// # Errors
/// What the driver says.
pub(crate) fn push_columns(table: &mut RawTable, row: Row<'_>, columns: Range<usize>) -> Result<(), String> {
    for column in columns {
        table.push(match row {
            Row::Snapshot(row) => row.get_ref(column).map_err(|e| e.to_string())?,
            Row::Postgres(row) => {
                let value = row.try_get_raw(column).map_err(|e| e.to_string())?;
                match value.is_null() {
                    true => ValueRef::Null,
                    false => ValueRef::Blob(value.as_bytes().map_err(|e| e.to_string())?),
                }
            }
            Row::Raw(row) | Row::Fetched(row) => row.value(column),
        });
    }
    Ok(())
}

impl RawRows {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            RawRows::Postgres(table) | RawRows::Snapshot(table) => table.len(),
            RawRows::Unreadable(rows) => rows.len(),
        }
    }

    /// A row that was read.
    pub(crate) fn row(&self, at: usize) -> Option<Row<'_>> {
        match self {
            RawRows::Postgres(table) => Some(Row::Fetched(table.row(at))),
            RawRows::Snapshot(table) => Some(Row::Raw(table.row(at))),
            RawRows::Unreadable(_) => None,
        }
    }

    /// Makes values of the rows.
    pub(crate) fn read<T>(self, value: impl Fn(Row<'_>) -> Result<T, RowError>) -> Vec<Result<T, RowError>> {
        match self {
            RawRows::Postgres(table) => (0..table.len())
                .map(|at| value(Row::Fetched(table.row(at))))
                .collect(),
            RawRows::Snapshot(table) => (0..table.len())
                .map(|at| value(Row::Raw(table.row(at))))
                .collect(),
            RawRows::Unreadable(rows) => rows.into_iter().map(Err).collect(),
        }
    }

    /// The last number among the rows of PostgreSQL, which is in that column, and how many rows with it there are, those
    /// `before` included.
    pub(crate) fn last_number(&self, column: usize, before: Option<(i64, u64)>) -> Option<(i64, u64)> {
        let RawRows::Postgres(rows) = self else {
            return before;
        };
        let mut numbers = (0..rows.len())
            .rev()
            .map_while(|at| number_of(Row::Fetched(rows.row(at)), column));
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
        self.rows.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes values of the rows; one that cannot be understood becomes an error in its place.
    pub fn read(self) -> Vec<Result<LogEntry, RowError>> {
        self.rows.read(|row| read_entry(row, &self.stream))
    }
}
