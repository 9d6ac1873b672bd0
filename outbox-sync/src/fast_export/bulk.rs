//! Reading a whole outbox once, by several threads, straight into lines of an export.
//!
//! The file is read where it lies if that is safe (see `in_place`), else from a private copy. Several
//! connections read stretches of row numbers side by side; their lines are handed over in the order of the rows. In place,
//! ordinary rows are taken from the file's pages (see `leaves`); from the first that is not, SQLite reads the stretch.
//!
//! [`Outbox::open`] has SQLite check the whole file first (`quick_check`), which reads it twice. Here the reading itself is
//! the check, of what is read: SQLite refuses pages and cells that do not fit, row numbers must rise, and in the end
//! there must be as many rows as an index of the table has entries: a page that was lost or is there twice shows. Damage that
//! concerns no row of an event table (other indexes, free pages) is not looked for.
//!
//! So rows are handed over **before** it is known whether they count. Whoever takes them must be able to give them
//! back: [`ReadEnd::Doubtful`] says that nothing of what was handed over counts, and [`Outbox::salvage`] reads such files.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rusqlite::{Connection, Statement};

use crate::error::{OutboxError, OutboxErrorKind};
use crate::export::{ExportFormat, ExportLines, Filter, before_line, behind_line};
use crate::outbox::{self, Outbox, table_sql};
use crate::private_copy;
use crate::row::{HeldRow, RowError, RowReader, Table};

use super::in_place::InPlace;
use super::leaves::{Layout, LeafPages};
use super::plain_line::{Done, PlainLines, Values};

/// Row numbers that one thread takes at a time: so few that mostly all their pieces may wait to be taken. Of a longer stretch
/// only the beginning could be read ahead of its turn, and the threads would read one after the other.
const STRETCH: u64 = 512;
/// If row numbers are far apart, stretches are longer: there are about so many at most.
const STRETCHES: u64 = 1 << 16;
/// A piece of a stretch is handed over when its text is about so long …
const PIECE_BYTES: usize = 1 << 18;
/// … or when so many of its rows are not ordinary.
const PIECE_ROWS: usize = 256;
/// What the text of a piece takes with a last row that passes the mark.
const PIECE_MEMORY: usize = PIECE_BYTES + PIECE_BYTES / 8;
/// A row that is longer than any that a sequencer takes: such files are read row by row, in less memory.
const LONG_ROW: usize = 3 << 20;
/// After so many stretches in a row that do not begin with an ordinary row, pages are no longer looked at.
const MAX_MISSED: u32 = 4;
/// How many pieces of one stretch wait to be taken.
const WAITING: usize = 4;
/// More threads than this read no faster than one thread can hash.
const MAX_THREADS: usize = 4;

/// What is handed over, in the order of the rows.
#[derive(Debug)]
pub enum Part<'a> {
    /// Rows as lines: those that were asked for.
    Lines {
        /// The lines.
        lines: &'a ExportLines,
        /// How many rows were read for them.
        rows: u64,
    },
    /// A row that is not ordinary.
    Row(Box<Result<HeldRow, RowError>>),
}

/// How the reading ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadEnd {
    /// All rows were handed over, of one sound state of the file.
    Whole,
    /// The one who took them had enough.
    Stopped,
    /// **Nothing that was handed over counts**: the file changed meanwhile, or seems damaged, or is one to be read row by
    /// row.
    Doubtful(String),
}

/// An outbox, opened to be read once as a whole. Of its [`Outbox::meta`] the counts are not there.
#[derive(Debug)]
pub struct BulkOutbox {
    outbox: Outbox,
    place: FilePlace,
}

/// Where the file is read.
#[derive(Debug)]
struct FilePlace {
    /// The file's name, as it was given.
    path: Arc<Path>,
    lies: Lies,
    /// While a file is held in place, no connection to it may be closed.
    closed_later: Mutex<Vec<Connection>>,
}

#[derive(Debug)]
enum Lies {
    InPlace(Box<InPlace>),
    Copied(PathBuf),
}

impl FilePlace {
    fn connect(&self) -> rusqlite::Result<Connection> {
        match &self.lies {
            Lies::InPlace(held) => held.connect(),
            Lies::Copied(copy) => outbox::open_private(copy),
        }
    }

    fn leaves(&self, connection: &Connection, table: Table) -> Option<LeafPages<'_>> {
        match &self.lies {
            Lies::InPlace(held) => {
                let (file, header) = held.pages();
                Some(LeafPages::new(file, Layout::of(connection, header, table)?))
            }
            Lies::Copied(_) => None,
        }
    }

    fn close(&self, connection: Connection) {
        if let Lies::InPlace(_) = self.lies {
            self.closed_later
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(connection);
        }
    }
}

