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
