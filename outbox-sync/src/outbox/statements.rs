//! The statements that read an outbox, by the names of their files.

use crate::row::Table;

/// A statement by the name of its file.
macro_rules! named {
    ($name:literal) => {
        include_str!(concat!("../../../sql/outbox-sync/", $name, ".sql"))
    };
}
pub(super) use named;

/// The statements that read one table.
pub(crate) struct TableSql {
    pub(crate) rows: &'static str,
    pub(super) back: &'static str,
    pub(crate) next: &'static str,
    pub(crate) last: &'static str,
    pub(crate) entries: &'static str,
}

pub(crate) fn table_sql(table: Table) -> TableSql {
    macro_rules! of {
        ($rows:literal, $back:literal, $next:literal, $last:literal, $entries:literal) => {
            TableSql {
                rows: named!($rows),
                back: named!($back),
                next: named!($next),
                last: named!($last),
                entries: named!($entries),
            }
        };
    }
    match table {
        Table::Outbox => of!(
            "rows_outbox",
            "back_outbox",
            "next_outbox",
            "last_outbox",
            "entries_outbox"
        ),
        Table::Pulled => of!(
            "rows_pulled",
            "back_pulled",
            "next_pulled",
            "last_pulled",
            "entries_pulled"
        ),
        Table::Quarantined => of!(
            "rows_quarantined",
            "back_quarantined",
            "next_quarantined",
            "last_quarantined",
            "entries_quarantined"
        ),
        Table::OlderOutbox => of!(
            "rows_older_outbox",
            "back_older_outbox",
            "next_older_outbox",
            "last_older_outbox",
            "entries_older_outbox"
        ),
        Table::OlderPulled => of!(
            "rows_older_pulled",
            "back_older_pulled",
            "next_older_pulled",
            "last_older_pulled",
            "entries_older_pulled"
        ),
    }
}