/// A stretch of row numbers of one table, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    table: Table,
    first: i64,
    last: i64,
}

/// Parts, with lines of their own.
#[derive(Debug)]
enum Made {
    Lines { lines: ExportLines, rows: u64 },
    Row(Box<Result<HeldRow, RowError>>),
}

type Piece = Result<Vec<Made>, String>;

impl BulkOutbox {
    /// Opens the outbox at `path`, in place or as a private copy, and does not check yet whether it is sound.
    ///
    /// # Errors
    /// As [`Outbox::open`].
    pub fn open(path: &Path) -> Result<Self, OutboxError> {
        Self::try_open(path).map_err(|kind| kind.of(path))
    }

    fn try_open(path: &Path) -> Result<Self, OutboxErrorKind> {
        let (lies, connection, dir) = match InPlace::hold(path)? {
            Some(held) => {
                let connection = held.connect()?;
                (Lies::InPlace(Box::new(held)), connection, None)
            }
            None => {
                let dir = outbox::private_dir()?;
                let copy = private_copy::make(path, dir.path())?;
                (
                    Lies::Copied(copy.clone()),
                    outbox::open_private(&copy)?,
                    Some(dir),
                )
            }
        };
        outbox::limit_rows(&connection)?;
        let outbox = Outbox::of_connection(path, connection, dir, None, false)?;
        let place = FilePlace {
            path: Arc::clone(&outbox.meta().path),
            lies,
            closed_later: Mutex::default(),
        };
        Ok(Self { outbox, place })
    }

    /// What the outbox says about itself, counts aside.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Whether the file is read where it lies.
    pub fn is_in_place(&self) -> bool {
        self.held_file().is_some()
    }

    /// The handle by which the file is held where it lies. As long as that is so, no other may be closed.
    pub fn held_file(&self) -> Option<&File> {
        match &self.place.lies {
            Lies::InPlace(held) => Some(held.pages().0),
            Lies::Copied(_) => None,
        }
    }

    /// About how many rows there are, by their numbers.
    pub fn about(&self) -> Option<u64> {
        let stretches = self.stretches().ok()?;
        let rows = |s: &Stretch| s.last.abs_diff(s.first).saturating_add(1);
        stretches.iter().map(rows).try_fold(0_u64, u64::checked_add)
    }

    /// From the first row to the last of each table that has rows.
    fn stretches(&self) -> rusqlite::Result<Vec<Stretch>> {
        let mut all = Vec::new();
        for &table in self.outbox.tables() {
            let sql = table_sql(table);
            let connection = self.outbox.connection();
            let first = connection.query_row(sql.next, [i64::MIN], |row| row.get(0))?;
            let last = connection.query_row(sql.last, [], |row| row.get(0))?;
            if let (Some(first), Some(last)) = (first, last) {
                all.push(Stretch { table, first, last });
            }
        }
        Ok(all)
    }

