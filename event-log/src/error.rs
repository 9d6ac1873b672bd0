//! What can go wrong with a log, in kinds that a tool can tell apart.

use std::path::PathBuf;

use cli_common::{CliError, ErrorKind, file_hint};
use ves::StreamKey;

/// Why a log could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The database cannot be reached, or does not let us in.
    #[error("cannot connect to {target}: {what}")]
    Connect {
        /// The database, without secrets.
        target: String,
        /// Why.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// The user stopped the work, and the server its statement.
    #[error("cancelled at {doing}: {what}")]
    Cancelled {
        /// What was being done.
        doing: &'static str,
        /// What became of it.
        what: String,
        /// Whether that is known for certain: the server said so, or was not asked for anything.
        is_known: bool,
    },
    /// A server in recovery had to replay what a reading transaction stood in the way of. Reading again may help.
    #[error("{doing}: {what}")]
    RecoveryConflict {
        /// What was being done.
        doing: &'static str,
        /// What the server says.
        what: String,
    },
    /// A file cannot be opened, read, written or renamed.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not a snapshot that can be read: not SQLite, truncated, damaged, or of another version.
    #[error("{path}: {what}", path = path.display())]
    NotASnapshot {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: String,
    },
    /// The database lacks tables or columns of a log, or has them with other types.
    #[error("{target} does not hold a sequencer's log: {}", problems.join("; "))]
    Schema {
        /// The database, without secrets.
        target: String,
        /// Each thing that is missing or different.
        problems: Vec<String>,
    },
    /// Several schemas that are searched hold a log, and none is named.
    #[error("{target} holds a sequencer's log in each of the schemas {}: name one with --schema", schemas.join(", "))]
    Ambiguous {
        /// The database, without secrets.
        target: String,
        /// The schemas, in the order in which they are searched.
        schemas: Vec<String>,
    },
    /// The database is of a level that cannot be written to.
    #[error("{refusal}")]
    Level {
        /// Which migrations to run first.
        refusal: String,
    },
    /// A row cannot be understood.
    #[error(transparent)]
    Row(#[from] RowError),
    /// Somebody else holds a lock that is needed, and did not let go in time.
    #[error("{doing}: the log is locked by another user of it: {what}")]
    Locked {
        /// What was being done.
        doing: &'static str,
        /// What the database says.
        what: String,
    },
    /// Another transaction and this one were in each other's way (a deadlock, a serialization failure), and the database
    /// ended this one: nothing of it is kept, and it may be begun again.
    #[error("{doing}: another user of the log was in the way: {what}")]
    Conflict {
        /// What was being done.
        doing: &'static str,
        /// What the database says.
        what: String,
    },
    /// A write that would break what the log promises, or that the database refuses.
    #[error("{doing}: refused: {what}")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        what: String,
    },
    /// A row that the database refuses, or that cannot be written, with its place among what was to be written.
    #[error("{doing}: refused: {row}")]
    RefusedRow {
        /// What was being done.
        doing: &'static str,
        /// Which row, and why not.
        row: RowError,
    },
    /// The server cannot give out what is stored: a value that is gone, bytes that are no text, a page that is torn.
    #[error("{doing}: the server cannot read what is stored: {what}")]
    Damaged {
        /// What was being done.
        doing: &'static str,
        /// What the server says.
        what: String,
    },
    /// The journal of repairs cannot be made or written.
    #[error("the journal of repairs cannot be kept: {what}")]
    Journal {
        /// Why not.
        what: String,
    },
    /// PostgreSQL failed in another way, or the connection broke.
    #[error("{doing}: {what}")]
    Postgres {
        /// What was being done.
        doing: &'static str,
        /// What happened.
        what: String,
        /// What to do about it, if that is known.
        hint: Option<String>,
        /// As the driver has it. Not as a source: its text has lines of PostgreSQL's own code.
        error: Box<sqlx::Error>,
    },
    /// SQLite failed in another way.
    #[error("{doing}: {source}")]
    Sqlite {
        /// What was being done.
        doing: &'static str,
        /// What happened.
        source: Box<rusqlite::Error>,
    },
}

