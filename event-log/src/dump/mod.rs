//! A database as `pg_dump` wrote it, in plain text, read into a snapshot.
//!
//! Dumps are what operators hold when a log is lost. Of the text only the rows are read (`COPY … FROM stdin`), in any order
//! of tables and columns and from any schema, in one pass and with a row in memory at a time. Nothing of it is run.
//! The other formats of `pg_dump` become this one by `pg_restore -f -`.

mod lines;
mod row;
mod statement;

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::path::Path;

use cli_common::Cancel;
use rusqlite::Statement;

use crate::conn::snapshot_execute;
use crate::error::LogError;
use crate::schema::{TABLES, Table};
use crate::snapshot::Snapshot;

use lines::{Line, Lines};
use row::Fields;
use statement::{StatementHead, head};

/// So many rows that cannot be read are described; all are counted.
const DESCRIBED: usize = 100;
/// How many lines are read between two looks at the cancel token.
const LINES: u64 = 1024;

/// What a dump says of itself, and what was read of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DumpInfo {
    /// The version of the server that it was made of.
    pub server_version: Option<String>,
    /// The version of the program that made it.
    pub tool_version: Option<String>,
    /// When it was begun, as it says. Only `pg_dump --verbose` and the archive formats tell.
    pub started: Option<String>,
    /// Whether its last line is there.
    pub complete: bool,
    /// Rows by table.
    pub rows: BTreeMap<&'static str, u64>,
    /// Rows that cannot be read: the first of them, with their lines.
    pub unreadable: Vec<String>,
    /// All of them.
    pub unreadable_count: u64,
    /// What of it is not read.
    pub not_checked: Vec<String>,
}

/// A dump that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DumpError {
    /// The input failed.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The snapshot that is made of it.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What it is instead, or what to do to have it read.
    #[error("{0}")]
    Refused(String),
    /// The user stopped the work.
    #[error("cancelled")]
    Cancelled,
}

/// Reads a dump into a new snapshot at `path`.
///
/// A row that cannot be read is described and does not stop the others. A dump whose end is missing is read as far as it
/// goes, and [`DumpInfo::complete`] is false.
///
/// # Errors
/// See [`DumpError`]. Then there is no snapshot.
pub fn read_dump(input: impl BufRead, path: &Path, cancel: &Cancel) -> Result<DumpInfo, DumpError> {
    let snapshot = Snapshot::for_copies(path)?;
    let info = Reading {
        lines: Lines::new(input)?,
        info: DumpInfo::default(),
        found: BTreeMap::new(),
        search_path: None,
        database: None,
        cluster: None,
        ended: false,
        cancel,
    }
    .read(&snapshot)?;
    snapshot.finish()?;
    Ok(info)
}

/// Whether a text begins as a dump: with the head that `pg_dump` writes, or with rows.
pub fn looks_like_dump(start: &[u8]) -> bool {
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let first = &start[..start.len().min(1024)];
    let heads = [
        &b"PostgreSQL database dump"[..],
        b"PostgreSQL database cluster dump",
    ];
    start.starts_with(b"COPY ")
        || start.starts_with(b"--") && heads.iter().any(|h| first.windows(h.len()).any(|w| w == *h))
}

struct Reading<'a, R> {
    lines: Lines<R>,
    info: DumpInfo,
    /// Where each table was found: database and schema.
    found: BTreeMap<&'static str, String>,
    /// The schema of tables that are named without one.
    search_path: Option<String>,
    /// The database, in a dump of a whole cluster.
    database: Option<String>,
    /// It is the dump of a whole cluster, and whether that one ends.
    cluster: Option<bool>,
    /// The last database ends.
    ended: bool,
    cancel: &'a Cancel,
}

