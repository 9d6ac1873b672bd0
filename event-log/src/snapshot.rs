//! Making snapshot files.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use cli_common::{Access, DbTarget, Progress, partial_file};
use rusqlite::Connection;
use tempfile::NamedTempFile;
use ves::{CommandId, Receipt, SigningKey, StoreId, StreamKey, TenantId, Timestamp};

use crate::conn::{Conn, MAX_VALUE, insert_snapshot, snapshot_execute, snapshot_query};
use crate::damage::{BrokenRow, copied_value};
use crate::duplicate::Duplicate;
use crate::entry::{
    Commitment, Entity, RestoredEvent, as_i64, commitment_row, dedupe_row, event_row, key_row, receipt_row,
};
use crate::error::LogError;
use crate::fault::Damage;
use crate::journal;
use crate::left_out::{AllLeftOut, LeftOut};
use crate::place::Place;
use crate::repair::rows;
use crate::schema::{
    AGENT_SIGNING_KEYS, ENTITY_VERSIONS, TABLES, Table, VES_COMMAND_DEDUPE, VES_COMMITMENTS, VES_EVENTS,
    VES_SEQUENCE_COUNTERS, VES_SEQUENCER_RECEIPTS,
};
use crate::sql::{SNAPSHOT_SCHEMA, both, snapshot};
use crate::value::{Kind, Row, UNREADABLE, Value};
use crate::view::{StreamFilter, View};

/// How many rows are copied between two reports of progress.
const PROGRESS_ROWS: u64 = 1024;

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

/// A snapshot file being made. It appears under its name, complete and on disk, with [`Snapshot::finish`];
/// until then it is a temporary file in the same folder, and dropping it removes that.
pub struct Snapshot {
    connection: Connection,
    /// Open, and so locked, for as long as it is written: another run may not take it for abandoned.
    file: NamedTempFile,
    path: PathBuf,
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
    let mut target = Snapshot::begin(path, snapshot!("session_copy"))?;
    let mut rows = Vec::new();
    // An index that lacks rows would keep them from being copied.
    progress.start("comparing indexes with their tables", None);
    let damage = view.look_for_damage().await?;
    progress.finish();
    let mut left_out = damage.left_out.clone();
    left_out
        .duplicates
        .extend(damage.duplicates.iter().map(Duplicate::describe));
    for table in TABLES {
        let count = if view.conn.has(table).await? {
            Some(target.copy(view, table, &mut left_out, progress).await?)
        } else {
            None
        };
        rows.push((table.name, count));
    }
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

const DOING: &str = "writing the snapshot";

impl Snapshot {
    /// Begins an empty snapshot that will have this path.
    ///
    /// # Errors
    /// If the file exists already, or its folder cannot be written to.
    pub fn create(path: &Path) -> Result<Self, LogError> {
        Self::begin(path, snapshot!("session_create"))
    }

    fn begin(path: &Path, session: &str) -> Result<Self, LogError> {
        let io = |source| LogError::Io {
            path: path.to_owned(),
            source,
        };
        if path.symlink_metadata().is_ok() {
            return Err(io(std::io::Error::new(
                std::io::ErrorKind::AlreadyExists,
                "the file exists already",
            )));
        }
        let file = partial_file(path, Access::Owner).map_err(io)?;
        let open = || {
            let connection = Connection::open(file.path())?;
            connection.execute_batch(SNAPSHOT_SCHEMA)?;
            connection.execute_batch(session)?;
            connection.execute_batch(snapshot!("begin_repair"))?;
            Ok(connection)
        };
        let connection = open().map_err(|e| LogError::sqlite(DOING, e))?;
        Ok(Self {
            connection,
            file,
            path: path.to_owned(),
        })
    }

    /// Begins an empty snapshot that takes rows as they are.
    pub(crate) fn for_copies(path: &Path) -> Result<Self, LogError> {
        Self::begin(path, snapshot!("session_copy"))
    }