    /// Hands over all rows, in the order of [`Outbox::for_each_row`]: as lines of an export in this form those that are
    /// ordinary and asked for, by themselves those that are not ordinary, asked for or not.
    ///
    /// # Errors
    /// The file turns out to be unreadable before anything was handed over.
    pub fn read(
        &self,
        format: ExportFormat,
        filter: &Filter,
        each: &mut dyn FnMut(Part<'_>) -> ControlFlow<()>,
    ) -> Result<ReadEnd, OutboxError> {
        let failed = |error: rusqlite::Error| OutboxErrorKind::from(error).of(&self.outbox.meta().path);
        let work = Work {
            place: &self.place,
            format,
            filter,
            todo: Mutex::new(Todo::new(self.stretches().map_err(failed)?)),
            read: Mutex::default(),
            spare: Mutex::default(),
            stop: AtomicBool::new(false),
        };
        let threads = thread::available_parallelism()
            .map_or(1, usize::from)
            .min(MAX_THREADS);
        let outcome = thread::scope(|scope| {
            // Stretches in their order, each as the channel that its pieces come by.
            let (in_order, stretches) = sync_channel(2 * threads);
            for _ in 0..threads {
                let (work, in_order) = (&work, in_order.clone());
                scope.spawn(move || work.run(&in_order));
            }
            drop(in_order);
            let outcome = work.take_in_order(stretches, each);
            work.stop.store(true, Ordering::Relaxed);
            outcome
        });
        if outcome != ReadEnd::Whole {
            return Ok(outcome);
        }
        let doubt = self.is_short(&work).or_else(|| match &self.place.lies {
            Lies::InPlace(held) if !held.unchanged() => Some("it was changed while it was read".into()),
            Lies::InPlace(_) | Lies::Copied(_) => None,
        });
        Ok(doubt.map_or(ReadEnd::Whole, ReadEnd::Doubtful))
    }

    /// How the rows that were read differ in number from what is to be expected.
    fn is_short(&self, work: &Work<'_>) -> Option<String> {
        let read = work.read.lock().unwrap_or_else(PoisonError::into_inner);
        for &table in self.outbox.tables() {
            let found = read.get(&table).copied().unwrap_or_default();
            let sql = table_sql(table).entries;
            let entries = self.outbox.connection().query_row(sql, [], |row| row.get(0));
            let entries: i64 = match entries {
                Ok(entries) => entries,
                Err(error) => return Some(error.to_string()),
            };
            if entries.unsigned_abs() != found {
                return Some(format!(
                    "{found} rows of {} could be read, its index has {entries}",
                    table.name()
                ));
            }
        }
        None
    }
}

/// Stretches that are still to be read.
#[derive(Debug)]
struct Todo {
    stretches: VecDeque<Stretch>,
    step: u64,
}

impl Todo {
    fn new(stretches: Vec<Stretch>) -> Self {
        let numbers = |s: &Stretch| u128::from(s.last.abs_diff(s.first));
        let all: u128 = stretches.iter().map(numbers).sum();
        let step = u64::try_from(all / u128::from(STRETCHES)).unwrap_or(u64::MAX);
        Self {
            stretches: stretches.into(),
            step: step.max(STRETCH),
        }
    }

    fn next(&mut self) -> Option<Stretch> {
        let mut next = self.stretches.pop_front()?;
        if let Some(behind) = next.first.checked_add_unsigned(self.step)
            && behind <= next.last
        {
            self.stretches.push_front(Stretch {
                first: behind,
                ..next
            });
            next.last = behind - 1;
        }
        Some(next)
    }
}

struct Work<'a> {
    place: &'a FilePlace,
    format: ExportFormat,
    filter: &'a Filter,
    todo: Mutex<Todo>,
    /// How many rows were read.
    read: Mutex<BTreeMap<Table, u64>>,
    /// Memory of pieces that were taken, for others.
    spare: Mutex<Vec<Vec<u8>>>,
    stop: AtomicBool,
}

