//! All rows of a snapshot file, read by plain SQL and not by the code that is tried.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};
use ves::{EventId, StreamKey, Timestamp};

const TABLES: &str = include_str!("../sql/tables.sql");

/// Columns that say when a row was last changed. Taking a repair back is a change, too.
const TIMES: [&str; 1] = ["updated_at"];

/// What a repair leaves behind on purpose: its own journal.
const JOURNAL: &str = "sequencer_recovery_journal";

/// A row, by column.
pub type Row = BTreeMap<String, String>;

/// A stored event, as far as places are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The event.
    pub event_id: EventId,
    /// Everything else of its row.
    pub row: Row,
}

/// The tables of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables(pub BTreeMap<String, Vec<Row>>);

impl Tables {
    /// Reads a snapshot file.
    ///
    /// # Errors
    /// SQLite fails, or a row is not as the schema has it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let read = || -> rusqlite::Result<BTreeMap<String, Vec<Row>>> {
            // A journal that a killed writer left is rolled back by whoever opens the file next.
            let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            let names: Vec<String> = db
                .prepare(TABLES)?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let mut tables = BTreeMap::new();
            for name in names {
                // The name is one of the schema's.
                let rows = read_table(&db, &name)?;
                tables.insert(name, rows);
            }
            Ok(tables)
        };
        read().map(Self).map_err(|e| format!("{}: {e}", path.display()))
    }

    fn table(&self, name: &str) -> &[Row] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// The same without the repair's journal.
    pub fn without_journal(mut self) -> Self {
        self.0.remove(JOURNAL);
        self
    }

    /// The same without the journal, without the times of the last change, and without telling when something was written
    /// after `last`: a repair that is made twice writes the same at two times.
    pub fn without_times(self, last: Timestamp) -> Self {
        let mut tables = self.without_journal();
        for rows in tables.0.values_mut() {
            for row in &mut *rows {
                row.retain(|column, _| !TIMES.contains(&column.as_str()));
                for value in row.values_mut() {
                    if value.parse().is_ok_and(|time: Timestamp| time > last) {
                        "later".clone_into(value);
                    }
                }
            }
            rows.sort();
        }
        tables
    }

    /// The rows of one stream in all tables that have streams. Receipts go with their events, keys with their tenant.
    pub fn of_stream(&self, stream: &StreamKey) -> Self {
        let (tenant, store) = (stream.tenant_id.to_string(), stream.store_id.to_string());
        let mine = |row: &Row| row.get("tenant_id") == Some(&tenant) && row.get("store_id") == Some(&store);
        let events: Vec<&String> = self
            .table("ves_events")
            .iter()
            .filter(|row| mine(row))
            .filter_map(|row| row.get("event_id"))
            .collect();
        let rows = self.0.iter().map(|(name, rows)| {
            let rows = rows.iter().filter(|row| match name.as_str() {
                "ves_sequencer_receipts" => row.get("event_id").is_some_and(|id| events.contains(&id)),
                "agent_signing_keys" => row.get("tenant_id") == Some(&tenant),
                _ => mine(row),
            });
            (name.clone(), rows.cloned().collect())
        });
        Self(rows.collect())
    }

    /// The events by stream and number.
    pub fn events(&self) -> BTreeMap<(StreamKey, u64), Placed> {
        let rows = self.table("ves_events").iter();
        rows.filter_map(|row| {
            let event_id = EventId(row.get("event_id")?.parse().ok()?);
            let number = row.get("sequence_number")?.parse().ok()?;
            Some((
                (stream(row)?, number),
                Placed {
                    event_id,
                    row: row.clone(),
                },
            ))
        })
        .collect()
    }

    /// The number that each receipt names, by event.
    pub fn receipts(&self) -> BTreeMap<EventId, u64> {
        let rows = self.table("ves_sequencer_receipts").iter();
        rows.filter_map(|row| {
            let event_id = EventId(row.get("event_id")?.parse().ok()?);
            Some((event_id, row.get("sequence_number")?.parse().ok()?))
        })
        .collect()
    }

    /// The counters.
    pub fn counters(&self) -> BTreeMap<StreamKey, u64> {
        let rows = self.table("ves_sequence_counters").iter();
        rows.filter_map(|row| Some((stream(row)?, row.get("current_sequence")?.parse().ok()?)))
            .collect()
    }

    /// How many events there are.
    pub fn count(&self) -> usize {
        self.table("ves_events").len()
    }

    /// Where the first difference is, for messages.
    pub fn difference(&self, other: &Self) -> String {
        for (name, rows) in &self.0 {
            let none = Vec::new();
            let others = other.0.get(name).unwrap_or(&none);
            if rows != others {
                let gone = rows.iter().find(|row| !others.contains(row));
                let new = others.iter().find(|row| !rows.contains(row));
                let columns: Vec<_> = match (gone, new) {
                    (Some(gone), Some(new)) => gone
                        .iter()
                        .filter(|(column, value)| new.get(*column) != Some(*value))
                        .map(|(column, value)| format!("{column} {value} became {:?}", new.get(column)))
                        .collect(),
                    (one, other) => vec![format!("{:?}", one.or(other))],
                };
                return format!(
                    "{name}: {} and {} rows; {}",
                    rows.len(),
                    others.len(),
                    columns.join(", ")
                );
            }
        }
        "no table that both have".into()
    }
}

fn stream(row: &Row) -> Option<StreamKey> {
    let tenant: uuid::Uuid = row.get("tenant_id")?.parse().ok()?;
    let store: uuid::Uuid = row.get("store_id")?.parse().ok()?;
    Some(StreamKey::new(tenant.into(), store.into()))
}

fn read_table(db: &Connection, name: &str) -> rusqlite::Result<Vec<Row>> {
    let mut statement = db.prepare(&format!("SELECT * FROM \"{name}\""))?;
    let columns: Vec<String> = statement.column_names().iter().map(ToString::to_string).collect();
    let mut rows = statement
        .query_map([], |row| {
            columns
                .iter()
                .enumerate()
                .map(|(at, column)| Ok((column.clone(), text(row.get(at)?))))
                .collect::<rusqlite::Result<Row>>()
        })?
        .collect::<rusqlite::Result<Vec<Row>>>()?;
    rows.sort();
    Ok(rows)
}

fn text(value: Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text,
        Value::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}
