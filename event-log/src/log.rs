//! Opening a log, and making sure that it is one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cli_common::DbTarget;
use ves::{StreamKey, Timestamp};

use crate::catalogue::find_log;
use crate::conn::{Conn, journal_of, open_snapshot};
use crate::error::LogError;
use crate::family::{self, Family};
use crate::layout::Layout;
use crate::level::Level;
use crate::options::OpenOptions;
use crate::place::{Place, SnapshotPlace, server_place};
use crate::readers::Readers;
use crate::repair::Repair;
use crate::resting::tables_now;
use crate::schema::{Need, TABLES, Table};
use crate::server::Server;
use crate::sql::{both, snapshot};
use crate::value::Columns;
use crate::view::View;

/// A log that was found to be one. It holds no connection: each view and each repair has its own.
#[derive(Debug, Clone)]
pub struct Log {
    target: DbTarget,
    backend: Backend,
    place: Place,
    options: OpenOptions,
}

#[derive(Debug, Clone)]
enum Backend {
    Postgres(Box<Server>, Arc<Layout>),
    Snapshot(PathBuf, SnapshotInfo),
}

/// What a snapshot file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// When it was taken.
    pub taken_at: Option<Timestamp>,
    /// What it was taken from, without secrets.
    pub source: Option<String>,
}

impl Log {
    /// Opens a log and checks that it has the tables and columns of one. Writes nothing.
    ///
    /// # Errors
    /// [`LogError::Connect`] if PostgreSQL cannot be reached, [`LogError::Io`] if the file cannot be read,
    /// [`LogError::NotASnapshot`] if it is none, [`LogError::Schema`] if tables or columns are missing or different,
    /// [`LogError::Locked`] if another process is writing the file.
    pub async fn open(target: &DbTarget) -> Result<Self, LogError> {
        Self::open_with(target, &OpenOptions::default()).await
    }

    /// As [`Log::open`], with options.
    ///
    /// # Errors
    /// As [`Log::open`], and [`LogError::Cancelled`].
    pub async fn open_with(target: &DbTarget, options: &OpenOptions) -> Result<Self, LogError> {
        let (backend, place) = match target {
            DbTarget::Postgres(url) => {
                let server = Server::new(url);
                let mut conn = Conn::connect(&server, &options.cancel).await?;
                // In one transaction: behind a pooler there is nothing between them that one could count on.
                conn.begin_reading("beginning to read").await?;
                let mut place = server_place(&mut conn).await?;
                let mut layout = find_log(&mut conn, &target.to_string(), url.schema()).await?;
                layout.tables = tables_now(&mut conn, &layout.schema).await?;
                layout.found_at = Some(Instant::now());
                conn.run("looking at the schema", both!("rollback")).await?;
                place.schema = Some(layout.schema.clone());
                place.level = layout.level;
                let backend = Backend::Postgres(Box::new(server), Arc::new(layout));
                (backend, Place::Postgres(place))
            }
            DbTarget::Snapshot(path) => {
                check_header(path)?;
                let conn = read_only(path, options)?;
                let (info, there) = check_snapshot(conn, target).await.map_err(|e| of_file(path, e))?;
                let place = Place::Snapshot(SnapshotPlace {
                    taken_at: info.taken_at,
                    taken_from: info.source.clone(),
                    there,
                });
                (Backend::Snapshot(path.clone(), info), place)
            }
        };
        Ok(Self {
            target: target.clone(),
            backend,
            place,
            options: options.clone(),
        })
    }

    /// Where the log was when it was opened: the server, the database, the role; for every report.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The schema that the log is in, and of a snapshot the one that it was taken from.
    pub fn schema(&self) -> Option<&str> {
        self.place.schema()
    }

    /// How far the sequencer had migrated the database; of a snapshot the one that it was taken from.
    pub fn level(&self) -> Option<Level> {
        self.place.level()
    }

    /// Makes sure that the log can be repaired as far as its level goes.
    ///
    /// # Errors
    /// [`LogError::Level`] if migrations of the sequencer must be run first, with their names.
    pub fn check_writable(&self) -> Result<(), LogError> {
        match self.level().and_then(|level| level.refusal()) {
            None => Ok(()),
            Some(refusal) => Err(LogError::Level { refusal }),
        }
    }

    /// Where the log is.
    pub fn target(&self) -> &DbTarget {
        &self.target
    }

    /// What the file says of itself, if the log is a snapshot.
    pub fn snapshot_info(&self) -> Option<&SnapshotInfo> {
        match &self.backend {
            Backend::Postgres(..) => None,
            Backend::Snapshot(_, info) => Some(info),
        }
    }

