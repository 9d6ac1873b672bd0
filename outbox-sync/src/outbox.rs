//! Opening an outbox, whatever its shape, and reading it row by row.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde::Serialize;
use tempfile::TempDir;
use ves::{AgentId, StoreId, TenantId};

use crate::error::{OutboxError, OutboxErrorKind};
use crate::private_copy;
use crate::row::{HeldRow, RowError, RowReader, Table};

mod sql {
    pub const SETTINGS: &str = include_str!("../../sql/outbox-sync/settings.sql");
    pub const QUICK_CHECK: &str = include_str!("../../sql/outbox-sync/quick_check.sql");
    pub const TABLES: &str = include_str!("../../sql/outbox-sync/tables.sql");
    pub const COLUMNS: &str = include_str!("../../sql/outbox-sync/columns.sql");
    pub const SYNC_STATE: &str = include_str!("../../sql/outbox-sync/sync_state.sql");
    pub const COUNT_OUTBOX: &str = include_str!("../../sql/outbox-sync/count_outbox.sql");
    pub const COUNT_PULLED: &str = include_str!("../../sql/outbox-sync/count_pulled.sql");
    pub const COUNT_QUARANTINED: &str = include_str!("../../sql/outbox-sync/count_quarantined.sql");
    pub const COUNT_RECEIVE_FAILURES: &str = include_str!("../../sql/outbox-sync/count_receive_failures.sql");
    pub const ROWS_OUTBOX: &str = include_str!("../../sql/outbox-sync/rows_outbox.sql");
    pub const ROWS_PULLED: &str = include_str!("../../sql/outbox-sync/rows_pulled.sql");
    pub const ROWS_QUARANTINED: &str = include_str!("../../sql/outbox-sync/rows_quarantined.sql");
    pub const NEXT_OUTBOX: &str = include_str!("../../sql/outbox-sync/next_outbox.sql");
    pub const NEXT_PULLED: &str = include_str!("../../sql/outbox-sync/next_pulled.sql");
    pub const NEXT_QUARANTINED: &str = include_str!("../../sql/outbox-sync/next_quarantined.sql");
}

/// A row longer than this is reported, not read: it bounds what reading a row takes.
const MAX_ROW_BYTES: i32 = 40 << 20;

/// The version of an outbox's schema, told by what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Without columns for the signature scheme.
    V1,
    /// With them, without a table of quarantined events.
    V2,
    /// With both. (A file that was upgraded from version 1 has its columns in another order.)
    V3,
}

/// Rows of the outbox by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct StatusCounts {
    /// Not yet acknowledged.
    pub pending: u64,
    /// Acknowledged, as the agent believes.
    pub synced: u64,
    /// Could not be sent.
    pub failed: u64,
    /// Refused by the sequencer.
    pub rejected: u64,
    /// In a state that no agent writes.
    pub unknown: u64,
}

impl StatusCounts {
    /// All rows.
    pub fn total(&self) -> u64 {
        self.pending + self.synced + self.failed + self.rejected + self.unknown
    }
}

/// What an outbox says about itself. All of it is the agent's belief.
#[derive(Debug, Clone, Serialize)]
pub struct OutboxMeta {
    /// The file, as it was named.
    #[serde(serialize_with = "crate::row::path_as_text")]
    pub path: Arc<Path>,
    /// The version of its schema.
    pub shape: Shape,
    /// The agent that it belongs to.
    pub agent_id: Option<AgentId>,
    /// The agent's tenant.
    pub tenant_id: Option<TenantId>,
    /// The agent's store.
    pub store_id: Option<StoreId>,
    /// The highest number that the agent believes its own events got.
    pub last_pushed_sequence: Option<u64>,
    /// Its cursor: some agents keep the last number that they pulled, some the one to ask for next.
    pub last_pulled_sequence: Option<u64>,
    /// The sequencer's head when it last heard of it.
    pub head_sequence: Option<u64>,
    /// When it last spoke with the sequencer, as it wrote it.
    pub last_sync_at: Option<String>,
    /// Rows of the outbox by state.
    pub outbox: StatusCounts,
    /// Rows of the pulled events.
    pub pulled: u64,
    /// Rows of the quarantined events.
    pub quarantined: u64,
    /// Values of the sync state that could not be read.
    pub flaws: Vec<String>,
    /// Tables with rows that this version does not read: their content is not checked.
    pub not_checked: Vec<String>,
}

