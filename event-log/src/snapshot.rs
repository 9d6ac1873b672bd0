//! Making snapshot files.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use cli_common::{DbTarget, Progress};
use rusqlite::Connection;
use tempfile::{NamedTempFile, TempPath};
use ves::{CommandId, Receipt, SigningKey, StreamKey, Timestamp};

use crate::conn::{Conn, insert_snapshot, snapshot_execute, snapshot_query};
use crate::entry::{
    Commitment, Entity, RestoredEvent, as_i64, commitment_row, dedupe_row, event_row, key_row, receipt_row,
};
use crate::error::{LogError, RowError};
use crate::journal;
use crate::place::Place;
use crate::repair::rows;
use crate::schema::{
    AGENT_SIGNING_KEYS, ENTITY_VERSIONS, TABLES, Table, VES_COMMAND_DEDUPE, VES_COMMITMENTS, VES_EVENTS,
    VES_SEQUENCE_COUNTERS, VES_SEQUENCER_RECEIPTS,
};
use crate::sql::{SNAPSHOT_SCHEMA, both, snapshot};
use crate::value::{Cell, Kind, Row, Value};
use crate::view::{StreamFilter, View};

/// How many rows are copied between two reports of progress.
const PROGRESS_ROWS: u64 = 1024;

/// How many rows of each table were copied, in the order of copying; `None` if the source has no such table.
pub type CopiedRows = Vec<(&'static str, Option<u64>)>;

/// A snapshot file being made. It appears under its name, complete and on disk, with [`Snapshot::finish`];
/// until then it is a temporary file in the same folder, and dropping it removes that.
pub struct Snapshot {
    connection: Connection,
    file: TempPath,
    path: PathBuf,
}

/// Copies every table of a view into a new snapshot file. Each table is a phase of `progress`, and
/// a row a step.
///
/// Memory does not grow with the log. What a check of the schema would refuse is copied as it is, so that it can be
/// audited; a value that has no form in a snapshot stops the copy, with its place.
///
/// # Errors
/// If the file exists already, cannot be written, or the view cannot be read.
pub async fn write_snapshot(
    view: &mut View,
    source: &DbTarget,
    path: &Path,
    progress: &dyn Progress,
) -> Result<CopiedRows, LogError> {
    let taken_at = view.database_time().await?;
    let mut target = Snapshot::begin(path, snapshot!("session_copy"))?;
    let mut counts = Vec::new();
    for table in TABLES {
        let count = if view.conn.has(table).await? {
            Some(target.copy(view, table, progress).await?)
        } else {
            None
        };
        counts.push((table.name, count));
    }
    target.copy_journal(view).await?;
    target.describe(taken_at, &source.to_string())?;
    target.describe_place(view.place())?;
    target.finish()?;
    Ok(counts)
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
        let file = NamedTempFile::new_in(folder(path)).map_err(io)?.into_temp_path();
        let open = || {
            let connection = Connection::open(&file)?;
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

    async fn copy(
        &mut self,
        view: &mut View,
        table: &'static Table,
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
        view.conn
            .query(DOING, table.copy, &[], &mut |row| {
                let mut one = || {
                    copied_row(row, table, &mut values)?;
                    snapshot_execute(&mut insert, &values).map_err(|e| LogError::sqlite(DOING, e))
                };
                if let Err(error) = one() {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
                count += 1;
                if count % PROGRESS_ROWS == 0 {
                    progress.advance(PROGRESS_ROWS);
                }
                ControlFlow::Continue(())
            })
            .await?;
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
        File::open(&file).and_then(|file| file.sync_all()).map_err(io)?;
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

fn copied_row(row: Row<'_>, table: &'static Table, values: &mut Vec<Value>) -> Result<(), LogError> {
    values.clear();
    for (index, (name, kind)) in table.columns.iter().enumerate() {
        let cell = row.get(index, *kind).map_err(|what| {
            let key = row.get(0, Kind::Uuid).ok().flatten();
            let key = key.map_or(String::new(), |key| format!(" of the row {:?}", key.to_value()));
            RowError {
                table: table.name,
                stream: None,
                sequence: None,
                what: format!("{name}{key}: {what}"),
            }
        })?;
        values.push(cell.map_or(Value::Null, Cell::to_value));
    }
    Ok(())
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
