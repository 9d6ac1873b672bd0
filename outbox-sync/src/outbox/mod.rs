//! Opening an outbox, whatever its shape, and reading it row by row.

mod meta;
mod peer_keys;
mod salvage;
mod statements;
mod tables;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use cli_common::PrivateDir;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use ves::SigningKey;

use crate::error::{OutboxError, OutboxErrorKind};
use crate::private_copy;
use crate::row::{HeldRow, Origin, RowError, RowReader, Table};

pub use meta::{OutboxMeta, Shape, StatusCounts};
use peer_keys::peer_key;
use salvage::salvage_rows;
use statements::named;
pub(crate) use statements::{TableSql, table_sql};
use tables::Tables;

/// A row longer than this is reported, not read: it bounds what reading a row takes.
const MAX_ROW_BYTES: i32 = 40 << 20;

/// An opened outbox: a private copy, which is removed with this value. (Bulk reading does without one where it can.)
///
/// The copy lies in the system's folder for temporary files (`TMPDIR`) and needs as much room there as the
/// outbox and its WAL.
#[derive(Debug)]
pub struct Outbox {
    // Before the folder: the connection is closed before its file is removed.
    connection: Connection,
    meta: OutboxMeta,
    tables: Vec<Table>,
    has_peer_keys: bool,
    _dir: Option<PrivateDir>,
}

/// So many stretches of lost rows are looked behind; a file with more holds nothing but damage.
const MAX_LOST: usize = 10_000;
/// So many keys of other agents are read at most.
const MAX_PEER_KEYS: i64 = 100_000;
impl Outbox {
    /// Opens the outbox at `path`. Neither the file nor its `-wal`, `-shm` or `-journal` is changed, and none is
    /// created. A process must not have the file open through SQLite itself while it calls this: its locks
    /// would be lost.
    ///
    /// # Errors
    /// See [`OutboxErrorKind`].
    pub fn open(path: &Path) -> Result<Self, OutboxError> {
        Self::try_open(path).map_err(|kind| kind.of(path))
    }

    /// Opens an outbox that is truncated or damaged, as far as SQLite can still read it. What cannot be read is
    /// named, table by table and row by row (see [`Outbox::for_each_row`]), and the whole in
    /// [`OutboxMeta::damage`]. A journal beside the file is not rolled back.
    ///
    /// # Errors
    /// Not even its schema can be read; otherwise as [`Outbox::open`].
    pub fn salvage(path: &Path) -> Result<Self, OutboxError> {
        let damage = match Self::open(path) {
            Ok(outbox) => return Ok(outbox),
            Err(error) if error.kind.is_damage() => error.kind.to_string(),
            Err(error) => return Err(error),
        };
        let opened = private_dir().and_then(|dir| {
            let copy = private_copy::make_damaged(path, dir.path())?;
            Self::of_copy(path, &copy, dir, Some(damage))
        });
        let mut outbox = opened.map_err(|kind| kind.of(path))?;
        outbox.count_salvage()?;
        Ok(outbox)
    }

    fn try_open(path: &Path) -> Result<Self, OutboxErrorKind> {
        let dir = private_dir()?;
        let copy = private_copy::make(path, dir.path())?;
        Self::of_copy(path, &copy, dir, None)
    }

    fn of_copy(
        path: &Path,
        copy: &Path,
        dir: PrivateDir,
        damage: Option<String>,
    ) -> Result<Self, OutboxErrorKind> {
        let connection = open_private(copy)?;
        if damage.is_none() {
            check_sound(&connection)?;
        }
        limit_rows(&connection)?;
        Self::of_connection(path, connection, Some(dir), damage, true)
    }

    /// What lies behind a connection. Without `counted`, rows are not counted: that reads the whole file.
    pub(crate) fn of_connection(
        path: &Path,
        connection: Connection,
        dir: Option<PrivateDir>,
        damage: Option<String>,
        counted: bool,
    ) -> Result<Self, OutboxErrorKind> {
        let found = Tables::find(&connection)?;
        let mut meta = OutboxMeta::new(path, &found, damage);
        match meta.read(&connection, &found, counted) {
            Err(error) if meta.damage.is_some() => meta.not_checked.push(format!("the sync state: {error}")),
            result => result?,
        }
        Ok(Self {
            has_peer_keys: found.has("_ves_peer_keys"),
            connection,
            meta,
            tables: found.tables,
            _dir: dir,
        })
    }

    /// Counts what can be read of a damaged file, and names what cannot.
    fn count_salvage(&mut self) -> Result<(), OutboxError> {
        let mut meta = self.meta.clone();
        self.for_each_row(&mut |row| {
            match row {
                Ok(row) => match row.origin {
                    Origin::Outbox { status, .. } => meta.outbox.add(status),
                    Origin::Pulled => meta.pulled += 1,
                    Origin::Quarantined => meta.quarantined += 1,
                },
                Err(error) if meta.not_checked.len() < MAX_LOST => {
                    meta.not_checked
                        .push(format!("{} {}", error.place.table.name(), error.what));
                }
                Err(_) => {}
            }
            ControlFlow::Continue(())
        })?;
        self.meta = meta;
        Ok(())
    }

