use std::path::Path;

use proptest::prelude::*;
use rusqlite::OpenFlags;
use rusqlite::types::Value;

use super::*;

const TABLE: Table = Table::Outbox;
type Rows = Vec<(i64, Vec<Value>)>;

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let uri = format!("file:{}?immutable=1", path.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri, flags)?;
    crate::outbox::secure(&connection)?;
    Ok(connection)
}

/// Text may not be UTF-8: it becomes its bytes behind a mark.
fn values(row: &impl Values, columns: usize) -> Vec<Value> {
    let value = |column| match row.value(column).unwrap() {
        ValueRef::Text(text) => Value::Blob([b"text ", text].concat()),
        other => other.try_into().unwrap(),
    };
    (0..columns).map(value).collect()
}

/// What SQLite says, and whether it came to the end.
fn by_sqlite(connection: &Connection, first: i64, last: i64) -> (Rows, bool) {
    let mut found = Rows::new();
    let Ok(mut statement) = connection.prepare(crate::outbox::table_sql(TABLE).rows) else {
        return (found, false);
    };
    let columns = statement.column_count();
    let Ok(mut rows) = statement.query([first]) else {
        return (found, false);
    };
    loop {
        match rows.next() {
            Ok(Some(row)) => {
                let number = row.get(0).unwrap();
                if number > last {
                    return (found, true);
                }
                found.push((number, values(row, columns)));
            }
            Ok(None) => return (found, true),
            Err(_) => return (found, false),
        }
    }
}

/// `None` if the pages are not to be read.
fn by_pages(connection: &Connection, path: &Path, first: i64, last: i64) -> Option<(Rows, bool)> {
    let file = File::open(path).unwrap();
    let mut header = [0; HEADER];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut header, 0).ok()?;
    let layout = Layout::of(connection, &header, TABLE)?;
    let columns = layout.columns.len();
    let mut found = Rows::new();
    let all = LeafPages::new(&file, layout).rows(first, last, &mut |number, record| {
        found.push((number, values(record, columns + 1)));
        ControlFlow::Continue(())
    });
    Some((found, all))
}

/// A new file with this table, filled by `fill`.
fn make(path: &Path, settings: &str, table: &str, fill: impl FnOnce(&Connection)) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(settings).unwrap();
    connection.execute_batch(table).unwrap();
    connection.execute_batch("BEGIN").unwrap();
    fill(&connection);
    connection.execute_batch("COMMIT").unwrap();
}

