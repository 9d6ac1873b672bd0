//! Rows of a table straight from the pages of a file that does not change.
//!
//! For a scan of whole rows SQLite reads each page by a system call of its own, and gives each column by several calls.
//! That is half of the work of an export. Here neighbouring pages are read at once, and records are taken apart where
//! they lie. Source: "Database File Format", sections 1.5 to 2.1 (<https://www.sqlite.org/fileformat2.html>).
//!
//! This is only ever a faster way to what SQLite says. Where the table's rows lie is asked of SQLite ([`Layout`]). Whatever
//! is not as expected, in a page, a cell or a record, ends the reading before that row, whether it is damaged or merely
//! rare, and SQLite goes on from there: it decides. What is checked is what SQLite checks of a page (`cell_size_check`),
//! and besides that the rows of a page are those that the pages above it promise.

use std::fs::File;
use std::ops::{ControlFlow, Range, RangeInclusive};

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::private_copy::HEADER;
use crate::row::Table;

use super::in_place::first_bytes;
use super::plain_line::Values;

/// How much is read at once: what stays in the processor's nearest cache until it is used.
const WINDOW: usize = 1 << 15;
/// So much of others' pages is read in vain rather than reading once more.
const PASSED_OVER: u64 = 1 << 13;
/// Longer rows are left to SQLite.
const MAX_PAYLOAD: usize = 1 << 20;
/// SQLite's own limit for the depth of a tree.
const MAX_DEPTH: usize = 20;
/// Bytes of a leaf's and of an inner page's header; numbers of cells follow, two bytes each.
const LEAF_HEADER: usize = 8;
const INNER_HEADER: usize = 12;
/// The page with this byte of the file is never used: it is there to be locked.
const LOCK_BYTE: u32 = 0x4000_0000;

/// Where the rows of a table lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    page_size: usize,
    /// How many pages the file has.
    pages: u32,
    root: u32,
    /// The column that is the row number; records have NULL there.
    row_number: Option<usize>,
    /// For each column the serial type of what stands for it in records that are older.
    columns: Vec<Option<u32>>,
}

impl Layout {
    /// `None` if there is anything unusual about the file or the table.
    pub(crate) fn of(connection: &Connection, header: &[u8; HEADER], table: Table) -> Option<Self> {
        let number = |at| number(header, at);
        let page_size = match u16::from_be_bytes([header[16], header[17]]) {
            1 => 1 << 16,
            size if size >= 512 && size.is_power_of_two() => usize::from(size),
            _ => return None,
        };
        // No bytes kept back in each page; the number of pages holds; text is UTF-8.
        if header[20] != 0 || number(24) != number(92) || number(56) != Some(1) {
            return None;
        }
        let mut layout = Self {
            page_size,
            // SQLite has no more, and the number behind the last is a number.
            pages: number(28)?.min(u32::MAX - 1),
            root: 0,
            row_number: None,
            columns: Vec::new(),
        };
        let sql = include_str!("../../../sql/outbox-sync/layout.sql");
        let mut statement = connection.prepare(sql).ok()?;
        let mut columns = statement.query([table.name()]).ok()?;
        while let Some(column) = columns.next().ok()? {
            layout.root = column.get(0).ok()?;
            if column.get(1).ok()? {
                layout.row_number = Some(layout.columns.len());
            }
            if column.get(2).ok()? {
                return None;
            }
            layout.columns.push(column.get(3).ok()?);
        }
        (!layout.columns.is_empty()).then_some(layout)
    }
}

