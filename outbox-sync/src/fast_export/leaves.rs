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
    let mut by_pages = Leaves::new(file, layout);
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
pub(crate) struct Leaves<'f> {
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

impl<'f> Leaves<'f> {
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

    /// Rows of a leaf. What it gives is that of [`Leaves::below`].
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
mod tests {
    use std::path::Path;

    use proptest::prelude::*;
    use rusqlite::OpenFlags;
    use rusqlite::types::Value;

    use super::*;

    const TABLE: Table = Table::Outbox;
    type Rows = Vec<(i64, Vec<Value>)>;

    fn open(path: &Path) -> rusqlite::Result<Connection> {
        let uri = format!("file:{}?immutable=1", path.display());
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(uri, flags)?;
        crate::outbox::secure(&connection)?;
        Ok(connection)
    }

    /// Text may not be UTF-8: it becomes its bytes behind a mark.
    fn values(row: &impl Values, columns: usize) -> Vec<Value> {
        let value = |column| match row.value(column).unwrap() {
            ValueRef::Text(text) => Value::Blob([b"text ", text].concat()),
            other => other.try_into().unwrap(),
        };
        (0..columns).map(value).collect()
    }

    /// What SQLite says, and whether it came to the end.
    fn by_sqlite(connection: &Connection, first: i64, last: i64) -> (Rows, bool) {
        let mut found = Rows::new();
        let Ok(mut statement) = connection.prepare(crate::outbox::table_sql(TABLE).rows) else {
            return (found, false);
        };
        let columns = statement.column_count();
        let Ok(mut rows) = statement.query([first]) else {
            return (found, false);
        };
        loop {
            match rows.next() {
                Ok(Some(row)) => {
                    let number = row.get(0).unwrap();
                    if number > last {
                        return (found, true);
                    }
                    found.push((number, values(row, columns)));
                }
                Ok(None) => return (found, true),
                Err(_) => return (found, false),
            }
        }
    }

    /// `None` if the pages are not to be read.
    fn by_pages(connection: &Connection, path: &Path, first: i64, last: i64) -> Option<(Rows, bool)> {
        let file = File::open(path).unwrap();
        let mut header = [0; HEADER];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut header, 0).ok()?;
        let layout = Layout::of(connection, &header, TABLE)?;
        let columns = layout.columns.len();
        let mut found = Rows::new();
        let all = Leaves::new(&file, layout).rows(first, last, &mut |number, record| {
            found.push((number, values(record, columns + 1)));
            ControlFlow::Continue(())
        });
        Some((found, all))
    }