    /// The statement that inserts one row of a table.
    pub(crate) fn prepare(&self, table: &'static Table) -> Result<rusqlite::Statement<'_>, LogError> {
        let prepared = self.connection.prepare(table.insert_snapshot);
        prepared.map_err(|e| LogError::sqlite(DOING, e))
    }

    /// Takes the counters of the older table for those of the log, which has none.
    pub(crate) fn adopt_older_counters(&self) -> Result<(), LogError> {
        let adopted = self.connection.execute_batch(snapshot!("adopt_older_counters"));
        adopted.map_err(|e| LogError::sqlite(DOING, e))
    }

    async fn copy(
        &mut self,
        view: &mut View,
        table: &'static Table,
        left_out: &mut AllLeftOut,
        progress: &dyn Progress,
    ) -> Result<u64, LogError> {
        let mut insert = self
            .connection
            .prepare(table.insert_snapshot)
            .map_err(|e| LogError::sqlite(DOING, e))?;
        let mut count = 0;
        progress.start(&format!("copying {}", table.name), None);
        let mut failed: Option<LogError> = None;
        let mut values = Vec::with_capacity(table.columns.len());
        let mut last: Vec<Value> = Vec::new();
        let mut each = |row: Result<Row<'_>, BrokenRow>| {
            let broken = match row {
                Ok(row) => copied_row(row, table, &mut values),
                Err(row) => {
                    values = marked(table, &row);
                    Err(row.describe(table))
                }
            };
            let mut inserted = Ok(1);
            // A row in part is kept as far as it goes, but none that could not be read again.
            let kept = broken.is_ok() || values.len() == table.columns.len() && check_length(&values).is_ok();
            if kept {
                inserted = snapshot_execute(&mut insert, &values);
            }
            let (duplicate, in_part, what) = match (inserted, broken) {
                (Ok(_), Ok(())) => {
                    last.clone_from(&values);
                    count += 1;
                    if count % PROGRESS_ROWS == 0 {
                        progress.advance(PROGRESS_ROWS);
                    }
                    return ControlFlow::Continue(());
                }
                (Ok(_), Err(what)) => {
                    count += u64::from(kept);
                    (false, kept, what)
                }
                (Err(error), _) => match left_out_for(&error) {
                    Some((duplicate, what)) => (duplicate, false, what),
                    None => {
                        failed = Some(LogError::sqlite(DOING, error));
                        return ControlFlow::Break(());
                    }
                },
            };
            // A receipt comes once for each row of its event: that those are there twice is told of them.
            if !duplicate || table.name != VES_SEQUENCER_RECEIPTS.name || values != last {
                left_out.add(left_out_row(table, &values, duplicate, in_part, &what));
            }
            ControlFlow::Continue(())
        };
        view.conn.rows_around(DOING, table, &mut each).await?;
        if let Some(error) = failed {
            return Err(error);
        }
        progress.advance(count % PROGRESS_ROWS);
        progress.finish();
        Ok(count)
    }

    /// Takes the journal of repairs along, if there is one that can be read.
    async fn copy_journal(&mut self, view: &mut View) -> Result<(), LogError> {
        let entries = view
            .journal_newest(&StreamFilter::default(), u32::MAX)
            .await?
            .rows;
        if entries.is_empty() {
            return Ok(());
        }
        let failed = |e| LogError::sqlite(DOING, e);
        self.connection
            .execute_batch(snapshot!("journal_create"))
            .map_err(failed)?;
        let mut insert = self
            .connection
            .prepare(snapshot!("journal_insert"))
            .map_err(failed)?;
        for entry in entries.iter().rev() {
            let row = journal::entry_row(entry).map_err(|what| LogError::Refused { doing: DOING, what })?;
            snapshot_execute(&mut insert, &row).map_err(failed)?;
        }
        Ok(())
    }

    /// Says when the snapshot was taken and what it was taken from (without secrets).
    ///
    /// # Errors
    /// If that was said already.
    pub fn describe(&mut self, taken_at: Timestamp, source: &str) -> Result<(), LogError> {
        let set = |key: &str, value: String| -> rusqlite::Result<u64> {
            let mut statement = self.connection.prepare(snapshot!("set_meta"))?;
            snapshot_execute(&mut statement, &[key.into(), value.into()])
        };
        let done = set("taken_at", taken_at.to_string()).and_then(|_| set("source", source.to_owned()));
        done.map(drop).map_err(|e| LogError::sqlite(DOING, e))
    }

    /// Says where that was looked at.
    fn describe_place(&mut self, place: &Place) -> Result<(), LogError> {
        let refused = |e: serde_json::Error| LogError::Refused {
            doing: DOING,
            what: e.to_string(),
        };
        let place = serde_json::to_string(place).map_err(refused)?;
        let set = || {
            let mut statement = self.connection.prepare(snapshot!("set_meta"))?;
            snapshot_execute(&mut statement, &["place".into(), place.into()])
        };
        set().map(drop).map_err(|e| LogError::sqlite(DOING, e))
    }

    /// Inserts agents' keys.
    ///
    /// # Errors
    /// If one is there already or does not fit.
    pub fn insert_keys(&mut self, keys: &[SigningKey], created_at: Timestamp) -> Result<(), LogError> {
        let rows: Vec<_> = keys.iter().map(|key| key_row(key, created_at)).collect();
        self.insert(&AGENT_SIGNING_KEYS, rows)
    }

