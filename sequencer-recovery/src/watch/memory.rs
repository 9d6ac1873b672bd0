//! What `watch` remembers from look to look, and from run to run: a small SQLite file.
//!
//! It is the least that the log must be the next time, and after a recovery a witness: how far each stream had come. Nothing
//! in it is signed. What it remembers of a stream is never lowered by a look at the log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use ves::StreamKey;

use super::alarms::{Alarm, AlarmSource};
use crate::error::RecoveryError;
use crate::finding::{Code, Finding};
use crate::locked_file::LockedFile;
use crate::log_identity::LogIdentity;
use crate::watch_memory::{APPLICATION_ID, PATIENCE, Remembered, VERSION, check, read_streams, stream_of};

macro_rules! sql {
    ($name:literal) => {
        include_str!(concat!("../../../sql/watch/", $name, ".sql"))
    };
}

/// How far the pass over old rows is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScrubNotes {
    /// The stream that it is in.
    pub stream: Option<StreamKey>,
    /// Up to this number of it, it has come.
    pub to: u64,
    /// When the last whole pass ended: RFC 3339, UTC.
    pub completed_at: Option<String>,
}

/// See the module.
pub struct Memory {
    path: PathBuf,
    connection: Connection,
    /// Which log it is about; nothing before the first look.
    pub log: Option<LogIdentity>,
    /// By stream.
    pub streams: BTreeMap<StreamKey, Remembered>,
    /// The pass over old rows.
    pub scrub: ScrubNotes,
    changed: BTreeSet<StreamKey>,
    /// For as long as the value lives, no other run has the file.
    _lock: LockedFile,
}

