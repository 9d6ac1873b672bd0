//! Rows of a query, kept in two allocations.

use rusqlite::types::ValueRef;

/// A value; texts and blobs are ranges of the table's bytes.
#[derive(Debug, Clone, Copy)]
enum RawCell {
    Null,
    Integer(i64),
    Real(f64),
    Text(usize, usize),
    Blob(usize, usize),
}

/// Rows of a query, in two allocations: values of a snapshot, or values in PostgreSQL's binary format as blobs.
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

    /// Keeps the first rows.
    pub(crate) fn truncate(&mut self, rows: usize) {
        self.cells.truncate(rows * self.width);
    }

    /// Appends the values of a complete row of another table to the row that is being made.
    pub(crate) fn push_from(&mut self, other: &Self, at: usize) {
        let row = other.row(at);
        (0..other.width).for_each(|column| self.push(row.value(column)));
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

    /// The bytes of a column whose values are blobs, `None` if it is NULL.
    pub(crate) fn bytes(&self, index: usize) -> Option<&'a [u8]> {
        match self.value(index) {
            ValueRef::Blob(bytes) => Some(bytes),
            _ => None,
        }
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
