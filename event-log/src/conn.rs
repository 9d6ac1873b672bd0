//! A connection to either database, and the few things that differ between them: how a query runs, how rows are
//! written, how a transaction begins.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, Statement};
use sqlx::postgres::{PgArguments, PgConnectOptions};
use sqlx::{Arguments as _, ConnectOptions as _, Executor as _, PgConnection, Row as _, ValueRef as _};
use tempfile::TempDir;

use crate::entry::LogEntry;
use crate::entry_rows::{ChunkSize, entry_rows};
use crate::error::LogError;
use crate::jsonb;
use crate::raw::RawRows;
use crate::schema::Table;
use crate::sql::{both, postgres, snapshot};
use crate::staging::NotInserted;
use crate::value::{Kind, Row, Value};

/// How long connecting to PostgreSQL may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a reader of a snapshot waits for a writer to finish.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest value that a snapshot may hold: far above the sequencer's limit of 1 MiB for a payload, and low enough
/// that one hostile row cannot take the memory.
const MAX_VALUE: i32 = 64 << 20;

/// How many rows, and about how many bytes, one INSERT carries to PostgreSQL.
const INSERT_ROWS: usize = 1000;
const INSERT_BYTES: usize = 8 << 20;

/// The columns of `entries.sql` that may be long: payloads and bundles of signatures.
const LONG_COLUMNS: [usize; 4] = [12, 13, 21, 30];

pub(crate) enum Conn {
    Postgres(Box<PgConnection>),
    Snapshot {
        connection: Connection,
        /// The folder of a private copy, if that is what is read: it goes after the connection.
        _copy: Option<TempDir>,
    },
}

/// The URL parameters that sqlx knows. It logs any other with its value, which may be a secret (`sslpassword`, say).
const URL_PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Parses the URL and sets what this crate needs. A parameter that is not known is left out, with a warning.
pub(crate) fn postgres_options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    let (before, query) = url.split_once('?').unwrap_or((url, ""));
    let known = |parameter: &&str| {
        let name = parameter.split_once('=').map_or(*parameter, |(name, _)| name);
        let known = URL_PARAMETERS.contains(&name) || name.starts_with("options[") || name.is_empty();
        if !known {
            // Not by its name: that may be the end of a password with a `?` in it.
            tracing::warn!("ignoring a parameter of the database URL that is not known");
        }
        known
    };
    let query: Vec<&str> = query.split('&').filter(known).collect();
    let options: PgConnectOptions = format!("{before}?{}", query.join("&")).parse()?;
    Ok(options
        .application_name("ves-toolkit")
        .disable_statement_logging())
}

pub(crate) async fn connect(options: &PgConnectOptions, target: &str) -> Result<Conn, LogError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| LogError::Connect {
        target: target.to_owned(),
        source,
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await {
        Ok(Ok(connection)) => Ok(Conn::Postgres(Box::new(connection))),
        Ok(Err(error)) => Err(failed(Box::new(error))),
        Err(_) => Err(failed(
            format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()).into(),
        )),
    }
}

/// Opens an existing snapshot file.
///
/// A file whose last writer was killed in the middle has a journal beside it, and the next one to open it for writing
/// undoes what was half done. Who only reads must not: it reads a copy of both, in which that is undone.
pub(crate) fn open_snapshot(path: &Path, writable: bool) -> Result<Conn, LogError> {
    if writable {
        return open_file(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map(|connection| Conn::Snapshot {
            connection,
            _copy: None,
        });
    }
    match open_file(path, OpenFlags::SQLITE_OPEN_READ_ONLY) {
        Err(LogError::Sqlite { source, .. }) if needs_rollback(&source) => open_copy(path),
        opened => opened.map(|connection| Conn::Snapshot {
            connection,
            _copy: None,
        }),
    }
}

fn open_file(path: &Path, mode: OpenFlags) -> Result<Connection, LogError> {
    let open = || {
        // Without SQLITE_OPEN_URI: a path is a path, whatever characters it has.
        let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE)?;
        connection.busy_timeout(READ_TIMEOUT)?;
        connection.execute_batch(snapshot!("session"))?;
        Ok(connection)
    };
    open().map_err(|e| LogError::sqlite("opening the snapshot", e))
}

fn needs_rollback(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    code == Some(rusqlite::ffi::SQLITE_READONLY_ROLLBACK)
}

