//! The statements: each a named file below `sql/event-log/`, none of them made from data.

/// A statement that both databases understand.
macro_rules! both {
    ($name:literal) => {
        include_str!(concat!("../../sql/event-log/both/", $name, ".sql"))
    };
}

/// A statement for PostgreSQL.
macro_rules! postgres {
    ($name:literal) => {
        include_str!(concat!("../../sql/event-log/postgres/", $name, ".sql"))
    };
}

/// A statement for a snapshot.
macro_rules! snapshot {
    ($name:literal) => {
        include_str!(concat!("../../sql/event-log/snapshot/", $name, ".sql"))
    };
}

pub(crate) use {both, postgres, snapshot};

/// The tables of a snapshot, for a new file.
pub(crate) const SNAPSHOT_SCHEMA: &str = include_str!("../../sql/schema/snapshot.sql");

/// A name as SQL wants it.
pub(crate) fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') && name.chars().all(plain) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// SQLite numbers `$1`, `$2` as it meets them, PostgreSQL as they say.
    #[test]
    fn parameters_of_statements_for_snapshots_first_appear_in_order() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        connection.execute_batch(super::SNAPSHOT_SCHEMA).unwrap();
        connection.execute_batch(snapshot!("journal_create")).unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql/event-log");
        let mut checked = 0;
        for file in ["both", "snapshot"].map(|name| fs::read_dir(folder.join(name)).unwrap()) {
            for path in file.map(|entry| entry.unwrap().path()) {
                let sql = fs::read_to_string(&path).unwrap();
                if !sql.contains('$') {
                    continue;
                }
                let statement = connection.prepare(&sql).unwrap();
                for number in 1..=statement.parameter_count() {
                    let expected = format!("${number}");
                    assert_eq!(
                        statement.parameter_name(number),
                        Some(expected.as_str()),
                        "{}",
                        path.display()
                    );
                }
                checked += 1;
            }
        }
        assert!(checked > 20, "{checked}");
    }
}