fn any_value() -> impl Strategy<Value = Value> {
    let small = prop_oneof![
        -2_i64..3,
        -200_i64..200,
        Just(i64::MIN),
        Just(i64::MAX),
        any::<i64>()
    ];
    prop_oneof![
        2 => Just(Value::Null),
        4 => (small, 0..64_u32).prop_map(|(n, shift)| Value::Integer(n >> shift)),
        1 => any::<f64>().prop_map(Value::Real),
        4 => ".{0,30}".prop_map(Value::Text),
        1 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Value::Blob),
        // Around what fits into pages of all sizes.
        1 => (0..70_000_usize).prop_map(|n| Value::Text("y".repeat(n))),
        1 => (400..600_usize).prop_map(|n| Value::Text("z".repeat(n))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_those_of_sqlite(
        size in 9..17_u32,
        vacuum in 0..3,
        with_number in any::<bool>(),
        rows in proptest::collection::vec((1..500_i64, proptest::collection::vec(any_value(), 3)), 0..120),
        mixed in any::<u64>(),
        dropped in 1..9_i64,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let settings = format!("PRAGMA page_size = {}; PRAGMA auto_vacuum = {vacuum};", 1 << size);
        let column = if with_number { "a INTEGER PRIMARY KEY, " } else { "a BLOB, " };
        let table = format!("CREATE TABLE _ves_outbox ({column} b, c TEXT); CREATE TABLE other (a);");
        make(&path, &settings, &table, |connection| {
            let mut number = -600;
            let mut numbers = Vec::new();
            for (step, _) in &rows {
                number += step;
                numbers.push(number);
            }
            // In an order of their own, so that the pages are not in the order of the rows.
            let mut order: Vec<usize> = (0..rows.len()).collect();
            order.sort_by_key(|n| if mixed % 2 == 0 { *n as u64 } else { mixed.rotate_left(*n as u32 * 7) });
            for n in order {
                let [a, b, c] = rows[n].1.as_slice() else { unreachable!() };
                if with_number {
                    let sql = "INSERT INTO _ves_outbox (rowid, b, c) VALUES (?1, ?2, ?3)";
                    connection.execute(sql, (numbers[n], b, c)).unwrap();
                } else {
                    let sql = "INSERT INTO _ves_outbox (rowid, a, b, c) VALUES (?1, ?2, ?3, ?4)";
                    connection.execute(sql, (numbers[n], a, b, c)).unwrap();
                }
                connection.execute("INSERT INTO other VALUES (?1)", [a]).unwrap();
            }
            let sql = "DELETE FROM _ves_outbox WHERE rowid % ?1 = 0";
            connection.execute(sql, [dropped + 1]).unwrap();
        });
        let connection = open(&path).unwrap();
        for (first, last) in [(i64::MIN, i64::MAX), (-600, 0), (17, 5000), (5000, 5001), (3, 3)] {
            let expected = by_sqlite(&connection, first, last);
            prop_assert!(expected.1);
            let found = by_pages(&connection, &path, first, last).unwrap();
            // An empty table is left to SQLite.
            prop_assert_eq!(found.1, !by_sqlite(&connection, i64::MIN, i64::MAX).0.is_empty());
            prop_assert_eq!(&found.0, &expected.0);
        }
    }
}

#[test]
fn what_agents_make_is_read_by_its_pages_and_what_is_unusual_is_not() {
    let layout = |settings: &str, table: &str, of: Table| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        make(&path, settings, table, |_| ());
        let header = std::fs::read(&path).unwrap()[..HEADER].try_into().unwrap();
        Layout::of(&open(&path).unwrap(), &header, of)
    };
    let v3 = concat!(
        include_str!("../../../../fixtures/sql/outbox_v2.sql"),
        include_str!("../../../../fixtures/sql/outbox_v3_add.sql"),
    );
    for (table, row_number) in [
        (Table::Outbox, Some(0)),
        (Table::Pulled, Some(0)),
        (Table::Quarantined, None),
    ] {
        assert_eq!(layout("", v3, table).map(|l| l.row_number), Some(row_number));
    }
    assert_eq!(layout("", v3, Table::OlderOutbox), None);
    let columns = [
        ("a, b INTEGER PRIMARY KEY", Some(Some(1))),
        ("a, b integer, PRIMARY KEY (b)", Some(Some(1))),
        // SQLite takes this for an ordinary column.
        ("a, b INTEGER PRIMARY KEY DESC", Some(None)),
        ("a, b INT PRIMARY KEY", Some(None)),
        ("a INTEGER, b INTEGER, PRIMARY KEY (a, b)", Some(None)),
        ("a DOUBLE PRECISION, b", None),
        ("a REAL, b", None),
        ("a FLOAT, b", None),
        ("a, rowId", None),
        ("a, b AS (a + 1)", None),
        ("a, b AS (a + 1) STORED", None),
    ];
    for (columns, expected) in columns {
        let table = format!("CREATE TABLE _ves_outbox ({columns})");
        assert_eq!(
            layout("", &table, TABLE).map(|l| l.row_number),
            expected,
            "{columns}"
        );
    }
    let table = "CREATE TABLE _ves_outbox (a PRIMARY KEY, b)";
    assert!(layout("", table, TABLE).is_some());
    assert_eq!(layout("", &format!("{table} WITHOUT ROWID"), TABLE), None);
    assert_eq!(layout("PRAGMA encoding = 'UTF-16le';", table, TABLE), None);
    let view = "CREATE TABLE t (a); CREATE VIEW _ves_outbox AS SELECT * FROM t";
    assert_eq!(layout("", view, TABLE), None);
}

