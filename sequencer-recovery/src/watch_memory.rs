//! The file in which `watch` remembers a log, as far as others read it: how far each stream had come. For a recovery it is a
//! witness.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use ves::{Hash32, StreamKey};

/// `application_id` of the file: 'VESW'.
pub const APPLICATION_ID: i32 = 0x5645_5357;
/// `user_version` of the file.
pub(crate) const VERSION: i32 = 1;
/// Where an SQLite file has its `application_id`, in bytes from its beginning.
const APPLICATION_ID_AT: usize = 68;
/// How long to wait for whoever writes to it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A stream as it was at the last look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remembered {
    /// Its highest number; 0 if it never had one.
    pub head: u64,
    /// Up to this number its rows were judged as they came.
    pub checked: u64,
    /// The leaf at that number.
    pub leaf: Option<Hash32>,
    /// Its counter; 0 if it never had one.
    pub counter: u64,
    /// The last number of its commitments that were judged.
    pub committed: u64,
    /// The last number of its anchored batches that were compared.
    pub anchored: u64,
    /// The highest number that anybody knew of.
    pub highest: u64,
    /// Who.
    pub highest_by: String,
    /// When it was last seen, by the clock of the host: RFC 3339, UTC.
    pub seen_at: String,
}

impl Remembered {
    /// Notes that somebody knows of a number.
    pub fn heard_of(&mut self, number: u64, who: &str) {
        if number > self.highest {
            self.highest = number;
            who.clone_into(&mut self.highest_by);
        }
    }
}

/// Whether a file is the memory of a `watch`, by its first bytes.
pub fn is_memory(path: &Path) -> bool {
    // What comes through a pipe can be read once.
    if !path.metadata().is_ok_and(|meta| meta.is_file()) {
        return false;
    }
    let mut start = [0; APPLICATION_ID_AT + 4];
    let read =
        std::fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut start));
    let id = APPLICATION_ID.to_be_bytes();
    read.is_ok() && start.starts_with(b"SQLite format 3\0") && start[APPLICATION_ID_AT..] == id
}

/// Reads what a memory says of each stream, without changing it: for a recovery, to which it is a witness.
///
/// # Errors
/// It cannot be read, or is none.
pub fn read_witness(path: &Path) -> Result<BTreeMap<StreamKey, Remembered>, String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| e.to_string())?;
    connection.busy_timeout(PATIENCE).map_err(|e| e.to_string())?;
    check(&connection)?;
    read_streams(&connection)
}

/// Whether this release can read a memory.
pub(crate) fn check(connection: &Connection) -> Result<(), String> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let id = number("application_id").map_err(|e| e.to_string())?;
    if id != APPLICATION_ID {
        return Err("is not the memory of a watch".to_owned());
    }
    match number("user_version").map_err(|e| e.to_string())? {
        VERSION => Ok(()),
        other => Err(format!(
            "is of version {other}, and this release reads version {VERSION}"
        )),
    }
}

/// What is remembered of each stream.
pub(crate) fn read_streams(connection: &Connection) -> Result<BTreeMap<StreamKey, Remembered>, String> {
    let mut streams = BTreeMap::new();
    let mut statement = connection
        .prepare(include_str!("../../sql/watch/streams.sql"))
        .map_err(|e| e.to_string())?;
    let mut rows = statement.query([]).map_err(|e| e.to_string())?;
    while let Some(row) = rows.next().map_err(|e| e.to_string())? {
        let (key, of) = read_stream(row)?;
        streams.insert(key, of);
    }
    Ok(streams)
}

fn read_stream(row: &rusqlite::Row<'_>) -> Result<(StreamKey, Remembered), String> {
    let text = |at| row.get::<_, String>(at).map_err(|e| e.to_string());
    let number = |at| -> Result<u64, String> {
        let value: i64 = row.get(at).map_err(|e| e.to_string())?;
        u64::try_from(value).map_err(|_| format!("a number of it is {value}"))
    };
    let key = stream_of(Some(text(0)?), Some(text(1)?))?.ok_or("a stream of it has no name")?;
    let leaf = row.get::<_, Option<[u8; 32]>>(4).map_err(|e| e.to_string())?;
    let of = Remembered {
        head: number(2)?,
        checked: number(3)?,
        leaf: leaf.map(Hash32),
        counter: number(5)?,
        committed: number(6)?,
        anchored: number(7)?,
        highest: number(8)?,
        highest_by: text(9)?,
        seen_at: text(10)?,
    };
    Ok((key, of))
}

/// The stream of two columns, if they hold one.
pub(crate) fn stream_of(tenant: Option<String>, store: Option<String>) -> Result<Option<StreamKey>, String> {
    let (Some(tenant), Some(store)) = (tenant, store) else {
        return Ok(None);
    };
    let wrong = |what: &str| format!("{what:?} is no id");
    Ok(Some(StreamKey {
        tenant_id: tenant.parse().map_err(|_| wrong(&tenant))?,
        store_id: store.parse().map_err(|_| wrong(&store))?,
    }))
}