    /// A new file with this table, filled by `fill`.
    fn make(path: &Path, settings: &str, table: &str, fill: impl FnOnce(&Connection)) {
        let connection = Connection::open(path).unwrap();
        connection.execute_batch(settings).unwrap();
        connection.execute_batch(table).unwrap();
        connection.execute_batch("BEGIN").unwrap();
        fill(&connection);
        connection.execute_batch("COMMIT").unwrap();
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let small = prop_oneof![
            -2_i64..3,
            -200_i64..200,
            Just(i64::MIN),
            Just(i64::MAX),
            any::<i64>()
        ];
        prop_oneof![
            2 => Just(Value::Null),
            4 => (small, 0..64_u32).prop_map(|(n, shift)| Value::Integer(n >> shift)),
            1 => any::<f64>().prop_map(Value::Real),
            4 => ".{0,30}".prop_map(Value::Text),
            1 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Value::Blob),
            // Around what fits into pages of all sizes.
            1 => (0..70_000_usize).prop_map(|n| Value::Text("y".repeat(n))),
            1 => (400..600_usize).prop_map(|n| Value::Text("z".repeat(n))),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

        #[test]
        fn rows_are_those_of_sqlite(
            size in 9..17_u32,
            vacuum in 0..3,
            with_number in any::<bool>(),
            rows in proptest::collection::vec((1..500_i64, proptest::collection::vec(any_value(), 3)), 0..120),
            mixed in any::<u64>(),
            dropped in 1..9_i64,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("db");
            let settings = format!("PRAGMA page_size = {}; PRAGMA auto_vacuum = {vacuum};", 1 << size);
            let column = if with_number { "a INTEGER PRIMARY KEY, " } else { "a BLOB, " };
            let table = format!("CREATE TABLE _ves_outbox ({column} b, c TEXT); CREATE TABLE other (a);");
            make(&path, &settings, &table, |connection| {
                let mut number = -600;
                let mut numbers = Vec::new();
                for (step, _) in &rows {
                    number += step;
                    numbers.push(number);
                }
                // In an order of their own, so that the pages are not in the order of the rows.
                let mut order: Vec<usize> = (0..rows.len()).collect();
                order.sort_by_key(|n| if mixed % 2 == 0 { *n as u64 } else { mixed.rotate_left(*n as u32 * 7) });
                for n in order {
                    let [a, b, c] = rows[n].1.as_slice() else { unreachable!() };
                    if with_number {
                        let sql = "INSERT INTO _ves_outbox (rowid, b, c) VALUES (?1, ?2, ?3)";
                        connection.execute(sql, (numbers[n], b, c)).unwrap();
                    } else {
                        let sql = "INSERT INTO _ves_outbox (rowid, a, b, c) VALUES (?1, ?2, ?3, ?4)";
                        connection.execute(sql, (numbers[n], a, b, c)).unwrap();
                    }
                    connection.execute("INSERT INTO other VALUES (?1)", [a]).unwrap();
                }
                let sql = "DELETE FROM _ves_outbox WHERE rowid % ?1 = 0";
                connection.execute(sql, [dropped + 1]).unwrap();
            });
            let connection = open(&path).unwrap();
            for (first, last) in [(i64::MIN, i64::MAX), (-600, 0), (17, 5000), (5000, 5001), (3, 3)] {
                let expected = by_sqlite(&connection, first, last);
                prop_assert!(expected.1);
                let found = by_pages(&connection, &path, first, last).unwrap();
                // An empty table is left to SQLite.
                prop_assert_eq!(found.1, !by_sqlite(&connection, i64::MIN, i64::MAX).0.is_empty());
                prop_assert_eq!(&found.0, &expected.0);
            }
        }
    }