impl<R: BufRead> Reading<'_, R> {
    fn read(mut self, snapshot: &Snapshot) -> Result<DumpInfo, DumpError> {
        loop {
            let head = match self.lines.next()? {
                None => break,
                Some(Line::Whole(line)) => head(line),
                Some(_) => continue,
            };
            if self.lines.number().is_multiple_of(LINES) && self.cancel.is_cancelled() {
                return Err(DumpError::Cancelled);
            }
            match head {
                StatementHead::Other => {}
                StatementHead::Comment(comment) => self.comment(&comment),
                StatementHead::SearchPath(schema) => self.search_path = Some(schema),
                StatementHead::Encoding(encoding) => check_encoding(&encoding)?,
                StatementHead::Database(name) => self.database = Some(name),
                StatementHead::Insert(table) => refuse_inserts(&table)?,
                StatementHead::Copy {
                    schema,
                    table,
                    columns,
                } => {
                    // Something comes after what looked like the end.
                    self.ended = false;
                    self.table(snapshot, schema, &table, &columns)?;
                }
            }
        }
        self.finish(snapshot)
    }

    fn comment(&mut self, comment: &str) {
        let after = |start: &str| {
            comment
                .strip_prefix(start)
                .map(|rest| rest.trim().chars().take(80).collect())
        };
        if let Some(version) = after("Dumped from database version ") {
            self.info.server_version.get_or_insert(version);
        } else if let Some(version) = after("Dumped by pg_dump version ") {
            self.info.tool_version.get_or_insert(version);
        } else if let Some(time) = after("Started on ") {
            self.info.started.get_or_insert(time);
        } else if comment == "PostgreSQL database dump complete" {
            self.ended = true;
        } else if comment == "PostgreSQL database cluster dump" {
            self.cluster = Some(false);
        } else if comment == "PostgreSQL database cluster dump complete" {
            self.cluster = Some(true);
        }
    }

    /// The rows of one table.
    fn table(
        &mut self,
        snapshot: &Snapshot,
        schema: Option<String>,
        name: &str,
        columns: &[String],
    ) -> Result<(), DumpError> {
        let table = TABLES.iter().copied().find(|table| table.name == name);
        let schema = schema
            .or_else(|| self.search_path.clone())
            .unwrap_or_else(|| "public".into());
        let fields = match table.map(|table| Fields::of(table, columns)) {
            None => None,
            Some(Ok(fields)) => Some(fields),
            Some(Err(missing)) => {
                let missing = missing.join(", ");
                let what = format!("the table {schema}.{name}: it lacks the column(s) {missing}");
                self.info.not_checked.push(what);
                None
            }
        };
        let (Some(table), Some(fields)) = (table, fields) else {
            return self.skip_rows();
        };
        let place = match &self.database {
            Some(database) => format!("{schema} of database {database}"),
            None => schema,
        };
        if let Some(before) = self.found.insert(table.name, place.clone()) {
            return Err(DumpError::Refused(format!(
                "holds the table {name} twice, in the schemas {before} and {place}: dump one of them \
                 (pg_dump --schema)"
            )));
        }
        let mut insert = snapshot.prepare(table)?;
        self.rows(table, &fields, &mut insert)
    }

    fn rows(
        &mut self,
        table: &'static Table,
        fields: &Fields,
        insert: &mut Statement<'_>,
    ) -> Result<(), DumpError> {
        let mut count = 0;
        loop {
            let number = self.lines.number() + 1;
            if number.is_multiple_of(LINES) && self.cancel.is_cancelled() {
                return Err(DumpError::Cancelled);
            }
            let read = match self.lines.next()? {
                // Cut off: what was read counts.
                None => break,
                Some(Line::Whole(b"\\.")) => break,
                Some(Line::TooLong) => Err(format!("is longer than {} MiB", lines::MAX_LINE >> 20)),
                Some(Line::CutOff) => Err("is cut off".into()),
                Some(Line::Whole(line)) => fields.read(line),
            };
            let inserted = match read {
                Err(what) => Err(what),
                Ok(values) => match snapshot_execute(insert, &values) {
                    Ok(_) => Ok(()),
                    // What the row itself is the reason of.
                    Err(error) if is_of_row(&error) => Err(error.to_string()),
                    Err(error) => return Err(LogError::sqlite("reading the dump", error).into()),
                },
            };
            match inserted {
                Ok(()) => count += 1,
                Err(what) => {
                    self.info.unreadable_count += 1;
                    if self.info.unreadable.len() < DESCRIBED {
                        self.info
                            .unreadable
                            .push(format!("line {number}, {}: {what}", table.name));
                    }
                }
            }
        }
        self.info.rows.insert(table.name, count);
        Ok(())
    }

    fn skip_rows(&mut self) -> Result<(), DumpError> {
        while let Some(line) = self.lines.next()? {
            if matches!(line, Line::Whole(b"\\.")) {
                break;
            }
            if self.lines.number().is_multiple_of(LINES) && self.cancel.is_cancelled() {
                return Err(DumpError::Cancelled);
            }
        }
        Ok(())
    }

    fn finish(mut self, snapshot: &Snapshot) -> Result<DumpInfo, DumpError> {
        if !self.found.contains_key("ves_events") {
            return Err(DumpError::Refused(match self.info.not_checked.first() {
                Some(what) => format!("holds no log that can be read: {what}"),
                None => "holds no log: it has no rows of a table ves_events".into(),
            }));
        }
        // Sequencers before their tenth migration counted the log in the older table.
        if !self.found.contains_key("ves_sequence_counters") && self.found.contains_key("sequence_counters") {
            snapshot.adopt_older_counters()?;
        }
        self.info.complete = self.cluster.unwrap_or(self.ended);
        Ok(self.info)
    }
}

fn is_of_row(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{ConstraintViolation, TooBig, TypeMismatch};
    matches!(
        error.sqlite_error_code(),
        Some(ConstraintViolation | TooBig | TypeMismatch)
    )
}

fn check_encoding(encoding: &str) -> Result<(), DumpError> {
    match encoding.to_ascii_uppercase().as_str() {
        // What is not valid UTF-8 is told row by row.
        "UTF8" | "UTF-8" | "UNICODE" | "SQL_ASCII" => Ok(()),
        _ => Err(DumpError::Refused(format!(
            "is in the encoding {encoding}: make it with pg_dump --encoding=UTF8"
        ))),
    }
}

fn refuse_inserts(table: &str) -> Result<(), DumpError> {
    if TABLES.iter().any(|known| known.name == table) {
        return Err(DumpError::Refused(
            "is made of INSERT statements, which are not read: make it without --inserts and --column-inserts, or \
             restore it into a database and give that"
                .into(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
