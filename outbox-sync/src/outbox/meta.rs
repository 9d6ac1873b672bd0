//! What an outbox says about itself.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use serde::Serialize;
use ves::{AgentId, StoreId, TenantId};

use super::statements::named;
use super::tables::Tables;
use crate::error::OutboxErrorKind;
use crate::row::{OutboxStatus, Table};

/// The version of an outbox's schema, told by what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Without columns for the signature scheme.
    V1,
    /// With them, without a table of quarantined events.
    V2,
    /// With both. (A file that was upgraded from version 1 has its columns in another order.)
    V3,
    /// The shape from before VES outboxes: tables `outbox` and `pulled_events`.
    Older,
}

impl Shape {
    /// Its name on the wire: `v1`, `v2`, `v3`, `older`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::V3 => "v3",
            Self::Older => "older",
        }
    }
}

/// Rows of the outbox by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct StatusCounts {
    /// Not yet acknowledged.
    pub pending: u64,
    /// Acknowledged, as the agent believes.
    pub synced: u64,
    /// Could not be sent.
    pub failed: u64,
    /// Refused by the sequencer.
    pub rejected: u64,
    /// In a state that no agent writes.
    pub unknown: u64,
}

impl StatusCounts {
    /// Counts a row.
    pub fn add(&mut self, status: OutboxStatus) {
        *match status {
            OutboxStatus::Pending => &mut self.pending,
            OutboxStatus::Synced => &mut self.synced,
            OutboxStatus::Failed => &mut self.failed,
            OutboxStatus::Rejected => &mut self.rejected,
            OutboxStatus::Unknown => &mut self.unknown,
        } += 1;
    }

    /// All rows.
    pub fn total(&self) -> u64 {
        self.pending + self.synced + self.failed + self.rejected + self.unknown
    }
}

/// What an outbox says about itself. All of it is the agent's belief.
#[derive(Debug, Clone, Serialize)]
pub struct OutboxMeta {
    /// The file, as it was named.
    #[serde(serialize_with = "crate::row::path_as_text")]
    pub path: Arc<Path>,
    /// The version of its schema.
    pub shape: Shape,
    /// The agent that it belongs to.
    pub agent_id: Option<AgentId>,
    /// The agent's tenant.
    pub tenant_id: Option<TenantId>,
    /// The agent's store.
    pub store_id: Option<StoreId>,
    /// The highest number that the agent believes its own events got.
    pub last_pushed_sequence: Option<u64>,
    /// Its cursor: some agents keep the last number that they pulled, some the one to ask for next.
    pub last_pulled_sequence: Option<u64>,
    /// The sequencer's head when it last heard of it.
    pub head_sequence: Option<u64>,
    /// When it last spoke with the sequencer, as it wrote it.
    pub last_sync_at: Option<String>,
    /// The id of the recovery epoch that it was last set right by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_epoch: Option<String>,
    /// Rows of the outbox by state.
    pub outbox: StatusCounts,
    /// Rows of the pulled events.
    pub pulled: u64,
    /// Rows of the quarantined events.
    pub quarantined: u64,
    /// What is wrong with the file, if its rows are salvage (see [`Outbox::salvage`](super::Outbox::salvage)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// The agent that made all of its own events, where it does not say whose it is.
    #[serde(skip)]
    pub made_by: Option<AgentId>,
    /// Its first own event, where neither of both is known.
    #[serde(skip)]
    pub first_event: Option<String>,
    /// Values of the sync state that could not be read.
    pub flaws: Vec<String>,
    /// Tables with rows that this version does not read: their content is not checked.
    pub not_checked: Vec<String>,
}

impl OutboxMeta {
    /// The agent that the outbox speaks for: it says so, or all of its own events are of that agent.
    pub fn speaks_for(&self) -> Option<AgentId> {
        self.agent_id.or(self.made_by)
    }

    /// What makes the holder itself: two files of one agent, a backup or an older copy say, are one voice.
    pub fn voice(&self) -> String {
        match (self.speaks_for(), &self.first_event) {
            (Some(agent), _) => agent.to_string(),
            (None, Some(event)) => format!("the outbox that begins with event {event}"),
            (None, None) => self.path.display().to_string(),
        }
    }

    /// Nothing is known yet but its shape.
    pub(super) fn new(path: &Path, tables: &Tables, damage: Option<String>) -> Self {
        Self {
            path: path.into(),
            shape: tables.shape(),
            agent_id: None,
            tenant_id: None,
            store_id: None,
            last_pushed_sequence: None,
            last_pulled_sequence: None,
            head_sequence: None,
            last_sync_at: None,
            recovery_epoch: None,
            outbox: StatusCounts::default(),
            pulled: 0,
            quarantined: 0,
            damage,
            made_by: None,
            first_event: None,
            flaws: Vec::new(),
            not_checked: tables.not_checked.clone(),
        }
    }

