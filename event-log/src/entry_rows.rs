//! The rows of events and their receipts in a snapshot, fetched as fast as its layout allows.
//!
//! `entries.sql` finds every receipt by its event's id, which is random: a walk through an index and a page from
//! anywhere in the file for each event. But a snapshot's receipts were written in the order of its events, so the
//! receipt of the next event is nearly always the next row of its table. Here both tables are read in their own order,
//! and a receipt is looked up by its event's id only where the next row is not it: after a repair, say, or in a
//! snapshot of an older version, which has them in the order of their ids. The rows that come out are those of
//! `entries.sql` or `leaf_entries.sql`, whatever the file holds; where its receipts are not one for each id, that statement itself
//! is used.

use std::ops::ControlFlow;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Rows, Statement};
use ves::StreamKey;

use crate::bind::{bind, bind_value};
use crate::cells::RawTable;
use crate::entry::{ENTRY_SEQUENCE, LEAF_ENTRY_SEQUENCE};
use crate::sql::{both, postgres, snapshot};
use crate::value::Value;

/// How many columns there are of a receipt.
pub(crate) const OF_RECEIPT: usize = 9;
/// Where a statement on events or receipts has the event's id, and one on receipts behind its last column the row's own.
const EVENT_ID: usize = 0;
const ROWID: usize = OF_RECEIPT;

/// So many events in a row are looked up one by one, at most, before the next rows are tried again.
const LONGEST_WAIT: u32 = 1024;

/// How many rows, and about how many bytes, a table is handed over with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkSize {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

/// Which columns of events are read. Of their receipts, which come behind them, it is always all.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EventColumns {
    /// All: `entries.sql`.
    All,
    /// What leaves are made of: `leaf_entries.sql`.
    Leaf,
}

impl EventColumns {
    /// How many there are.
    pub(crate) fn of_event(self) -> usize {
        match self {
            Self::All => 22,
            Self::Leaf => 4,
        }
    }

    /// How many there are with those of the receipt.
    pub(crate) fn with_receipt(self) -> usize {
        self.of_event() + OF_RECEIPT
    }

    /// Where the event's number is.
    pub(crate) fn sequence(self) -> usize {
        match self {
            Self::All => ENTRY_SEQUENCE,
            Self::Leaf => LEAF_ENTRY_SEQUENCE,
        }
    }

    /// The statement that joins events and receipts.
    pub(crate) fn joined(self) -> &'static str {
        match self {
            Self::All => both!("entries"),
            Self::Leaf => both!("leaf_entries"),
        }
    }

    /// The statement that reads receipts as they lie, and then events.
    pub(crate) fn near(self) -> &'static str {
        match self {
            Self::All => postgres!("entries_near"),
            Self::Leaf => postgres!("leaf_entries_near"),
        }
    }

    /// The statement that reads events of a snapshot alone.
    fn events(self) -> &'static str {
        match self {
            Self::All => snapshot!("entry_events"),
            Self::Leaf => snapshot!("leaf_entry_events"),
        }
    }
}

/// Which events are read, and how they are handed over.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    /// What for, in words.
    pub(crate) doing: &'static str,
    pub(crate) stream: &'a StreamKey,
    pub(crate) columns: EventColumns,
    pub(crate) size: ChunkSize,
}

/// Collects rows, and hands them over in chunks.
struct Chunks<'a> {
    columns: EventColumns,
    table: RawTable,
    size: ChunkSize,
    each: &'a mut dyn FnMut(RawTable) -> ControlFlow<()>,
}

impl Chunks<'_> {
    /// An empty table. Most streams of most logs are short: there is room for a few rows, and it grows.
    fn first_table(columns: EventColumns, size: ChunkSize) -> RawTable {
        RawTable::new(columns.with_receipt(), size.rows.min(128))
    }

    /// A row is complete.
    fn row_done(&mut self) -> ControlFlow<()> {
        if self.table.len() < self.size.rows && self.table.byte_len() < self.size.bytes {
            return ControlFlow::Continue(());
        }
        (self.each)(std::mem::replace(
            &mut self.table,
            RawTable::new(self.columns.with_receipt(), self.size.rows),
        ))
    }

    fn finish(self) {
        if self.table.len() > 0 {
            let _ = (self.each)(self.table);
        }
    }

    /// The id of the event that was just appended.
    fn event_id(&self) -> ValueRef<'_> {
        self.table.recent(self.columns.of_event() - EVENT_ID)
    }

    fn push(&mut self, row: &rusqlite::Row<'_>, columns: usize) -> rusqlite::Result<()> {
        for column in 0..columns {
            self.table.push(row.get_ref(column)?);
        }
        Ok(())
    }
}

