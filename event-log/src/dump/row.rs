//! A row of `COPY … FROM stdin` in text format.
//! <https://www.postgresql.org/docs/current/sql-copy.html>

use uuid::Uuid;

use crate::conn::MAX_VALUE;
use crate::schema::Table;
use crate::value::{Value, ValueKind};

/// Columns that may be empty: whoever copies a part of a table by hand may leave them out.
const MAY_BE_EMPTY: [&str; 10] = [
    "sequencer_signature",
    "command_id",
    "base_version",
    "chain_id",
    "chain_tx_hash",
    "chain_block_number",
    "anchored_at",
    "valid_from",
    "valid_to",
    "revoked_at",
];

/// What it means that a dump lacks a column: its sequencer was of an older level, or it may be empty. A dump does not say
/// which level it is of.
fn absent(table: &Table, column: &str) -> Option<Value> {
    let older = table.absent.iter().find(|absent| absent.column == column);
    let empty = MAY_BE_EMPTY.contains(&column).then_some(Value::Null);
    older.map(crate::schema::Absent::value).or(empty)
}

/// Where the columns of a table stand in the rows of a dump.
pub(super) struct Fields {
    /// For each column of the table its name, its kind, and its place, or what its absence means.
    columns: Vec<(&'static str, ValueKind, Result<usize, Value>)>,
    /// How many fields a row has.
    count: usize,
}

impl Fields {
    /// Finds the columns of a table among those of a dump, in any order and with others between them.
    ///
    /// # Errors
    /// The columns that the table cannot do without.
    pub(super) fn of(table: &'static Table, columns: &[String]) -> Result<Self, Vec<&'static str>> {
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for (name, kind) in table.columns {
            match (
                columns.iter().position(|column| column == name),
                absent(table, name),
            ) {
                (Some(at), _) => found.push((*name, *kind, Ok(at))),
                (None, Some(value)) => found.push((*name, *kind, Err(value))),
                (None, None) => missing.push(*name),
            }
        }
        if missing.is_empty() {
            Ok(Self {
                columns: found,
                count: columns.len(),
            })
        } else {
            Err(missing)
        }
    }

    /// Reads a row: the values of the table's columns.
    ///
    /// # Errors
    /// What is wrong with it, and in which column.
    pub(super) fn read(&self, line: &[u8]) -> Result<Vec<Value>, String> {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b'\t').collect();
        if fields.len() != self.count {
            return Err(format!("has {} fields instead of {}", fields.len(), self.count));
        }
        let mut values = Vec::with_capacity(self.columns.len());
        let mut length = 0;
        for (name, kind, place) in &self.columns {
            let value = match place {
                Err(absent) => absent.clone(),
                Ok(at) => field(fields[*at], *kind, name).map_err(|what| format!("{name}: {what}"))?,
            };
            length += match &value {
                Value::Text(text) => text.len(),
                Value::Bytes(bytes) => bytes.len(),
                _ => 40,
            };
            values.push(value);
        }
        if length > MAX_VALUE as usize {
            return Err(format!("is longer than {} MiB", MAX_VALUE >> 20));
        }
        Ok(values)
    }
}

fn field(raw: &[u8], kind: ValueKind, column: &str) -> Result<Value, String> {
    if raw == b"\\N" {
        return Ok(Value::Null);
    }
    let bytes = unescape(raw)?;
    if kind == ValueKind::Bytes {
        return bytea(&bytes).map(Value::Bytes);
    }
    let text = String::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
    match kind {
        ValueKind::Uuid => Uuid::try_parse(&text).map(Value::Uuid).map_err(|e| e.to_string()),
        ValueKind::Int => text.parse().map(Value::Int).map_err(|_| not("a number", &text)),
        ValueKind::Time => time(&text, column),
        _ => Ok(Value::Text(text)),
    }
}

/// A time as `pg_dump` renders it. An infinite end of a window is none.
fn time(text: &str, column: &str) -> Result<Value, String> {
    let bound = matches!(column, "valid_from" | "valid_to" | "expires_at" | "grace_until");
    if bound && matches!(text, "infinity" | "-infinity") {
        return Ok(Value::Null);
    }
    text.parse().map(Value::Time).map_err(|_| not("a time", text))
}

fn not(what: &str, text: &str) -> String {
    format!("not {what}: {:?}", text.chars().take(60).collect::<String>())
}

/// Undoes the escapes of `COPY`.
fn unescape(raw: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        bytes.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(&escaped) = rest.first() else {
            return Err("ends with half an escape".into());
        };
        let digits = |radix: u32, from: usize, most: usize| {
            let is_digit = |byte: &&u8| char::from(**byte).is_digit(radix);
            rest[from..].iter().take(most).take_while(is_digit).count()
        };
        let (byte, used) = match escaped {
            b'b' => (0x08, 1),
            b'f' => (0x0c, 1),
            b'n' => (b'\n', 1),
            b'r' => (b'\r', 1),
            b't' => (b'\t', 1),
            b'v' => (0x0b, 1),
            b'x' if digits(16, 1, 2) > 0 => {
                let count = digits(16, 1, 2);
                (number(&rest[1..=count], 16), 1 + count)
            }
            b'0'..=b'7' => {
                let count = digits(8, 0, 3);
                (number(&rest[..count], 8), count)
            }
            other => (other, 1),
        };
        bytes.push(byte);
        rest = &rest[used..];
    }
    bytes.extend_from_slice(rest);
    Ok(bytes)
}

/// The value of a few digits, as a byte.
fn number(digits: &[u8], radix: u32) -> u8 {
    let add = |sum: u32, digit: &u8| sum * radix + char::from(*digit).to_digit(radix).unwrap_or(0);
    (digits.iter().fold(0, add) & 0xff) as u8
}

/// A `bytea`, in either of the forms that PostgreSQL renders.
fn bytea(text: &[u8]) -> Result<Vec<u8>, String> {
    if let Some(digits) = text.strip_prefix(b"\\x") {
        return hex::decode(digits).map_err(|e| format!("not bytes: {e}"));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match (byte, after) {
            (b'\\', [b'\\', after @ ..]) => {
                bytes.push(b'\\');
                after
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                bytes.push(number(&[*a, *b, *c], 8));
                after
            }
            (b'\\', _) => return Err("not bytes: half an escape".into()),
            _ => {
                bytes.push(byte);
                after
            }
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        for (raw, expected) in [
            (&b"plain"[..], &b"plain"[..]),
            (b"a\\tb\\nc\\\\d", b"a\tb\nc\\d"),
            (b"\\x41\\x4\\101\\7z", b"A\x04A\x07z"),
            (b"\\q\\xg", b"qxg"),
        ] {
            assert_eq!(unescape(raw).unwrap(), expected);
        }
        assert!(unescape(b"half\\").is_err());
    }

    #[test]
    fn bytes_in_both_forms() {
        assert_eq!(bytea(b"\\x00ff10").unwrap(), [0, 255, 16]);
        assert_eq!(bytea(b"a\\\\b\\000\\377").unwrap(), b"a\\b\x00\xff");
        for bad in [&b"\\x0"[..], b"\\xzz", b"\\9", b"half\\"] {
            assert!(bytea(bad).is_err());
        }
    }

    #[test]
    fn infinity_bounds_nothing() {
        assert_eq!(time("infinity", "valid_to").unwrap(), Value::Null);
        assert!(time("infinity", "sequenced_at").is_err());
        assert!(time("0044-03-15 00:00:00+00 BC", "created_at").is_err());
    }
}