impl Memory {
    /// Opens the file, or makes it; gives the alarms that were open when it was left, too.
    ///
    /// # Errors
    /// Another run has it, it cannot be read or written, or is no memory of `watch`.
    pub fn open(path: &Path) -> Result<(Self, Vec<Alarm>), RecoveryError> {
        let lock = LockedFile::open(path)?;
        let refused = |what: String| RecoveryError::Notes {
            path: path.to_owned(),
            what,
        };
        let failed = |e: rusqlite::Error| refused(e.to_string());
        let is_new = path.metadata().map_or(true, |meta| meta.len() == 0);
        let connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(PATIENCE).map_err(failed)?;
        if is_new {
            connection
                .pragma_update(None, "application_id", APPLICATION_ID)
                .and_then(|()| connection.pragma_update(None, "user_version", VERSION))
                .and_then(|()| connection.execute_batch(sql!("schema")))
                .map_err(failed)?;
        }
        check(&connection).map_err(refused)?;
        let mut memory = Self {
            path: path.to_owned(),
            connection,
            log: None,
            streams: BTreeMap::new(),
            scrub: ScrubNotes::default(),
            changed: BTreeSet::new(),
            _lock: lock,
        };
        memory.read_notes().map_err(refused)?;
        memory.streams = read_streams(&memory.connection).map_err(refused)?;
        let alarms = read_alarms(&memory.connection).map_err(refused)?;
        Ok((memory, alarms))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is remembered of a stream, to be raised.
    pub fn stream(&mut self, stream: &StreamKey) -> &mut Remembered {
        self.changed.insert(*stream);
        self.streams.entry(*stream).or_default()
    }

    fn read_notes(&mut self) -> Result<(), String> {
        let mut notes = BTreeMap::new();
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare(sql!("notes"))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                notes.insert(row.get::<_, String>(0)?, row.get::<_, String>(1)?);
            }
            Ok(())
        };
        read().map_err(|e| e.to_string())?;
        let json = |e: serde_json::Error| format!("what it notes of the log cannot be read: {e}");
        self.log = notes
            .get("log")
            .map(|text| serde_json::from_str(text).map_err(json))
            .transpose()?;
        self.scrub = ScrubNotes {
            stream: notes.get("scrub_stream").and_then(|text| text.parse().ok()),
            to: notes
                .get("scrub_to")
                .and_then(|text| text.parse().ok())
                .unwrap_or(0),
            completed_at: notes.get("scrub_completed_at").cloned(),
        };
        Ok(())
    }

    /// Writes down what changed and which alarms are open, in one transaction.
    ///
    /// # Errors
    /// The disk fails, or is full: what is remembered is still in memory, and is written by the next save that works.
    pub fn save<'a>(&mut self, alarms: impl Iterator<Item = &'a Alarm>) -> Result<(), RecoveryError> {
        let path = self.path.clone();
        let log = self.log.as_ref().map(serde_json::to_string).transpose();
        let log = log.map_err(|e| RecoveryError::Notes {
            path: path.clone(),
            what: e.to_string(),
        })?;
        let (streams, scrub, changed) = (&self.streams, &self.scrub, &self.changed);
        let save = || -> rusqlite::Result<()> {
            let transaction = self.connection.transaction()?;
            {
                let mut note = transaction.prepare(sql!("set_note"))?;
                if let Some(log) = &log {
                    note.execute(params!["log", log])?;
                }
                let stream = scrub.stream.map(|stream| stream.to_string()).unwrap_or_default();
                note.execute(params!["scrub_stream", stream])?;
                note.execute(params!["scrub_to", scrub.to.to_string()])?;
                if let Some(at) = &scrub.completed_at {
                    note.execute(params!["scrub_completed_at", at])?;
                }
                let mut set = transaction.prepare(sql!("set_stream"))?;
                for (key, of) in changed.iter().filter_map(|key| Some((key, streams.get(key)?))) {
                    set.execute(params![
                        key.tenant_id.to_string(),
                        key.store_id.to_string(),
                        int(of.head),
                        int(of.checked),
                        of.leaf.map(|leaf| leaf.0),
                        int(of.counter),
                        int(of.committed),
                        int(of.anchored),
                        int(of.highest),
                        of.highest_by,
                        of.seen_at,
                    ])?;
                }
                transaction.execute(sql!("clear_alarms"), [])?;
                let mut add = transaction.prepare(sql!("add_alarm"))?;
                for Alarm {
                    source,
                    finding,
                    opened_at,
                } in alarms
                {
                    add.execute(params![
                        source.as_str(),
                        finding.code.as_str(),
                        finding.stream.map(|s| s.tenant_id.to_string()),
                        finding.stream.map(|s| s.store_id.to_string()),
                        finding.from.map(int),
                        finding.to.map(int),
                        int(finding.count),
                        finding.message,
                        opened_at,
                    ])?;
                }
            }
            transaction.commit()
        };
        save().map_err(|e| RecoveryError::Notes {
            path,
            what: format!("cannot be written: {e}"),
        })?;
        self.changed.clear();
        Ok(())
    }
}

/// No number of a log is higher than what the file can hold.
fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Alarms of codes or sources that this release does not know are left out: they are raised again if they still hold.
fn read_alarms(connection: &Connection) -> Result<Vec<Alarm>, String> {
    let mut alarms = Vec::new();
    let mut statement = connection.prepare(sql!("alarms")).map_err(|e| e.to_string())?;
    let mut rows = statement.query([]).map_err(|e| e.to_string())?;
    while let Some(row) = rows.next().map_err(|e| e.to_string())? {
        let text = |at| row.get::<_, Option<String>>(at).map_err(|e| e.to_string());
        let number = |at| -> Result<Option<u64>, String> {
            let value: Option<i64> = row.get(at).map_err(|e| e.to_string())?;
            Ok(value.and_then(|value| u64::try_from(value).ok()))
        };
        let (source, code) = (text(0)?.unwrap_or_default(), text(1)?.unwrap_or_default());
        let known = Code::ALL.iter().find(|known| known.as_str() == code);
        let (Some(source), Some(code)) = (AlarmSource::named(&source), known) else {
            continue;
        };
        let mut finding = Finding::new(*code, text(7)?.unwrap_or_default());
        finding.stream = stream_of(text(2)?, text(3)?)?;
        (finding.from, finding.to) = (number(4)?, number(5)?);
        finding.count = number(6)?.unwrap_or(1);
        alarms.push(Alarm {
            source,
            finding,
            opened_at: text(8)?.unwrap_or_default(),
        });
    }
    Ok(alarms)
}
