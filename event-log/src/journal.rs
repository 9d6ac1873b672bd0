//! The journal of repairs: which plan changed which stream, when, and what. In PostgreSQL it is the table
//! `sequencer_recovery.journal`, in a schema of its own beside the sequencer's tables, in a snapshot the table
//! `sequencer_recovery_journal`. An entry is written in the transaction that it tells of, so that there is none without
//! the other. Only a repair makes the table; whoever reads finds it, or finds none.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use ves::{Hash32, StreamKey, Timestamp};

use crate::conn::Conn;
use crate::entry::{as_i64, read_stream};
use crate::error::{LogError, RowError, Rows};
use crate::log::Log;
use crate::repair::Repair;
use crate::sql::{postgres, snapshot};
use crate::value::{Columns, ReadAs, Row, Value, ValueKind};
use crate::view::{StreamFilter, View};

/// What an entry tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalState {
    /// The plan was applied to the stream.
    Applied,
    /// That was taken back.
    Undone,
}

impl JournalState {
    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            JournalState::Applied => "applied",
            JournalState::Undone => "undone",
        }
    }
}

/// How many rows of each kind were written, or taken out again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct JournalCounts {
    /// Events at positions that were lost.
    pub events: u64,
    /// Events that got another number.
    pub moved: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Events that were never sequenced, after the floor.
    pub appended: u64,
    /// Keys.
    pub keys: u64,
    /// Receipts.
    pub receipts: u64,
    /// Command ids that are remembered since.
    pub commands: u64,
    /// Command ids that are not remembered since.
    pub commands_forgotten: u64,
    /// Entity versions changed.
    pub entity_versions: u64,
    /// Commitments.
    pub commitments: u64,
    /// Commitments that went, since they were over events that moved.
    pub commitments_superseded: u64,
    /// Where the projection checkpoint was put.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projection: Option<u64>,
    /// The highest number that the recovery had given back without a hole below it: an epoch begins there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered_head: Option<u64>,
    /// How sure it was that the counter's new value was ever given out. Only what is `committed` or better is more
    /// than a claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counter_grade: Option<String>,
    /// The counters alone were raised: `plan_id` is then made from the stream, the counter and the time.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub counters_only: bool,
}

/// One change of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// When.
    pub written_at: Timestamp,
    /// What.
    pub state: JournalState,
    /// By which plan.
    pub plan_id: Hash32,
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// The tool, with its version.
    pub tool: String,
    /// The counter before the change; `None` if its row was missing.
    pub counter_before: Option<u64>,
    /// The counter after the change.
    pub counter_after: Option<u64>,
    /// How much.
    pub counts: JournalCounts,
}

/// Where the journal stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalTable {
    /// It is there, and may be read and written.
    Ready,
    /// It is there and may be read, but not written; why.
    ReadOnly(String),
    /// It is not there, and may be made.
    Absent,
    /// It is not there, and may not be made; why.
    MayNotMake(String),
    /// It is there and cannot be used; why.
    Unusable(String),
}

impl JournalTable {
    /// Whether an entry can be written, making the table if need be.
    pub fn may_be_written(&self) -> bool {
        matches!(self, JournalTable::Ready | JournalTable::Absent)
    }

    /// Whether entries can be read.
    pub fn is_readable(&self) -> bool {
        matches!(self, JournalTable::Ready | JournalTable::ReadOnly(_))
    }
}

const COLUMNS: [(&str, ValueKind); 9] = [
    ("written_at", ValueKind::Time),
    ("state", ValueKind::Text),
    ("plan_id", ValueKind::Bytes),
    ("tenant_id", ValueKind::Uuid),
    ("store_id", ValueKind::Uuid),
    ("tool", ValueKind::Text),
    ("counter_before", ValueKind::Int),
    ("counter_after", ValueKind::Int),
    ("counts", ValueKind::Json),
];

const READING: &str = "reading the journal";
const WRITING: &str = "writing the journal";

/// The journal's name in a message.
fn name(conn: &Conn) -> &'static str {
    match conn {
        Conn::Postgres(_) => "sequencer_recovery.journal",
        Conn::Snapshot { .. } => "sequencer_recovery_journal",
    }
}

