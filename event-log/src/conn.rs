//! A connection to either database, and the few things that differ between them: how a query runs, how rows are
//! written, how a transaction begins.

use std::fs;
use std::future::ready;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use cli_common::{Cancel, PrivateDir, Wait};
use futures_util::{TryStreamExt as _, poll};
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, Statement};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use crate::bind::{array_arguments, bind, postgres_arguments};
use crate::cells::RawTable;
use crate::entry_rows::{ChunkSize, EventColumns, entry_rows};
use crate::error::{LogError, NotInserted};
use crate::jsonb;
use crate::layout::Layout;
use crate::nearness::Nearness;
use crate::options::OpenOptions;
use crate::raw::{RawRows, push_row};
use crate::schema::Table;
use crate::server::Server;
use crate::sql::{both, postgres, snapshot};
use crate::value::{Columns, Row, Value, ValueKind};
use crate::waiting::Watcher;

/// How long a reader of a snapshot waits for a writer to finish.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// How long SQLite waits for a locked file before it is looked whether the user still wants it.
const BUSY_SLICE: Duration = Duration::from_millis(100);

/// The largest value that a snapshot may hold: far above the sequencer's limit of 1 MiB for a payload, and low enough
/// that one hostile row cannot take the memory.
pub(crate) const MAX_VALUE: i32 = 64 << 20;

/// How many rows, and about how many bytes, one INSERT carries to PostgreSQL.
const INSERT_ROWS: usize = 1000;
const INSERT_BYTES: usize = 8 << 20;

/// For so many rows there is room at first: most streams of most logs are short.
pub(crate) const FIRST_ROWS: usize = 128;

/// How long a reader that has read all there is lets the server go on. Woken for each packet instead, it would take the
/// server's processor each time.
const BREATH: Duration = Duration::from_micros(500);

const OPENING: &str = "opening the snapshot";

/// What is being done when a transaction ends.
pub(crate) const COMMITTING: &str = "committing";

pub(crate) enum Conn {
    Postgres(Box<Session>),
    Snapshot {
        connection: Connection,
        /// The folder of a private copy, if that is what is read: it goes after the connection.
        _copy: Option<PrivateDir>,
        cancel: Cancel,
    },
}

/// A connection to PostgreSQL, who looks after what is awaited on it, and how the log's tables are there.
pub(crate) struct Session {
    pub(crate) connection: PgConnection,
    /// How the log's tables are there; empty until that is known.
    pub(crate) layout: Arc<Layout>,
    pub(crate) watcher: Watcher,
    /// How receipts were found to lie.
    pub(crate) nearness: Nearness,
}

impl Session {
    /// Runs a statement that takes rows as one array a column; says how many rows it changed.
    pub(crate) async fn execute_arrays(
        &mut self,
        doing: &'static str,
        sql: &'static str,
        kinds: impl Iterator<Item = ValueKind> + Clone,
        rows: Vec<Vec<Value>>,
    ) -> Result<u64, LogError> {
        let arguments = array_arguments(kinds, rows).map_err(|e| LogError::made(doing, e))?;
        let Session {
            connection, watcher, ..
        } = self;
        let done = connection.execute(sqlx::query_with(sql, arguments).persistent(false));
        Ok(watcher.watch(doing, sql, done).await?.rows_affected())
    }

