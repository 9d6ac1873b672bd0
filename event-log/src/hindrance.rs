//! What a repair will meet in a database, looked at before it begins: columns that somebody added and that must be
//! filled, triggers and rules of somebody's, rights that the role lacks, row security, tables that are none.

use std::ops::ControlFlow;

use crate::conn::Conn;
use crate::error::LogError;
use crate::schema::{
    AGENT_SIGNING_KEYS, ENTITY_VERSIONS, PROJECTION_CHECKPOINTS, Table, VES_COMMAND_DEDUPE, VES_COMMITMENTS,
    VES_EVENTS, VES_SEQUENCE_COUNTERS, VES_SEQUENCER_RECEIPTS,
};
use crate::sql::{postgres, quoted};
use crate::value::{Columns, Value};
use crate::view::View;

/// What stands in the way of a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum HindranceKind {
    /// A table is a view or of a kind that cannot be relied on to take rows.
    Table,
    /// A column must be filled that this program does not know, or cannot be filled that it writes.
    Column,
    /// A trigger or rule of somebody's acts on what is written.
    Trigger,
    /// The role lacks a right that every repair needs.
    Right,
    /// The role lacks a right that some repairs need.
    RightForSome,
    /// Row security hides rows from the role, or refuses them.
    RowSecurity,
}

/// Something that stands in the way of a repair.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hindrance {
    /// What it is.
    pub kind: HindranceKind,
    /// What is there, and what follows, as a sentence without its end.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// A table that repairs write, what every repair needs on it, and what some need.
struct WrittenTable {
    table: &'static Table,
    always: &'static [&'static str],
    sometimes: &'static [&'static str],
}

const fn written(
    table: &'static Table,
    always: &'static [&'static str],
    sometimes: &'static [&'static str],
) -> WrittenTable {
    WrittenTable {
        table,
        always,
        sometimes,
    }
}

/// What an undo takes back.
static TAKEN_BACK: [WrittenTable; 8] = [
    // Rows that a proof may refer to are locked, which takes the right to update.
    written(&VES_EVENTS, &["SELECT", "UPDATE", "DELETE"], &[]),
    written(&VES_SEQUENCER_RECEIPTS, &["SELECT", "DELETE"], &["INSERT"]),
    written(
        &VES_SEQUENCE_COUNTERS,
        &["SELECT", "INSERT", "UPDATE"],
        &["DELETE"],
    ),
    written(&VES_COMMAND_DEDUPE, &["SELECT", "DELETE"], &["INSERT"]),
    written(&ENTITY_VERSIONS, &["SELECT", "UPDATE", "DELETE"], &[]),
    written(&VES_COMMITMENTS, &["SELECT", "DELETE"], &["INSERT", "UPDATE"]),
    written(&AGENT_SIGNING_KEYS, &["SELECT"], &["DELETE"]),
    written(&PROJECTION_CHECKPOINTS, &["SELECT"], &["UPDATE"]),
];

/// What a repair writes.
static WRITTEN: [WrittenTable; 8] = [
    written(&VES_EVENTS, &["SELECT", "INSERT"], &["UPDATE"]),
    written(&VES_SEQUENCER_RECEIPTS, &["SELECT", "INSERT"], &["DELETE"]),
    written(&VES_SEQUENCE_COUNTERS, &["SELECT", "INSERT", "UPDATE"], &[]),
    written(&VES_COMMAND_DEDUPE, &["SELECT", "INSERT"], &["DELETE"]),
    written(&ENTITY_VERSIONS, &["SELECT", "INSERT", "UPDATE"], &[]),
    written(&VES_COMMITMENTS, &["SELECT", "INSERT"], &["DELETE"]),
    written(&AGENT_SIGNING_KEYS, &["SELECT"], &["INSERT"]),
    written(&PROJECTION_CHECKPOINTS, &["SELECT"], &["UPDATE"]),
];

const DOING: &str = "looking at what a repair will meet";