/// Hands over the rows of a table with these numbers, in their order, straight from the pages of a file that does not change: each
/// with its number, and its values as the statement gives them that reads all rows, the number first. `each` may break it off.
///
/// `None` if anything about the file or the table is unusual; otherwise whether that was all of them. If not, the next row is
/// not as expected, and SQLite decides.
pub fn page_rows(
    file: &File,
    connection: &Connection,
    table: Table,
    numbers: RangeInclusive<i64>,
    each: &mut dyn FnMut(i64, &[ValueRef<'_>]) -> ControlFlow<()>,
) -> Option<bool> {
    let layout = Layout::of(connection, &first_bytes(file)?, table)?;
    let columns = 1 + layout.columns.len();
    let mut by_pages = LeafPages::new(file, layout);
    let all = by_pages.rows(*numbers.start(), *numbers.end(), &mut |number, record| {
        let values: Option<Vec<ValueRef<'_>>> = (0..columns).map(|column| record.value(column)).collect();
        match values {
            Some(values) => each(number, &values),
            None => ControlFlow::Break(()),
        }
    });
    Some(all)
}

/// Reads rows of one table.
pub(crate) struct LeafPages<'f> {
    file: &'f File,
    layout: Layout,
    window: Window,
    /// A page that is not in the window.
    page: Vec<u8>,
    /// A record that lies on several pages.
    payload: Vec<u8>,
    fields: Vec<Field>,
}

/// Neighbouring pages.
#[derive(Debug, Default)]
struct Window {
    bytes: Vec<u8>,
    pages: Range<u32>,
}

/// A value of a record: its serial type, and where it begins.
#[derive(Debug, Clone, Copy)]
struct Field {
    kind: u64,
    at: usize,
}

/// A page below another: what it holds are the rows behind `low` up to `high`.
#[derive(Debug, Clone, Copy)]
struct Child {
    page: u32,
    low: Option<i64>,
    high: i64,
}

/// Which rows are wanted, and who takes them.
struct Scan<'e> {
    first: i64,
    last: i64,
    each: &'e mut dyn FnMut(i64, &Record<'_>) -> ControlFlow<()>,
}

impl<'f> LeafPages<'f> {
    pub(crate) fn new(file: &'f File, layout: Layout) -> Self {
        Self {
            file,
            layout,
            window: Window::default(),
            page: Vec::new(),
            payload: Vec::new(),
            fields: Vec::new(),
        }
    }

