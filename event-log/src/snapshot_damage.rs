//! Damage in a snapshot: indexes that lack rows of their tables, and what the snapshot says it had to leave out.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use rusqlite::Connection;
use ves::{StoreId, TenantId};

use crate::conn::{Conn, open_writable_copy, snapshot_query};
use crate::duplicate;
use crate::error::LogError;
use crate::fault::{Damage, IndexFault, IndexFaultKind};
use crate::index_keys::KEYS;
use crate::left_out::AllLeftOut;
use crate::reach::{DOING, HiddenRows, Reach};
use crate::sql::snapshot;
use crate::value::{Columns, Row, Value};
use crate::view::View;

/// The rows that SQLite finds missing from indexes, by index; and what else it says.
#[derive(Default)]
struct Integrity {
    missing: BTreeMap<String, Vec<i64>>,
    other: BTreeMap<String, String>,
}

impl Integrity {
    /// Takes a message of SQLite, of those that speak of indexes and pages: what breaks a check is no matter here.
    fn take(&mut self, table: &str, message: &str) {
        let index = || message.rsplit(' ').next().unwrap_or(table).to_owned();
        if let Some(rest) = message.strip_prefix("row ")
            && let Some((row, _)) = rest.split_once(" missing from index ")
        {
            let rows = self.missing.entry(index()).or_default();
            rows.extend(row.parse::<i64>());
        } else if message.starts_with("wrong # of entries in index ")
            || message.starts_with("non-unique entry in index ")
        {
            self.other.entry(index()).or_insert_with(|| message.to_owned());
        } else if ![
            "ok",
            "NULL value in",
            "CHECK constraint",
            "NUMERIC value",
            "TEXT value",
            "non-",
        ]
        .iter()
        .any(|fine| message.starts_with(fine))
        {
            let name = format!("those of {table}");
            self.other.entry(name).or_insert_with(|| message.to_owned());
        }
    }
}

fn tables() -> Vec<&'static str> {
    let mut tables: Vec<&'static str> = KEYS.iter().map(|key| key.table).collect();
    tables.dedup();
    tables
}

impl View {
    /// As [`View::look_for_damage`], for a snapshot. One with a damaged index is read from a private copy, in which every
    /// index is made again.
    pub(crate) async fn look_into_snapshot(&mut self) -> Result<Damage, LogError> {
        let mut damage = Damage::default();
        let Conn::Snapshot { connection, .. } = &self.conn else {
            return Ok(damage);
        };
        let failed = |e| LogError::sqlite(DOING, e);
        match AllLeftOut::read(connection).map_err(failed)? {
            Ok(left_out) => damage.left_out = left_out,
            Err(what) => damage.not_checked.push(format!(
                "what the snapshot left out: its record of that cannot be read: {what}"
            )),
        }
        damage.indexes = index_faults(connection).map_err(failed)?;
        if !damage.indexes.is_empty()
            && let Err(error) = self.read_reindexed().await
        {
            damage.not_checked.push(format!(
                "the rows that the indexes lack: they cannot be made again: {error}"
            ));
        }
        for key in KEYS {
            let Some(twice) = key.twice else { continue };
            let mut unique = false;
            let each = &mut |row: Row<'_>| {
                unique |= Columns::new(row).text("columns") == Ok(key.columns);
                ControlFlow::Continue(())
            };
            self.conn
                .query(DOING, snapshot!("unique_columns"), &[key.table.into()], each)
                .await?;
            if !unique {
                damage
                    .duplicates
                    .extend(duplicate::find(&mut self.conn, None, key, twice).await?);
            }
        }
        Ok(damage)
    }

    async fn read_reindexed(&mut self) -> Result<(), LogError> {
        let Conn::Snapshot {
            connection, cancel, ..
        } = &self.conn
        else {
            return Ok(());
        };
        let path = Path::new(connection.path().unwrap_or_default()).to_owned();
        let io = |source| LogError::Io {
            path: path.clone(),
            source,
        };
        let folder = cli_common::PrivateDir::new().map_err(io)?;
        let copy = folder.path().join("snapshot");
        fs::copy(&path, &copy).map_err(io)?;
        let cancel = cancel.clone();
        let connection = open_writable_copy(&copy, &cancel)?;
        let failed = |e| LogError::sqlite(DOING, e);
        connection.execute_batch(snapshot!("reindex")).map_err(failed)?;
        connection
            .execute_batch(snapshot!("begin_view"))
            .map_err(failed)?;
        self.conn = Conn::Snapshot {
            connection,
            _copy: Some(folder),
            cancel,
        };
        Ok(())
    }
}

fn index_faults(connection: &Connection) -> rusqlite::Result<Vec<IndexFault>> {
    connection.execute_batch(snapshot!("integrity_session"))?;
    let mut faults = Vec::new();
    for table in tables() {
        let mut found = Integrity::default();
        snapshot_query(connection, snapshot!("integrity"), &[table.into()], &mut |row| {
            let mut c = Columns::new(row);
            // One row may hold several messages.
            c.text("message")
                .unwrap_or("a message that cannot be read")
                .lines()
                .for_each(|message| found.take(table, message));
            ControlFlow::Continue(())
        })?;
        let fault = |index: String, what: String, rows: Vec<HiddenRows>| IndexFault {
            index,
            table,
            kind: IndexFaultKind::Incomplete,
            what,
            reach: if rows.is_empty() {
                Reach::Everything
            } else {
                Reach::Rows
            },
            rows,
            remedy: "take the snapshot again, or run REINDEX; on it with sqlite3".into(),
        };
        for (index, row_ids) in found.missing {
            found.other.remove(&index);
            let rows = if table == "ves_events" {
                hidden_events(connection, &row_ids)?
            } else {
                Vec::new()
            };
            let what = format!("{} or more row(s) of {table} are not in it", row_ids.len());
            faults.push(fault(index, what, rows));
        }
        for (index, what) in found.other {
            faults.push(fault(index, what, Vec::new()));
        }
    }
    Ok(faults)
}

/// The events that SQLite says an index lacks; it names rows by their place in the table.
fn hidden_events(connection: &Connection, row_ids: &[i64]) -> rusqlite::Result<Vec<HiddenRows>> {
    let mut rows: BTreeMap<(TenantId, StoreId), Vec<u64>> = BTreeMap::new();
    for id in row_ids {
        snapshot_query(
            connection,
            snapshot!("event_of_row"),
            &[Value::Int(*id)],
            &mut |row| {
                let mut c = Columns::new(row);
                if let (Ok(tenant), Ok(store), Ok(number)) = (
                    c.uuid("tenant_id"),
                    c.uuid("store_id"),
                    c.number::<u64>("sequence_number"),
                ) {
                    rows.entry((TenantId(tenant), StoreId(store)))
                        .or_default()
                        .push(number);
                }
                ControlFlow::Continue(())
            },
        )?;
    }
    let hidden = rows.into_iter().map(|((tenant, store), mut numbers)| {
        numbers.sort_unstable();
        HiddenRows {
            tenant: Some(tenant),
            store: Some(store),
            count: numbers.len() as u64,
            first: format!("the event at {}", numbers.first().copied().unwrap_or(0)),
            numbers: numbers.into_iter().map(|n| n..=n).collect(),
        }
    });
    Ok(hidden.collect())
}
