//! Agents' databases: files of SQLite, read by our own code and by SQLite.

use std::cell::OnceCell;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;

use outbox_sync::export::{ExportFormat, Filter, event_line};
use outbox_sync::fast_export::{BulkOutbox, Part, ReadEnd, page_rows};
use outbox_sync::row::{HeldRow, RowError, Table};
use outbox_sync::status::OutboxFigures;
use outbox_sync::{Outbox, inputs};
use rusqlite::types::{ToSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OpenFlags};

use crate::scratch;

/// A row's number and its values; text is held as its bytes, since it need not be UTF-8.
type Row = (i64, Vec<Value>);

/// The tables whose rows are read by their pages, with the statement that asks SQLite for the same.
const TABLES: [(Table, &str); 3] = [
    (
        Table::Outbox,
        include_str!("../../sql/outbox-sync/rows_outbox.sql"),
    ),
    (
        Table::Pulled,
        include_str!("../../sql/outbox-sync/rows_pulled.sql"),
    ),
    (
        Table::Quarantined,
        include_str!("../../sql/outbox-sync/rows_quarantined.sql"),
    ),
];

/// Rows by the pages of a file, held against what SQLite says. The reader by pages may stop anywhere and leave the rest to
/// SQLite; what it gave until then must be what SQLite gives.
pub(crate) fn pages(bytes: &[u8]) {
    let path = scratch::file("pages.db", bytes);
    let (Ok(file), Ok(connection)) = (File::open(&path), immutable(&path)) else {
        return;
    };
    for (table, sql) in TABLES {
        for (first, last) in [(i64::MIN, i64::MAX), (2, 3)] {
            let mut found: Vec<Row> = Vec::new();
            let all = page_rows(&file, &connection, table, first..=last, &mut |number, values| {
                found.push((number, values.iter().map(|value| owned(*value)).collect()));
                ControlFlow::Continue(())
            });
            let Some(all) = all else { continue };
            let (expected, sound) = by_sqlite(&connection, sql, first, last);
            if all {
                assert_eq!(found, expected, "{table:?}: all rows, as SQLite gives them");
                // SQLite takes the first row behind the last apart, too.
                assert!(
                    sound || last < i64::MAX,
                    "{table:?}: SQLite does not come to the end"
                );
            } else {
                assert!(
                    expected.starts_with(&found),
                    "{table:?}: the first rows, as SQLite gives them"
                );
            }
        }
    }
}

fn immutable(path: &Path) -> rusqlite::Result<Connection> {
    let uri = format!("file:{}?immutable=1", path.display());
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags)?;
    connection.execute_batch(include_str!("../../sql/outbox-sync/settings.sql"))?;
    Ok(connection)
}

fn owned(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        // Compared by its bits: no two ways may give other ones.
        ValueRef::Real(number) => Value::Blob([b"real ", &number.to_be_bytes()[..]].concat()),
        ValueRef::Text(text) => Value::Blob([b"text ", text].concat()),
        ValueRef::Blob(blob) => Value::Blob([b"blob ", blob].concat()),
    }
}

/// What SQLite says, and whether it came to the end.
fn by_sqlite(connection: &Connection, sql: &str, first: i64, last: i64) -> (Vec<Row>, bool) {
    let mut found = Vec::new();
    let Ok(mut statement) = connection.prepare(sql) else {
        return (found, false);
    };
    let columns = statement.column_count();
    let Ok(mut rows) = statement.query([first]) else {
        return (found, false);
    };
    loop {
        match rows.next() {
            Ok(Some(row)) => {
                let Ok(number) = row.get(0) else {
                    return (found, false);
                };
                if number > last {
                    return (found, true);
                }
                let values = (0..columns).map(|column| row.get_ref(column).map_or(Value::Null, owned));
                found.push((number, values.collect()));
            }
            Ok(None) => return (found, true),
            Err(_) => return (found, false),
        }
    }
}

/// A file that is given as an outbox, whatever it is: what it is taken for, what is read or salvaged of it, and that the fast
/// way of an export and the plain one write the same.
pub(crate) fn file(bytes: &[u8]) {
    let path = scratch::file("outbox.db", bytes);
    let _ = inputs::expand_inputs(&[path.display().to_string()], &[], inputs::Purpose::Read);
    both_ways(&path);
    if let Ok(salvaged) = Outbox::salvage(&path) {
        let _ = salvaged.for_each_row(&mut |_| ControlFlow::Continue(()));
        let _ = salvaged.peer_keys();
        let _ = OutboxFigures::of(&salvaged);
    }
}

/// What the two ways write.
fn both_ways(path: &Path) {
    let Some(fast) = by_bulk(path) else { return };
    // The fast way checks what it reads; damage elsewhere it does not look for.
    let Ok(outbox) = Outbox::open(path) else { return };
    let mut plain = Vec::new();
    let read = outbox.for_each_row(&mut |row| {
        write(row, &mut plain);
        ControlFlow::Continue(())
    });
    if read.is_ok() {
        assert_eq!(
            String::from_utf8_lossy(&fast),
            String::from_utf8_lossy(&plain),
            "both ways write the same"
        );
    }
}

