//! Rows by `COPY … TO STDOUT` in PostgreSQL's binary format
//! (<https://www.postgresql.org/docs/current/sql-copy.html>): a signature of 11 bytes, 4 of flags, a length of 4 and as much that
//! nobody needs; for each row the number of its values in 2 bytes, for each value its length in 4 (-1 for NULL) and its bytes;
//! at the end -1 in 2 bytes. All numbers are big-endian. A driver makes an object of each row of a query, which for many
//! rows costs more than all else that is done with them here.

use std::future::ready;
use std::ops::{ControlFlow, Range};
use std::task::Poll;
use std::thread;

use futures_util::{TryStreamExt as _, poll};
use rusqlite::types::ValueRef;

use crate::cells::RawTable;
use crate::conn::{BREATH, Session};
use crate::error::LogError;
use crate::value::Value;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// The values of a row, in PostgreSQL's binary format.
pub(crate) struct CopiedRow<'a> {
    bytes: &'a [u8],
    /// Where they are; `None` for NULL.
    values: &'a [Option<Range<usize>>],
}

impl<'a> CopiedRow<'a> {
    /// A value; `None` if it is NULL, or there is no such column.
    pub(crate) fn value(&self, column: usize) -> Option<&'a [u8]> {
        self.bytes.get(self.values.get(column)?.clone()?)
    }

    /// Appends some values to the row that is being made.
    pub(crate) fn push_to(&self, table: &mut RawTable, columns: Range<usize>) {
        for column in columns {
            table.push(self.value(column).map_or(ValueRef::Null, ValueRef::Blob));
        }
    }
}