    /// Reads what the file says. Without `counted`, rows are not counted: that reads the whole file.
    pub(super) fn read(
        &mut self,
        connection: &Connection,
        found: &Tables,
        counted: bool,
    ) -> Result<(), OutboxErrorKind> {
        let of_ves = found.are_of_ves();
        if counted && self.damage.is_none() {
            count_rows(connection, &found.tables, self)?;
        }
        if found.has("_ves_receive_failures") {
            let rows = count(connection, named!("count_receive_failures"))?;
            if rows > 0 {
                self.not_checked
                    .push(format!("_ves_receive_failures: {rows} rows"));
            }
        }
        if found.has("_ves_sync_state") {
            read_sync_state(connection, named!("sync_state"), self)?;
        } else if !of_ves && found.has("sync_state") {
            read_sync_state(connection, named!("older_sync_state"), self)?;
        }
        if self.agent_id.is_none() && counted {
            find_owner(connection, of_ves, &found.tables, self)?;
        }
        Ok(())
    }
}

/// Looks whose events an outbox holds that does not say whose it is.
fn find_owner(
    connection: &Connection,
    of_ves: bool,
    tables: &[Table],
    meta: &mut OutboxMeta,
) -> rusqlite::Result<()> {
    let sql = match of_ves {
        true => named!("owner_outbox"),
        false if tables.contains(&Table::OlderOutbox) => named!("owner_older_outbox"),
        false => return Ok(()),
    };
    connection.query_row(sql, [], |row| {
        // What is no text names nobody.
        let text = |index| row.get::<_, Option<String>>(index).ok().flatten();
        let (first, last) = (text(0), text(1));
        if first == last {
            meta.made_by = first.and_then(|agent| agent.parse().ok());
        }
        meta.first_event = text(2).map(|event| event.chars().take(64).collect());
        Ok(())
    })
}

fn count_rows(connection: &Connection, tables: &[Table], meta: &mut OutboxMeta) -> rusqlite::Result<()> {
    for table in tables {
        match table {
            Table::Outbox => meta.outbox = status_counts(connection)?,
            Table::Pulled => meta.pulled += count(connection, named!("count_pulled"))?,
            Table::Quarantined => meta.quarantined = count(connection, named!("count_quarantined"))?,
            Table::OlderOutbox => {
                let (pending, synced) = connection.query_row(named!("count_older_outbox"), [], |row| {
                    Ok((number(row, 0)?, number(row, 1)?))
                })?;
                meta.outbox.pending += pending;
                meta.outbox.synced += synced;
            }
            Table::OlderPulled => meta.pulled += count(connection, named!("count_older_pulled"))?,
        }
    }
    Ok(())
}

fn count(connection: &Connection, sql: &str) -> rusqlite::Result<u64> {
    connection.query_row(sql, [], |row| number(row, 0))
}

/// A count: never negative, whatever SQLite's type for it.
fn number(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(index)?.unsigned_abs())
}

fn status_counts(connection: &Connection) -> rusqlite::Result<StatusCounts> {
    connection.query_row(named!("count_outbox"), [], |row| {
        Ok(StatusCounts {
            pending: number(row, 0)?,
            synced: number(row, 1)?,
            failed: number(row, 2)?,
            rejected: number(row, 3)?,
            unknown: number(row, 4)?,
        })
    })
}

fn read_sync_state(connection: &Connection, sql: &str, meta: &mut OutboxMeta) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (Ok(key), Ok(value)) = (row.get::<_, String>(0), row.get::<_, String>(1)) else {
            meta.flaws.push("_ves_sync_state: a value is not text".into());
            continue;
        };
        let flaws = &mut meta.flaws;
        match key.as_str() {
            "agent_id" => meta.agent_id = parsed(&key, &value, flaws),
            "tenant_id" => meta.tenant_id = parsed(&key, &value, flaws),
            "store_id" => meta.store_id = parsed(&key, &value, flaws),
            "last_pushed_sequence" => meta.last_pushed_sequence = parsed(&key, &value, flaws),
            "last_pulled_sequence" => meta.last_pulled_sequence = parsed(&key, &value, flaws),
            "head_sequence" => meta.head_sequence = parsed(&key, &value, flaws),
            "last_sync_at" => meta.last_sync_at = Some(value.chars().take(64).collect()),
            "recovery_epoch" => meta.recovery_epoch = Some(value.chars().take(64).collect()),
            _ => {}
        }
    }
    Ok(())
}

fn parsed<T: std::str::FromStr>(key: &str, value: &str, flaws: &mut Vec<String>) -> Option<T> {
    let parsed = value.parse().ok();
    if parsed.is_none() {
        let value: String = value.chars().take(40).collect();
        flaws.push(format!("_ves_sync_state: {key} is {value:?}"));
    }
    parsed
}
