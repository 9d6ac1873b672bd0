//! Copying a log into a snapshot file. Rows are fetched on one thread and written on another: either takes its time.

use std::ops::ControlFlow;
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Builder;

use cli_common::{DbTarget, Progress};
use ves::{StoreId, TenantId};

use crate::bind::bind_cell;
use crate::cells::RawTable;
use crate::conn::{Conn, MAX_VALUE, snapshot_execute, snapshot_query};
use crate::damage::{BrokenRow, copied_value};
use crate::duplicate::Duplicate;
use crate::error::LogError;
use crate::fault::Damage;
use crate::left_out::{AllLeftOut, LeftOut};
use crate::raw::{RawRows, push_row};
use crate::schema::{TABLES, Table, VES_SEQUENCER_RECEIPTS};
use crate::snapshot::{DOING, Snapshot};
use crate::sql::{postgres, snapshot};
use crate::value::{Cell, Row, UNREADABLE, Value, ValueKind};
use crate::view::View;

/// How many rows, or about how many bytes, are handed over at once, and how often before the reader waits.
const ROWS: usize = 1024;
const BYTES: usize = 1 << 20;
const AHEAD: usize = 3;

/// How long a value other than a text or bytes is at most: ids and times, and what SQLite keeps beside each value.
const OTHER_LENGTH: usize = 48;

/// How many rows of each table were copied, in the order of copying; `None` if the source has no such table.
pub type CopiedRows = Vec<(&'static str, Option<u64>)>;

/// What a new snapshot has, and what it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedLog {
    /// The rows of each table.
    pub rows: CopiedRows,
    /// What could not be copied. The snapshot says so too.
    pub left_out: AllLeftOut,
    /// What is damaged in the log that was copied.
    pub damage: Damage,
}

/// Copies every table of a view into a new snapshot file. Each table is a phase of `progress`, and
/// a row a step.
///
/// Memory does not grow with the log. What a check of the schema would refuse is copied as it is, so that it can be
/// audited. A row that the database cannot give out whole is copied as far as it can be read, in its place, so that it
/// is not taken for missing; of rows that are there twice one is copied. What is left out is recorded in the snapshot.
///
/// # Errors
/// If the file exists already, cannot be written, or the view cannot be read.
pub async fn write_snapshot(
    view: &mut View,
    source: &DbTarget,
    path: &Path,
    progress: &dyn Progress,
) -> Result<CopiedLog, LogError> {
    let taken_at = view.database_time().await?;
    let target = Snapshot::for_copies(path)?;
    // An index that lacks rows would keep them from being copied.
    progress.start("comparing indexes with their tables", None);
    let damage = view.look_for_damage().await?;
    progress.finish();
    let mut left_out = damage.left_out.clone();
    left_out
        .duplicates
        .extend(damage.duplicates.iter().map(Duplicate::describe));
    target.drop_indexes()?;
    let writer = Writer {
        target,
        left_out,
        rows: Vec::new(),
    };
    let Writer {
        mut target,
        left_out,
        rows: copied,
    } = copy_tables(view, writer, progress).await?;
    target.make_indexes()?;
    let count =
        |table: &&Table| (copied.iter()).find_map(|(name, count)| count.filter(|_| *name == table.name));
    let rows = TABLES.iter().map(|table| (table.name, count(table))).collect();
    left_out.record(&target.connection)?;
    target.copy_journal(view).await?;
    target.describe(taken_at, &source.to_string())?;
    target.describe_place(view.place())?;
    target.finish()?;
    Ok(CopiedLog {
        rows,
        left_out,
        damage,
    })
}

