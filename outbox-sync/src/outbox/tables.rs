//! Which tables of an outbox a file has, and whether they are what they are called.

use rusqlite::Connection;

use super::Shape;
use super::statements::named;
use crate::error::OutboxErrorKind;
use crate::row::Table;

/// The tables of a file.
pub(super) struct Tables {
    /// Of all tables.
    names: Vec<String>,
    /// Those with rows of events.
    pub(super) tables: Vec<Table>,
    /// Whether the outbox has a column for the scheme of signatures.
    has_scheme: bool,
    /// Tables that have such a name and are something else.
    pub(super) not_checked: Vec<String>,
}

impl Tables {
    /// Whether there is a table of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|have| have == name)
    }

    /// Whether it is an outbox of VES, not of the older shape.
    pub(super) fn are_of_ves(&self) -> bool {
        self.tables.contains(&Table::Outbox)
    }

    pub(super) fn shape(&self) -> Shape {
        match (self.has_scheme, self.tables.contains(&Table::Quarantined)) {
            _ if !self.are_of_ves() => Shape::Older,
            (_, true) => Shape::V3,
            (true, false) => Shape::V2,
            (false, false) => Shape::V1,
        }
    }

    /// Looks at the tables of a file.
    pub(super) fn find(connection: &Connection) -> Result<Self, OutboxErrorKind> {
        let mut found = Self {
            names: table_names(connection)?,
            tables: Vec::new(),
            has_scheme: false,
            not_checked: Vec::new(),
        };
        let named: Vec<Table> = Table::ALL
            .into_iter()
            .filter(|table| found.has(table.name()))
            .collect();
        if named
            .iter()
            .all(|table| !matches!(table, Table::Outbox | Table::OlderOutbox | Table::OlderPulled))
        {
            return Err(OutboxErrorKind::NoOutboxTables);
        }
        let of_ves = named.contains(&Table::Outbox);
        let mut misfit = None;
        for table in named {
            if let Err(error) = found.take(connection, table, of_ves) {
                misfit.get_or_insert(error);
            }
        }
        if let Some(misfit) = misfit {
            return Err(misfit);
        }
        for table in &found.tables {
            if lacks_rowid(connection, *table)? {
                return Err(OutboxErrorKind::WithoutRowid { table: table.name() });
            }
        }
        Ok(found)
    }

    /// Takes a table if it has the columns that it must have.
    fn take(&mut self, connection: &Connection, table: Table, of_ves: bool) -> Result<(), OutboxErrorKind> {
        let (missing, scheme) = missing_columns(connection, table)?;
        let columns = missing.join(", ");
        if missing.is_empty() {
            self.has_scheme |= table == Table::Outbox && scheme;
            self.tables.push(table);
            return Ok(());
        }
        // Beside the tables of VES, a table of such a name may be anybody's.
        if of_ves && table.is_older() {
            self.not_checked.push(format!(
                "{}: a table without the column(s) {columns}",
                table.name()
            ));
            return Ok(());
        }
        Err(OutboxErrorKind::MissingColumns {
            table: table.name(),
            columns,
        })
    }
}

/// The columns that a table lacks, and whether it has the one of the signature scheme.
fn missing_columns(connection: &Connection, table: Table) -> rusqlite::Result<(Vec<&'static str>, bool)> {
    let columns = columns(connection, table)?;
    let there = |name: &str| columns.iter().any(|c| c.eq_ignore_ascii_case(name));
    let missing = table.required_columns().into_iter().filter(|c| !there(c));
    Ok((missing.collect(), there("agent_signature_scheme")))
}

/// Whether a table has no row numbers. It is looked at before rows are: they are read by those.
fn lacks_rowid(connection: &Connection, table: Table) -> rusqlite::Result<bool> {
    connection.query_row(named!("without_rowid"), [table.name()], |row| row.get(0))
}

fn table_names(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare(named!("tables"))?
        .query_map([], |row| row.get(0))?
        .collect()
}

fn columns(connection: &Connection, table: Table) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare(named!("columns"))?
        .query_map([table.name()], |row| row.get(0))?
        .collect()
}
