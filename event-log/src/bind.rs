//! The parameters of statements, as each database takes them.

use rusqlite::Statement;
use rusqlite::types::{ToSqlOutput, ValueRef};
use sqlx::Arguments as _;
use sqlx::postgres::PgArguments;

use crate::schema::Table;
use crate::value::{Value, ValueKind};

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

/// Turns rows into one array for each column.
pub(crate) fn array_arguments(table: &Table, rows: Vec<Vec<Value>>) -> Result<PgArguments, sqlx::Error> {
    let mut columns: Vec<Vec<Value>> = table
        .columns
        .iter()
        .map(|_| Vec::with_capacity(rows.len()))
        .collect();
    for row in rows {
        debug_assert_eq!(row.len(), columns.len(), "{}", table.name);
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
    }
    let mut arguments = PgArguments::default();
    for ((_, kind), column) in table.columns.iter().zip(columns) {
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

/// Binds the parameters of a statement, by their numbers.
pub(crate) fn bind(statement: &mut Statement<'_>, parameters: &[Value]) -> rusqlite::Result<()> {
    for (number, parameter) in (1..).zip(parameters) {
        // SQLite numbers `$1`, `$2` as it meets them, PostgreSQL as they say: most statements meet them in order,
        // and for the others the name decides.
        let name = format!("${number}");
        let index = match statement.parameter_name(number) {
            Some(found) if found == name => number,
            _ => statement
                .parameter_index(&name)?
                .ok_or_else(|| rusqlite::Error::InvalidParameterName(name.clone()))?,
        };
        let text;
        let value = match parameter {
            Value::Null => ValueRef::Null,
            Value::Int(v) => ValueRef::Integer(*v),
            Value::Text(v) => ValueRef::Text(v.as_bytes()),
            Value::Bytes(v) => ValueRef::Blob(v),
            Value::TextBytes(v) => ValueRef::Text(v),
            Value::Uuid(v) => {
                text = v.hyphenated().to_string();
                ValueRef::Text(text.as_bytes())
            }
            Value::Time(v) => {
                text = v.to_string();
                ValueRef::Text(text.as_bytes())
            }
            Value::Uuids(_) | Value::Texts(_) => {
                return Err(rusqlite::Error::InvalidParameterName(format!(
                    "${number} is a list"
                )));
            }
        };
        bind_value(statement, index, value)?;
    }
    Ok(())
}

/// Binds one parameter, counted as SQLite does.
pub(crate) fn bind_value(
    statement: &mut Statement<'_>,
    index: usize,
    value: ValueRef<'_>,
) -> rusqlite::Result<()> {
    statement.raw_bind_parameter(index, ToSqlOutput::Borrowed(value))
}
