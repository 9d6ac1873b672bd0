//! Rows as the database gave them, to be understood elsewhere: whoever reads a log only fetches, and other threads
//! make values of it.

use sqlx::postgres::PgRow;
use ves::StreamKey;

use crate::cells::RawTable;
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