/// Gives events with these parameters and their receipts to `each`, in chunks.
pub(crate) fn entry_rows(
    connection: &Connection,
    columns: EventColumns,
    parameters: &[Value],
    size: ChunkSize,
    each: &mut dyn FnMut(RawTable) -> ControlFlow<()>,
) -> rusqlite::Result<()> {
    let mut chunks = Chunks {
        columns,
        table: Chunks::first_table(columns, size),
        size,
        each,
    };
    let flow = if receipts_are_plain(connection)? {
        side_by_side(connection, parameters, &mut chunks)?
    } else {
        joined(connection, parameters, &mut chunks)?
    };
    if flow.is_continue() {
        chunks.finish();
    }
    Ok(())
}

/// Whether the table of receipts is such that an event has one receipt at most, and rows have ids of their own.
fn receipts_are_plain(connection: &Connection) -> rusqlite::Result<bool> {
    connection.prepare(snapshot!("receipts_are_plain"))?.exists([])
}

/// The plain way: as SQLite joins the tables.
fn joined(
    connection: &Connection,
    parameters: &[Value],
    chunks: &mut Chunks<'_>,
) -> rusqlite::Result<ControlFlow<()>> {
    let mut statement = connection.prepare(chunks.columns.joined())?;
    bind(&mut statement, parameters)?;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        chunks.push(row, chunks.columns.with_receipt())?;
        if chunks.row_done().is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// When to try whether receipts follow each other as their events do.
#[derive(Default)]
struct Patience {
    /// How many more events are looked up before the next try.
    wait: u32,
    /// How many were to be waited for the last time.
    last: u32,
}

impl Patience {
    /// The next row was the right one.
    fn reward(&mut self) {
        self.last = 0;
    }

    /// The row behind a receipt that was looked up was not the next one.
    fn disappoint(&mut self) {
        self.last = (self.last * 2).clamp(1, LONGEST_WAIT);
        self.wait = self.last;
    }

    /// Whether to try now.
    fn is_over(&mut self) -> bool {
        let over = self.wait == 0;
        self.wait = self.wait.saturating_sub(1);
        over
    }
}

fn side_by_side(
    connection: &Connection,
    parameters: &[Value],
    chunks: &mut Chunks<'_>,
) -> rusqlite::Result<ControlFlow<()>> {
    let mut events = connection.prepare(chunks.columns.events())?;
    let mut find = connection.prepare(snapshot!("entry_receipt"))?;
    let mut follow = connection.prepare(snapshot!("entry_receipts_behind"))?;
    bind(&mut events, parameters)?;
    let mut events = events.raw_query();
    let mut patience = Patience::default();
    // The row whose followers are read.
    let mut behind: Option<i64> = None;
    loop {
        let mut next = match behind {
            None => None,
            Some(rowid) => {
                bind(&mut follow, &[Value::Int(rowid)])?;
                Some(follow.raw_query())
            }
        };
        behind = None;
        let mut followed = false;
        while behind.is_none() {
            let Some(event) = events.next()? else {
                return Ok(ControlFlow::Continue(()));
            };
            chunks.push(event, chunks.columns.of_event())?;
            if let Some(rows) = &mut next {
                if next_is_wanted(rows, chunks)? {
                    followed = true;
                    patience.reward();
                    if chunks.row_done().is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    continue;
                }
                if !followed {
                    patience.disappoint();
                }
                next = None;
            }
            let found = look_up(&mut find, chunks)?;
            if chunks.row_done().is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if patience.is_over() {
                behind = found;
            }
        }
    }
}

/// Appends the next receipt if it is that of the event that was just appended.
fn next_is_wanted(rows: &mut Rows<'_>, chunks: &mut Chunks<'_>) -> rusqlite::Result<bool> {
    // What cannot be read on the way to the next row may be no business of this event's: a look-up will tell.
    let Ok(Some(row)) = rows.next() else {
        return Ok(false);
    };
    let event_id = chunks.event_id();
    let wanted = match (event_id, row.get_ref(EVENT_ID)) {
        // Equal bytes are equal in SQLite too, since the table names no other collation.
        (ValueRef::Text(event), Ok(ValueRef::Text(receipt))) => event == receipt,
        _ => false,
    };
    if wanted {
        chunks.push(row, OF_RECEIPT)?;
    }
    Ok(wanted)
}

/// Appends the receipt of the event that was just appended, or NULLs, as a LEFT JOIN does. Says where its row is.
fn look_up(find: &mut Statement<'_>, chunks: &mut Chunks<'_>) -> rusqlite::Result<Option<i64>> {
    bind_value(find, 1, chunks.event_id())?;
    let mut rows = find.raw_query();
    let Some(row) = rows.next()? else {
        (0..OF_RECEIPT).for_each(|_| chunks.table.push(ValueRef::Null));
        return Ok(None);
    };
    chunks.push(row, OF_RECEIPT)?;
    row.get(ROWID).map(Some)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sql::SNAPSHOT_SCHEMA;

    const TENANT: &str = "00000000-0000-0000-0000-000000000001";
    const STORE: &str = "00000000-0000-0000-0000-00000000000a";

    /// What a row of a world is.
    #[derive(Debug, Clone)]
    enum Put {
        Event { id: u8, sequence: i64 },
        Receipt { id: u8, sequence: i64 },
    }

    /// A database with the tables of a snapshot, after a change to the schema, that takes whatever is put into it.
    fn database(schema: &str, puts: &[Put]) -> Connection {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(schema).unwrap();
        db.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON;")
            .unwrap();
        // Some ids are no texts that can be read, and some differ from others by nothing but their case.
        let name = |id: &u8| match id {
            id if id.is_multiple_of(7) => b"\xff\0\xfe".repeat(1 + usize::from(*id)),
            id if id.is_multiple_of(5) => format!("EVENT {}", id + 1).into_bytes(),
            id => format!("event {id}").into_bytes(),
        };
        for put in puts {
            let done = match put {
                Put::Event { id, sequence } => db.execute(
                    "INSERT OR IGNORE INTO ves_events (event_id, tenant_id, store_id, source_agent_id, agent_key_id, \
                     entity_type, entity_id, event_type, created_at, created_at_str, sequenced_at, payload_kind, payload, \
                     payload_plain_hash, payload_cipher_hash, event_signing_hash, agent_signature, sequence_number) \
                     VALUES (CAST($1 AS TEXT), $2, $3, 'agent', 1, 'order', 'O', 'made', 'then', 'then', 'now', 0, $4, \
                     x'00', x'01', x'02', x'03', $5)",
                    rusqlite::params![name(id), TENANT, STORE, "p".repeat(usize::from(*id)), sequence],
                ),
                Put::Receipt { id, sequence } => db.execute(
                    "INSERT OR IGNORE INTO ves_sequencer_receipts (event_id, sequencer_id, sequence_number, sequenced_at, \
                     receipt_hash, sequencer_signature) VALUES (CAST($1 AS TEXT), 'sequencer', $2, 'now', x'04', NULL)",
                    rusqlite::params![name(id), sequence],
                ),
            };
            done.unwrap();
        }
        db
    }

    type Way = fn(&Connection, &[Value], &mut Chunks<'_>) -> rusqlite::Result<ControlFlow<()>>;

    /// The rows that come out one way, as text, when chunks have so many rows; at most so many chunks are taken.
    fn rows(db: &Connection, columns: EventColumns, way: Way, size: usize, take: usize) -> Vec<String> {
        let size = ChunkSize {
            rows: size,
            bytes: 400,
        };
        let mut found = Vec::new();
        let mut left = take;
        let mut each = |table: RawTable| {
            assert!(table.len() > 0);
            for row in 0..table.len() {
                let row = table.row(row);
                found.push(format!(
                    "{:?}",
                    (0..columns.with_receipt())
                        .map(|at| row.value(at))
                        .collect::<Vec<_>>()
                ));
            }
            left -= 1;
            if left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let mut chunks = Chunks {
            columns,
            table: Chunks::first_table(columns, size),
            size,
            each: &mut each,
        };
        let parameters = [
            Value::Text(TENANT.into()),
            Value::Text(STORE.into()),
            Value::Int(1),
            Value::Int(1000),
        ];
        if way(db, &parameters, &mut chunks).unwrap().is_continue() {
            chunks.finish();
        }
        found
    }

    fn both_ways(schema: &str, puts: &[Put], size: usize) {
        let db = database(schema, puts);
        for columns in [EventColumns::All, EventColumns::Leaf] {
            let rows = |way, take| rows(&db, columns, way, size, take);
            assert_eq!(rows(side_by_side, usize::MAX), rows(joined, usize::MAX));
            for take in 1..4 {
                assert_eq!(rows(side_by_side, take), rows(joined, take));
            }
        }
    }

    /// Events and receipts, in the order of the events, then moved about.
    fn puts() -> impl Strategy<Value = Vec<Put>> {
        let ids = (1_u8..40).prop_map(|last| (1..=last).collect::<Vec<_>>());
        let moves = proptest::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..6),
            0..12,
        );
        (ids, moves).prop_map(|(ids, moves)| {
            let event = |id: &u8| Put::Event {
                id: *id,
                sequence: i64::from(*id),
            };
            let receipt = |id: &u8| Put::Receipt {
                id: *id,
                sequence: i64::from(*id),
            };
            let mut puts: Vec<Put> = ids.iter().map(event).chain(ids.iter().map(receipt)).collect();
            for (from, to, what) in moves {
                let (from, to) = (from.index(puts.len()), to.index(puts.len()));
                match what {
                    0..=2 => puts.swap(from, to),
                    // An event or a receipt that the other table lacks.
                    3 if puts.len() > 1 => drop(puts.remove(from)),
                    // Of an event in no range, or of none at all.
                    4 => puts.insert(to, Put::Receipt { id: 200, sequence: 1 }),
                    _ => puts.insert(
                        to,
                        Put::Event {
                            id: 201,
                            sequence: -1,
                        },
                    ),
                }
            }
            puts
        })
    }

    proptest! {
        #[test]
        fn side_by_side_gives_what_a_join_gives(puts in puts(), size in 1_usize..9) {
            both_ways(SNAPSHOT_SCHEMA, &puts, size);
        }
    }

    #[test]
    fn receipts_in_any_order_are_found() {
        let event = |id: u8| Put::Event {
            id,
            sequence: i64::from(id),
        };
        let receipt = |id: u8| Put::Receipt {
            id,
            sequence: i64::from(id),
        };
        let events = || (1..=200).map(event);
        let orders: [Vec<Put>; 5] = [
            events().chain((1..=200).map(receipt)).collect(),
            events().chain((1..=200).rev().map(receipt)).collect(),
            events()
                .chain((1..=200).map(|n: u8| receipt((u32::from(n) * 77 % 200) as u8 + 1)))
                .collect(),
            events().chain((1..=200).step_by(2).map(receipt)).collect(),
            events().collect(),
        ];
        for puts in orders {
            both_ways(SNAPSHOT_SCHEMA, &puts, 64);
        }
    }

    #[test]
    fn events_that_are_there_twice_come_twice() {
        let twice = SNAPSHOT_SCHEMA
            .replace(
                "    CONSTRAINT uq_ves_events_sequence UNIQUE (tenant_id, store_id, sequence_number),\n",
                "",
            )
            // Of the table of what the file is, and of the events.
            .replacen("TEXT NOT NULL PRIMARY KEY", "TEXT NOT NULL", 2);
        let event = |id: u8, sequence| Put::Event { id, sequence };
        let receipt = |id: u8, sequence| Put::Receipt { id, sequence };
        let puts = [
            event(1, 1),
            event(2, 2),
            event(2, 2),
            event(3, 2),
            event(3, 5),
            event(4, 5),
            receipt(1, 1),
            receipt(2, 2),
            receipt(3, 2),
            receipt(4, 4),
        ];
        let db = database(&twice, &puts);
        assert!(receipts_are_plain(&db).unwrap());
        // Of equal numbers, any order will do.
        let sorted = |way| {
            let mut rows = rows(&db, EventColumns::All, way, 4, usize::MAX);
            rows.sort();
            rows
        };
        let found = sorted(side_by_side);
        assert_eq!(found, sorted(joined));
        assert_eq!(found.len(), 6);
    }

    /// Tables as others could have made them: there a join decides.
    #[test]
    fn receipts_that_are_not_plain_are_joined() {
        assert!(receipts_are_plain(&database(SNAPSHOT_SCHEMA, &[])).unwrap());
        let key = "event_id                 TEXT NOT NULL PRIMARY KEY REFERENCES ves_events (event_id)";
        assert!(SNAPSHOT_SCHEMA.contains(key));
        let twice: Vec<Put> = [1, 2, 2, 3]
            .map(|id| Put::Receipt { id, sequence: 1 })
            .into_iter()
            .chain((1..=3).map(|id| Put::Event {
                id,
                sequence: id.into(),
            }))
            .collect();
        for (other, rows_there) in [
            ("event_id TEXT NOT NULL", 4),
            ("event_id TEXT NOT NULL COLLATE NOCASE PRIMARY KEY", 3),
            ("event_id TEXT NOT NULL PRIMARY KEY, rowid INTEGER", 3),
            ("event_id TEXT, UNIQUE (event_id, sequencer_id)", 3),
        ] {
            // The last one's constraint has to stand behind the columns.
            let schema = match other.strip_prefix("event_id TEXT, UNIQUE") {
                None => SNAPSHOT_SCHEMA.replace(key, other),
                Some(constraint) => SNAPSHOT_SCHEMA.replace(key, "event_id TEXT").replace(
                    "    receipt_signature_bundle BLOB\n",
                    &format!("    receipt_signature_bundle BLOB,\n    UNIQUE{constraint}\n"),
                ),
            };
            let db = database(&schema, &twice);
            assert!(!receipts_are_plain(&db).unwrap(), "{other}");
            let mut found = 0;
            let size = ChunkSize {
                rows: 2,
                bytes: 1 << 20,
            };
            let parameters = [
                Value::Text(TENANT.into()),
                Value::Text(STORE.into()),
                Value::Int(1),
                Value::Int(9),
            ];
            entry_rows(&db, EventColumns::All, &parameters, size, &mut |table| {
                found += table.len();
                ControlFlow::Continue(())
            })
            .unwrap();
            assert_eq!(found, rows_there, "{other}");
        }
    }
}