fn open_copy(path: &Path) -> Result<Conn, LogError> {
    let io = |source| LogError::Io {
        path: path.to_owned(),
        source,
    };
    let journal = journal_of(path);
    let state = || -> std::io::Result<_> {
        let (file, journal) = (fs::metadata(path)?, fs::metadata(&journal)?);
        Ok((file.len(), file.modified()?, journal.len(), journal.modified()?))
    };
    let folder = tempfile::tempdir().map_err(io)?;
    let copy = folder.path().join("snapshot");
    let before = state().map_err(io)?;
    fs::copy(path, &copy).map_err(io)?;
    fs::copy(&journal, journal_of(&copy)).map_err(io)?;
    if state().map_err(io)? != before {
        return Err(LogError::Locked {
            doing: "opening the snapshot",
            what: "it is being repaired from an interrupted write".into(),
        });
    }
    let connection = open_file(&copy, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    Ok(Conn::Snapshot {
        connection,
        _copy: Some(folder),
    })
}

/// SQLite's rollback journal of a file.
pub(crate) fn journal_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-journal");
    name.into()
}

impl Conn {
    /// Runs a query and gives its rows to `each` one by one, until it breaks off.
    pub(crate) async fn query(
        &mut self,
        doing: &'static str,
        sql: &'static str,
        parameters: &[Value],
        each: &mut dyn FnMut(Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        match self {
            Conn::Postgres(connection) => {
                let arguments = postgres_arguments(parameters).map_err(|e| LogError::postgres(doing, e))?;
                let mut rows = sqlx::query_with(sql, arguments).fetch(&mut **connection);
                while let Some(row) = rows.try_next().await.map_err(|e| LogError::postgres(doing, e))? {
                    if each(Row::Postgres(&row)).is_break() {
                        break;
                    }
                }
                Ok(())
            }
            Conn::Snapshot { connection, .. } => {
                snapshot_query(connection, sql, parameters, each).map_err(|e| LogError::sqlite(doing, e))
            }
        }
    }

    /// Runs `entries.sql` and gives its rows to `each` in chunks, not understood.
    pub(crate) async fn query_entries(
        &mut self,
        doing: &'static str,
        parameters: &[Value],
        size: ChunkSize,
        each: &mut dyn FnMut(RawRows) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        let connection = match self {
            Conn::Postgres(connection) => connection,
            Conn::Snapshot { connection, .. } => {
                let each = &mut |table| each(RawRows::Snapshot(table));
                return entry_rows(connection, parameters, size, each)
                    .map_err(|e| LogError::sqlite(doing, e));
            }
        };
        let arguments = postgres_arguments(parameters).map_err(|e| LogError::postgres(doing, e))?;
        let mut rows = sqlx::query_with(both!("entries"), arguments).fetch(&mut **connection);
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.try_next().await.map_err(|e| LogError::postgres(doing, e))? {
            let long = LONG_COLUMNS.map(|column| {
                let value = row.try_get_raw(column).and_then(|value| {
                    if value.is_null() {
                        Ok(0)
                    } else {
                        value.as_bytes().map(<[u8]>::len).map_err(sqlx::Error::Decode)
                    }
                });
                value.unwrap_or(0)
            });
            bytes += size_of::<LogEntry>() + long.iter().sum::<usize>();
            chunk.push(row);
            if chunk.len() >= size.rows || bytes >= size.bytes {
                bytes = 0;
                if each(RawRows::Postgres(std::mem::take(&mut chunk))).is_break() {
                    return Ok(());
                }
            }
        }
        if !chunk.is_empty() {
            let _ = each(RawRows::Postgres(chunk));
        }
        Ok(())
    }

    /// Runs a query that has one row or none.
    pub(crate) async fn query_one<T>(
        &mut self,
        doing: &'static str,
        sql: &'static str,
        parameters: &[Value],
        mut read: impl FnMut(Row<'_>) -> T,
    ) -> Result<Option<T>, LogError> {
        let mut found = None;
        self.query(doing, sql, parameters, &mut |row| {
            found = Some(read(row));
            ControlFlow::Break(())
        })
        .await?;
        Ok(found)
    }

    /// Runs a statement that returns nothing; says how many rows it changed.
    pub(crate) async fn execute(
        &mut self,
        doing: &'static str,
        sql: &'static str,
        parameters: &[Value],
    ) -> Result<u64, LogError> {
        match self {
            Conn::Postgres(connection) => {
                let arguments = postgres_arguments(parameters).map_err(|e| LogError::postgres(doing, e))?;
                let done = connection.execute(sqlx::query_with(sql, arguments)).await;
                Ok(done.map_err(|e| LogError::postgres(doing, e))?.rows_affected())
            }
            Conn::Snapshot { connection, .. } => {
                let changed = connection
                    .prepare(sql)
                    .and_then(|mut s| snapshot_execute(&mut s, parameters));
                changed.map_err(|e| LogError::sqlite(doing, e))
            }
        }
    }

    /// Runs statements without parameters.
    pub(crate) async fn run(&mut self, doing: &'static str, sql: &'static str) -> Result<(), LogError> {
        match self {
            Conn::Postgres(connection) => {
                let done = connection.execute(sqlx::raw_sql(sql)).await;
                done.map(drop).map_err(|e| LogError::postgres(doing, e))
            }
            Conn::Snapshot { connection, .. } => connection
                .execute_batch(sql)
                .map_err(|e| LogError::sqlite(doing, e)),
        }
    }

    /// Begins a transaction that writes: in PostgreSQL at READ COMMITTED, as the sequencer; of a snapshot with the
    /// whole file locked.
    pub(crate) async fn begin_writing(
        &mut self,
        doing: &'static str,
        lock_timeout: Duration,
    ) -> Result<(), LogError> {
        match self {
            Conn::Postgres(_) => {
                self.run(doing, postgres!("begin_repair")).await?;
                self.set_lock_timeout(doing, lock_timeout).await
            }
            Conn::Snapshot { connection: file, .. } => {
                file.busy_timeout(lock_timeout)
                    .map_err(|e| LogError::sqlite(doing, e))?;
                self.run(doing, snapshot!("begin_repair")).await
            }
        }
    }

    /// How long this transaction waits for each lock from now on.
    pub(crate) async fn set_lock_timeout(
        &mut self,
        doing: &'static str,
        lock_timeout: Duration,
    ) -> Result<(), LogError> {
        let millis = lock_timeout.as_millis().clamp(1, i32::MAX as u128);
        let timeout = Value::Text(format!("{millis}ms"));
        self.query_one(doing, postgres!("lock_timeout"), &[timeout], |_| ())
            .await
            .map(drop)
    }

    /// Ends a transaction and keeps what it wrote.
    pub(crate) async fn commit(&mut self) -> Result<(), LogError> {
        self.run("committing", both!("commit")).await
    }

    /// Inserts rows, each with a value for every column of the table; says how many are new.
    pub(crate) async fn insert(
        &mut self,
        doing: &'static str,
        table: &'static Table,
        rows: Vec<Vec<Value>>,
    ) -> Result<u64, LogError> {
        match self {
            Conn::Snapshot { connection, .. } => {
                insert_snapshot(connection, doing, table, rows.into_iter().map(Ok)).map_err(|e| *e.error)
            }
            Conn::Postgres(connection) => {
                let refused = || LogError::Refused {
                    doing,
                    what: format!("{} is not written", table.name),
                };
                let sql = table.insert_postgres.ok_or_else(refused)?;
                let mut inserted = 0;
                let mut rows = rows.into_iter().peekable();
                while rows.peek().is_some() {
                    let (mut batch, mut bytes) = (Vec::new(), 0);
                    while batch.len() < INSERT_ROWS && bytes < INSERT_BYTES {
                        let Some(row) = rows.next() else { break };
                        bytes += row.iter().map(size).sum::<usize>();
                        batch.push(row);
                    }
                    let arguments =
                        array_arguments(table, batch).map_err(|e| LogError::postgres(doing, e))?;
                    let done = connection.execute(sqlx::query_with(sql, arguments)).await;
                    inserted += done.map_err(|e| LogError::postgres(doing, e))?.rows_affected();
                }
                Ok(inserted)
            }
        }
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 16,
    }
}

fn postgres_arguments(parameters: &[Value]) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = PgArguments::default();
    for parameter in parameters {
        match parameter {
            // Only ids may be left out of a query.
            Value::Null => arguments.add(None::<uuid::Uuid>),
            Value::Uuid(v) => arguments.add(v),
            Value::Int(v) => arguments.add(v),
            Value::Text(v) => arguments.add(v),
            Value::Bytes(v) => arguments.add(v),
            Value::Time(v) => arguments.add(v.to_string()),
            Value::Uuids(v) => arguments.add(v),
            Value::Texts(v) => arguments.add(v),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// Turns rows into one array for each column.
fn array_arguments(table: &Table, rows: Vec<Vec<Value>>) -> Result<PgArguments, sqlx::Error> {
    let mut columns: Vec<Vec<Value>> = table
        .columns
        .iter()
        .map(|_| Vec::with_capacity(rows.len()))
        .collect();
    for row in rows {
        debug_assert_eq!(row.len(), columns.len(), "{}", table.name);
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
    }
    let mut arguments = PgArguments::default();
    for ((_, kind), column) in table.columns.iter().zip(columns) {
        let values = column.into_iter();
        match kind {
            Kind::Uuid => arguments.add(
                values
                    .map(|v| if let Value::Uuid(v) = v { Some(v) } else { None })
                    .collect::<Vec<_>>(),
            ),
            Kind::Int => arguments.add(
                values
                    .map(|v| if let Value::Int(v) = v { Some(v) } else { None })
                    .collect::<Vec<_>>(),
            ),
            Kind::Bytes => arguments.add(
                values
                    .map(|v| if let Value::Bytes(v) = v { Some(v) } else { None })
                    .collect::<Vec<_>>(),
            ),
            Kind::Text | Kind::Json | Kind::Time => arguments.add(
                values
                    .map(|v| match v {
                        Value::Text(v) => Some(v),
                        Value::Time(v) => Some(v.to_string()),
                        _ => None,
                    })
                    .collect::<Vec<_>>(),
            ),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// Binds the parameters of a statement, by their numbers.
pub(crate) fn bind(statement: &mut Statement<'_>, parameters: &[Value]) -> rusqlite::Result<()> {
    for (number, parameter) in (1..).zip(parameters) {
        // SQLite numbers `$1`, `$2` as it meets them, PostgreSQL as they say: most statements meet them in order,
        // and for the others the name decides.
        let name = format!("${number}");
        let index = match statement.parameter_name(number) {
            Some(found) if found == name => number,
            _ => statement
                .parameter_index(&name)?
                .ok_or_else(|| rusqlite::Error::InvalidParameterName(name.clone()))?,
        };
        let text;
        let value = match parameter {
            Value::Null => ValueRef::Null,
            Value::Int(v) => ValueRef::Integer(*v),
            Value::Text(v) => ValueRef::Text(v.as_bytes()),
            Value::Bytes(v) => ValueRef::Blob(v),
            Value::Uuid(v) => {
                text = v.hyphenated().to_string();
                ValueRef::Text(text.as_bytes())
            }
            Value::Time(v) => {
                text = v.to_string();
                ValueRef::Text(text.as_bytes())
            }
            Value::Uuids(_) | Value::Texts(_) => {
                return Err(rusqlite::Error::InvalidParameterName(format!(
                    "${number} is a list"
                )));
            }
        };
        bind_value(statement, index, value)?;
    }
    Ok(())
}

/// Binds one parameter, counted as SQLite does.
pub(crate) fn bind_value(
    statement: &mut Statement<'_>,
    index: usize,
    value: ValueRef<'_>,
) -> rusqlite::Result<()> {
    statement.raw_bind_parameter(index, ToSqlOutput::Borrowed(value))
}

pub(crate) fn snapshot_query(
    connection: &Connection,
    sql: &str,
    parameters: &[Value],
    each: &mut dyn FnMut(Row<'_>) -> ControlFlow<()>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(sql)?;
    bind(&mut statement, parameters)?;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        if each(Row::Snapshot(row)).is_break() {
            break;
        }
    }
    Ok(())
}

pub(crate) fn snapshot_execute(statement: &mut Statement<'_>, parameters: &[Value]) -> rusqlite::Result<u64> {
    bind(statement, parameters)?;
    statement.raw_execute().map(|changed| changed as u64)
}

/// Inserts rows into a snapshot, JSON as PostgreSQL would render it. What cannot be made a row stops it.
pub(crate) fn insert_snapshot(
    connection: &Connection,
    doing: &'static str,
    table: &Table,
    rows: impl Iterator<Item = Result<Vec<Value>, String>>,
) -> Result<u64, NotInserted> {
    let failed = |e| LogError::sqlite(doing, e);
    let mut statement = connection.prepare(table.insert_snapshot).map_err(failed)?;
    let mut inserted = 0;
    for (at, row) in rows.enumerate() {
        let here = |error| NotInserted {
            row: Some(at),
            error: Box::new(error),
        };
        let mut row = row.map_err(|what| here(LogError::Refused { doing, what }))?;
        debug_assert_eq!(row.len(), table.columns.len(), "{}", table.name);
        for ((name, kind), value) in table.columns.iter().zip(&mut row) {
            if let (Kind::Json, Value::Text(json)) = (kind, value) {
                let refused = |what| LogError::Refused {
                    doing,
                    what: format!("{}.{name}: {what}", table.name),
                };
                *json = jsonb::render(json).map_err(|what| here(refused(what)))?;
            }
        }
        inserted += snapshot_execute(&mut statement, &row).map_err(|e| match failed(e) {
            error @ LogError::Refused { .. } => here(error),
            error => error.into(),
        })?;
    }
    Ok(inserted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_with_the_parameters_that_are_known() {
        let url =
            "postgres://me@h:5433/log?sslmode=require&sslpassword=s3cret&options[search_path]=x&port=5434";
        let options = postgres_options(url).unwrap();
        assert_eq!((options.get_host(), options.get_port()), ("h", 5434));
        assert_eq!(options.get_database(), Some("log"));
        assert_eq!(options.get_options(), Some("-c search_path=x"));
        assert!(matches!(
            options.get_ssl_mode(),
            sqlx::postgres::PgSslMode::Require
        ));
        let socket = postgres_options("postgresql:///log?host=/run/pg").unwrap();
        assert_eq!(socket.get_socket().unwrap().to_str(), Some("/run/pg"));
        assert!(postgres_options("postgres://h:port/log").is_err());
    }
}