    /// Runs a query and gives its rows to `each` one by one, until it breaks off: a long one, which goes on where this is
    /// slower than the server.
    pub(crate) async fn fetch(
        &mut self,
        doing: &'static str,
        sql: &'static str,
        parameters: &[Value],
        each: &mut dyn FnMut(Row<'_>) -> Result<ControlFlow<()>, String>,
    ) -> Result<(), LogError> {
        let as_here = self.layout.statement(sql);
        let Session {
            connection, watcher, ..
        } = self;
        let arguments = postgres_arguments(parameters).map_err(|e| LogError::made(doing, e))?;
        let mut rows = sqlx::query_with(as_here, arguments)
            .persistent(false)
            .fetch(connection);
        let mut has_read = false;
        loop {
            let row = match poll!(rows.try_next()) {
                Poll::Ready(row) => watcher.watch(doing, sql, ready(row)).await?,
                Poll::Pending => {
                    if std::mem::take(&mut has_read) {
                        thread::sleep(BREATH);
                    }
                    watcher.watch(doing, sql, rows.try_next()).await?
                }
            };
            let Some(row) = row else { return Ok(()) };
            has_read = true;
            let flow = each(Row::Postgres(&row)).map_err(|what| LogError::Refused { doing, what })?;
            if flow.is_break() {
                return Ok(());
            }
        }
    }
}

/// Opens an existing snapshot file.
///
/// A file whose last writer was killed in the middle has a journal beside it, and the next one to open it for writing
/// undoes what was half done. Who only reads must not: it reads a copy of both, in which that is undone.
pub(crate) fn open_snapshot(path: &Path, writable: bool, options: &OpenOptions) -> Result<Conn, LogError> {
    let cancel = &options.cancel;
    let conn = |connection| Conn::Snapshot {
        connection,
        _copy: None,
        cancel: cancel.clone(),
    };
    let opened = if writable {
        open_file(path, OpenFlags::SQLITE_OPEN_READ_WRITE, cancel).map(conn)
    } else {
        match open_file(path, OpenFlags::SQLITE_OPEN_READ_ONLY, cancel) {
            Err(LogError::Sqlite { source, .. }) if needs_rollback(&source) => open_copy(path, cancel),
            opened => opened.map(conn),
        }
    };
    if let (Some(watch), Ok(Conn::Snapshot { connection, .. })) = (&options.on_snapshot, &opened) {
        let seen = watch.see(connection, writable);
        seen.map_err(|e| LogError::sqlite(OPENING, e))?;
    }
    opened
}

fn open_file(path: &Path, mode: OpenFlags, cancel: &Cancel) -> Result<Connection, LogError> {
    let doing = OPENING;
    let open = || {
        // Without SQLITE_OPEN_URI: a path is a path, whatever characters it has.
        let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE)?;
        Ok(connection)
    };
    let connection = open().map_err(|e| LogError::sqlite(doing, e))?;
    run_when_free(doing, &connection, snapshot!("session"), READ_TIMEOUT, cancel)?;
    Ok(connection)
}

/// Runs the statements that find out whether another program has the file locked: again and again, telling that they
/// wait. Later ones wait as long, in silence.
fn run_when_free(
    doing: &'static str,
    file: &Connection,
    sql: &'static str,
    limit: Duration,
    cancel: &Cancel,
) -> Result<(), LogError> {
    let patience = |limit| file.busy_timeout(limit).map_err(|e| LogError::sqlite(doing, e));
    let mut wait = Wait::begin();
    loop {
        patience(BUSY_SLICE.min(limit))?;
        match file.execute_batch(sql).map_err(|e| LogError::sqlite(doing, e)) {
            Err(LogError::Locked { .. }) if wait.elapsed() < limit => {
                if cancel.is_cancelled() {
                    let what = "nothing was begun".into();
                    return Err(LogError::Cancelled {
                        doing,
                        what,
                        is_known: true,
                    });
                }
                if wait.is_due() {
                    wait.say(&format!(
                        "for another program to let go of the snapshot file ({doing})"
                    ));
                }
            }
            done => {
                patience(limit)?;
                return done;
            }
        }
    }
}

/// Opens a private copy of a snapshot, which may be changed.
pub(crate) fn open_writable_copy(path: &Path, cancel: &Cancel) -> Result<Connection, LogError> {
    open_file(path, OpenFlags::SQLITE_OPEN_READ_WRITE, cancel)
}

fn needs_rollback(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    code == Some(rusqlite::ffi::SQLITE_READONLY_ROLLBACK)
}

fn open_copy(path: &Path, cancel: &Cancel) -> Result<Conn, LogError> {
    let io = |source| LogError::Io {
        path: path.to_owned(),
        source,
    };
    let journal = journal_of(path);
    let state = || -> std::io::Result<_> {
        let (file, journal) = (fs::metadata(path)?, fs::metadata(&journal)?);
        Ok((file.len(), file.modified()?, journal.len(), journal.modified()?))
    };
    let temporary = std::env::temp_dir();
    let folder = PrivateDir::new().map_err(|source| LogError::Io {
        path: temporary,
        source,
    })?;
    let copy = folder.path().join("snapshot");
    // Of a disk that is full it counts which: that of the copy.
    let copying = |source: std::io::Error| LogError::Io {
        path: match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => copy.clone(),
            _ => path.to_owned(),
        },
        source,
    };
    let before = state().map_err(io)?;
    fs::copy(path, &copy).map_err(copying)?;
    fs::copy(&journal, journal_of(&copy)).map_err(copying)?;
    if state().map_err(io)? != before {
        return Err(LogError::Locked {
            doing: OPENING,
            what: "it is being repaired from an interrupted write".into(),
        });
    }
    let connection = open_file(&copy, OpenFlags::SQLITE_OPEN_READ_WRITE, cancel)?;
    Ok(Conn::Snapshot {
        connection,
        _copy: Some(folder),
        cancel: cancel.clone(),
    })
}