impl Work<'_> {
    /// Takes the pieces of one stretch after the other.
    fn take_in_order(
        &self,
        stretches: Receiver<Receiver<Piece>>,
        each: &mut dyn FnMut(Part<'_>) -> ControlFlow<()>,
    ) -> ReadEnd {
        for piece in stretches.into_iter().flatten() {
            let parts = match piece {
                Ok(parts) => parts,
                Err(why) => return ReadEnd::Doubtful(why),
            };
            for part in parts {
                let next = match part {
                    Made::Row(row) => each(Part::Row(row)),
                    Made::Lines { lines, rows } => {
                        let next = each(Part::Lines { lines: &lines, rows });
                        self.keep(lines.text);
                        next
                    }
                };
                if next.is_break() {
                    return ReadEnd::Stopped;
                }
            }
        }
        ReadEnd::Whole
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory for the text of a piece.
    fn memory(&self) -> Vec<u8> {
        let spare = self.spare().pop();
        spare.unwrap_or_else(|| Vec::with_capacity(PIECE_MEMORY))
    }

    /// Keeps memory as [`Work::memory`] gives it; pieces with long rows have more, parts of pieces less.
    fn keep(&self, mut memory: Vec<u8>) {
        if memory.capacity() == PIECE_MEMORY {
            memory.clear();
            self.spare().push(memory);
        }
    }

    /// Reads stretches until there are no more.
    fn run(&self, in_order: &SyncSender<Receiver<Piece>>) {
        let Some(first) = self.take(in_order) else { return };
        match self.connect() {
            Ok(connection) => {
                self.read_on(&connection, first, in_order);
                self.place.close(connection);
            }
            // Nobody may be left who wants to know.
            Err(why) => drop(first.pieces.send(Err(why))),
        }
    }

    /// Takes the next stretch, and announces it before another is taken.
    fn take(&self, in_order: &SyncSender<Receiver<Piece>>) -> Option<Taken> {
        let mut todo = self.todo.lock().unwrap_or_else(PoisonError::into_inner);
        if self.stop.load(Ordering::Relaxed) {
            return None;
        }
        let stretch = todo.next()?;
        let (pieces, taken) = sync_channel(WAITING);
        in_order.send(taken).ok()?;
        Some(Taken { stretch, pieces })
    }

    fn connect(&self) -> Result<Connection, String> {
        let open = || {
            let connection = self.place.connect()?;
            outbox::limit_rows(&connection)?;
            connection.execute_batch(include_str!("../../../sql/outbox-sync/scan_settings.sql"))?;
            Ok(connection)
        };
        open().map_err(|error: rusqlite::Error| error.to_string())
    }

    fn read_on(&self, connection: &Connection, first: Taken, in_order: &SyncSender<Receiver<Piece>>) {
        let mut next = Some(first);
        let mut reading: Option<Reading<'_>> = None;
        while let Some(Taken { stretch, pieces }) = next {
            let same = reading.take().filter(|reading| reading.table == stretch.table);
            let read = match same.map_or_else(|| self.reading(connection, stretch.table), Ok) {
                Ok(of_table) => self.read(reading.insert(of_table), stretch, &pieces),
                Err(why) => Err(why),
            };
            if let Err(why) = read {
                // Nobody may be left who wants to know.
                let _ = pieces.send(Err(why));
                return;
            }
            drop(pieces);
            next = self.take(in_order);
        }
    }

    fn reading<'w>(&'w self, connection: &'w Connection, table: Table) -> Result<Reading<'w>, String> {
        let statement = connection
            .prepare(table_sql(table).rows)
            .map_err(|error| error.to_string())?;
        let names = statement.column_names().into_iter().map(str::to_owned).collect();
        let reader = RowReader::new(Arc::clone(&self.place.path), table, names);
        let file = self.place.path.display().to_string();
        Ok(Reading {
            table,
            statement,
            plain: PlainLines::new(&reader, table, &file, self.filter),
            leaves: self.place.leaves(connection, table),
            missed: 0,
            reader,
        })
    }

    fn read(
        &self,
        reading: &mut Reading<'_>,
        stretch: Stretch,
        pieces: &SyncSender<Piece>,
    ) -> Result<(), String> {
        let in_words = |error: rusqlite::Error| error.to_string();
        let Reading {
            statement,
            reader,
            plain,
            leaves,
            missed,
            ..
        } = reading;
        let mut piece = PieceInMaking::new(self);
        let mut before = None;
        let mut count = 0;
        let mut enough = false;
        // Ordinary rows from their pages, as far as that goes.
        if let (Some(pages), Some(plain)) = (leaves.as_mut(), plain.as_mut()) {
            let all = pages.rows(stretch.first, stretch.last, &mut |number, record| {
                enough = piece.is_full() && !self.hand_over(&mut piece, pieces);
                if enough || piece.add_line(self.format, record, number, plain).is_none() {
                    return ControlFlow::Break(());
                }
                before = Some(number);
                count += 1;
                ControlFlow::Continue(())
            });
            if enough {
                return Ok(());
            }
            if all || before == Some(stretch.last) {
                self.end(stretch.table, count, piece, pieces);
                return Ok(());
            }
            *missed = if before.is_none() { *missed + 1 } else { 0 };
            if *missed == MAX_MISSED {
                *leaves = None;
            }
        }
        // All others by SQLite.
        let first = before.map_or(stretch.first, |before| before + 1);
        let mut rows = statement.query([first]).map_err(in_words)?;
        while let Some(row) = rows.next().map_err(in_words)? {
            let number: i64 = row.get(0).map_err(in_words)?;
            if number > stretch.last {
                break;
            }
            if number < stretch.first || before.is_some_and(|before| number <= before) {
                return Err(format!("{} has its rows out of order", stretch.table.name()));
            }
            before = Some(number);
            count += 1;
            let size = piece.add(self.format, row, number, reader, plain.as_mut());
            if size > LONG_ROW {
                return Err(format!("{} has very long rows", stretch.table.name()));
            }
            if piece.is_full() && !self.hand_over(&mut piece, pieces) {
                return Ok(());
            }
        }
        self.end(stretch.table, count, piece, pieces);
        Ok(())
    }

    /// Whether anybody wants more.
    fn hand_over(&self, piece: &mut PieceInMaking<'_>, pieces: &SyncSender<Piece>) -> bool {
        !self.stop.load(Ordering::Relaxed) && pieces.send(Ok(piece.take())).is_ok()
    }

    /// A stretch was read to its end.
    fn end(&self, table: Table, count: u64, mut piece: PieceInMaking<'_>, pieces: &SyncSender<Piece>) {
        *self
            .read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(table)
            .or_default() += count;
        // Nobody may be left who wants it.
        let _ = pieces.send(Ok(piece.take()));
    }
}

/// A stretch, and where its pieces go.
struct Taken {
    stretch: Stretch,
    pieces: SyncSender<Piece>,
}

/// One table as one connection reads it.
struct Reading<'w> {
    table: Table,
    statement: Statement<'w>,
    reader: RowReader,
    plain: Option<PlainLines<'w>>,
    /// Its pages, where they can be read without SQLite.
    leaves: Option<LeafPages<'w>>,
    /// How many of the last stretches did not even begin with an ordinary row.
    missed: u32,
}