/// A row that cannot be understood, with its place. It does not stop the rest from being read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{table}{}: {what}", place(stream.as_ref(), *sequence))]
pub struct RowError {
    /// The table.
    pub table: &'static str,
    /// The stream, as far as known.
    pub stream: Option<StreamKey>,
    /// The sequence number (of a commitment: its first), as far as known.
    pub sequence: Option<u64>,
    /// What is wrong with the row.
    pub what: String,
}

fn place(stream: Option<&StreamKey>, sequence: Option<u64>) -> String {
    let mut place = String::new();
    if let Some(stream) = stream {
        place.push_str(&format!(", stream {stream}"));
    }
    if let Some(sequence) = sequence {
        place.push_str(&format!(", sequence {sequence}"));
    }
    place
}

impl LogError {
    /// True if trying again later may help.
    pub fn is_locked(&self) -> bool {
        matches!(self, LogError::Locked { .. } | LogError::Conflict { .. })
    }

    /// True if the transaction was ended since another was in its way: begun again at once it may go through.
    pub fn is_conflict(&self) -> bool {
        matches!(self, LogError::Conflict { .. })
    }

    /// True if the same reading may succeed when it is begun again.
    pub fn is_recovery_conflict(&self) -> bool {
        matches!(self, LogError::RecoveryConflict { .. })
    }

    /// True if a server said it, so that it is known what became of the statement.
    pub(crate) fn is_of_the_server(&self) -> bool {
        match self {
            LogError::Postgres { error, .. } => error.as_database_error().is_some(),
            LogError::Cancelled { is_known, .. } => *is_known,
            LogError::Connect { .. } => false,
            _ => true,
        }
    }

    /// What is damaged, if that is why nothing could be read: also bytes that are no text or have no form in UTF-8, and
    /// values too large to be given out, which are other errors where something is written.
    pub(crate) fn damage(&self) -> Option<&str> {
        match self {
            LogError::Damaged { what, .. } | LogError::Refused { what, .. } => Some(what),
            LogError::Postgres { error, .. } => {
                let error = error.as_database_error()?;
                let too_large = error.code().is_some_and(|code| code.starts_with("54"));
                too_large.then(|| error.message())
            }
            _ => None,
        }
    }

    /// An error that arose before anything was sent.
    pub(crate) fn made(doing: &'static str, error: sqlx::Error) -> Self {
        LogError::Postgres {
            doing,
            what: error.to_string(),
            hint: None,
            error: Box::new(error),
        }
    }

    /// What to do about exactly this, as a sentence without a full stop; `None` if there is nothing to say.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            LogError::Connect { hint, .. } => return Some(hint.clone()),
            LogError::Postgres { hint, .. } => return hint.clone(),
            LogError::Sqlite { doing, source } => return sqlite_hint(doing, source),
            LogError::Io { path, source } => return Some(file_hint(path, source)),
            LogError::Cancelled { .. } => "nothing is half done: run the command again",
            LogError::RecoveryConflict { .. } => {
                "the server in recovery replays what this reading needed: read again, or let it wait \
                 (max_standby_streaming_delay, hot_standby_feedback), or read while its replay is paused"
            }
            LogError::NotASnapshot { .. } => {
                "give a file that `sequencer-recovery snapshot` of this release wrote; is there a sound copy?"
            }
            LogError::Schema { .. } => {
                "is this the sequencer's own database, and the schema that it works in (--schema)? docs/compatibility.md \
                 says what is read"
            }
            LogError::Ambiguous { .. } => "give --schema with the one that the sequencer works in",
            LogError::Level { .. } => {
                "nothing was changed; audit, snapshot and export read it as it is (docs/compatibility.md)"
            }
            LogError::Journal { .. } => {
                "nothing was changed; let the role make or write it (docs/apply.md says what it is), or give --no-journal"
            }
            LogError::Locked { .. } | LogError::Conflict { .. } => {
                "stop the sequencer while the log is repaired, or try again with a longer --lock-timeout"
            }
            LogError::Damaged { .. } => {
                "look at the server's log, and at pg_amcheck, before anything is repaired; is there a sound copy?"
            }
            LogError::Row(_) | LogError::Refused { .. } | LogError::RefusedRow { .. } => return None,
        };
        Some(hint.into())
    }

    pub(crate) fn sqlite(doing: &'static str, source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => LogError::Locked {
                doing,
                what: source.to_string(),
            },
            Some(ErrorCode::ConstraintViolation) => LogError::Refused {
                doing,
                what: source.to_string(),
            },
            _ => LogError::Sqlite {
                doing,
                source: Box::new(source),
            },
        }
    }
}