    #[test]
    fn what_agents_make_is_read_by_its_pages_and_what_is_unusual_is_not() {
        let layout = |settings: &str, table: &str, of: Table| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("db");
            make(&path, settings, table, |_| ());
            let header = std::fs::read(&path).unwrap()[..HEADER].try_into().unwrap();
            Layout::of(&open(&path).unwrap(), &header, of)
        };
        let v3 = concat!(
            include_str!("../../../fixtures/sql/outbox_v2.sql"),
            include_str!("../../../fixtures/sql/outbox_v3_add.sql"),
        );
        for (table, row_number) in [
            (Table::Outbox, Some(0)),
            (Table::Pulled, Some(0)),
            (Table::Quarantined, None),
        ] {
            assert_eq!(layout("", v3, table).map(|l| l.row_number), Some(row_number));
        }
        assert_eq!(layout("", v3, Table::OlderOutbox), None);
        let columns = [
            ("a, b INTEGER PRIMARY KEY", Some(Some(1))),
            ("a, b integer, PRIMARY KEY (b)", Some(Some(1))),
            // SQLite takes this for an ordinary column.
            ("a, b INTEGER PRIMARY KEY DESC", Some(None)),
            ("a, b INT PRIMARY KEY", Some(None)),
            ("a INTEGER, b INTEGER, PRIMARY KEY (a, b)", Some(None)),
            ("a DOUBLE PRECISION, b", None),
            ("a REAL, b", None),
            ("a FLOAT, b", None),
            ("a, rowId", None),
            ("a, b AS (a + 1)", None),
            ("a, b AS (a + 1) STORED", None),
        ];
        for (columns, expected) in columns {
            let table = format!("CREATE TABLE _ves_outbox ({columns})");
            assert_eq!(
                layout("", &table, TABLE).map(|l| l.row_number),
                expected,
                "{columns}"
            );
        }
        let table = "CREATE TABLE _ves_outbox (a PRIMARY KEY, b)";
        assert!(layout("", table, TABLE).is_some());
        assert_eq!(layout("", &format!("{table} WITHOUT ROWID"), TABLE), None);
        assert_eq!(layout("PRAGMA encoding = 'UTF-16le';", table, TABLE), None);
        let view = "CREATE TABLE t (a); CREATE VIEW _ves_outbox AS SELECT * FROM t";
        assert_eq!(layout("", view, TABLE), None);
    }

    #[test]
    fn records_older_than_a_column_have_its_default_if_that_is_simple() {
        for (more, simple) in [
            ("b", true),
            ("b TEXT DEFAULT NULL", false),
            ("b INTEGER NOT NULL DEFAULT 0", true),
            ("b INTEGER DEFAULT 1", true),
            ("b DEFAULT 0", false),
            ("b TEXT DEFAULT 0", false),
            ("b INTEGER DEFAULT '0'", false),
            ("b INTEGER DEFAULT 2", false),
            ("b TEXT DEFAULT 'x'", false),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("db");
            make(
                &path,
                "",
                "CREATE TABLE _ves_outbox (a, i INTEGER PRIMARY KEY)",
                |connection| {
                    let sql = format!(
                        "INSERT INTO _ves_outbox (a) VALUES (1), ('x'); \
                     ALTER TABLE _ves_outbox ADD COLUMN {more}; ALTER TABLE _ves_outbox ADD COLUMN c; \
                     INSERT INTO _ves_outbox VALUES (3, 3, 4, 5)"
                    );
                    connection.execute_batch(&sql).unwrap();
                },
            );
            let connection = open(&path).unwrap();
            let expected = by_sqlite(&connection, 1, 9);
            assert_eq!(expected.0.len(), 3);
            let found = by_pages(&connection, &path, 1, 9).unwrap();
            assert_eq!(
                found,
                if simple { expected } else { (Rows::new(), false) },
                "{more}"
            );
            assert_eq!(
                by_pages(&connection, &path, 3, 9),
                Some(by_sqlite(&connection, 3, 9))
            );
        }
    }

    #[test]
    fn a_damaged_file_gives_what_sqlite_says_or_leaves_it_to_sqlite() {
        let dir = tempfile::tempdir().unwrap();
        let (path, damaged) = (dir.path().join("db"), dir.path().join("damaged"));
        let table = "CREATE TABLE _ves_outbox (a INTEGER PRIMARY KEY, b, c TEXT, d INTEGER)";
        make(&path, "PRAGMA page_size = 512;", table, |connection| {
            for n in 0..30_i64 {
                let text = "x".repeat(if n % 16 == 7 { 1300 } else { 40 + n as usize % 9 });
                let sql = "INSERT INTO _ves_outbox VALUES (?1, NULL, ?2, ?3)";
                connection.execute(sql, (n * 3, text, n << n)).unwrap();
            }
        });
        let sound = std::fs::read(&path).unwrap();
        let (mut whole, mut left) = (0, 0);
        let mut check = |bytes: &[u8], what: &dyn Fn() -> String| {
            std::fs::write(&damaged, bytes).unwrap();
            let Ok(connection) = open(&damaged) else { return };
            for (first, last) in [(i64::MIN, i64::MAX), (50, 110)] {
                let Some((found, all)) = by_pages(&connection, &damaged, first, last) else {
                    left += 1;
                    continue;
                };
                let (expected, sound) = by_sqlite(&connection, first, last);
                if all {
                    whole += 1;
                    // SQLite takes the first row behind apart, too.
                    assert!(found == expected && (sound || last < i64::MAX), "{}", what());
                } else {
                    left += 1;
                    assert!(expected.starts_with(&found), "{}", what());
                }
            }
        };
        for at in 0..sound.len() {
            if sound[at] == b'x' && at % 64 != 0 {
                continue;
            }
            for change in [0xff, 0x01] {
                let mut bytes = sound.clone();
                bytes[at] ^= change;
                check(&bytes, &|| format!("byte {at} changed by {change:#x}"));
            }
        }
        for length in (0..sound.len()).step_by(97) {
            check(&sound[..length], &|| format!("cut to {length}"));
        }
        assert!(whole > 500 && left > 500, "{whole} {left}");
    }
}