    /// One consistent view: a REPEATABLE READ, READ ONLY transaction, or a read transaction on the file opened
    /// read-only. As long as a snapshot's view lives, nobody can write to the file: drop it before a repair.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub async fn view(&self) -> Result<View, LogError> {
        let mut conn = match &self.backend {
            Backend::Postgres(server, layout) => self.connect(server, layout).await?,
            Backend::Snapshot(path, _) => read_only(path, &self.options)?,
        };
        let begun = conn.begin_reading("beginning to read").await;
        begun.map_err(|e| self.placed(e))?;
        Ok(View {
            conn,
            place: self.place.clone(),
            options: self.options.clone(),
            heap_only: false,
            readers: Readers::of(&self.options),
        })
    }

    /// Begins to repair one stream, holding what the sequencer holds while it writes to it (see [`Repair`]).
    ///
    /// # Errors
    /// [`LogError::Locked`] if the locks cannot be had within `lock_timeout`; otherwise as [`Log::open`].
    pub async fn repair(&self, stream: &StreamKey, lock_timeout: Duration) -> Result<Repair, LogError> {
        let mut repair = self.prepare_repair(stream, lock_timeout).await?;
        let locked = repair.lock(&[], &[], lock_timeout).await;
        locked.map_err(|e| self.placed(e))?;
        Ok(repair)
    }

    /// Begins to prepare the repair of one stream. Nothing of a database is locked until [`Repair::lock`]; of a snapshot
    /// the whole file is.
    ///
    /// # Errors
    /// [`LogError::Locked`] if the file cannot be locked within `lock_timeout`; otherwise as [`Log::open`].
    pub async fn prepare_repair(
        &self,
        stream: &StreamKey,
        lock_timeout: Duration,
    ) -> Result<Repair, LogError> {
        let view = View {
            conn: self.writable().await?,
            place: self.place.clone(),
            options: self.options.clone(),
            heap_only: false,
            readers: Readers::None,
        };
        let prepared = Repair::prepare(view, *stream, lock_timeout).await;
        prepared.map_err(|e| self.placed(e))
    }

    /// Raises the counter of a stream of one of the sequences beside the VES log to `floor`, in a transaction of its
    /// own with the counter's row FOR UPDATE; one that is there or above stays. Says what it was and what it is.
    ///
    /// # Errors
    /// [`LogError::Locked`] if the lock cannot be had within `lock_timeout`; [`LogError::Refused`] if `floor` is below
    /// a number in the stream's rows; otherwise as [`Log::open`].
    pub async fn raise_family_counter(
        &self,
        family: Family,
        stream: &StreamKey,
        floor: u64,
        lock_timeout: Duration,
    ) -> Result<(Option<u64>, u64), LogError> {
        let conn = self.writable().await?;
        family::raise_counter(conn, family, stream, floor, lock_timeout)
            .await
            .map_err(|e| self.placed(e))
    }

    async fn connect(&self, server: &Server, layout: &Arc<Layout>) -> Result<Conn, LogError> {
        let mut conn = Conn::connect(server, &self.options.cancel).await?;
        if let Conn::Postgres(session) = &mut conn {
            session.layout = layout.clone();
        }
        Ok(conn)
    }

    async fn writable(&self) -> Result<Conn, LogError> {
        match &self.backend {
            Backend::Postgres(server, layout) => {
                self.check_writable()?;
                self.connect(server, layout).await
            }
            Backend::Snapshot(path, _) => {
                check_header(path)?;
                open_snapshot(path, true, &self.options).map_err(|e| of_file(path, e))
            }
        }
    }

    fn placed(&self, error: LogError) -> LogError {
        match &self.backend {
            Backend::Postgres(..) => error,
            Backend::Snapshot(path, _) => of_file(path, error),
        }
    }
}

/// Says which file it was, where SQLite only says that it is none of its own.
fn of_file(path: &Path, error: LogError) -> LogError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    match &error {
        LogError::Sqlite { source, .. }
            if matches!(source.sqlite_error_code(), Some(NotADatabase | DatabaseCorrupt)) =>
        {
            LogError::NotASnapshot {
                path: path.to_owned(),
                what: format!("damaged or truncated: {source}"),
            }
        }
        _ => error,
    }
}

fn read_only(path: &Path, options: &OpenOptions) -> Result<Conn, LogError> {
    open_snapshot(path, false, options).map_err(|e| of_file(path, e))
}

/// `application_id` of snapshots: 'VESL'.
const APPLICATION_ID: [u8; 4] = *b"VESL";

/// Looks at the first 100 bytes, so that nothing that is no snapshot reaches SQLite.
/// <https://sqlite.org/fileformat2.html#the_database_header>
fn check_header(path: &Path) -> Result<(), LogError> {
    let io = |source| LogError::Io {
        path: path.to_owned(),
        source,
    };
    let not = |what: &str| {
        Err(LogError::NotASnapshot {
            path: path.to_owned(),
            what: what.into(),
        })
    };
    // Before it is opened: opening a pipe waits for its writer.
    if !path.metadata().map_err(io)?.is_file() {
        return not("not a file");
    }
    let mut file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    let mut header = [0; 100];
    if metadata.len() < 100 {
        return not("not an SQLite database (too short)");
    }
    file.read_exact(&mut header).map_err(io)?;
    if !header.starts_with(b"SQLite format 3\0") {
        return not("not an SQLite database");
    }
    if header[68..72] != APPLICATION_ID {
        return not("an SQLite database, but not a snapshot (make one with `sequencer-recovery snapshot`)");
    }
    let version = u32::from_be_bytes([header[60], header[61], header[62], header[63]]);
    if version != 1 {
        return not(&format!(
            "a snapshot of version {version}; this program reads version 1"
        ));
    }
    // Reading a file in WAL mode would leave files beside it.
    if header[18] != 1 || header[19] != 1 {
        return not("a snapshot that was put into WAL mode; undo that with PRAGMA journal_mode = DELETE");
    }
    let page_size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65536,
        size => u64::from(size),
    };
    let pages = u64::from(u32::from_be_bytes([
        header[28], header[29], header[30], header[31],
    ]));
    // After an interrupted write the journal knows how long the file was.
    if metadata.len() < page_size * pages && !journal_of(path).exists() {
        let what = format!("truncated: {} bytes of {}", metadata.len(), page_size * pages);
        return not(&what);
    }
    Ok(())
}