/// An opened outbox: a private copy, which is removed with this value.
///
/// The copy lies in the system's folder for temporary files (`TMPDIR`) and needs as much room there as the
/// outbox and its WAL.
#[derive(Debug)]
pub struct Outbox {
    // Before the folder: the connection is closed before its file is removed.
    connection: Connection,
    meta: OutboxMeta,
    tables: Vec<Table>,
    _dir: TempDir,
}

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

    fn try_open(path: &Path) -> Result<Self, OutboxErrorKind> {
        let dir = tempfile::Builder::new()
            .prefix("outbox-")
            .tempdir()
            .map_err(OutboxErrorKind::Copy)?;
        let copy = private_copy::make(path, dir.path())?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(copy, flags)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
        connection.execute_batch(sql::SETTINGS)?;
        check_sound(&connection)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_ROW_BYTES)?;

        let names = table_names(&connection)?;
        let has = |name: &str| names.iter().any(|n| n == name);
        if !has(Table::Outbox.name()) {
            let older: Vec<&str> = ["outbox", "pulled_events"]
                .into_iter()
                .filter(|name| has(name))
                .collect();
            return Err(if older.is_empty() {
                OutboxErrorKind::NoOutboxTables
            } else {
                OutboxErrorKind::OlderShape {
                    tables: older.join(", "),
                }
            });
        }
        let tables: Vec<Table> = Table::ALL.into_iter().filter(|table| has(table.name())).collect();
        let mut has_scheme = false;
        for table in &tables {
            let columns = columns(&connection, *table)?;
            let there = |name: &str| columns.iter().any(|c| c.eq_ignore_ascii_case(name));
            let missing: Vec<&str> = table
                .required_columns()
                .into_iter()
                .filter(|c| !there(c))
                .collect();
            if !missing.is_empty() {
                let columns = missing.join(", ");
                return Err(OutboxErrorKind::MissingColumns {
                    table: table.name(),
                    columns,
                });
            }
            if *table == Table::Outbox {
                has_scheme = there("agent_signature_scheme");
            }
        }
        let shape = match (has_scheme, tables.contains(&Table::Quarantined)) {
            (_, true) => Shape::V3,
            (true, false) => Shape::V2,
            (false, false) => Shape::V1,
        };

        let mut meta = OutboxMeta {
            path: path.into(),
            shape,
            agent_id: None,
            tenant_id: None,
            store_id: None,
            last_pushed_sequence: None,
            last_pulled_sequence: None,
            head_sequence: None,
            last_sync_at: None,
            outbox: status_counts(&connection)?,
            pulled: 0,
            quarantined: 0,
            flaws: Vec::new(),
            not_checked: Vec::new(),
        };
        if tables.contains(&Table::Pulled) {
            meta.pulled = count(&connection, sql::COUNT_PULLED)?;
        }
        if tables.contains(&Table::Quarantined) {
            meta.quarantined = count(&connection, sql::COUNT_QUARANTINED)?;
        }
        if has("_ves_receive_failures") {
            let rows = count(&connection, sql::COUNT_RECEIVE_FAILURES)?;
            if rows > 0 {
                meta.not_checked
                    .push(format!("_ves_receive_failures: {rows} rows"));
            }
        }
        for older in ["outbox", "pulled_events"] {
            if has(older) {
                meta.not_checked
                    .push(format!("{older}: a table of the older shape"));
            }
        }
        if has("_ves_sync_state") {
            read_sync_state(&connection, &mut meta)?;
        }
        Ok(Self {
            connection,
            meta,
            tables,
            _dir: dir,
        })
    }

    /// What the outbox says about itself.
    pub fn meta(&self) -> &OutboxMeta {
        &self.meta
    }

    /// Hands over every row, one at a time: of the outbox, then of the pulled and the quarantined events, each in
    /// the order of its row numbers. A row that cannot be read is handed over as an error and does not
    /// stop the others; `Break` does.
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
        let (rows_sql, next_sql) = match table {
            Table::Outbox => (sql::ROWS_OUTBOX, sql::NEXT_OUTBOX),
            Table::Pulled => (sql::ROWS_PULLED, sql::NEXT_PULLED),
            Table::Quarantined => (sql::ROWS_QUARANTINED, sql::NEXT_QUARANTINED),
        };
        let mut statement = self.connection.prepare(rows_sql)?;
        let names = statement.column_names().into_iter().map(str::to_owned).collect();
        let reader = RowReader::new(Arc::clone(&self.meta.path), table, names);
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