    /// Inserts events, of any streams.
    ///
    /// # Errors
    /// If one is there already or does not fit.
    pub fn insert_events(&mut self, events: &[RestoredEvent]) -> Result<(), LogError> {
        let row =
            |e: &RestoredEvent| event_row(e).map_err(|what| format!("event {}: {what}", e.event.event_id));
        self.insert(&VES_EVENTS, rows(DOING, events, row)?)
    }

    /// Inserts receipts of events that are there.
    ///
    /// # Errors
    /// If one is there already, or its event is not.
    pub fn insert_receipts(&mut self, receipts: &[Receipt]) -> Result<(), LogError> {
        self.insert(&VES_SEQUENCER_RECEIPTS, rows(DOING, receipts, receipt_row)?)
    }

    /// Inserts the counters of streams.
    ///
    /// # Errors
    /// If one is there already or does not fit.
    pub fn insert_counters(
        &mut self,
        counters: &[(StreamKey, u64)],
        updated_at: Timestamp,
    ) -> Result<(), LogError> {
        let row = |(stream, counter): &(StreamKey, u64)| -> Result<Vec<Value>, String> {
            let counter = as_i64("current_sequence", *counter)?;
            Ok(vec![
                stream.tenant_id.into(),
                stream.store_id.into(),
                counter.into(),
                updated_at.into(),
            ])
        };
        let rows: Result<Vec<_>, _> = counters.iter().map(row).collect();
        let rows = rows.map_err(|what| LogError::Refused { doing: DOING, what })?;
        self.insert(&VES_SEQUENCE_COUNTERS, rows)
    }

    /// Remembers commands of a stream as accepted at a time.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn insert_dedupe(
        &mut self,
        stream: &StreamKey,
        commands: &[(CommandId, Timestamp)],
    ) -> Result<(), LogError> {
        let rows: Vec<_> = commands
            .iter()
            .map(|(id, at)| dedupe_row(stream, *id, *at))
            .collect();
        self.insert(&VES_COMMAND_DEDUPE, rows)
    }

    /// Inserts the versions of a stream's entities.
    ///
    /// # Errors
    /// If one is there already or does not fit.
    pub fn insert_entity_versions(
        &mut self,
        stream: &StreamKey,
        versions: &[(Entity, i64)],
        updated_at: Timestamp,
    ) -> Result<(), LogError> {
        let row = |(entity, version): &(Entity, i64)| -> Vec<Value> {
            vec![
                stream.tenant_id.into(),
                stream.store_id.into(),
                entity.entity_type.as_str().into(),
                entity.entity_id.as_str().into(),
                (*version).into(),
                updated_at.into(),
            ]
        };
        let rows: Vec<_> = versions.iter().map(row).collect();
        self.insert(&ENTITY_VERSIONS, rows)
    }

    /// Inserts commitments, of any streams.
    ///
    /// # Errors
    /// If one is there already or does not fit.
    pub fn insert_commitments(&mut self, commitments: &[Commitment]) -> Result<(), LogError> {
        self.insert(&VES_COMMITMENTS, rows(DOING, commitments, commitment_row)?)
    }

    fn insert(&mut self, table: &'static Table, rows: Vec<Vec<Value>>) -> Result<(), LogError> {
        let rows = rows.into_iter().map(Ok);
        insert_snapshot(&self.connection, DOING, table, rows)
            .map(drop)
            .map_err(|e| *e.error)
    }

    /// Writes everything to disk and gives the file its name.
    ///
    /// # Errors
    /// If the disk fails, or the name was taken meanwhile: then nothing is left behind.
    pub fn finish(self) -> Result<(), LogError> {
        let Self {
            connection,
            file,
            path,
        } = self;
        connection
            .execute_batch(both!("commit"))
            .map_err(|e| LogError::sqlite(DOING, e))?;
        connection.close().map_err(|(_, e)| LogError::sqlite(DOING, e))?;
        let io = |source| LogError::Io {
            path: path.clone(),
            source,
        };
        file.as_file().sync_all().map_err(io)?;
        file.persist_noclobber(&path).map_err(|e| io(e.error))?;
        File::open(folder(&path))
            .and_then(|folder| folder.sync_all())
            .map_err(io)
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
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
        // Ids and times, and what SQLite keeps beside each value.
        _ => 48,
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
            Kind::Bytes => Value::Bytes(Vec::new()),
            _ => Value::Null,
        };
        let time = table.columns.iter().position(|(_, kind)| *kind == Kind::Time);
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