#[test]
fn records_older_than_a_column_have_its_default_if_that_is_simple() {
    for (more, simple) in [
        ("b", true),
        ("b TEXT DEFAULT NULL", false),
        ("b INTEGER NOT NULL DEFAULT 0", true),
        ("b INTEGER DEFAULT 1", true),
        ("b DEFAULT 0", false),
        ("b TEXT DEFAULT 0", false),
        ("b INTEGER DEFAULT '0'", false),
        ("b INTEGER DEFAULT 2", false),
        ("b TEXT DEFAULT 'x'", false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        make(
            &path,
            "",
            "CREATE TABLE _ves_outbox (a, i INTEGER PRIMARY KEY)",
            |connection| {
                let sql = format!(
                    "INSERT INTO _ves_outbox (a) VALUES (1), ('x'); \
                 ALTER TABLE _ves_outbox ADD COLUMN {more}; ALTER TABLE _ves_outbox ADD COLUMN c; \
                 INSERT INTO _ves_outbox VALUES (3, 3, 4, 5)"
                );
                connection.execute_batch(&sql).unwrap();
            },
        );
        let connection = open(&path).unwrap();
        let expected = by_sqlite(&connection, 1, 9);
        assert_eq!(expected.0.len(), 3);
        let found = by_pages(&connection, &path, 1, 9).unwrap();
        assert_eq!(
            found,
            if simple { expected } else { (Rows::new(), false) },
            "{more}"
        );
        assert_eq!(
            by_pages(&connection, &path, 3, 9),
            Some(by_sqlite(&connection, 3, 9))
        );
    }
}

#[test]
fn a_damaged_file_gives_what_sqlite_says_or_leaves_it_to_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let (path, damaged) = (dir.path().join("db"), dir.path().join("damaged"));
    let table = "CREATE TABLE _ves_outbox (a INTEGER PRIMARY KEY, b, c TEXT, d INTEGER)";
    make(&path, "PRAGMA page_size = 512;", table, |connection| {
        for n in 0..30_i64 {
            let text = "x".repeat(if n % 16 == 7 { 1300 } else { 40 + n as usize % 9 });
            let sql = "INSERT INTO _ves_outbox VALUES (?1, NULL, ?2, ?3)";
            connection.execute(sql, (n * 3, text, n << n)).unwrap();
        }
    });
    let sound = std::fs::read(&path).unwrap();
    let (mut whole, mut left) = (0, 0);
    let mut check = |bytes: &[u8], what: &dyn Fn() -> String| {
        std::fs::write(&damaged, bytes).unwrap();
        let Ok(connection) = open(&damaged) else { return };
        for (first, last) in [(i64::MIN, i64::MAX), (50, 110)] {
            let Some((found, all)) = by_pages(&connection, &damaged, first, last) else {
                left += 1;
                continue;
            };
            let (expected, sound) = by_sqlite(&connection, first, last);
            if all {
                whole += 1;
                // SQLite takes the first row behind apart, too.
                assert!(found == expected && (sound || last < i64::MAX), "{}", what());
            } else {
                left += 1;
                assert!(expected.starts_with(&found), "{}", what());
            }
        }
    };
    for at in 0..sound.len() {
        if sound[at] == b'x' && at % 64 != 0 {
            continue;
        }
        for change in [0xff, 0x01] {
            let mut bytes = sound.clone();
            bytes[at] ^= change;
            check(&bytes, &|| format!("byte {at} changed by {change:#x}"));
        }
    }
    for length in (0..sound.len()).step_by(97) {
        check(&sound[..length], &|| format!("cut to {length}"));
    }
    assert!(whole > 500 && left > 500, "{whole} {left}");
}
