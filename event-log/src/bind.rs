//! The parameters of statements, as each database takes them.

use rusqlite::Statement;
use rusqlite::types::{ToSqlOutput, ValueRef};
use sqlx::Arguments as _;
use sqlx::postgres::PgArguments;

use crate::value::{Cell, Value, ValueKind};

/// The parameters of a statement for PostgreSQL.
pub(crate) fn postgres_arguments(parameters: &[Value]) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = PgArguments::default();
    for parameter in parameters {
        match parameter {
            // Only ids may be left out of a query.
            Value::Null => arguments.add(None::<uuid::Uuid>),
            Value::Uuid(v) => arguments.add(v),
            Value::Int(v) => arguments.add(v),
            Value::Text(v) => arguments.add(v),
            Value::Bytes(v) | Value::TextBytes(v) => arguments.add(v),
            Value::Time(v) => arguments.add(v.to_string()),
            Value::Uuids(v) => arguments.add(v),
            Value::Texts(v) => arguments.add(v),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// Turns rows with columns of these kinds into one array for each column.
pub(crate) fn array_arguments(
    kinds: impl Iterator<Item = ValueKind> + Clone,
    rows: Vec<Vec<Value>>,
) -> Result<PgArguments, sqlx::Error> {
    let mut columns: Vec<Vec<Value>> = kinds.clone().map(|_| Vec::with_capacity(rows.len())).collect();
    for row in rows {
        debug_assert_eq!(row.len(), columns.len());
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
    }
    let mut arguments = PgArguments::default();
    for (kind, column) in kinds.zip(columns) {
        let values = column.into_iter();
        match kind {
            ValueKind::Uuid => arguments.add(
                values
                    .map(|v| if let Value::Uuid(v) = v { Some(v) } else { None })
                    .collect::<Vec<_>>(),
            ),
            ValueKind::Int => arguments.add(
                values
                    .map(|v| if let Value::Int(v) = v { Some(v) } else { None })
                    .collect::<Vec<_>>(),
            ),
            ValueKind::Bytes => arguments.add(
                values
                    .map(|v| if let Value::Bytes(v) = v { Some(v) } else { None })
                    .collect::<Vec<_>>(),
            ),
            ValueKind::Text | ValueKind::Json | ValueKind::Time => arguments.add(
                values
                    .map(|v| match v {
                        Value::Text(v) => Some(v),
                        Value::Time(v) => Some(v.to_string()),
                        _ => None,
                    })
                    .collect::<Vec<_>>(),
            ),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// Binds the parameters of a statement, by their numbers: SQLite numbers `$1`, `$2` as it meets them, PostgreSQL as they say,
/// and all statements meet them in order.
pub(crate) fn bind(statement: &mut Statement<'_>, parameters: &[Value]) -> rusqlite::Result<()> {
    for (number, parameter) in (1..).zip(parameters) {
        debug_assert_eq!(
            statement.parameter_name(number),
            Some(format!("${number}").as_str())
        );
        match parameter {
            Value::Null => bind_cell(statement, number, None)?,
            Value::Int(v) => bind_cell(statement, number, Some(Cell::Int(*v)))?,
            Value::Text(v) => bind_cell(statement, number, Some(Cell::Text(v)))?,
            Value::Bytes(v) => bind_cell(statement, number, Some(Cell::Bytes(v)))?,
            Value::Uuid(v) => bind_cell(statement, number, Some(Cell::Uuid(*v)))?,
            Value::Time(v) => bind_cell(statement, number, Some(Cell::Time(*v)))?,
            Value::TextBytes(v) => bind_value(statement, number, ValueRef::Text(v))?,
            Value::Uuids(_) | Value::Texts(_) => {
                return Err(rusqlite::Error::InvalidParameterName(format!(
                    "${number} is a list"
                )));
            }
        }
    }
    Ok(())
}

/// Binds a value that was read as a parameter, as a snapshot has it.
pub(crate) fn bind_cell(
    statement: &mut Statement<'_>,
    index: usize,
    cell: Option<Cell<'_>>,
) -> rusqlite::Result<()> {
    let mut uuid = [0; uuid::fmt::Hyphenated::LENGTH];
    let (canonical, written);
    let value = match cell {
        None => ValueRef::Null,
        Some(Cell::Int(v)) => ValueRef::Integer(v),
        Some(Cell::Text(v)) => ValueRef::Text(v.as_bytes()),
        Some(Cell::Bytes(v)) => ValueRef::Blob(v),
        Some(Cell::Uuid(v)) => ValueRef::Text(v.hyphenated().encode_lower(&mut uuid).as_bytes()),
        Some(Cell::Time(v)) => match v.canonical() {
            Some(text) => {
                canonical = text;
                ValueRef::Text(&canonical)
            }
            None => {
                written = v.to_string();
                ValueRef::Text(written.as_bytes())
            }
        },
    };
    bind_value(statement, index, value)
}

/// Binds one parameter, counted as SQLite does.
pub(crate) fn bind_value(
    statement: &mut Statement<'_>,
    index: usize,
    value: ValueRef<'_>,
) -> rusqlite::Result<()> {
    statement.raw_bind_parameter(index, ToSqlOutput::Borrowed(value))
}
