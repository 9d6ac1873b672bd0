//! Why an outbox could not be read.

use std::io;
use std::path::{Path, PathBuf};

/// A file that something could not be done with: which one, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub what: String,
    /// Which file the operating system refused, and how, if it is its word.
    pub refused: Option<(PathBuf, io::ErrorKind)>,
}

impl FileError {
    /// A file, and what is wrong with it.
    pub(crate) fn new(path: &Path, fault: impl Into<FileFault>) -> Self {
        let FileFault { what, kind, at } = fault.into();
        Self {
            path: path.to_owned(),
            what,
            refused: kind.map(|kind| (at.unwrap_or_else(|| path.to_owned()), kind)),
        }
    }

    /// The same in these words.
    pub(crate) fn said(mut self, words: &str) -> Self {
        self.what = format!("{words}: {}", self.what);
        self
    }
}

impl From<checkpoints::epoch::EpochError> for FileError {
    fn from(error: checkpoints::epoch::EpochError) -> Self {
        Self::new(&error.path, error.source)
    }
}

/// What is wrong with a file.
pub(crate) struct FileFault {
    what: String,
    /// How the operating system refused.
    kind: Option<io::ErrorKind>,
    /// Which file, if it is another.
    at: Option<PathBuf>,
}

impl From<&str> for FileFault {
    fn from(what: &str) -> Self {
        what.to_owned().into()
    }
}

impl From<String> for FileFault {
    fn from(what: String) -> Self {
        Self {
            what,
            kind: None,
            at: None,
        }
    }
}

impl From<io::Error> for FileFault {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};

        // What is wrong with the content, we say ourselves.
        let of_content = matches!(error.kind(), InvalidData | InvalidInput | Other | UnexpectedEof);
        Self {
            kind: (!of_content).then_some(error.kind()),
            ..error.to_string().into()
        }
    }
}

impl From<serde_json::Error> for FileFault {
    fn from(error: serde_json::Error) -> Self {
        Self {
            kind: error.io_error_kind(),
            ..error.to_string().into()
        }
    }
}

impl From<rusqlite::Error> for FileFault {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{CannotOpen, DiskFull, PermissionDenied, ReadOnly};
        let kind = match error.sqlite_error_code() {
            Some(DiskFull) => Some(io::ErrorKind::StorageFull),
            Some(CannotOpen | PermissionDenied | ReadOnly) => Some(io::ErrorKind::PermissionDenied),
            _ => None,
        };
        Self {
            kind,
            ..error.to_string().into()
        }
    }
}

impl From<OutboxErrorKind> for FileFault {
    fn from(error: OutboxErrorKind) -> Self {
        let what = error.to_string();
        let (kind, at) = match error {
            OutboxErrorKind::Io(error) => (error.raw_os_error().map(|_| error.kind()), None),
            OutboxErrorKind::Copy(error) => (Some(error.kind()), Some(private_files())),
            OutboxErrorKind::Full => (Some(io::ErrorKind::StorageFull), Some(private_files())),
            _ => (None, None),
        };
        Self { what, kind, at }
    }
}

/// Where private copies are.
fn private_files() -> PathBuf {
    std::env::temp_dir().join("copy")
}

/// A file that could not be read as an outbox: which one, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}: {kind}", path.display())]
pub struct OutboxError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub kind: OutboxErrorKind,
}

/// Why a file could not be read as an outbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxErrorKind {
    /// The operating system refused.
    #[error("cannot be read: {0}")]
    Io(io::Error),
    /// A folder, pipe or device.
    #[error("is not a regular file")]
    NotAFile,
    /// Nothing in it.
    #[error("has 0 bytes: an outbox that was never written, or one that was cut off")]
    Empty,
    /// Another kind of file.
    #[error("is not an SQLite database (or is one that is encrypted as a whole)")]
    NotSqlite,
    /// A database of something else.
    #[error("is an SQLite database, but not an outbox: it has neither a table _ves_outbox nor outbox")]
    NoOutboxTables,
    /// The tables are there, the columns are not.
    #[error("has a table {table} without the column(s) {columns}: not a shape that is known")]
    MissingColumns {
        /// The table.
        table: &'static str,
        /// The columns, separated by commas.
        columns: String,
    },
    /// The rows have no numbers.
    #[error(
        "has a table {table} that was made WITHOUT ROWID, whose rows cannot be named; copy it into an ordinary table \
         (CREATE TABLE … AS SELECT) of a new file"
    )]
    WithoutRowid {
        /// The table.
        table: &'static str,
    },
    /// The file is shorter than its own header says.
    #[error("is truncated: it has {found} bytes, its header says {expected}. Is there a complete copy?")]
    Truncated {
        /// How long it is.
        found: u64,
        /// How long it should be.
        expected: u64,
    },
    /// SQLite finds the file damaged.
    #[error("is damaged: {0}. Is there a sound copy?")]
    Damaged(String),
    /// A writer holds the file.
    #[error(
        "is locked by a program that is writing to it. Nothing was read; \
         try again when it is done, or stop the agent first"
    )]
    Locked,
    /// No two looks at the file were alike.
    #[error(
        "was changed under every one of {attempts} attempts to copy it; try again, or stop the agent first"
    )]
    Busy {
        /// How often it was tried.
        attempts: u32,
    },
    /// A journal that names other files.
    #[error(
        "has a left-over journal of a transaction over several databases, which cannot be rolled back \
         in a copy; open it once with the agent's own software"
    )]
    SuperJournal,
    /// The private copy could not be made.
    #[error(
        "could not be copied to the temporary folder {folder} (TMPDIR names another; the file itself is not opened for \
         writing): {0}",
        folder = std::env::temp_dir().display()
    )]
    Copy(io::Error),
    /// A disk is full: mostly that of the private copy.
    #[error(
        "cannot be read: no space is left in the temporary folder {folder}, where it is copied to (TMPDIR names another), \
         or on its own disk",
        folder = std::env::temp_dir().display()
    )]
    Full,
    /// Any other failure of SQLite.
    #[error("SQLite: {0}")]
    Sqlite(rusqlite::Error),
}

impl OutboxErrorKind {
    /// Whether something of the file may still be read (see [`crate::Outbox::salvage`]).
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Truncated { .. } | Self::Damaged(_))
    }

    /// Names the file.
    pub(crate) fn of(self, path: &Path) -> OutboxError {
        OutboxError {
            path: path.to_owned(),
            kind: self,
        }
    }
}

impl From<rusqlite::Error> for OutboxErrorKind {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, NotADatabase};
        match error.sqlite_error_code() {
            Some(DatabaseBusy | DatabaseLocked) => Self::Locked,
            Some(DiskFull) => Self::Full,
            Some(DatabaseCorrupt | NotADatabase) => Self::Damaged(error.to_string()),
            _ => Self::Sqlite(error),
        }
    }
}
