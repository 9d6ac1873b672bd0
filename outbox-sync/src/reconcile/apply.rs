//! Writing what was planned.
//!
//! The agent may be at work, and waits a second or two at most for its database. So all that can be done before is done
//! before, and holds no lock: the backup, and the planned changes in temporary tables of our own connection. The
//! transaction itself is a handful of statements.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::{ReconcileError, Reconciliation};
use crate::backup::{BackedUp, backup};
use crate::error::OutboxErrorKind;
use crate::outbox::Shape;
use crate::row::Table;

/// How long to wait for the agent to finish what it is writing.
const LOCK_WAIT: Duration = Duration::from_secs(10);

macro_rules! named {
    ($name:literal) => {
        include_str!(concat!("../../../sql/outbox-sync/", $name, ".sql"))
    };
}

/// Applies a plan: a backup first, then all changes in one short transaction, whose outcome is checked before it is
/// committed. A process must not have the outbox open through SQLite otherwise.
///
/// # Errors
/// No backup could be made, a row is no longer as it was, or SQLite fails: then nothing is changed.
pub fn apply(plan: &Reconciliation, backup_to: &Path) -> Result<BackedUp, ReconcileError> {
    let done = backup(&plan.path, backup_to, false)?;
    let sqlite = |error: rusqlite::Error| ReconcileError::Outbox(OutboxErrorKind::from(error).of(&plan.path));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = plan
        .path
        .canonicalize()
        .map_err(|e| OutboxErrorKind::Io(e).of(&plan.path))?;
    let connection = Connection::open_with_flags(source, flags).map_err(sqlite)?;
    let drift = |what: String| ReconcileError::Drift {
        path: plan.path.clone(),
        what,
    };
    let statements = prepare(&connection, plan).map_err(sqlite)?;
    connection.execute_batch(named!("begin_write")).map_err(sqlite)?;
    // Dropping the connection before the commit rolls everything back.
    if let Some(what) = write(&connection, plan, &statements).map_err(sqlite)? {
        return Err(drift(what));
    }
    connection.execute_batch(named!("commit")).map_err(sqlite)?;
    // It is committed: how the connection ends changes nothing.
    drop(connection);
    Ok(done)
}

/// What depends on the shape of the outbox.
struct Statements {
    changed: &'static str,
    set: &'static str,
    wrong: &'static str,
    /// Whether its rows have the agent's notes.
    notes: bool,
    /// Whether its sync state says when it was changed.
    dated: bool,
}

/// All that needs no lock: settings, and the plan in temporary tables.
fn prepare(connection: &Connection, plan: &Reconciliation) -> rusqlite::Result<Statements> {
    connection.busy_timeout(LOCK_WAIT)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.execute_batch(named!("write_settings"))?;
    connection.execute_batch(named!("create_planned"))?;
    let mut own = connection.prepare(named!("insert_planned_own"))?;
    let mut aside = connection.prepare(named!("insert_planned_aside"))?;
    for change in &plan.changes {
        let row = change.place.row;
        let event = change.event_id.to_string();
        let from = as_i64(change.from.sequence);
        match &change.to {
            Some(to) => own.execute(params![
                row,
                event,
                change.from.status,
                from,
                to.status,
                as_i64(to.sequence)
            ])?,
            None => aside.execute(params![row, event, from, change.why])?,
        };
    }
    let older = plan.shape == Shape::Older;
    let notes = ["synced_at", "rejection_reason", "last_error"];
    let sync_state = if older { "sync_state" } else { "_ves_sync_state" };
    let pick = |new, of_older| if older { of_older } else { new };
    Ok(Statements {
        changed: pick(named!("changed_own"), named!("changed_own_older")),
        set: pick(named!("set_own"), named!("set_own_older")),
        wrong: pick(named!("wrong_own"), named!("wrong_own_older")),
        notes: !older && has_columns(connection, Table::Outbox.name(), &notes)?,
        dated: has_columns(connection, sync_state, &["updated_at"])?,
    })
}