impl View {
    /// Where the journal stands. Reads the catalogue only.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn journal_table(&mut self) -> Result<JournalTable, LogError> {
        let conn = &mut self.conn;
        let sql = match conn {
            Conn::Postgres(_) => postgres!("journal_columns"),
            Conn::Snapshot { .. } => snapshot!("journal_columns"),
        };
        let is_postgres = matches!(conn, Conn::Postgres(_));
        let (mut found, mut plain, mut read, mut write) = (Vec::new(), true, true, true);
        let mut failed = None;
        conn.query(READING, sql, &[], &mut |row| {
            let mut c = Columns::new(row);
            let mut one = || -> Result<(), String> {
                found.push((c.text("column")?.to_owned(), c.text("type")?.to_owned()));
                plain &= c.int("plain")? == 1;
                read &= c.int("select")? == 1;
                write &= c.int("insert")? == 1;
                Ok(())
            };
            if let Err(what) = one() {
                failed = Some(what);
            }
            ControlFlow::Continue(())
        })
        .await?;
        let name = name(conn);
        if let Some(what) = failed {
            return Ok(JournalTable::Unusable(format!("{name}: {what}")));
        }
        if found.is_empty() {
            return self.may_make_journal().await;
        }
        let fits = |(column, kind): &(&str, ValueKind)| {
            found.iter().any(|(found, its)| {
                let right = if is_postgres {
                    kind.read_as(its) == Some(ReadAs::Itself)
                } else {
                    kind.snapshot_type() == its
                };
                found == column && right
            })
        };
        Ok(if !plain || !COLUMNS.iter().all(fits) {
            JournalTable::Unusable(format!(
                "{name} is there, and is not the table that this tool makes"
            ))
        } else if !read {
            JournalTable::Unusable(format!("{name} is there, and this role may not read it"))
        } else if !write {
            JournalTable::ReadOnly(format!("this role may not insert into {name}"))
        } else {
            JournalTable::Ready
        })
    }

    async fn may_make_journal(&mut self) -> Result<JournalTable, LogError> {
        if matches!(self.conn, Conn::Snapshot { .. }) {
            return Ok(JournalTable::Absent);
        }
        let found = self
            .conn
            .query_one(READING, postgres!("journal_rights"), &[], |row| {
                let mut c = Columns::new(row);
                let may = c.int("may")? == 1;
                Ok((may, c.text("role")?.to_owned(), c.text("database")?.to_owned()))
            })
            .await?;
        let found: Result<(bool, String, String), String> =
            found.unwrap_or_else(|| Err("the catalogue says nothing".into()));
        Ok(match found {
            Ok((true, ..)) => JournalTable::Absent,
            Ok((false, role, database)) => JournalTable::MayNotMake(format!(
                "role {role} may not make the schema sequencer_recovery in database {database}"
            )),
            Err(what) => JournalTable::MayNotMake(what),
        })
    }

    /// What the journal says of a plan and a stream, in the order of time; nothing if there is no journal that can be
    /// read.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn journal_of(
        &mut self,
        plan_id: &Hash32,
        stream: &StreamKey,
    ) -> Result<Rows<JournalEntry>, LogError> {
        if !self.journal_table().await?.is_readable() {
            return Ok(Rows::default());
        }
        let sql = match self.conn {
            Conn::Postgres(_) => postgres!("journal_of_stream"),
            Conn::Snapshot { .. } => snapshot!("journal_of_stream"),
        };
        let parameters = [(*plan_id).into(), stream.tenant_id.into(), stream.store_id.into()];
        self.entries_of_journal(sql, &parameters).await
    }

    /// The newest entries of the journal, newest first, at most so many; nothing if there is no journal that can be read.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn journal_newest(
        &mut self,
        filter: &StreamFilter,
        limit: u32,
    ) -> Result<Rows<JournalEntry>, LogError> {
        if !self.journal_table().await?.is_readable() {
            return Ok(Rows::default());
        }
        let sql = match self.conn {
            Conn::Postgres(_) => postgres!("journal_newest"),
            Conn::Snapshot { .. } => snapshot!("journal_newest"),
        };
        let parameters = [filter.tenant.into(), filter.store.into(), i64::from(limit).into()];
        self.entries_of_journal(sql, &parameters).await
    }

    async fn entries_of_journal(
        &mut self,
        sql: &'static str,
        parameters: &[Value],
    ) -> Result<Rows<JournalEntry>, LogError> {
        let mut rows = Rows::default();
        let table = name(&self.conn);
        self.conn
            .query(READING, sql, parameters, &mut |row| {
                rows.push(read_entry(row).map_err(|what| RowError {
                    table,
                    stream: None,
                    sequence: None,
                    what,
                }));
                ControlFlow::Continue(())
            })
            .await?;
        Ok(rows)
    }
}

