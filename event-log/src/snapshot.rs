//! Making snapshot files.

use std::fs::File;
use std::path::{Path, PathBuf};

use cli_common::{Access, partial_file};
use rusqlite::Connection;
use tempfile::NamedTempFile;
use ves::{CommandId, Receipt, SigningKey, StreamKey, Timestamp};

use crate::conn::{insert_snapshot, snapshot_execute};
use crate::entry::{
    Commitment, Entity, RestoredEvent, as_i64, commitment_row, dedupe_row, event_row, key_row, receipt_row,
};
use crate::error::LogError;
use crate::journal;
use crate::place::Place;
use crate::repair::rows;
use crate::schema::{
    AGENT_SIGNING_KEYS, ENTITY_VERSIONS, Table, VES_COMMAND_DEDUPE, VES_COMMITMENTS, VES_EVENTS,
    VES_SEQUENCE_COUNTERS, VES_SEQUENCER_RECEIPTS,
};
use crate::sql::{SNAPSHOT_SCHEMA, both, snapshot};
use crate::value::Value;
use crate::view::{StreamFilter, View};

/// A snapshot file being made. It appears under its name, complete and on disk, with [`Snapshot::finish`];
/// until then it is a temporary file in the same folder, and dropping it removes that.
pub struct Snapshot {
    pub(crate) connection: Connection,
    /// Open, and so locked, for as long as it is written: another run may not take it for abandoned.
    file: NamedTempFile,
    path: PathBuf,
}

pub(crate) const DOING: &str = "writing the snapshot";

impl Snapshot {
    /// Begins an empty snapshot that will have this path.
    ///
    /// # Errors
    /// If the file exists already, or its folder cannot be written to.
    pub fn create(path: &Path) -> Result<Self, LogError> {
        Self::begin(path, snapshot!("session_create"))
    }

    pub(crate) fn begin(path: &Path, session: &str) -> Result<Self, LogError> {
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

    /// Takes away the indexes that only make things faster: to make them at once at the end costs less than row by row.
    pub(crate) fn drop_indexes(&self) -> Result<(), LogError> {
        let done = self.connection.execute_batch(snapshot!("drop_indexes"));
        done.map_err(|e| LogError::sqlite(DOING, e))
    }

    /// Makes them again.
    pub(crate) fn make_indexes(&self) -> Result<(), LogError> {
        let done = self.connection.execute_batch(snapshot!("make_indexes"));
        done.map_err(|e| LogError::sqlite(DOING, e))
    }

    /// Takes the counters of the older table for those of the log, which has none.
    pub(crate) fn adopt_older_counters(&self) -> Result<(), LogError> {
        let adopted = self.connection.execute_batch(snapshot!("adopt_older_counters"));
        adopted.map_err(|e| LogError::sqlite(DOING, e))
    }

    /// Takes the journal of repairs along, if there is one that can be read.
    pub(crate) async fn copy_journal(&mut self, view: &mut View) -> Result<(), LogError> {
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
    pub(crate) fn describe_place(&mut self, place: &Place) -> Result<(), LogError> {
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