    /// Hands over the rows with numbers from `first` to `last` in their order, until one is not as expected or `each` breaks.
    /// Whether that was all of them.
    pub(crate) fn rows(
        &mut self,
        first: i64,
        last: i64,
        each: &mut dyn FnMut(i64, &Record<'_>) -> ControlFlow<()>,
    ) -> bool {
        let root = Child {
            page: self.layout.root,
            low: None,
            high: i64::MAX,
        };
        self.below(&[root], 0, &mut Scan { first, last, each }).is_some()
    }

    /// Rows of neighbouring subtrees. Whether one behind the last was seen: until then there may be more, as for SQLite, and
    /// that a page above says otherwise is not enough. `None` if the reading is over.
    fn below(&mut self, children: &[Child], depth: usize, scan: &mut Scan<'_>) -> Option<bool> {
        if depth >= MAX_DEPTH {
            return None;
        }
        for (n, child) in children.iter().enumerate() {
            if child.high < scan.first {
                continue;
            }
            self.is_there(child.page)?;
            if !self.window.pages.contains(&child.page) {
                self.read_ahead(&children[n..], scan.last)?;
            }
            let page = self.window.page(child.page, self.layout.page_size)?;
            let behind = match page.first()? {
                0x05 => {
                    let below = inner(page, *child)?;
                    self.below(&below, depth + 1, scan)?
                }
                0x0d => {
                    let window = std::mem::take(&mut self.window);
                    let behind = self.leaf(&window, *child, scan);
                    self.window = window;
                    behind?
                }
                _ => return None,
            };
            if behind {
                return Some(true);
            }
        }
        Some(false)
    }

    /// Reads the first of these pages, and with it those that follow soon.
    fn read_ahead(&mut self, children: &[Child], last: i64) -> Option<()> {
        let size = self.layout.page_size;
        let first = children.first()?.page;
        let most = (WINDOW / size).max(1) as u32;
        let mut end = first;
        for child in children {
            let wanted = child.page == first || child.low.is_none_or(|low| low < last);
            let near = child.page >= end && u64::from(child.page - end) * size as u64 <= PASSED_OVER;
            if !(wanted && near && child.page - first < most && self.is_there(child.page).is_some()) {
                break;
            }
            end = child.page + 1;
        }
        let Window { bytes, pages } = &mut self.window;
        *pages = 0..0;
        bytes.resize((end - first) as usize * size, 0);
        read_at(self.file, bytes, first, size)?;
        *pages = first..end;
        Some(())
    }

    /// Whether it is a page that a tree below the schema's may have.
    fn is_there(&self, page: u32) -> Option<()> {
        let locked = LOCK_BYTE / self.layout.page_size as u32 + 1;
        ((2..=self.layout.pages).contains(&page) && page != locked).then_some(())
    }

    /// Rows of a leaf. What it gives is that of [`LeafPages::below`].
    fn leaf(&mut self, window: &Window, child: Child, scan: &mut Scan<'_>) -> Option<bool> {
        let page = window.page(child.page, self.layout.page_size)?;
        let cells = usize::from(short(page, 3)?);
        // SQLite looks at all of them first, too. Their order is looked at here: among rows that are out of order it finds others
        // than a look from the first on, depending on where it begins.
        let mut before = child.low;
        for n in 0..cells {
            let cell = Cell::of(page, cells, n)?;
            if before.is_some_and(|before| cell.row <= before) || cell.row > child.high {
                return None;
            }
            before = Some(cell.row);
        }
        for n in 0..cells {
            let cell = Cell::of(page, cells, n)?;
            if cell.row < scan.first {
                continue;
            }
            if cell.row > scan.last {
                return Some(true);
            }
            let payload = match cell.overflow {
                None => cell.here,
                Some(overflow) => {
                    self.gather(&cell, overflow, window)?;
                    &self.payload
                }
            };
            fields(payload, &self.layout.columns, &mut self.fields)?;
            let record = Record {
                number: cell.row,
                row_number: self.layout.row_number,
                payload,
                fields: &self.fields,
            };
            if (scan.each)(cell.row, &record).is_break() {
                return None;
            }
        }
        // An empty page is a table's only one, or damaged.
        (cells > 0).then_some(false)
    }

    /// Puts a record together that begins in a cell and goes on in a chain of pages.
    fn gather(&mut self, cell: &Cell<'_>, mut next: u32, window: &Window) -> Option<()> {
        let size = self.layout.page_size;
        if cell.length > MAX_PAYLOAD {
            return None;
        }
        self.payload.clear();
        self.payload.extend_from_slice(cell.here);
        while self.payload.len() < cell.length {
            self.is_there(next)?;
            let page = match window.page(next, size) {
                Some(page) => page,
                None => {
                    self.page.resize(size, 0);
                    read_at(self.file, &mut self.page, next, size)?;
                    &self.page
                }
            };
            let rest = (cell.length - self.payload.len()).min(size - 4);
            self.payload.extend_from_slice(page.get(4..4 + rest)?);
            next = number(page, 0)?;
        }
        Some(())
    }
}

impl Window {
    fn page(&self, page: u32, size: usize) -> Option<&[u8]> {
        if !self.pages.contains(&page) {
            return None;
        }
        let at = (page - self.pages.start) as usize * size;
        self.bytes.get(at..at + size)
    }
}

/// A row in a leaf.
struct Cell<'p> {
    row: i64,
    /// How long the record is.
    length: usize,
    /// What of it is in the leaf.
    here: &'p [u8],
    /// The page on which it goes on.
    overflow: Option<u32>,
}

impl<'p> Cell<'p> {
    #[inline]
    fn of(page: &'p [u8], cells: usize, n: usize) -> Option<Self> {
        let at = cell_at(page, LEAF_HEADER, cells, n)?;
        let (length, at) = varint(page, at)?;
        let (row, at) = varint(page, at)?;
        let length = usize::try_from(length).ok()?;
        let (most, least) = (page.len() - 35, (page.len() - 12) * 32 / 255 - 23);
        let (here, overflow) = if length <= most {
            (length, None)
        } else {
            let fitting = least + (length - least) % (page.len() - 4);
            let here = if fitting <= most { fitting } else { least };
            (here, Some(number(page, at + here)?))
        };
        Some(Self {
            row: row as i64,
            length,
            here: page.get(at..at + here)?,
            overflow,
        })
    }
}