/// Reads the tables here, and writes them on another thread.
async fn copy_tables(view: &mut View, writer: Writer, progress: &dyn Progress) -> Result<Writer, LogError> {
    let (send, handed) = sync_channel(AHEAD);
    let started = Builder::new()
        .name("snapshot".into())
        .spawn(move || writer.write(&handed));
    let writing = started.map_err(|e| LogError::Refused {
        doing: DOING,
        what: format!("the system starts no thread: {e}"),
    })?;
    let mut reader = Reader::new(send, view);
    let mut read = match view.conn {
        Conn::Postgres(_) => view.conn.run(DOING, postgres!("whole_tables")).await,
        Conn::Snapshot { .. } => Ok(()),
    };
    for table in TABLES {
        if read.is_err() {
            break;
        }
        read = match view.conn.has(table).await {
            Ok(true) => {
                progress.start(&format!("copying {}", table.name), None);
                let read = reader.read(view, table, progress).await;
                progress.finish();
                read
            }
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
    }
    // The writer comes to its end.
    drop(reader);
    let written = writing
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    // What kept the writer from going on stopped the reader too.
    read.and(written)
}

/// What the reader hands the writer, in order.
enum Handed {
    /// What follows is of this table.
    Table(&'static Table),
    Rows(RawRows),
    /// A row that the database does not give out whole.
    Broken(BrokenRow),
}

/// The reader's end.
struct Reader {
    send: SyncSender<Handed>,
    rows: RawTable,
    columns: usize,
    from_postgres: bool,
    count: u64,
}

impl Reader {
    fn new(send: SyncSender<Handed>, view: &View) -> Self {
        Self {
            send,
            rows: RawTable::default(),
            columns: 0,
            from_postgres: matches!(view.conn, Conn::Postgres(_)),
            count: 0,
        }
    }

    /// Hands over the rows of a table; says how many there were. The writer may have failed: who reads on is told to stop.
    async fn read(
        &mut self,
        view: &mut View,
        table: &'static Table,
        progress: &dyn Progress,
    ) -> Result<(), LogError> {
        (self.columns, self.count) = (table.columns.len(), 0);
        self.rows = RawTable::new(self.columns, 128);
        if self.send.send(Handed::Table(table)).is_err() {
            return Ok(());
        }
        let mut failed = None;
        let mut each = |row: Result<Row<'_>, BrokenRow>| match self.take(row, progress) {
            Ok(flow) => flow,
            Err(what) => {
                failed = Some(what);
                ControlFlow::Break(())
            }
        };
        view.conn.rows_around(DOING, table, &mut each).await?;
        if let Some(what) = failed {
            return Err(LogError::Refused { doing: DOING, what });
        }
        let _ = self.hand_over(progress);
        Ok(())
    }

    fn take(
        &mut self,
        row: Result<Row<'_>, BrokenRow>,
        progress: &dyn Progress,
    ) -> Result<ControlFlow<()>, String> {
        match row {
            Ok(row) => {
                push_row(&mut self.rows, row, self.columns)?;
                if self.rows.len() < ROWS && self.rows.byte_len() < BYTES {
                    return Ok(ControlFlow::Continue(()));
                }
                Ok(self.hand_over(progress))
            }
            Err(broken) => {
                if self.hand_over(progress).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                progress.advance(1);
                Ok(match self.send.send(Handed::Broken(broken)) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                })
            }
        }
    }

    /// Hands over what is there; stops if nobody takes it any more.
    fn hand_over(&mut self, progress: &dyn Progress) -> ControlFlow<()> {
        let count = self.rows.len();
        if count == 0 {
            return ControlFlow::Continue(());
        }
        let rows = std::mem::replace(&mut self.rows, RawTable::new(self.columns, count));
        let rows = match self.from_postgres {
            true => RawRows::Postgres(rows),
            false => RawRows::Snapshot(rows),
        };
        progress.advance(count as u64);
        match self.send.send(Handed::Rows(rows)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

/// The writer's end, on a thread of its own.
struct Writer {
    target: Snapshot,
    left_out: AllLeftOut,
    rows: CopiedRows,
}

impl Writer {
    /// Writes what is handed over, to the end.
    fn write(mut self, handed: &Receiver<Handed>) -> Result<Self, LogError> {
        let mut next = handed.recv().ok();
        while let Some(Handed::Table(table)) = next {
            let (count, after) = copy_table(&self.target, table, handed, &mut self.left_out)?;
            self.rows.push((table.name, Some(count)));
            next = after;
        }
        Ok(self)
    }
}

/// Writes the rows of a table; says how many, and what came after them.
fn copy_table(
    target: &Snapshot,
    table: &'static Table,
    handed: &Receiver<Handed>,
    left_out: &mut AllLeftOut,
) -> Result<(u64, Option<Handed>), LogError> {
    let mut copying = Copying {
        table,
        insert: target.prepare(table)?,
        left_out,
        values: Vec::with_capacity(table.columns.len()),
        last: None,
        count: 0,
    };
    loop {
        match handed.recv() {
            Ok(Handed::Rows(rows)) => {
                let rows = Rc::new(rows);
                for at in 0..rows.len() {
                    copying.row(&rows, at)?;
                }
            }
            Ok(Handed::Broken(row)) => copying.broken(&row)?,
            Ok(next) => return Ok((copying.count, Some(next))),
            Err(_) => return Ok((copying.count, None)),
        }
    }
}

/// A table that is being copied.
struct Copying<'a> {
    table: &'static Table,
    insert: rusqlite::Statement<'a>,
    left_out: &'a mut AllLeftOut,
    values: Vec<Value>,
    /// The last row that was copied whole.
    last: Option<(Rc<RawRows>, usize)>,
    count: u64,
}

impl Copying<'_> {
    fn row(&mut self, rows: &Rc<RawRows>, at: usize) -> Result<(), LogError> {
        let Some(row) = rows.row(at) else {
            return Ok(());
        };
        if self.insert_as_read(row)? {
            self.last = Some((Rc::clone(rows), at));
            return Ok(());
        }
        let broken = copied_row(row, self.table, &mut self.values);
        if self.insert(broken)? {
            self.last = Some((Rc::clone(rows), at));
        }
        Ok(())
    }

    /// Inserts a row as it was read, without making values of it first. False if it must be looked at more closely: then it was
    /// not inserted.
    fn insert_as_read(&mut self, row: Row<'_>) -> Result<bool, LogError> {
        let mut length = 0;
        for (index, (_, kind)) in self.table.columns.iter().enumerate() {
            let Ok(cell) = row.get(index, *kind) else {
                return Ok(false);
            };
            length += match cell {
                Some(Cell::Text(text)) => text.len(),
                Some(Cell::Bytes(bytes)) => bytes.len(),
                _ => OTHER_LENGTH,
            };
            bind_cell(&mut self.insert, index + 1, cell).map_err(|e| LogError::sqlite(DOING, e))?;
        }
        if length >= MAX_VALUE as usize {
            return Ok(false);
        }
        match self.insert.raw_execute() {
            Ok(_) => {
                self.count += 1;
                Ok(true)
            }
            Err(error) if left_out_for(&error).is_some() => Ok(false),
            Err(error) => Err(LogError::sqlite(DOING, error)),
        }
    }

    /// Whether the values that are there are those of the last row that was copied whole.
    fn is_like_last(&self) -> bool {
        let mut values = Vec::new();
        let last = self.last.as_ref().and_then(|(rows, at)| rows.row(*at));
        last.is_some_and(|row| copied_row(row, self.table, &mut values).is_ok() && values == self.values)
    }

    fn broken(&mut self, row: &BrokenRow) -> Result<(), LogError> {
        self.values = marked(self.table, row);
        self.insert(Err(row.describe(self.table))).map(drop)
    }

    /// Inserts the values that are there; says whether that was a whole row. `broken` says why they are none.
    fn insert(&mut self, broken: Result<(), String>) -> Result<bool, LogError> {
        let (table, values) = (self.table, &self.values);
        // A row in part is kept as far as it goes, but none that could not be read again.
        let kept = broken.is_ok() || values.len() == table.columns.len() && check_length(values).is_ok();
        let inserted = match kept {
            true => snapshot_execute(&mut self.insert, values),
            false => Ok(1),
        };
        let (duplicate, in_part, what) = match (inserted, broken) {
            (Ok(_), Ok(())) => {
                self.count += 1;
                return Ok(true);
            }
            (Ok(_), Err(what)) => {
                self.count += u64::from(kept);
                (false, kept, what)
            }
            (Err(error), _) => match left_out_for(&error) {
                Some((duplicate, what)) => (duplicate, false, what),
                None => return Err(LogError::sqlite(DOING, error)),
            },
        };
        // A receipt comes once for each row of its event: that those are there twice is told of them.
        if !duplicate || table.name != VES_SEQUENCER_RECEIPTS.name || !self.is_like_last() {
            self.left_out
                .add(left_out_row(table, values, duplicate, in_part, &what));
        }
        Ok(false)
    }
}

/// Makes values of a row. One that cannot be understood goes into the snapshot as it is if there is a place for it.
fn copied_row(row: Row<'_>, table: &'static Table, values: &mut Vec<Value>) -> Result<(), String> {
    values.clear();
    for (index, (name, kind)) in table.columns.iter().enumerate() {
        values.push(copied_value(row, index, *kind).map_err(|what| format!("{name}: {what}"))?);
    }
    check_length(values)
}

/// Refuses a row that would be too long to be read again.
fn check_length(values: &[Value]) -> Result<(), String> {
    let long = |value: &Value| match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) | Value::TextBytes(bytes) => bytes.len(),
        _ => OTHER_LENGTH,
    };
    let length: usize = values.iter().map(long).sum();
    if length < MAX_VALUE as usize {
        return Ok(());
    }
    Err(format!(
        "the row has {length} bytes, and a snapshot holds rows of less than {} MiB",
        MAX_VALUE >> 20
    ))
}