/// Refuses a damaged file. What `quick_check` says about single values is left to the row reader.
fn check_sound(connection: &Connection) -> Result<(), OutboxErrorKind> {
    const ABOUT_VALUES: [&str; 3] = ["NULL value in ", "NUMERIC value in ", "TEXT value in "];
    let mut statement = connection.prepare(sql::QUICK_CHECK)?;
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

fn table_names(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare(sql::TABLES)?
        .query_map([], |row| row.get(0))?
        .collect()
}

fn columns(connection: &Connection, table: Table) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare(sql::COLUMNS)?
        .query_map([table.name()], |row| row.get(0))?
        .collect()
}

fn count(connection: &Connection, sql: &str) -> rusqlite::Result<u64> {
    connection.query_row(sql, [], |row| number(row, 0))
}

/// A count: never negative, whatever SQLite's type for it.
fn number(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(index)?.unsigned_abs())
}

fn status_counts(connection: &Connection) -> rusqlite::Result<StatusCounts> {
    connection.query_row(sql::COUNT_OUTBOX, [], |row| {
        Ok(StatusCounts {
            pending: number(row, 0)?,
            synced: number(row, 1)?,
            failed: number(row, 2)?,
            rejected: number(row, 3)?,
            unknown: number(row, 4)?,
        })
    })
}

fn read_sync_state(connection: &Connection, meta: &mut OutboxMeta) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(sql::SYNC_STATE)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (Ok(key), Ok(value)) = (row.get::<_, String>(0), row.get::<_, String>(1)) else {
            meta.flaws.push("_ves_sync_state: a value is not text".into());
            continue;
        };
        let flaws = &mut meta.flaws;
        match key.as_str() {
            "agent_id" => meta.agent_id = parsed(&key, &value, flaws),
            "tenant_id" => meta.tenant_id = parsed(&key, &value, flaws),
            "store_id" => meta.store_id = parsed(&key, &value, flaws),
            "last_pushed_sequence" => meta.last_pushed_sequence = parsed(&key, &value, flaws),
            "last_pulled_sequence" => meta.last_pulled_sequence = parsed(&key, &value, flaws),
            "head_sequence" => meta.head_sequence = parsed(&key, &value, flaws),
            "last_sync_at" => meta.last_sync_at = Some(value.chars().take(64).collect()),
            _ => {}
        }
    }
    Ok(())
}

fn parsed<T: std::str::FromStr>(key: &str, value: &str, flaws: &mut Vec<String>) -> Option<T> {
    let parsed = value.parse().ok();
    if parsed.is_none() {
        let value: String = value.chars().take(40).collect();
        flaws.push(format!("_ves_sync_state: {key} is {value:?}"));
    }
    parsed
}
