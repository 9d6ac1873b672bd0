//! Reading a database where it lies, without a copy and without touching it.
//!
//! A copy (see [`crate::private_copy`]) costs as much as the reading itself. Where a file can be kept from changing, or
//! where it is sure to show afterwards that it did, none is needed:
//!
//! - **Rollback mode**: a read-only connection whose transaction stays open has the lock of a reader. Writers that
//!   keep SQLite's protocol change the file only when no reader is left.
//! - **WAL mode, with neither `-wal` nor `-journal`**: nobody is at work. The connection is opened as `immutable`, so
//!   that SQLite makes no `-shm`, asks for no lock and writes nothing. A program may begin to write meanwhile, and
//!   nothing can prevent that; but it has to create a `-wal` first, and cannot remove it again: that, and leaving WAL
//!   mode, takes an exclusive lock, which a shared one of ours on the file prevents. So if there is no `-wal` at
//!   the end either, nobody has changed the file.
//!
//! In both cases the file's identity, length and times must be the same at the end, which also shows what does not
//! keep the protocol. Everything else is for the copy: a `-wal`, a journal of a killed writer, several names for one file
//! (its `-wal` may lie beside another of them), a file system without locks.
//!
//! What was read counts only if [`InPlace::unchanged`] says so afterwards. POSIX locks belong to the process and are
//! lost when it closes **any** handle of the file: until then, no connection to it may be closed and the file not be
//! opened elsewhere in the process.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rusqlite::{Connection, OpenFlags};

use crate::error::OutboxErrorKind;
use crate::outbox::secure;
use crate::private_copy::{self, HEADER, immutable};

/// A database that is read where it lies.
#[derive(Debug)]
pub(crate) struct InPlace {
    source: PathBuf,
    stamp: Stamp,
    /// The file and its first bytes, as they are while it is held. Closed with what holds it, never before.
    file: File,
    header: [u8; HEADER],
    held: Held,
}

#[derive(Debug)]
enum Held {
    /// In rollback mode, by a transaction of this connection.
    Transaction { _connection: Mutex<Connection> },
    /// In WAL mode, by a shared lock on the file's handle.
    Lock,
}

/// What changes with every change of a file.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    identity: (u64, u64),
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl InPlace {
    /// Holds the file, if it can be read where it lies; `None` if only a copy will do.
    pub(crate) fn hold(path: &Path) -> Result<Option<Self>, OutboxErrorKind> {
        let source = path.canonicalize().map_err(OutboxErrorKind::Io)?;
        let header = private_copy::read_header(&source)?;
        private_copy::check_length(&source, &header)?;
        if exists(&source, "-wal") || !has_one_name(&source) {
            return Ok(None);
        }
        let Ok(file) = File::open(&source) else {
            return Ok(None);
        };
        let held = if private_copy::is_wal_mode(&header) {
            lock(&file, &header).map(|()| Held::Lock)
        } else {
            begin(&source).map(|connection| Held::Transaction {
                _connection: Mutex::new(connection),
            })
        };
        let Some(held) = held else { return Ok(None) };
        // From here on it is held: what is seen now is what is read.
        let (Some(stamp), Some(header)) = (stamp(&source, &file), first_bytes(&file)) else {
            return Ok(None);
        };
        let held = Self {
            source,
            stamp,
            file,
            header,
            held,
        };
        Ok(held.still_alone().then_some(held))
    }

    /// The file and its header, for reading its pages.
    pub(crate) fn pages(&self) -> (&File, &[u8; HEADER]) {
        (&self.file, &self.header)
    }

    /// Another connection, which sees what all of them see.
    pub(crate) fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = match self.held {
            Held::Transaction { .. } => Connection::open_with_flags(&self.source, flags)?,
            Held::Lock => {
                Connection::open_with_flags(immutable(&self.source), flags | OpenFlags::SQLITE_OPEN_URI)?
            }
        };
        connection.busy_timeout(private_copy::LOCK_WAIT)?;
        secure(&connection)?;
        Ok(connection)
    }

    /// Whether the file is as it was when it was held. Only then does what was read of it count.
    pub(crate) fn unchanged(&self) -> bool {
        self.still_alone() && stamp(&self.source, &self.file).as_ref() == Some(&self.stamp)
    }

    fn still_alone(&self) -> bool {
        let free = |suffix| !exists(&self.source, suffix);
        match self.held {
            // A writer that waits for us has a journal already.
            Held::Transaction { .. } => free("-wal"),
            Held::Lock => free("-wal") && free("-journal"),
        }
    }
}

/// The reader's lock of a transaction, if nothing stands against it.
fn begin(source: &Path) -> Option<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(source, flags).ok()?;
    connection.busy_timeout(private_copy::LOCK_WAIT).ok()?;
    secure(&connection).ok()?;
    connection
        .execute_batch(include_str!("../../../sql/outbox-sync/begin_read.sql"))
        .ok()?;
    // The transaction begins with the first look into the file.
    connection
        .prepare(include_str!("../../../sql/outbox-sync/tables.sql"))
        .and_then(|mut tables| tables.query([])?.next().map(drop))
        .ok()?;
    Some(connection)
}

fn exists(source: &Path, suffix: &str) -> bool {
    private_copy::beside(source, suffix).symlink_metadata().is_ok()
}

/// A shared lock on the file, if it is still in the mode of `header`: that may have changed before the lock.
fn lock(file: &File, header: &[u8; HEADER]) -> Option<()> {
    (private_copy::lock_shared(file) && first_bytes(file)?[18..20] == header[18..20]).then_some(())
}

#[cfg(unix)]
pub(super) fn first_bytes(file: &File) -> Option<[u8; HEADER]> {
    use std::os::unix::fs::FileExt as _;

    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0).ok()?;
    Some(header)
}

#[cfg(unix)]
fn has_one_name(source: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    source.metadata().is_ok_and(|meta| meta.nlink() == 1)
}

/// Of the file by its name, if that is the one that is open.
#[cfg(unix)]
fn stamp(source: &Path, file: &File) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt as _;

    let (meta, open) = (source.metadata().ok()?, file.metadata().ok()?);
    let same = (meta.dev(), meta.ino()) == (open.dev(), open.ino());
    same.then(|| Stamp {
        identity: (meta.dev(), meta.ino()),
        length: meta.size(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
    })
}

// Elsewhere files are copied.
#[cfg(not(unix))]
pub(super) fn first_bytes(_: &File) -> Option<[u8; HEADER]> {
    None
}

#[cfg(not(unix))]
fn has_one_name(_: &Path) -> bool {
    false
}

#[cfg(not(unix))]
fn stamp(_: &Path, _: &File) -> Option<Stamp> {
    None
}