/// The values of a row that the database does not give out whole, marked so that no reader takes it for one: what cannot
/// be read says why where it is a text, and otherwise the row's time does.
fn marked(table: &'static Table, row: &BrokenRow) -> Vec<Value> {
    let mark = |what: &str| {
        let mut bytes = UNREADABLE.to_vec();
        bytes.extend_from_slice(what.as_bytes());
        Value::TextBytes(bytes)
    };
    let mut values = row.values.clone();
    for (at, what) in &row.broken {
        let (name, kind) = table.columns[*at];
        if kind.snapshot_type() == "TEXT" {
            values[*at] = mark(what);
            continue;
        }
        values[*at] = match kind {
            ValueKind::Bytes => Value::Bytes(Vec::new()),
            _ => Value::Null,
        };
        let time = table
            .columns
            .iter()
            .position(|(_, kind)| *kind == ValueKind::Time);
        if let Some(time) = time {
            values[time] = mark(&format!("{name}: {what}"));
        }
    }
    values
}

/// Why the snapshot does not take a row, and whether it is there already; `None` if something else failed.
fn left_out_for(error: &rusqlite::Error) -> Option<(bool, String)> {
    use rusqlite::ffi::{SQLITE_CONSTRAINT_NOTNULL, SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE};
    match error.sqlite_error()?.extended_code {
        SQLITE_CONSTRAINT_UNIQUE | SQLITE_CONSTRAINT_PRIMARYKEY => {
            let shared = error.to_string();
            let shared = shared.rsplit(": ").next().unwrap_or_default();
            Some((
                true,
                format!("it is there more than once ({shared}); one copy is in the snapshot"),
            ))
        }
        SQLITE_CONSTRAINT_NOTNULL => Some((false, format!("a value is missing: {error}"))),
        _ => None,
    }
}