struct PieceInMaking<'w> {
    work: &'w Work<'w>,
    parts: Vec<Made>,
    parts_bytes: usize,
    lines: ExportLines,
    rows: u64,
}

impl<'w> PieceInMaking<'w> {
    fn new(work: &'w Work<'w>) -> Self {
        Self {
            work,
            parts: Vec::new(),
            parts_bytes: 0,
            lines: ExportLines::default(),
            rows: 0,
        }
    }

    /// Adds a row, and says about how long it is.
    fn add(
        &mut self,
        format: ExportFormat,
        row: &rusqlite::Row<'_>,
        number: i64,
        reader: &RowReader,
        plain: Option<&mut PlainLines<'_>>,
    ) -> usize {
        if let Some(size) = plain.and_then(|plain| self.add_line(format, row, number, plain)) {
            return size;
        }
        self.end_lines();
        let row = reader.read(row);
        let size = row.as_ref().map_or(0, HeldRow::payload_bytes);
        self.parts.push(Made::Row(Box::new(row)));
        self.parts_bytes += size;
        size
    }

    /// Adds an ordinary row, and says how long its line is. `None` if it is none.
    fn add_line(
        &mut self,
        format: ExportFormat,
        row: &impl Values,
        number: i64,
        plain: &mut PlainLines<'_>,
    ) -> Option<usize> {
        let ExportLines { text, tally } = &mut self.lines;
        if text.capacity() == 0 && self.parts.is_empty() {
            *text = self.work.memory();
        }
        let begun = text.len();
        text.extend_from_slice(before_line(format));
        match plain.append(row, number, text, tally) {
            Some(Done::Written) => text.extend_from_slice(behind_line(format)),
            Some(Done::PassedOver) => text.truncate(begun),
            None => {
                text.truncate(begun);
                return None;
            }
        }
        self.rows += 1;
        Some(self.lines.text.len() - begun)
    }

    fn is_full(&self) -> bool {
        self.lines.text.len() + self.parts_bytes >= PIECE_BYTES || self.parts.len() >= PIECE_ROWS
    }

    fn end_lines(&mut self) {
        if self.rows > 0 {
            self.parts_bytes += self.lines.text.len();
            self.parts.push(Made::Lines {
                lines: std::mem::take(&mut self.lines),
                rows: std::mem::take(&mut self.rows),
            });
        }
    }

    fn take(&mut self) -> Vec<Made> {
        self.end_lines();
        self.parts_bytes = 0;
        std::mem::take(&mut self.parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(stretches: Vec<Stretch>) -> Vec<Stretch> {
        let mut todo = Todo::new(stretches);
        std::iter::from_fn(|| todo.next()).collect()
    }

    #[test]
    fn stretches_cover_every_number_once_and_are_few() {
        let of = |table, first, last| Stretch { table, first, last };
        for (first, last) in [
            (1, 1),
            (1, 4096),
            (1, 4097),
            (-5000, 5000),
            (i64::MIN, i64::MAX),
            (i64::MAX - 1, i64::MAX),
            (i64::MIN, i64::MIN),
            (1, 1 << 40),
        ] {
            let all = taken(vec![of(Table::Outbox, first, last), of(Table::Pulled, 7, 9)]);
            assert!(all.len() as u64 <= 2 * STRETCHES + 3, "{}", all.len());
            assert_eq!(all.last(), Some(&of(Table::Pulled, 7, 9)));
            let own = &all[..all.len() - 1];
            assert_eq!((own[0].first, own[own.len() - 1].last), (first, last));
            assert!(own.windows(2).all(|two| two[0].last + 1 == two[1].first));
            assert!(own.iter().all(|stretch| stretch.first <= stretch.last));
        }
        assert_eq!(taken(Vec::new()), []);
    }
}