    /// The keys of other agents that this one fetched from the sequencer: what it believed, and it may be
    /// out of date. They are of the outbox's own tenant. A key that cannot be read is said in words.
    ///
    /// # Errors
    /// The file turns out damaged.
    pub fn peer_keys(&self) -> Result<Vec<Result<SigningKey, String>>, OutboxError> {
        let (true, Some(tenant)) = (self.has_peer_keys, self.meta.tenant_id) else {
            return Ok(Vec::new());
        };
        let read = || -> rusqlite::Result<Vec<Result<SigningKey, String>>> {
            let mut statement = self.connection.prepare(named!("peer_keys"))?;
            let mut rows = statement.query([MAX_PEER_KEYS])?;
            let mut keys = Vec::new();
            while let Some(row) = rows.next()? {
                keys.push(peer_key(row, tenant));
            }
            Ok(keys)
        };
        read().map_err(|error| OutboxErrorKind::from(error).of(&self.meta.path))
    }

    pub(crate) fn tables(&self) -> &[Table] {
        &self.tables
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What the outbox says about itself.
    pub fn meta(&self) -> &OutboxMeta {
        &self.meta
    }

    /// Hands over every row, one at a time: of the outbox, then of the pulled and the quarantined events, each in
    /// the order of its row numbers. A row that cannot be read is handed over as an error and does not
    /// stop the others; `Break` does. In a damaged file a stretch of rows that cannot be read is one error, placed
    /// at the first of them.
    ///
    /// # Errors
    /// The file turns out damaged. Rows already handed over remain as they are.
    pub fn for_each_row(
        &self,
        each: &mut dyn FnMut(Result<HeldRow, RowError>) -> ControlFlow<()>,
    ) -> Result<(), OutboxError> {
        for table in &self.tables {
            let flow = self
                .table_rows(*table, each)
                .map_err(|kind| kind.of(&self.meta.path))?;
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn table_rows(
        &self,
        table: Table,
        each: &mut dyn FnMut(Result<HeldRow, RowError>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, OutboxErrorKind> {
        let TableSql {
            rows: rows_sql,
            back,
            next: next_sql,
            ..
        } = table_sql(table);
        let mut statement = self.connection.prepare(rows_sql)?;
        let names = statement.column_names().into_iter().map(str::to_owned).collect();
        let reader = RowReader::new(Arc::clone(&self.meta.path), table, names);
        if self.meta.damage.is_some() {
            let mut back = self.connection.prepare(back)?;
            return Ok(salvage_rows(&mut statement, &mut back, &reader, each));
        }
        let mut from = i64::MIN;
        loop {
            let mut rows = statement.query([from])?;
            let too_big = loop {
                match rows.next() {
                    Ok(Some(row)) => {
                        let number: i64 = row.get(0)?;
                        if each(reader.read(row)).is_break() {
                            return Ok(ControlFlow::Break(()));
                        }
                        let Some(next) = number.checked_add(1) else {
                            return Ok(ControlFlow::Continue(()));
                        };
                        from = next;
                    }
                    Ok(None) => return Ok(ControlFlow::Continue(())),
                    Err(error) => break error,
                }
            };
            // Other errors concern the file; this one the row.
            if too_big.sqlite_error_code() != Some(ErrorCode::TooBig) {
                return Err(too_big.into());
            }
            drop(rows);
            let number: Option<i64> = self.connection.query_row(next_sql, [from], |row| row.get(0))?;
            let Some(number) = number else {
                return Err(too_big.into());
            };
            let what = format!("it has more than {MAX_ROW_BYTES} bytes");
            if each(Err(RowError {
                place: reader.place(number),
                what,
            }))
            .is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            let Some(next) = number.checked_add(1) else {
                return Ok(ControlFlow::Continue(()));
            };
            from = next;
        }
    }
}

pub(crate) fn private_dir() -> Result<PrivateDir, OutboxErrorKind> {
    PrivateDir::new().map_err(OutboxErrorKind::Copy)
}

/// Opens a private copy so that nothing in it can run.
pub(crate) fn open_private(copy: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(copy, flags)?;
    secure(&connection)?;
    Ok(connection)
}

/// The file comes from others: nothing in it may run.
pub(crate) fn secure(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.execute_batch(named!("settings"))
}

/// Bounds what reading a row takes. `quick_check` does without, since it would stop at the first long row.
pub(crate) fn limit_rows(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_ROW_BYTES)?;
    Ok(())
}

/// Refuses a damaged file. What `quick_check` says about single values is left to the row reader.
pub(crate) fn check_sound(connection: &Connection) -> Result<(), OutboxErrorKind> {
    const ABOUT_VALUES: [&str; 3] = ["NULL value in ", "NUMERIC value in ", "TEXT value in "];
    let mut statement = connection.prepare(named!("quick_check"))?;
    let mut rows = statement.query([])?;
    let mut damage = Vec::new();
    while let Some(row) = rows.next()? {
        let line: String = row.get(0)?;
        if line != "ok" && !ABOUT_VALUES.iter().any(|start| line.starts_with(start)) {
            damage.push(line);
        }
    }
    match damage.first() {
        None => Ok(()),
        // One line may list many pages.
        Some(first) => Err(OutboxErrorKind::Damaged(first.chars().take(300).collect())),
    }
}