fn schema_result(target: &DbTarget, problems: Vec<String>) -> Result<(), LogError> {
    if problems.is_empty() {
        Ok(())
    } else {
        Err(LogError::Schema {
            target: target.to_string(),
            problems,
        })
    }
}

fn table_problems(
    table: &Table,
    columns: Option<&BTreeMap<String, String>>,
    fits: impl Fn(crate::value::ValueKind, &str) -> bool,
    problems: &mut Vec<String>,
) {
    let Some(columns) = columns else {
        if table.need == Need::Always {
            problems.push(format!("table {} is missing", table.name));
        }
        return;
    };
    for (name, kind) in table.columns {
        match columns.get(*name) {
            None => problems.push(format!("column {}.{name} is missing", table.name)),
            Some(found) if !fits(*kind, found) => {
                problems.push(format!("column {}.{name} is of type {found}", table.name));
            }
            Some(_) => {}
        }
    }
}

async fn check_snapshot(
    mut conn: Conn,
    target: &DbTarget,
) -> Result<(SnapshotInfo, Option<Box<Place>>), LogError> {
    let doing = "looking at the schema";
    conn.run(doing, snapshot!("begin_view")).await?;
    let mut problems = Vec::new();

    conn.query(doing, snapshot!("program"), &[], &mut |row| {
        let mut c = Columns::new(row);
        let what = c.text("type").unwrap_or("object").to_owned();
        problems.push(format!(
            "{what} {:?} does not belong there",
            c.text("name").unwrap_or("?")
        ));
        ControlFlow::Continue(())
    })
    .await?;

    for table in TABLES {
        let mut columns = BTreeMap::new();
        conn.query(doing, snapshot!("schema"), &[table.name.into()], &mut |row| {
            let mut c = Columns::new(row);
            let mut read = || -> Result<(), String> {
                c.text("table")?;
                let (name, kind) = (c.text("column")?, c.text("type")?);
                let (strict, hidden) = (c.int("strict")?, c.int("hidden")?);
                if strict != 1 || hidden != 0 {
                    return Err(format!(
                        "column {}.{name} is not a plain column of a STRICT table",
                        table.name
                    ));
                }
                columns.insert(name.to_owned(), kind.to_owned());
                Ok(())
            };
            if let Err(what) = read() {
                problems.push(what);
            }
            ControlFlow::Continue(())
        })
        .await?;
        let columns = (!columns.is_empty()).then_some(&columns);
        table_problems(
            table,
            columns,
            |kind, found| kind.snapshot_type() == found,
            &mut problems,
        );
        if columns.is_none() && table.need == Need::IfThere {
            // A snapshot has all of them, if empty.
            problems.push(format!("table {} is missing", table.name));
        }
    }
    schema_result(target, problems)?;

    let mut meta = BTreeMap::<String, String>::new();
    conn.query(doing, snapshot!("meta"), &[], &mut |row| {
        let mut c = Columns::new(row);
        if let (Ok(key), Ok(value)) = (c.text("key"), c.text("value")) {
            meta.insert(key.into(), value.into());
        }
        ControlFlow::Continue(())
    })
    .await?;
    let format = (
        meta.get("format").map(String::as_str),
        meta.get("version").map(String::as_str),
    );
    if format != (Some("event-log-snapshot"), Some("1")) {
        let problem = format!("snapshot_meta says format {:?}, version {:?}", format.0, format.1);
        return Err(LogError::Schema {
            target: target.to_string(),
            problems: vec![problem],
        });
    }
    // Older snapshots do not say where that was; and one that says it otherwise says nothing.
    let there = meta.get("place").and_then(|text| serde_json::from_str(text).ok());
    let info = SnapshotInfo {
        taken_at: meta.get("taken_at").and_then(|text| text.parse().ok()),
        source: meta.remove("source"),
    };
    Ok((info, there))
}

impl View {
    /// Opens another log with the options of this one: stopped by the same word.
    ///
    /// # Errors
    /// As [`Log::open_with`].
    pub async fn open_beside(&self, target: &DbTarget) -> Result<Log, LogError> {
        Log::open_with(target, &self.options).await
    }
}
