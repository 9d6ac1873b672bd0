//! Tables of any kind.

use cli_common::Tone;

use crate::Text;

/// A table. The first column names its row.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows: as many cells as there are columns.
    pub rows: Vec<Vec<Cell>>,
}

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    /// What stands above it.
    pub name: Text,
    /// Whether it holds numbers, which stand to the right.
    pub numeric: bool,
}

/// A cell.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// What is in it.
    pub text: Text,
    /// What it means, if it is a verdict. The text says the same.
    pub tone: Option<Tone>,
}

impl Cell {
    /// A verdict.
    #[must_use]
    pub fn verdict(text: impl Into<Text>, tone: Tone) -> Self {
        Self {
            text: text.into(),
            tone: Some(tone),
        }
    }
}

impl<T: Into<Text>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            tone: None,
        }
    }
}

impl Table {
    /// A table with these columns; those whose name begins with `#` hold numbers, and the sign is not shown.
    #[must_use]
    pub fn new(columns: &[&str]) -> Self {
        let column = |name: &&str| Column {
            name: name.trim_start_matches('#').into(),
            numeric: name.starts_with('#'),
        };
        Self {
            columns: columns.iter().map(column).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. What is missing at its end is empty.
    pub fn row<C: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = C>) {
        let mut row: Vec<Cell> = cells.into_iter().map(Into::into).collect();
        row.resize(self.columns.len(), Cell::default());
        self.rows.push(row);
    }
}