/// What to do about an error of SQLite.
fn sqlite_hint(doing: &str, source: &rusqlite::Error) -> Option<String> {
    use rusqlite::ErrorCode;
    let temporary = std::env::temp_dir();
    let hint = match source.sqlite_error_code()? {
        ErrorCode::DiskFull => format!(
            "no space is left where the snapshot is, or in the folder of temporary files, {} (TMPDIR names another)",
            temporary.display()
        ),
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => {
            "may you write the snapshot file, and the folder that it is in?".into()
        }
        ErrorCode::SystemIoFailure => format!(
            "the disk failed ({doing}): are the disk of the file and that of the temporary files, {} (TMPDIR names another), \
             sound and not full?",
            temporary.display()
        ),
        ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt => {
            "the file is damaged: is there a sound copy, or can a new snapshot be taken?".into()
        }
        _ => return None,
    };
    Some(hint)
}

/// Rows of a table, and those among them that could not be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows<T> {
    /// What could be read.
    pub rows: Vec<T>,
    /// What could not.
    pub unreadable: Vec<RowError>,
}

impl<T> Rows<T> {
    /// The rows, if every one of them could be read.
    ///
    /// # Errors
    /// [`LogError::Row`] for the first that could not.
    pub fn all(self) -> Result<Vec<T>, LogError> {
        match self.unreadable.into_iter().next() {
            None => Ok(self.rows),
            Some(error) => Err(error.into()),
        }
    }

    pub(crate) fn push(&mut self, row: Result<T, RowError>) {
        match row {
            Ok(row) => self.rows.push(row),
            Err(error) => self.unreadable.push(error),
        }
    }
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            unreadable: Vec::new(),
        }
    }
}

/// What an error of a log means for the user of a command.
impl From<LogError> for CliError {
    fn from(error: LogError) -> Self {
        let kind = match &error {
            LogError::Ambiguous { .. } => ErrorKind::Usage,
            LogError::NotASnapshot { .. }
            | LogError::Schema { .. }
            | LogError::Level { .. }
            | LogError::Row(_) => ErrorKind::Input,
            LogError::Refused { .. } | LogError::RefusedRow { .. } => ErrorKind::Drift,
            LogError::Cancelled { .. } => ErrorKind::Cancelled,
            _ => ErrorKind::Io,
        };
        let mut made = CliError::new(kind, error.to_string());
        if error.is_recovery_conflict() {
            made = made.that_may_pass();
        }
        match error.hint() {
            Some(hint) => made.with_hint(hint),
            None => made,
        }
    }
}

/// Why rows could not be inserted: which of those given the database refuses, if it is about one of them.
pub(crate) struct NotInserted {
    pub(crate) row: Option<usize>,
    pub(crate) error: Box<LogError>,
}

impl From<LogError> for NotInserted {
    fn from(error: LogError) -> Self {
        Self {
            row: None,
            error: Box::new(error),
        }
    }
}