/// The pages below an inner page, in order.
fn inner(page: &[u8], of: Child) -> Option<Vec<Child>> {
    let cells = usize::from(short(page, 3)?);
    let mut low = of.low;
    let mut children = Vec::with_capacity(cells + 1);
    for n in 0..cells {
        let at = cell_at(page, INNER_HEADER, cells, n)?;
        let (high, _) = varint(page, at + 4)?;
        let high = high as i64;
        if low.is_some_and(|low| high <= low) || high > of.high {
            return None;
        }
        let page = number(page, at)?;
        children.push(Child { page, low, high });
        low = Some(high);
    }
    children.push(Child {
        page: number(page, 8)?,
        low,
        high: of.high,
    });
    Some(children)
}

/// Where a page's n-th cell begins: behind the header and the numbers of all cells.
fn cell_at(page: &[u8], header: usize, cells: usize, n: usize) -> Option<usize> {
    let at = usize::from(short(page, header + 2 * n)?);
    (at >= header + 2 * cells && at + 4 <= page.len()).then_some(at)
}

/// Takes a record's header apart. `None` if it is not exactly for these columns, or the first of them, and for so many bytes.
#[inline]
fn fields(payload: &[u8], columns: &[Option<u32>], fields: &mut Vec<Field>) -> Option<()> {
    fields.clear();
    let (header, mut from) = varint(payload, 0)?;
    let header = usize::try_from(header).ok()?;
    let mut at = header;
    while from < header {
        let (kind, behind) = varint(payload, from)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => (kind - 12) / 2,
        };
        fields.push(Field { kind, at });
        at = at.checked_add(usize::try_from(length).ok()?)?;
        from = behind;
    }
    if from != header || at != payload.len() || fields.len() > columns.len() {
        return None;
    }
    for later in &columns[fields.len()..] {
        fields.push(Field {
            kind: u64::from((*later)?),
            at,
        });
    }
    Some(())
}

/// A row as it lies in the file.
pub(crate) struct Record<'a> {
    number: i64,
    row_number: Option<usize>,
    payload: &'a [u8],
    fields: &'a [Field],
}

impl Values for Record<'_> {
    #[inline]
    fn value(&self, column: usize) -> Option<ValueRef<'_>> {
        // The statement's first column.
        let Some(column) = column.checked_sub(1) else {
            return Some(ValueRef::Integer(self.number));
        };
        let Field { kind, at } = *self.fields.get(column)?;
        if self.row_number == Some(column) {
            return Some(ValueRef::Integer(self.number));
        }
        let integer = |bytes: usize| {
            let bytes = self.payload.get(at..at + bytes)?;
            let sign = if bytes.first()? & 0x80 == 0 { 0 } else { -1 };
            let number = bytes.iter().fold(sign, |n, byte| n << 8 | i64::from(*byte));
            Some(ValueRef::Integer(number))
        };
        match kind {
            0 => Some(ValueRef::Null),
            1..=4 => integer(kind as usize),
            5 => integer(6),
            6 => integer(8),
            7 => {
                let bytes = self.payload.get(at..)?.first_chunk()?;
                let number = f64::from_be_bytes(*bytes);
                // SQLite has no other word for it.
                Some(if number.is_nan() {
                    ValueRef::Null
                } else {
                    ValueRef::Real(number)
                })
            }
            8 | 9 => Some(ValueRef::Integer(kind as i64 - 8)),
            10 | 11 => None,
            _ => {
                let bytes = self.payload.get(at..at + (kind as usize - 12) / 2)?;
                Some(if kind % 2 == 0 {
                    ValueRef::Blob(bytes)
                } else {
                    ValueRef::Text(bytes)
                })
            }
        }
    }
}

/// SQLite's numbers of variable length: seven bits a byte, eight in the ninth. Also where it ends.
#[inline]
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for n in 0..8 {
        let byte = *bytes.get(at + n)?;
        value = value << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some((value, at + n + 1));
        }
    }
    Some((value << 8 | u64::from(*bytes.get(at + 8)?), at + 9))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}

/// Reads pages from this one on.
#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], page: u32, size: usize) -> Option<()> {
    let offset = u64::from(page - 1) * size as u64;
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset).ok()
}

// Elsewhere files are not read in place.
#[cfg(not(unix))]
fn read_at(_: &File, _: &mut [u8], _: u32, _: usize) -> Option<()> {
    None
}

#[cfg(test)]
mod tests;