/// A row that is left out, with its place as far as it has one.
fn left_out_row(
    table: &'static Table,
    values: &[Value],
    duplicate: bool,
    in_part: bool,
    what: &str,
) -> LeftOut {
    let value = |name: &str| {
        let at = table.columns.iter().position(|(column, _)| *column == name)?;
        values.get(at)
    };
    let uuid = |name: &str| match value(name) {
        Some(Value::Uuid(uuid)) => Some(*uuid),
        _ => None,
    };
    let number = ["sequence_number", "sequence_start"].into_iter().find_map(value);
    let what = match uuid("event_id") {
        Some(event) => format!("event {event}: {what}"),
        None => what.to_owned(),
    };
    LeftOut {
        in_part,
        duplicate,
        table: table.name.to_owned(),
        tenant_id: uuid("tenant_id").map(TenantId),
        store_id: uuid("store_id").map(StoreId),
        sequence_number: match number {
            Some(Value::Int(number)) => u64::try_from(*number).ok(),
            _ => None,
        },
        what,
    }
}

impl Conn {
    /// Whether the table is there, and as expected.
    pub(crate) async fn has(&mut self, table: &Table) -> Result<bool, LogError> {
        match self {
            Conn::Snapshot { connection, .. } => {
                let mut found = false;
                snapshot_query(connection, snapshot!("schema"), &[table.name.into()], &mut |_| {
                    found = true;
                    ControlFlow::Break(())
                })
                .map_err(|e| LogError::sqlite(DOING, e))?;
                Ok(found)
            }
            Conn::Postgres(session) => Ok(session.layout.has(table)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(snapshot: &Snapshot) -> Vec<String> {
        let sql = "SELECT name || ': ' || COALESCE(sql, '') FROM sqlite_schema ORDER BY name";
        let mut statement = snapshot.connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn indexes_are_made_again_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let snapshot = Snapshot::for_copies(&folder.path().join("copy.db")).unwrap();
        let before = schema(&snapshot);
        snapshot.drop_indexes().unwrap();
        assert_eq!(schema(&snapshot).len(), before.len() - 2);
        snapshot.make_indexes().unwrap();
        assert_eq!(schema(&snapshot), before);
    }
}