fn by_bulk(path: &Path) -> Option<Vec<u8>> {
    let bulk = BulkOutbox::open(path).ok()?;
    let mut written = Vec::new();
    let outcome = bulk.read(ExportFormat::Ndjson, &Filter::default(), &mut |part| {
        match part {
            Part::Lines { lines, .. } => written.extend_from_slice(lines.text()),
            Part::Row(row) => write(*row, &mut written),
        }
        ControlFlow::Continue(())
    });
    matches!(outcome, Ok(ReadEnd::Whole)).then_some(written)
}

fn write(row: Result<HeldRow, RowError>, out: &mut Vec<u8>) {
    match row {
        Ok(row) => {
            if let Some(event) = row.content.event()
                && let Ok(line) = event_line(&row, event)
            {
                out.extend(line);
                out.push(b'\n');
            }
        }
        Err(error) => out.extend(format!("{}\n", error.what).into_bytes()),
    }
}

/// One row of an outbox whose columns hold anything: the two ways of an export write the same of it.
///
/// An input is a row of changes, each a byte that names a column and a type, one for the length, and so many bytes.
pub(crate) fn row(bytes: &[u8]) {
    thread_local! {
        static SOUND: OnceCell<Vec<u8>> = const { OnceCell::new() };
    }
    let path = scratch::folder().join("row.db");
    SOUND.with(|sound| {
        let sound = sound.get_or_init(|| empty_outbox(&path));
        std::fs::write(&path, sound).expect("a scratch file");
    });
    if insert(&path, &changed(bytes)).is_ok() {
        both_ways(&path);
    }
}

/// A value for a column. Text need not be UTF-8.
#[derive(Clone)]
enum ColumnValue {
    Value(Value),
    Text(Vec<u8>),
}

impl ToSql for ColumnValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Value(value) => value.into(),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text)),
        })
    }
}

/// What agents write, column for column.
fn sound_row() -> Vec<ColumnValue> {
    let number = |number| ColumnValue::Value(Value::Integer(number));
    let text = |text: &str| ColumnValue::Text(text.as_bytes().to_vec());
    let nothing = || ColumnValue::Value(Value::Null);
    vec![
        number(7),
        text("0189abcd-ef01-4321-8765-fedcba987654"),
        nothing(),
        text("0189abcd-ef01-4321-8765-fedcba987655"),
        text("0189abcd-ef01-4321-8765-fedcba987656"),
        text("order"),
        text("order-1"),
        text("order.placed"),
        number(1),
        text("{\"n\": 1}"),
        number(0),
        nothing(),
        text(&format!("0x{}", "1".repeat(64))),
        text(&"0".repeat(64)),
        number(1),
        text(&"2".repeat(128)),
        number(0),
        nothing(),
        number(3),
        text("0189abcd-ef01-4321-8765-fedcba987657"),
        text("2026-11-01T00:01:14.123Z"),
        text("synced"),
        number(41),
    ]
}

fn changed(mut changes: &[u8]) -> Vec<ColumnValue> {
    let mut row = sound_row();
    while let [what, length, rest @ ..] = changes {
        let (bytes, behind) = rest.split_at(usize::from(*length).min(rest.len()));
        let column = usize::from(*what >> 3) % row.len();
        row[column] = match what & 7 {
            0 => ColumnValue::Value(Value::Null),
            1 => ColumnValue::Value(Value::Integer(number(bytes))),
            2 => ColumnValue::Value(Value::Real(f64::from_bits(number(bytes) as u64))),
            3 => ColumnValue::Value(Value::Blob(bytes.to_vec())),
            _ => ColumnValue::Text(bytes.to_vec()),
        };
        changes = behind;
    }
    row
}

fn number(bytes: &[u8]) -> i64 {
    let eight = bytes.iter().take(8);
    eight.fold(0, |number, byte| number << 8 | i64::from(*byte))
}

/// The bytes of an outbox without rows, whose columns take any value as it is.
fn empty_outbox(path: &Path) -> Vec<u8> {
    scratch::remove(path);
    let connection = Connection::open(path).expect("a scratch database");
    let schema = include_str!("../../sql/fuzz/outbox.sql");
    connection.execute_batch(schema).expect("an outbox");
    drop(connection);
    std::fs::read(path).expect("a scratch database")
}

fn insert(path: &Path, row: &[ColumnValue]) -> rusqlite::Result<()> {
    let connection = Connection::open(path)?;
    connection.execute_batch(include_str!("../../sql/fuzz/settings.sql"))?;
    let sql = include_str!("../../sql/fuzz/insert_outbox.sql");
    connection.execute(sql, rusqlite::params_from_iter(row))?;
    Ok(())
}

/// A manifest of outboxes.
pub(crate) fn manifest(bytes: &[u8]) {
    let manifest = inputs::read_manifest(bytes).expect("bytes in memory can be read");
    for path in manifest.iter().flatten() {
        assert!(!path.as_os_str().is_empty(), "it names a file");
    }
    assert!(manifest.len() <= bytes.len(), "each takes some bytes");
}