/// SQLite's rollback journal of a file.
pub(crate) fn journal_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-journal");
    name.into()
}

impl Conn {
    /// Connects to the first server that lets us in and is of the wanted kind.
    pub(crate) async fn connect(server: &Server, cancel: &Cancel) -> Result<Self, LogError> {
        let (connection, server) = server.connect(cancel).await?;
        Ok(Conn::Postgres(Box::new(Session {
            connection,
            layout: Arc::default(),
            watcher: Watcher::new(Arc::new(server), cancel.clone()),
            nearness: Nearness::default(),
        })))
    }

    /// Runs a query and gives its rows to `each` one by one, until it breaks off.
    pub(crate) async fn query(
        &mut self,
        doing: &'static str,
        sql: &'static str,
        parameters: &[Value],
        each: &mut dyn FnMut(Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        match self {
            Conn::Postgres(session) => {
                let as_here = session.layout.statement(sql);
                let Session {
                    connection, watcher, ..
                } = &mut **session;
                let arguments = postgres_arguments(parameters).map_err(|e| LogError::made(doing, e))?;
                // Without a name for the statement: behind a pooler a connection may have one of that name already.
                let mut rows = sqlx::query_with(as_here, arguments)
                    .persistent(false)
                    .fetch(connection);
                while let Some(row) = watcher.watch(doing, sql, rows.try_next()).await? {
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

    /// Gives events and their receipts to `each` in chunks, not understood.
    pub(crate) async fn query_entries(
        &mut self,
        doing: &'static str,
        columns: EventColumns,
        parameters: &[Value],
        size: ChunkSize,
        each: &mut dyn FnMut(RawRows) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        let session = match self {
            Conn::Postgres(session) => session,
            Conn::Snapshot { connection, .. } => {
                let each = &mut |table| each(RawRows::Snapshot(table));
                return entry_rows(connection, columns, parameters, size, each)
                    .map_err(|e| LogError::sqlite(doing, e));
            }
        };
        let width = columns.with_receipt();
        let mut chunk = RawTable::new(width, size.rows.min(FIRST_ROWS));
        let mut stopped = false;
        let fetched = session
            .fetch(doing, columns.joined(), parameters, &mut |row| {
                // Copied at once, so that the driver can use its buffers again.
                push_row(&mut chunk, row, width)?;
                if chunk.len() < size.rows && chunk.byte_len() < size.bytes {
                    return Ok(ControlFlow::Continue(()));
                }
                let full = std::mem::replace(&mut chunk, RawTable::new(width, size.rows));
                let flow = each(RawRows::Postgres(full));
                stopped = flow.is_break();
                Ok(flow)
            })
            .await;
        // What came before a row that cannot be read is sound.
        if chunk.len() > 0 && !stopped {
            let _ = each(RawRows::Postgres(chunk));
        }
        fetched
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
            Conn::Postgres(session) => {
                let Session {
                    connection, watcher, ..
                } = &mut **session;
                let arguments = postgres_arguments(parameters).map_err(|e| LogError::made(doing, e))?;
                let done = connection.execute(sqlx::query_with(sql, arguments).persistent(false));
                Ok(watcher.watch(doing, sql, done).await?.rows_affected())
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
            Conn::Postgres(session) => {
                let Session {
                    connection, watcher, ..
                } = &mut **session;
                let done = connection.execute(sqlx::raw_sql(sql));
                watcher.watch(doing, sql, done).await.map(drop)
            }
            Conn::Snapshot { connection, .. } => connection
                .execute_batch(sql)
                .map_err(|e| LogError::sqlite(doing, e)),
        }
    }

    /// Begins one consistent view, in which nothing can be written.
    pub(crate) async fn begin_reading(&mut self, doing: &'static str) -> Result<(), LogError> {
        match self {
            Conn::Postgres(session) => {
                session.nearness = Nearness::default();
                self.run(doing, postgres!("begin_view")).await?;
                self.settle(doing).await?;
                self.search_only(doing, postgres!("set_schema")).await
            }
            Conn::Snapshot { .. } => self.run(doing, snapshot!("begin_view")).await,
        }
    }

    /// More connections to the server, each in a transaction that sees what this one sees; none beside a snapshot file.
    pub(crate) async fn beside(&mut self, count: usize, cancel: &Cancel) -> Result<Vec<Self>, LogError> {
        let doing = "opening more connections";
        let (server, layout) = match self {
            Conn::Postgres(session) => (session.watcher.server.clone(), session.layout.clone()),
            Conn::Snapshot { .. } => return Ok(Vec::new()),
        };
        let name = |row: Row<'_>| Columns::new(row).text("name").map(str::to_owned);
        let exported = self.query_one(doing, postgres!("export_view"), &[], name).await?;
        let Some(Ok(name)) = exported else {
            return Ok(Vec::new());
        };
        if !name.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
            return Ok(Vec::new());
        }
        let see = format!("{} '{name}'", postgres!("see_view").trim_end());
        let mut others = Vec::new();
        for _ in 0..count {
            let mut other = Self::connect(&server, cancel).await?;
            other.run(doing, postgres!("begin_view")).await?;
            if let Conn::Postgres(session) = &mut other {
                session.layout = layout.clone();
                let Session {
                    connection, watcher, ..
                } = &mut **session;
                let seen = connection.execute(sqlx::raw_sql(AssertSqlSafe(see.clone())));
                watcher.watch(doing, &see, seen).await?;
            }
            other.settle(doing).await?;
            other.search_only(doing, postgres!("set_schema")).await?;
            others.push(other);
        }
        Ok(others)
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
                self.settle(doing).await?;
                self.search_only(doing, postgres!("set_schema_to_write")).await?;
                self.set_lock_timeout(doing, lock_timeout).await
            }
            Conn::Snapshot {
                connection, cancel, ..
            } => run_when_free(doing, connection, snapshot!("begin_repair"), lock_timeout, cancel),
        }
    }

    /// Gives a transaction of PostgreSQL that has just begun the settings that this crate needs. What the URL asks for comes
    /// first, so that it cannot undo them.
    async fn settle(&mut self, doing: &'static str) -> Result<(), LogError> {
        let settings = match self {
            Conn::Postgres(session) => session.watcher.server.settings().session.clone(),
            Conn::Snapshot { .. } => Vec::new(),
        };
        for (name, value) in settings {
            self.query_one(
                doing,
                postgres!("set_option"),
                &[name.into(), value.into()],
                |_| (),
            )
            .await?;
        }
        self.run(doing, postgres!("session")).await?;
        let backend = self
            .query_one(doing, postgres!("backend"), &[], |row| {
                Columns::new(row).int("pid")
            })
            .await?;
        if let Conn::Postgres(session) = self {
            session.watcher.backend = backend.and_then(Result::ok);
        }
        Ok(())
    }

    /// Has the transaction look for tables in the schema of the log, once that is known.
    async fn search_only(&mut self, doing: &'static str, sql: &'static str) -> Result<(), LogError> {
        match self {
            Conn::Postgres(session) if !session.layout.schema.is_empty() => {
                let schema = session.layout.schema.as_str().into();
                self.query_one(doing, sql, &[schema], |_| ()).await.map(drop)
            }
            _ => Ok(()),
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

    /// Ends a transaction and keeps what it wrote. `what` says what that is; whoever interrupts the work is told.
    pub(crate) async fn commit(&mut self, what: &str) -> Result<(), LogError> {
        let session = match self {
            Conn::Postgres(session) => session,
            Conn::Snapshot { cancel, .. } => {
                let cancel = cancel.clone();
                self.run(COMMITTING, both!("commit")).await?;
                cancel.note_done(what);
                return Ok(());
            }
        };
        let watcher = session.watcher.clone();
        if watcher.cancel.is_cancelled() {
            return Err(LogError::Cancelled {
                doing: COMMITTING,
                what: "nothing was sent yet, and the transaction is rolled back".into(),
                is_known: true,
            });
        }
        watcher.cancel.note_in_doubt(what);
        let done = self.run(COMMITTING, both!("commit")).await;
        match &done {
            Ok(()) => {
                watcher.cancel.note_certain();
                watcher.cancel.note_done(if watcher.gave_up_standbys() {
                    format!("{what} (on this server; its synchronous standbys have not confirmed it)")
                } else {
                    what.to_owned()
                });
            }
            // The server said that it did not commit; after a broken connection nobody knows.
            Err(error) if error.is_of_the_server() => watcher.cancel.note_certain(),
            Err(_) => {}
        }
        done
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
            Conn::Postgres(session) => {
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
                    inserted += session.execute_arrays(doing, sql, table.kinds(), batch).await?;
                }
                Ok(inserted)
            }
        }
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) | Value::TextBytes(bytes) => bytes.len(),
        _ => 16,
    }
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
            if let (ValueKind::Json, Value::Text(json)) = (kind, value) {
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