impl Session {
    /// Copies what a statement gives, row by row, to `each`, until that breaks off; the rest is read all the same. The
    /// parameters may be ids and numbers.
    pub(crate) async fn copy_out(
        &mut self,
        doing: &'static str,
        sql: &'static str,
        parameters: &[Value],
        each: &mut dyn FnMut(&CopiedRow<'_>) -> Result<ControlFlow<()>, String>,
    ) -> Result<(), LogError> {
        let refused = |what| LogError::Refused { doing, what };
        let sql = with_values(sql, parameters).map_err(refused)?;
        let sql = format!(
            "COPY (\n{}\n) TO STDOUT (FORMAT binary)",
            self.layout.composed(&sql).as_str()
        );
        let Self {
            connection, watcher, ..
        } = self;
        let mut messages = watcher.watch(doing, &sql, connection.copy_out_raw(&sql)).await?;
        let mut reader = Reader::default();
        let mut has_read = false;
        let mut outcome = Ok(ControlFlow::Continue(()));
        loop {
            let message = match poll!(messages.try_next()) {
                Poll::Ready(message) => watcher.watch(doing, &sql, ready(message)).await?,
                Poll::Pending => {
                    if std::mem::take(&mut has_read) {
                        thread::sleep(BREATH);
                    }
                    watcher.watch(doing, &sql, messages.try_next()).await?
                }
            };
            let Some(message) = message else { break };
            has_read = true;
            if matches!(outcome, Ok(ControlFlow::Continue(()))) {
                outcome = reader.take(&message, each);
            }
        }
        match outcome {
            Ok(ControlFlow::Continue(())) if !reader.has_ended => {
                Err(refused("the copy ends too early".into()))
            }
            outcome => outcome.map(drop).map_err(refused),
        }
    }
}

/// A statement with the values of its parameters.
fn with_values(sql: &str, parameters: &[Value]) -> Result<String, String> {
    let mut sql = sql.to_owned();
    for (at, parameter) in parameters.iter().enumerate().rev() {
        let value = match parameter {
            Value::Uuid(id) => format!("'{id}'::uuid"),
            Value::Int(number) => format!("'{number}'::bigint"),
            _ => return Err("a copy takes ids and numbers alone".into()),
        };
        sql = sql.replace(&format!("${}", at + 1), &value);
    }
    Ok(sql)
}

/// Makes rows of bytes, however those are cut.
#[derive(Default)]
struct Reader {
    /// What is left of the messages before.
    rest: Vec<u8>,
    has_begun: bool,
    has_ended: bool,
    values: Vec<Option<Range<usize>>>,
}

impl Reader {
    fn take(
        &mut self,
        message: &[u8],
        each: &mut dyn FnMut(&CopiedRow<'_>) -> Result<ControlFlow<()>, String>,
    ) -> Result<ControlFlow<()>, String> {
        let rest = std::mem::take(&mut self.rest);
        let joined;
        let bytes = match rest.is_empty() {
            true => message,
            false => {
                joined = [&rest, message].concat();
                &joined
            }
        };
        let mut at = 0;
        while at < bytes.len() {
            let Some(length) = self.next(&bytes[at..])? else {
                self.rest = bytes[at..].to_vec();
                break;
            };
            if !self.values.is_empty() {
                let row = CopiedRow {
                    bytes: &bytes[at..at + length],
                    values: &self.values,
                };
                if each(&row)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            at += length;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// How long what comes first is, and if it is a row, where its values are; `None` if it is not all there.
    fn next(&mut self, bytes: &[u8]) -> Result<Option<usize>, String> {
        self.values.clear();
        if !self.has_begun {
            let Some((head, more)) = bytes.split_at_checked(SIGNATURE.len() + 8) else {
                return Ok(None);
            };
            let length = number(&head[SIGNATURE.len() + 4..]).and_then(|n| usize::try_from(n).ok());
            let Some(length) = length.filter(|_| head.starts_with(SIGNATURE)) else {
                return Err("no copy in binary format".into());
            };
            if more.len() < length {
                return Ok(None);
            }
            self.has_begun = true;
            return Ok(Some(head.len() + length));
        }
        let Some(count) = bytes.first_chunk().map(|count| i16::from_be_bytes(*count)) else {
            return Ok(None);
        };
        if self.has_ended || count == 0 || count < -1 {
            return Err("a row that is none".into());
        }
        let mut at = 2;
        if count == -1 {
            self.has_ended = true;
            return Ok(Some(at));
        }
        for _ in 0..count {
            let Some(length) = number(&bytes[at..]) else {
                return Ok(None);
            };
            at += 4;
            self.values.push(match usize::try_from(length) {
                Ok(length) => Some(at..at + length),
                Err(_) if length == -1 => None,
                Err(_) => return Err("a value of no length".into()),
            });
            at += usize::try_from(length).unwrap_or(0);
            if at > bytes.len() {
                return Ok(None);
            }
        }
        Ok(Some(at))
    }
}

fn number(bytes: &[u8]) -> Option<i32> {
    bytes.first_chunk().map(|number| i32::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows, of three values and of one, as a server sends them.
    fn copied() -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 3, 7, 7, 7]);
        bytes.extend([0, 3, 0, 0, 0, 2, b'a', b'b', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend([0, 1, 0, 0, 0, 1, b'c']);
        bytes.extend([0xff, 0xff]);
        bytes
    }

    /// The rows as text, if they come in messages of so many bytes.
    fn read(bytes: &[u8], size: usize) -> Result<Vec<String>, String> {
        let (mut reader, mut found) = (Reader::default(), Vec::new());
        for message in bytes.chunks(size) {
            let _ = reader.take(message, &mut |row| {
                let values = (0..row.values.len()).map(|at| row.value(at).map(String::from_utf8_lossy));
                found.push(format!("{:?}", values.collect::<Vec<_>>()));
                Ok(ControlFlow::Continue(()))
            })?;
        }
        match reader.has_ended {
            true => Ok(found),
            false => Err("no end".into()),
        }
    }

    #[test]
    fn rows_are_read_however_they_are_cut() {
        let bytes = copied();
        for size in 1..=bytes.len() {
            let rows = read(&bytes, size).unwrap();
            assert_eq!(
                rows,
                ["[Some(\"ab\"), None, Some(\"\")]", "[Some(\"c\")]"],
                "{size}"
            );
        }
    }

    #[test]
    fn what_is_no_copy_is_refused() {
        let bytes = copied();
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end], 7).is_err(), "{end}");
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            bytes
        };
        let row = SIGNATURE.len() + 11;
        for (what, bytes) in [
            ("another signature", with(3, b'X')),
            ("a negative length", with(SIGNATURE.len() + 4, 0x80)),
            ("a count below -1", with(row, 0xf0)),
            ("no values", with(row + 1, 0)),
            ("a value of length -2", with(row + 11, 0xfe)),
            ("something behind the end", [bytes.as_slice(), &[0, 1]].concat()),
        ] {
            assert!(read(&bytes, 5).is_err(), "{what}");
        }
    }

    #[test]
    fn only_ids_and_numbers_become_part_of_a_statement() {
        let id = uuid::Uuid::from_u128(5);
        let sql = with_values("SELECT $1, $2, $1", &[Value::Uuid(id), Value::Int(-3)]);
        assert_eq!(
            sql.unwrap(),
            format!("SELECT '{id}'::uuid, '-3'::bigint, '{id}'::uuid")
        );
        assert!(with_values("SELECT $1", &[Value::Text("'; DROP".into())]).is_err());
    }
}
