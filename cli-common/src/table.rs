//! Plain text tables for people.

use std::fmt::{self, Display, Write as _};

use unicode_width::UnicodeWidthStr;

use crate::escape_controls;
use crate::style::{Style, Tone};
use crate::wrap;

/// A table in plain text: columns aligned by what they take on a terminal, numbers to the right, two spaces between,
/// no lines. Control characters in cells are escaped.
///
/// Where it is too wide, [`crate::Output::table`] makes it fit.
#[derive(Clone, Debug)]
pub struct Table {
    headers: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

#[derive(Clone, Debug, Default)]
struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Table {
    /// A table with these column headers and no rows.
    #[must_use]
    pub fn new(headers: &[&str]) -> Self {
        Self {
            headers: headers.iter().map(|&header| escape(header)).collect(),
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
        let cells = cells.into_iter().map(|value| Cell {
            text: escape(value),
            tone: None,
        });
        let mut row: Vec<Cell> = cells.collect();
        assert!(
            row.len() <= self.headers.len(),
            "a row has no more cells than the table has columns"
        );
        row.resize(self.headers.len(), Cell::default());
        self.rows.push(row);
    }

    /// Says that a cell of the last row is a verdict, and what it means.
    pub fn verdict(&mut self, column: usize, tone: Tone) {
        if let Some(cell) = self.rows.last_mut().and_then(|row| row.get_mut(column)) {
            cell.tone = Some(tone);
        }
    }

    /// Whether it has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table in this style, line by line.
    ///
    /// Where it is too wide, columns go that say nothing in any row, and are named below it. Then headers are broken at
    /// spaces, then text columns within their cells, the last first. If even that is too wide, the columns that do not
    /// fit follow below, beside the first column again.
    pub(crate) fn lines(&self, style: &Style) -> Vec<String> {
        let table = self.cleaned(style);
        let mut columns: Vec<Column> = (0..table.headers.len()).map(|at| table.column(at)).collect();
        let mut lines = Vec::new();
        let Some(width) = style.width else {
            table.write_block(&columns, style, &mut lines);
            return lines;
        };
        let gone = table.leave_out(&mut columns, width);
        narrow(&mut columns, width);
        let mut rest = columns.as_slice();
        loop {
            let fit = fitting(&columns[..1], rest, width, lines.is_empty());
            let (now, later) = rest.split_at(fit);
            let mut block = now.to_vec();
            if !lines.is_empty() {
                lines.push(String::new());
                block.insert(0, columns[0].clone());
            }
            widen(&mut block, width);
            table.write_block(&block, style, &mut lines);
            if later.is_empty() {
                break;
            }
            rest = later;
        }
        if !gone.is_empty() {
            let text = format!("(nothing in: {})", gone.join(", "));
            lines.extend(wrap::prose(&text, width));
        }
        lines
    }

    /// The same in the characters of the style.
    fn cleaned(&self, style: &Style) -> Self {
        let clean = |text: &str| style.clean(text).into_owned();
        let cell = |cell: &Cell| Cell {
            text: clean(&cell.text),
            tone: cell.tone,
        };
        Self {
            headers: self.headers.iter().map(|header| clean(header)).collect(),
            rows: (self.rows.iter())
                .map(|row| row.iter().map(cell).collect())
                .collect(),
        }
    }

    fn column(&self, at: usize) -> Column {
        let header = &self.headers[at];
        let cells = || self.rows.iter().map(|row| row[at].text.as_str());
        let longest = |text: &str| text.split(' ').map(UnicodeWidthStr::width).max().unwrap_or(0);
        Column {
            at,
            header: longest(header),
            cells: cells().map(UnicodeWidthStr::width).max().unwrap_or(0),
            width: cells()
                .chain([header.as_str()])
                .map(UnicodeWidthStr::width)
                .max()
                .unwrap_or(0),
            numeric: cells().any(is_number) && cells().all(|c| is_number(c) || c.is_empty() || c == "-"),
            // What a few words take is not broken; a table of them reads badly.
            least: cells()
                .map(longest)
                .max()
                .unwrap_or(0)
                .clamp(LEAST_SHORT, LEAST_LONG),
        }
    }

    /// Takes columns out that say nothing, from the last on, until the rest fits; gives their headers.
    fn leave_out(&self, columns: &mut Vec<Column>, width: usize) -> Vec<String> {
        let mut gone = Vec::new();
        for at in (1..self.headers.len()).rev() {
            if total(columns) <= width || self.rows.is_empty() {
                break;
            }
            let nothing = |row: &Vec<Cell>| matches!(row[at].text.as_str(), "" | "0" | "-");
            if self.rows.iter().all(nothing) {
                columns.retain(|column| column.at != at);
                gone.push(self.headers[at].clone());
            }
        }
        gone.reverse();
        gone
    }

    fn write_block(&self, columns: &[Column], style: &Style, lines: &mut Vec<String>) {
        let headers = columns.iter().map(|column| {
            let cell = Cell {
                text: self.headers[column.at].clone(),
                tone: None,
            };
            (column, cell)
        });
        write_row(&headers.collect::<Vec<_>>(), style, lines);
        for row in &self.rows {
            let cells = columns.iter().map(|column| (column, row[column.at].clone()));
            write_row(&cells.collect::<Vec<_>>(), style, lines);
        }
    }
}

/// The least width that a text column is given: its longest word's, within these bounds.
const LEAST_SHORT: usize = 8;
const LEAST_LONG: usize = 20;

/// A column as it is shown.
#[derive(Clone)]
struct Column {
    /// Which of the table's.
    at: usize,
    /// What the longest word of its header takes.
    header: usize,
    /// What its widest cell takes.
    cells: usize,
    /// What it is given.
    width: usize,
    numeric: bool,
    /// What a column of text is given at least.
    least: usize,
}

fn total(columns: &[Column]) -> usize {
    let widths: usize = columns.iter().map(|column| column.width).sum();
    widths + 2 * columns.len().saturating_sub(1)
}

/// Makes columns narrower until they fit, or until they cannot be narrower: first their headers, then their text.
fn narrow(columns: &mut [Column], width: usize) {
    // Only as many headers are broken as must be.
    for at in (0..columns.len()).rev() {
        if total(columns) <= width {
            return;
        }
        columns[at].width = columns[at].header.max(columns[at].cells);
    }
    // Behind the first column, which names the row, the last text gives way first.
    let order = (1..columns.len()).rev().chain(0..columns.len().min(1));
    for at in order {
        let over = total(columns).saturating_sub(width);
        let column = &mut columns[at];
        if over == 0 {
            return;
        }
        if !column.numeric {
            let least = column.least.max(column.header).min(column.width);
            column.width = column.width.saturating_sub(over).max(least);
        }
    }
}

/// Gives text what room is left on its lines, the last column first.
fn widen(columns: &mut [Column], width: usize) {
    for at in (0..columns.len()).rev() {
        let spare = width.saturating_sub(total(columns));
        let column = &mut columns[at];
        if !column.numeric {
            column.width += column.cells.saturating_sub(column.width).min(spare);
        }
    }
}

/// How many of the columns fit on a line, beside the first if they do not begin with it; one at least.
fn fitting(first: &[Column], rest: &[Column], width: usize, with_first: bool) -> usize {
    let mut taken = if with_first { 0 } else { total(first) + 2 };
    let mut count = 0;
    for column in rest {
        let more = column.width + if count > 0 { 2 } else { 0 };
        if count > 0 && taken + more > width {
            break;
        }
        taken += more;
        count += 1;
    }
    count
}

fn write_row(cells: &[(&Column, Cell)], style: &Style, lines: &mut Vec<String>) {
    let wrapped: Vec<Vec<String>> = cells
        .iter()
        .map(|(column, cell)| wrap::cell(&cell.text, column.width))
        .collect();
    let height = wrapped.iter().map(Vec::len).max().unwrap_or(1);
    for index in 0..height {
        let mut line = String::new();
        let mut pending = 0;
        for (at, (column, cell)) in cells.iter().enumerate() {
            if at > 0 {
                pending += 2;
            }
            let text = wrapped[at].get(index).map_or("", String::as_str);
            let space = column.width.saturating_sub(text.width());
            if text.is_empty() {
                pending += space;
                continue;
            }
            if column.numeric {
                pending += space;
            }
            line.extend(std::iter::repeat_n(' ', pending));
            pending = if column.numeric { 0 } else { space };
            match cell.tone.filter(|_| style.color) {
                Some(tone) => line.push_str(&tone.paint(text)),
                None => line.push_str(text),
            }
        }
        lines.push(line);
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let style = Style {
            width: None,
            ..Style::default()
        };
        for line in self.lines(&style) {
            f.write_str(&line)?;
            f.write_char('\n')?;
        }
        Ok(())
    }
}

fn escape(value: impl Display) -> String {
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

    fn at(width: usize, table: &Table) -> String {
        let style = Style {
            width: Some(width),
            ..Style::default()
        };
        let lines = table.lines(&style);
        for line in &lines {
            assert!(line.width() <= width && !line.ends_with(' '), "{line:?}");
        }
        lines.join("\n")
    }

    #[test]
    fn what_says_nothing_goes_first_and_is_named() {
        let mut table = Table::new(&["NAME", "ROWS", "NONE", "NO NUMBER", "WHY"]);
        table.row(["a", "1", "0", "-", "x"]);
        table.row(["b", "0", "0", "", "y"]);
        assert_eq!(at(80, &table).lines().count(), 3);
        assert_eq!(
            at(20, &table),
            "NAME  ROWS  WHY\na        1  x\nb        0  y\n(nothing in: NONE,\n  NO NUMBER)"
        );
    }

    #[test]
    fn headers_are_broken_before_text_and_text_before_numbers() {
        let mut table = Table::new(&["NAME", "KNOWN HEAD", "WHY"]);
        table.row(["a", "1200", "one two three four"]);
        assert_eq!(
            at(31, &table),
            "NAME  KNOWN  WHY\n       HEAD\na      1200  one two three four"
        );
        assert_eq!(
            at(22, &table),
            "NAME  KNOWN  WHY\n       HEAD\na      1200  one two\n             three\n             four"
        );
    }

    #[test]
    fn columns_that_do_not_fit_at_all_follow_below() {
        let mut table = Table::new(&["NAME", "ONE", "TWO", "THREE"]);
        table.row(["a", "1234567", "1234567", "1234567"]);
        assert_eq!(
            at(22, &table),
            "NAME      ONE      TWO\na     1234567  1234567\n\nNAME    THREE\na     1234567"
        );
    }

    #[test]
    fn verdicts_are_coloured_and_take_no_more_room() {
        let mut table = Table::new(&["A", "B"]);
        table.row(["FAILED", "x"]);
        table.verdict(0, Tone::Bad);
        let style = Style {
            color: true,
            ..Style::default()
        };
        let lines = table.lines(&style);
        assert_eq!(lines[0], "A       B");
        assert!(
            lines[1].starts_with("\x1b[") && lines[1].ends_with("\x1b[0m  x"),
            "{lines:?}"
        );
        assert_eq!(table.to_string(), "A       B\nFAILED  x\n");
    }
}
