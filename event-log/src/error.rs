//! What can go wrong with a log, in kinds that a tool can tell apart.

use std::path::PathBuf;

use ves::StreamKey;

/// Why a log could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The database cannot be reached, or does not let us in.
    #[error("cannot connect to {target}: {source}")]
    Connect {
        /// The database, without secrets.
        target: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
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
    /// The journal of repairs cannot be made or written.
    #[error("the journal of repairs cannot be kept: {what}")]
    Journal {
        /// Why not.
        what: String,
    },
    /// PostgreSQL failed in another way, or the connection broke.
    #[error("{doing}: {source}")]
    Postgres {
        /// What was being done.
        doing: &'static str,
        /// What happened.
        source: Box<sqlx::Error>,
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

    pub(crate) fn postgres(doing: &'static str, source: sqlx::Error) -> Self {
        let Some(error) = source.as_database_error() else {
            return LogError::Postgres {
                doing,
                source: Box::new(source),
            };
        };
        // https://www.postgresql.org/docs/15/errcodes-appendix.html
        match error.code().as_deref() {
            // lock_not_available
            Some("55P03") => LogError::Locked {
                doing,
                what: error.message().to_owned(),
            },
            // deadlock_detected, serialization_failure
            Some("40P01" | "40001") => LogError::Conflict {
                doing,
                what: error.message().to_owned(),
            },
            // Classes 22 (data exception: \u0000 in jsonb, say) and 23 (integrity constraint violation).
            Some(code) if code.starts_with("22") || code.starts_with("23") => {
                let detail = source.as_database_error().and_then(|error| {
                    error
                        .try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
                        .and_then(|e| e.detail())
                });
                let what = match detail {
                    Some(detail) => format!("{} ({detail})", error.message()),
                    None => error.message().to_owned(),
                };
                LogError::Refused { doing, what }
            }
            _ => LogError::Postgres {
                doing,
                source: Box::new(source),
            },
        }
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
