//! Plain text tables for people.

use std::fmt::{self, Display, Write};

use unicode_width::UnicodeWidthStr;

use crate::escape_controls;

/// A table in plain text: columns aligned by what they take on a terminal, numbers to the right, two spaces between,
/// no lines. Control characters in cells are escaped.
#[derive(Clone, Debug)]
pub struct Table {
    headers: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column headers and no rows.
    #[must_use]
    pub fn new(headers: &[&str]) -> Self {
        Self {
            headers: headers.iter().map(|&header| cell(header)).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. Missing cells are left empty.
    ///
    /// # Panics
    /// If the row has more cells than there are headers.
    pub fn row<I>(&mut self, cells: I)
    where
        I: IntoIterator,
        I::Item: Display,
    {
        let mut row: Vec<String> = cells.into_iter().map(cell).collect();
        assert!(
            row.len() <= self.headers.len(),
            "a row has no more cells than the table has columns"
        );
        row.resize(self.headers.len(), String::new());
        self.rows.push(row);
    }

    /// Whether it has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Column {
            width: usize,
            numeric: bool,
        }
        let columns: Vec<Column> = (0..self.headers.len())
            .map(|column| {
                let cells = || self.rows.iter().map(move |row| row[column].as_str());
                let widths = cells()
                    .chain([self.headers[column].as_str()])
                    .map(UnicodeWidthStr::width);
                let numeric =
                    cells().any(is_number) && cells().all(|c| is_number(c) || c.is_empty() || c == "-");
                Column {
                    width: widths.max().unwrap_or(0),
                    numeric,
                }
            })
            .collect();
        for row in [&self.headers].into_iter().chain(&self.rows) {
            let mut line = String::new();
            for (index, (cell, column)) in row.iter().zip(&columns).enumerate() {
                if index > 0 {
                    line.push_str("  ");
                }
                let space = " ".repeat(column.width - cell.width());
                if column.numeric {
                    write!(line, "{space}{cell}")?;
                } else {
                    write!(line, "{cell}{space}")?;
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn cell(value: impl Display) -> String {
    escape_controls(&value.to_string()).into_owned()
}

fn is_number(cell: &str) -> bool {
    let digits = cell.strip_prefix(['-', '+']).unwrap_or(cell);
    let digits = digits.strip_suffix('%').unwrap_or(digits);
    let is_run = |run: &str| !run.is_empty() && run.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .split_once('.')
        .map_or(is_run(digits), |(whole, part)| is_run(whole) && is_run(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_seen_and_numbers_to_the_right() {
        let mut table = Table::new(&["entity", "head", "note"]);
        assert!(table.is_empty());
        table.row(["produit_é", "9", "ok"]);
        table.row(["倉庫", "1200", ""]);
        table.row(["x", "-"]);
        let expected = "entity     head  note\n\
                        produit_é     9  ok\n\
                        倉庫       1200\n\
                        x             -\n";
        assert_eq!(table.to_string(), expected);
        assert_eq!(Table::new(&["a", "b"]).to_string(), "a  b\n");
    }

    #[test]
    fn only_columns_of_numbers_go_to_the_right() {
        for (cell, number) in [
            ("1", true),
            ("-1.5", true),
            ("12%", true),
            ("1-2", false),
            ("", false),
            ("-", false),
            ("a1", false),
        ] {
            assert_eq!(is_number(cell), number, "{cell}");
        }
        let mut table = Table::new(&["n", "z"]);
        table.row(["1", "."]);
        table.row(["1..20", "."]);
        assert_eq!(table.to_string(), "n      z\n1      .\n1..20  .\n");
    }

    #[test]
    fn cells_cannot_forge_lines_or_move_the_cursor() {
        let mut table = Table::new(&["a"]);
        table.row(["x\ny\x1b[2J\t\u{202e}z"]);
        assert_eq!(table.to_string(), "a\nx\\ny\\u{1b}[2J\\t\\u{202e}z\n");
    }

    #[test]
    #[should_panic(expected = "no more cells")]
    fn a_row_that_is_too_long_is_a_mistake() {
        Table::new(&["a"]).row(["1", "2"]);
    }
}