/// Writes all changes; says which row was not as it should be.
fn write(
    connection: &Connection,
    plan: &Reconciliation,
    statements: &Statements,
) -> rusqlite::Result<Option<String>> {
    let own = plan.changes.iter().any(|change| change.to.is_some());
    let aside = plan.changes.iter().any(|change| change.to.is_none());
    if own {
        if let Some(row) = first_row(connection, statements.changed)? {
            return Ok(Some(place(plan, row, true)));
        }
        connection.execute(statements.set, [])?;
        if statements.notes {
            connection.execute(named!("note_synced"), [])?;
            connection.execute(named!("note_pending"), [])?;
        }
    }
    if aside {
        if let Some(row) = first_row(connection, named!("changed_aside"))? {
            return Ok(Some(place(plan, row, false)));
        }
        connection.execute_batch(named!("create_set_aside"))?;
        let kept = connection.execute(named!("set_aside"), [])?;
        let dropped = connection.execute(named!("drop_pulled"), [])?;
        let planned = plan.changes.iter().filter(|change| change.to.is_none()).count();
        if (kept, dropped) != (planned, planned) {
            return Ok(Some("the rows that are set aside".into()));
        }
    }
    if let Some(key) = write_cursors(connection, plan, statements)? {
        return Ok(Some(key));
    }
    // The outcome, before it counts.
    if own && let Some(row) = first_row(connection, statements.wrong)? {
        return Ok(Some(place(plan, row, true)));
    }
    Ok(None)
}

fn write_cursors(
    connection: &Connection,
    plan: &Reconciliation,
    statements: &Statements,
) -> rusqlite::Result<Option<String>> {
    let older = plan.shape == Shape::Older;
    for cursor in &plan.cursors {
        let changed = match (&cursor.from, older) {
            (Some(from), false) => {
                connection.execute(named!("set_cursor"), params![cursor.to, cursor.key, from])?
            }
            (Some(from), true) => {
                connection.execute(named!("set_cursor_older"), params![cursor.to, cursor.key, from])?
            }
            (None, false) => connection.execute(named!("insert_cursor"), params![cursor.to, cursor.key])?,
            (None, true) => {
                connection.execute(named!("insert_cursor_older"), params![cursor.to, cursor.key])?
            }
        };
        if changed != 1 {
            return Ok(Some(cursor.key.clone()));
        }
        if statements.dated {
            let note = if older {
                named!("note_cursor_older")
            } else {
                named!("note_cursor")
            };
            connection.execute(note, params![cursor.key])?;
        }
    }
    Ok(None)
}

/// The row that a query finds, if it finds one.
fn first_row(connection: &Connection, query: &str) -> rusqlite::Result<Option<i64>> {
    connection.query_row(query, [], |row| row.get(0)).optional()
}

/// Where a planned change is: of the agent's own rows, or of the pulled ones.
fn place(plan: &Reconciliation, row: i64, own: bool) -> String {
    let mut changes = plan.changes.iter();
    let change = changes.find(|change| change.place.row == row && change.to.is_some() == own);
    change.map_or_else(|| format!("row {row}"), |change| change.place.to_string())
}

/// Whether a table has these columns.
fn has_columns(connection: &Connection, table: &str, columns: &[&str]) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare(named!("columns"))?;
    let names = statement.query_map([table], |row| row.get::<_, String>(0))?;
    let names: Vec<String> = names.collect::<rusqlite::Result<_>>()?;
    let has = |column: &&str| names.iter().any(|n| n.eq_ignore_ascii_case(column));
    Ok(columns.iter().all(has))
}

/// Numbers come out of SQLite's integers or the log's, so they fit.
fn as_i64(number: Option<u64>) -> Option<i64> {
    number.map(|number| i64::try_from(number).unwrap_or(i64::MAX))
}