fn read_entry(row: Row<'_>) -> Result<JournalEntry, String> {
    let mut c = Columns::new(row);
    Ok(JournalEntry {
        written_at: c.time("written_at")?,
        state: match c.text("state")? {
            "applied" => JournalState::Applied,
            "undone" => JournalState::Undone,
            _ => return Err("state: neither applied nor undone".into()),
        },
        plan_id: c.fixed("plan_id")?,
        stream: read_stream(&mut c)?,
        tool: c.text("tool")?.to_owned(),
        counter_before: c.optional_number("counter_before")?,
        counter_after: c.optional_number("counter_after")?,
        counts: {
            let json = c.optional_json("counts")?.ok_or("counts is NULL")?;
            serde_json::from_str(json).map_err(|e| format!("counts: {e}"))?
        },
    })
}

/// The values of `journal_insert.sql`.
pub(crate) fn entry_row(entry: &JournalEntry) -> Result<Vec<Value>, String> {
    let counter = |counter: Option<u64>| -> Result<Value, String> {
        let counter = counter.map(|c| as_i64("counter", c)).transpose()?;
        Ok(counter.map_or(String::new(), |c| c.to_string()).into())
    };
    Ok(vec![
        entry.written_at.into(),
        entry.state.as_str().into(),
        entry.plan_id.into(),
        entry.stream.tenant_id.into(),
        entry.stream.store_id.into(),
        entry.tool.as_str().into(),
        counter(entry.counter_before)?,
        counter(entry.counter_after)?,
        serde_json::to_string(&entry.counts)
            .map_err(|e| e.to_string())?
            .into(),
    ])
}

impl Log {
    /// Whether a repair could write to the journal, making it if need be.
    ///
    /// # Errors
    /// [`LogError::Journal`] if not; otherwise as [`Log::view`].
    pub async fn check_journal(&self) -> Result<(), LogError> {
        match self.view().await?.journal_table().await? {
            JournalTable::Ready | JournalTable::Absent => Ok(()),
            JournalTable::ReadOnly(what) | JournalTable::MayNotMake(what) | JournalTable::Unusable(what) => {
                Err(LogError::Journal { what })
            }
        }
    }
}

impl Repair {
    /// Writes an entry, to be kept or rolled back with the rest. Makes the journal if it is not there.
    ///
    /// # Errors
    /// [`LogError::Journal`] if the journal cannot be made or written.
    pub async fn write_journal(&mut self, entry: &JournalEntry) -> Result<(), LogError> {
        match self.view.journal_table().await? {
            JournalTable::Ready => {}
            JournalTable::Absent => {
                let create = match self.view.conn {
                    Conn::Postgres(_) => postgres!("journal_create"),
                    Conn::Snapshot { .. } => snapshot!("journal_create"),
                };
                self.view.conn.run("making the journal", create).await?;
            }
            JournalTable::ReadOnly(what) | JournalTable::MayNotMake(what) | JournalTable::Unusable(what) => {
                return Err(LogError::Journal { what });
            }
        }
        insert_entry(&mut self.view.conn, entry).await
    }
}

async fn insert_entry(conn: &mut Conn, entry: &JournalEntry) -> Result<(), LogError> {
    let insert = match conn {
        Conn::Postgres(_) => postgres!("journal_insert"),
        Conn::Snapshot { .. } => snapshot!("journal_insert"),
    };
    let row = entry_row(entry).map_err(|what| LogError::Refused { doing: WRITING, what })?;
    conn.execute(WRITING, insert, &row).await.map(drop)
}