impl View {
    /// What a repair of this log will meet that stands in its way. The log's level is not among it: see
    /// [`Log::check_writable`](crate::Log::check_writable). A snapshot has nothing of the kind.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn hindrances(&mut self) -> Result<Vec<Hindrance>, LogError> {
        self.hindrances_of(&WRITTEN).await
    }

    /// The same for taking a repair back. Columns that must be filled do not hinder that.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn undo_hindrances(&mut self) -> Result<Vec<Hindrance>, LogError> {
        let mut found = self.hindrances_of(&TAKEN_BACK).await?;
        found.retain(|hindrance| hindrance.kind != HindranceKind::Column);
        Ok(found)
    }

    async fn hindrances_of(&mut self, written: &'static [WrittenTable]) -> Result<Vec<Hindrance>, LogError> {
        let Conn::Postgres(session) = &self.conn else {
            return Ok(Vec::new());
        };
        let schema = session.layout.schema.clone();
        let texts = |texts: Vec<String>| Value::Texts(texts);
        let tables = written.iter().map(|w| w.table.name.to_owned()).collect();
        let known = written.iter().flat_map(|w| {
            let columns = w.table.columns.iter();
            columns.map(|(column, _)| format!("{}.{column}", w.table.name))
        });
        let rights = written.iter().flat_map(|w| {
            let all = w.always.iter().chain(w.sometimes);
            all.map(|right| (w.table.name.to_owned(), (*right).to_owned()))
        });
        let (of, rights): (Vec<String>, Vec<String>) = rights.unzip();
        let parameters = [texts(tables), texts(known.collect()), texts(of), texts(rights)];
        let (mut found, mut failed) = (Vec::new(), None);
        self.conn
            .query(DOING, postgres!("hindrances"), &parameters, &mut |row| {
                match read(Columns::new(row), &schema, written) {
                    Ok(hindrance) => found.push(hindrance),
                    Err(what) => failed = Some(what),
                }
                ControlFlow::Continue(())
            })
            .await?;
        match failed {
            None => Ok(found),
            Some(what) => Err(LogError::Refused { doing: DOING, what }),
        }
    }
}

fn read(mut c: Columns<'_>, schema: &str, written: &[WrittenTable]) -> Result<Hindrance, String> {
    let kind = c.text("kind")?;
    let relation = c.text("relation")?;
    let name = c.text("name")?;
    let detail = c.optional_text("detail")?.unwrap_or("");
    let table = format!("{}.{relation}", quoted(schema));
    let column = format!("column {} ({detail}) of {table}", quoted(name));
    let (kind, what, remedy) = match kind {
        "table" => (
            HindranceKind::Table,
            format!("{table} is a {name}, and rows that are written to it may go elsewhere or nowhere"),
            "repair the log where the table itself is".to_owned(),
        ),
        "column" => (
            HindranceKind::Column,
            format!(
                "{column} must be filled and has no default: every row that a repair inserts there is refused"
            ),
            format!(
                "ALTER TABLE {table} ALTER COLUMN {0} SET DEFAULT …, or ALTER COLUMN {0} DROP NOT NULL, while the \
                 repair runs",
                quoted(name)
            ),
        ),
        "generated" => (
            HindranceKind::Column,
            format!("{column} is computed by the database and cannot be written"),
            "repair the log in a database in which it is a column of its own".to_owned(),
        ),
        "trigger" => (
            HindranceKind::Trigger,
            format!(
                "trigger {} of {table} is not the sequencer's and acts on what is written: {detail}",
                quoted(name)
            ),
            format!(
                "ALTER TABLE {table} DISABLE TRIGGER {} while the repair runs, or let it act with --with-triggers (a \
                 change of what was written is found before the commit)",
                quoted(name)
            ),
        ),
        "rule" => (
            HindranceKind::Trigger,
            format!(
                "rule {} of {table} is not the sequencer's and acts on what is written: {detail}",
                quoted(name)
            ),
            format!(
                "ALTER TABLE {table} DISABLE RULE {} while the repair runs, or let it act with --with-triggers (a change \
                 of what was written is found before the commit)",
                quoted(name)
            ),
        ),
        "row security" => (
            HindranceKind::RowSecurity,
            format!(
                "row security of {table} applies to role {}: rows may be hidden or refused",
                quoted(name)
            ),
            format!(
                "connect as the owner of {table}, or ALTER ROLE {} BYPASSRLS",
                quoted(name)
            ),
        ),
        "temporary" => (
            HindranceKind::Right,
            format!("role {} may not make temporary tables", quoted(detail)),
            format!(
                "GRANT TEMPORARY ON DATABASE {} TO {}",
                quoted(relation),
                quoted(detail)
            ),
        ),
        _ => {
            let some = written
                .iter()
                .any(|w| w.table.name == relation && w.sometimes.contains(&name));
            let (kind, whose) = if some {
                (HindranceKind::RightForSome, "which some repairs need")
            } else {
                (HindranceKind::Right, "which a repair needs")
            };
            let what = format!("role {} lacks {name} on {table}, {whose}", quoted(detail));
            (
                kind,
                what,
                format!("GRANT {name} ON {table} TO {}", quoted(detail)),
            )
        }
    };
    Ok(Hindrance { kind, what, remedy })
}
