//! Filling tables of PostgreSQL fast: rows go into a temporary table by COPY in the binary format, and from there into
//! their table by one INSERT … SELECT a group. That is one message a group instead of one a row, and the server neither
//! parses a value nor looks a row up by its text.
//!
//! The temporary table has columns of its own types (`sql/event-log/postgres/stage_*.sql`), so what goes over the wire
//! does not depend on whether a column of the log is `int2`, `int4` or `int8`; the INSERT converts as any assignment
//! does, and constraints and triggers have their say there. It is gone when the transaction ends, however it ends.
//!
//! The format: <https://www.postgresql.org/docs/15/sql-copy.html#id-1.9.3.55.9.4>.

use sqlx::PgConnection;
use sqlx::error::DatabaseError;
use sqlx::postgres::PgCopyIn;
use uuid::Uuid;
use ves::Timestamp;

use crate::conn::{Conn, Session};
use crate::error::LogError;
use crate::schema::{Table, VES_COMMAND_DEDUPE, VES_EVENTS, VES_SEQUENCER_RECEIPTS};
use crate::sql::postgres;
use crate::value::{Kind, POSTGRES_EPOCH, Value};
use crate::waiting::Watcher;

/// So many rows, or about so many bytes, make a group: few enough for the temporary table to stay in memory
/// (`temp_buffers` is 8 MiB by default), enough for the messages around it not to count.
const GROUP_ROWS: usize = 8192;
const GROUP_BYTES: usize = 8 << 20;

/// The COPY is sent in pieces of about this many bytes, so that the server reads the first while we write the next.
const PIECE: usize = 64 << 10;

/// A table that is filled by way of a temporary one.
pub(crate) struct Stage {
    pub(crate) table: &'static Table,
    create: &'static str,
    copy: &'static str,
    insert: &'static str,
    /// Inserts what is not there yet. Looking first costs as much again as inserting, so this is for when `insert`
    /// was refused.
    add: Option<&'static str>,
    clear: &'static str,
}

macro_rules! stage {
    ($table:expr, $name:literal, $add:expr) => {
        Stage {
            add: $add,
            table: &$table,
            create: postgres!($name),
            copy: include_str!(concat!("../../sql/event-log/postgres/", $name, "_copy.sql")),
            insert: include_str!(concat!("../../sql/event-log/postgres/", $name, "_insert.sql")),
            clear: include_str!(concat!("../../sql/event-log/postgres/", $name, "_clear.sql")),
        }
    };
}

pub(crate) static EVENTS: Stage = stage!(VES_EVENTS, "stage_ves_events", None);
pub(crate) static RECEIPTS: Stage = stage!(VES_SEQUENCER_RECEIPTS, "stage_ves_sequencer_receipts", None);
pub(crate) static DEDUPE: Stage = stage!(
    VES_COMMAND_DEDUPE,
    "stage_ves_command_dedupe",
    Some(postgres!("stage_ves_command_dedupe_add"))
);

/// Why rows could not be inserted: which of those given the database refuses, if it is about one of them.
pub(crate) struct NotInserted {
    pub(crate) row: Option<usize>,
    pub(crate) error: Box<LogError>,
}

impl From<LogError> for NotInserted {
    fn from(error: LogError) -> Self {
        Self {
            row: None,
            error: Box::new(error),
        }
    }
}

/// What makes a row of a value.
pub(crate) type MakeRow<T> = dyn Fn(&T) -> Result<Vec<Value>, String> + Sync;

/// The temporary tables that a transaction has made.
#[derive(Default)]
pub(crate) struct Staging {
    made: Vec<&'static str>,
    /// Some rows were there already: more may be.
    add: bool,
}

impl Staging {
    /// Inserts a row for each value; says how many are new. After an error the transaction is only good for being
    /// rolled back.
    pub(crate) async fn insert<T: Sync>(
        &mut self,
        conn: &mut Conn,
        doing: &'static str,
        stage: &'static Stage,
        values: &[T],
        row: &MakeRow<T>,
    ) -> Result<u64, NotInserted> {
        if values.is_empty() {
            return Ok(0);
        }
        if !self.made.contains(&stage.table.name) {
            conn.run(doing, stage.create).await?;
            self.made.push(stage.table.name);
        }
        let (mut done, mut inserted) = (0, 0);
        while done < values.len() {
            conn.run(doing, postgres!("stage_savepoint")).await?;
            let group = &values[done..values.len().min(done + GROUP_ROWS)];
            let mut taken = 0;
            let insert = stage.add.filter(|_| self.add).unwrap_or(stage.insert);
            let mut put_in = put(conn, doing, stage, insert, group, GROUP_BYTES, row, &mut taken).await;
            if let (Some(add), Err(NotInserted { row: None, error })) = (stage.add, &put_in)
                && !self.add
                && may_be_of_a_row(error)
            {
                self.add = true;
                conn.run(doing, postgres!("stage_rollback")).await?;
                put_in = put(conn, doing, stage, add, group, GROUP_BYTES, row, &mut taken).await;
            }
            match put_in {
                Ok(new) => inserted += new,
                Err(NotInserted { row: Some(at), error }) => {
                    return Err(NotInserted {
                        row: Some(done + at),
                        error,
                    });
                }
                Err(NotInserted { error, .. }) if may_be_of_a_row(&error) => {
                    // All that was sent may be the cause.
                    let group = if taken > 0 { &group[..taken] } else { group };
                    let found = first_refused(conn, doing, stage, group, row).await?;
                    return Err(match found {
                        Some((at, error)) => NotInserted {
                            row: Some(done + at),
                            error: Box::new(error),
                        },
                        None => NotInserted { row: None, error },
                    });
                }
                Err(other) => return Err(other),
            }
            conn.run(doing, stage.clear).await?;
            done += taken;
        }
        Ok(inserted)
    }
}

/// Sends values until about so many bytes are sent, at least one, and inserts what arrived. `taken` says how many
/// were sent.
#[expect(
    clippy::too_many_arguments,
    reason = "one statement more than there are ideas"
)]
async fn put<T: Sync>(
    conn: &mut Conn,
    doing: &'static str,
    stage: &'static Stage,
    insert: &'static str,
    values: &[T],
    bytes: usize,
    row: &MakeRow<T>,
    taken: &mut usize,
) -> Result<u64, NotInserted> {
    let mut copy = CopyIn::begin(conn, doing, stage.copy).await?;
    *taken = 0;
    for value in values {
        let values = match row(value) {
            Ok(values) => values,
            Err(what) => {
                let (row, error) = (Some(*taken), Box::new(LogError::Refused { doing, what }));
                copy.give_up().await?;
                return Err(NotInserted { row, error });
            }
        };
        let line = Value::Int(i64::try_from(*taken).unwrap_or(i64::MAX));
        let kinds = std::iter::once(Kind::Int).chain(stage.table.columns.iter().map(|(_, kind)| *kind));
        if let Err(what) = copy.row(kinds, std::iter::once(&line).chain(&values)) {
            let (row, error) = (Some(*taken), Box::new(LogError::Refused { doing, what }));
            copy.give_up().await?;
            return Err(NotInserted { row, error });
        }
        *taken += 1;
        copy.send_pieces().await?;
        if copy.bytes >= bytes {
            break;
        }
    }
    let last = *taken as i64 - 1;
    copy.finish().await?;
    Ok(conn.execute(doing, insert, &[0_i64.into(), last.into()]).await?)
}

/// Which of these values is the first that the database refuses, and why. What comes before it is inserted.
async fn first_refused<T: Sync>(
    conn: &mut Conn,
    doing: &'static str,
    stage: &'static Stage,
    values: &[T],
    row: &MakeRow<T>,
) -> Result<Option<(usize, LogError)>, LogError> {
    conn.run(doing, postgres!("stage_rollback")).await?;
    // Those before `low` are in, and one of those below `high` is refused.
    let (mut low, mut high) = (0, values.len());
    let mut refused = None;
    while low < high {
        let middle = (low + (high - low) / 2).max(low + 1);
        let insert = stage.add.unwrap_or(stage.insert);
        let values = &values[low..middle];
        match put(conn, doing, stage, insert, values, usize::MAX, row, &mut 0).await {
            Ok(_) => {
                conn.run(doing, stage.clear).await?;
                conn.run(doing, postgres!("stage_savepoint")).await?;
                low = middle;
            }
            Err(NotInserted { row: Some(at), error }) => return Ok(Some((low + at, *error))),
            Err(NotInserted { error, .. }) => {
                conn.run(doing, postgres!("stage_rollback")).await?;
                if middle == low + 1 {
                    return Ok(Some((low, *error)));
                }
                refused = Some(*error);
                high = middle;
            }
        }
    }
    // Each half went in by itself: then it was not about one row.
    Ok(refused.map(|error| (low, error)))
}

/// Whether an error can come from what a row holds, rather than from locks, rights or the connection.
fn may_be_of_a_row(error: &LogError) -> bool {
    match error {
        LogError::Refused { .. } => true,
        // Limits (an index row that is too large, say), and what a trigger raises.
        LogError::Postgres { error, .. } => error
            .as_database_error()
            .and_then(DatabaseError::code)
            .is_some_and(|code| ["44", "54", "P0"].iter().any(|class| code.starts_with(class))),
        _ => false,
    }
}

/// Sends the entities whose versions are to be raised to where `raise_entity_versions.sql` finds them.
pub(crate) async fn stage_entities<'a>(
    conn: &mut Conn,
    doing: &'static str,
    entities: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), LogError> {
    conn.run(doing, postgres!("stage_entities")).await?;
    let mut copy = CopyIn::begin(conn, doing, postgres!("stage_entities_copy")).await?;
    for (entity_type, entity_id) in entities {
        let values: [Value; 2] = [entity_type.into(), entity_id.into()];
        if let Err(what) = copy.row([Kind::Text; 2].into_iter(), values.iter()) {
            copy.give_up().await?;
            return Err(LogError::Refused { doing, what });
        }
        copy.send_pieces().await?;
    }
    copy.finish().await?;
    conn.run(doing, postgres!("stage_entities_analyze")).await
}

/// Begins every binary COPY: the signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Ends every binary COPY.
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

/// A COPY into a table that is under way.
struct CopyIn<'a> {
    copy: PgCopyIn<&'a mut PgConnection>,
    watcher: &'a Watcher,
    sql: &'static str,
    doing: &'static str,
    piece: Vec<u8>,
    /// How many were sent or are about to be.
    bytes: usize,
}

impl<'a> CopyIn<'a> {
    async fn begin(conn: &'a mut Conn, doing: &'static str, sql: &'static str) -> Result<Self, LogError> {
        let Conn::Postgres(session) = conn else {
            let what = "a snapshot has no COPY".into();
            return Err(LogError::Refused { doing, what });
        };
        let Session {
            connection, watcher, ..
        } = &mut **session;
        let copy = watcher.watch(doing, sql, connection.copy_in_raw(sql)).await?;
        let mut piece = Vec::with_capacity(2 * PIECE);
        piece.extend_from_slice(HEADER);
        Ok(Self {
            copy,
            watcher,
            sql,
            doing,
            piece,
            bytes: 0,
        })
    }

    /// Adds a row. After an error nothing of it is there.
    fn row<'v>(
        &mut self,
        kinds: impl Iterator<Item = Kind>,
        values: impl Iterator<Item = &'v Value>,
    ) -> Result<(), String> {
        let start = self.piece.len();
        let written = write_row(&mut self.piece, kinds, values);
        match written {
            Ok(()) => self.bytes += self.piece.len() - start,
            Err(_) => self.piece.truncate(start),
        }
        written
    }

    async fn send_pieces(&mut self) -> Result<(), LogError> {
        if self.piece.len() < PIECE {
            return Ok(());
        }
        self.send().await
    }

    async fn send(&mut self) -> Result<(), LogError> {
        let sent = self.copy.send(self.piece.as_slice());
        self.watcher.watch(self.doing, self.sql, sent).await?;
        self.piece.clear();
        Ok(())
    }

    async fn finish(mut self) -> Result<u64, LogError> {
        self.piece.extend_from_slice(&TRAILER);
        self.send().await?;
        self.watcher.watch(self.doing, self.sql, self.copy.finish()).await
    }

    async fn give_up(self) -> Result<(), LogError> {
        let done = self.copy.abort("a row cannot be written");
        self.watcher.watch(self.doing, self.sql, done).await
    }
}

/// One tuple: the number of fields (i16), then for each its length in bytes (i32; −1 for NULL) and its bytes.
fn write_row<'v>(
    out: &mut Vec<u8>,
    kinds: impl Iterator<Item = Kind>,
    values: impl Iterator<Item = &'v Value>,
) -> Result<(), String> {
    let start = out.len();
    out.extend_from_slice(&[0; 2]);
    let mut fields: i16 = 0;
    for (kind, value) in kinds.zip(values) {
        write_field(out, kind, value)?;
        fields += 1;
    }
    out[start..start + 2].copy_from_slice(&fields.to_be_bytes());
    Ok(())
}

fn write_field(out: &mut Vec<u8>, kind: Kind, value: &Value) -> Result<(), String> {
    let mut field = |parts: [&[u8]; 2]| -> Result<(), String> {
        let length = parts[0].len() + parts[1].len();
        let length = i32::try_from(length).map_err(|_| format!("a value of {length} bytes"))?;
        out.extend_from_slice(&length.to_be_bytes());
        parts.iter().for_each(|part| out.extend_from_slice(part));
        Ok(())
    };
    match (kind, value) {
        (_, Value::Null) => {
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            Ok(())
        }
        (Kind::Uuid, Value::Uuid(uuid)) => field([Uuid::as_bytes(uuid), &[]]),
        (Kind::Int, Value::Int(number)) => field([&number.to_be_bytes(), &[]]),
        (Kind::Bytes, Value::Bytes(bytes)) => field([bytes, &[]]),
        (Kind::Text, Value::Text(text)) => field([text.as_bytes(), &[]]),
        // The first byte is the version of the format.
        (Kind::Json, Value::Text(json)) => field([&[1], json.as_bytes()]),
        (Kind::Time, Value::Time(time)) => field([&postgres_time(*time)?.to_be_bytes(), &[]]),
        _ => Err(format!("a value of another kind than {kind:?}")),
    }
}

/// Microseconds since 2000, of which the two extremes mean infinity.
fn postgres_time(time: Timestamp) -> Result<i64, String> {
    let micros = time.0.checked_sub(POSTGRES_EPOCH);
    micros
        .filter(|micros| *micros > i64::MIN)
        .ok_or_else(|| format!("a time out of range: {} µs since 1970", time.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_temporary_tables_have_the_columns_of_their_tables_and_types_for_the_wire() {
        for stage in [&EVENTS, &RECEIPTS, &DEDUPE] {
            let flat = |sql: &str| sql.split_whitespace().collect::<Vec<_>>().join(" ");
            let names: Vec<&str> = stage.table.columns.iter().map(|(name, _)| *name).collect();
            let list = names.join(", ");
            let typed: Vec<String> = stage
                .table
                .columns
                .iter()
                .map(|(name, kind)| {
                    let wire = match kind {
                        Kind::Uuid => "uuid",
                        Kind::Int => "int8",
                        Kind::Text => "text",
                        Kind::Bytes => "bytea",
                        Kind::Json => "jsonb",
                        Kind::Time => "timestamptz",
                    };
                    format!("{name} {wire}")
                })
                .collect();
            let name = format!("stage_{}", stage.table.name);
            let create = format!(
                "CREATE TEMPORARY TABLE {name} ( line int8 NOT NULL, {} )",
                typed.join(", ")
            );
            assert!(flat(stage.create).contains(&create), "{}", stage.create);
            let copy = format!("COPY pg_temp.{name} ( line, {list} ) FROM STDIN (FORMAT binary)");
            assert!(flat(stage.copy).contains(&copy), "{}", stage.copy);
            let insert = format!(
                "INSERT INTO {} ( {list} ) SELECT {list} FROM pg_temp.{name} WHERE line BETWEEN $1 AND $2",
                stage.table.name
            );
            for statement in std::iter::once(stage.insert).chain(stage.add) {
                assert!(flat(statement).contains(&insert), "{statement}");
            }
            assert!(flat(stage.clear).contains(&format!("TRUNCATE pg_temp.{name};")));
        }
    }

    #[test]
    fn values_are_written_as_postgresql_reads_them() {
        let mut out = Vec::new();
        let kinds = [Kind::Int, Kind::Json, Kind::Time, Kind::Bytes];
        let values = [
            Value::Int(-2),
            Value::Text("{}".into()),
            Value::Time(Timestamp(POSTGRES_EPOCH + 1)),
            Value::Null,
        ];
        write_row(&mut out, kinds.into_iter(), values.iter()).unwrap();
        let mut expected = vec![0, 4];
        expected.extend_from_slice(&[0, 0, 0, 8, 255, 255, 255, 255, 255, 255, 255, 254]);
        expected.extend_from_slice(&[0, 0, 0, 3, 1, b'{', b'}']);
        expected.extend_from_slice(&[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1]);
        expected.extend_from_slice(&[255, 255, 255, 255]);
        assert_eq!(out, expected);
        assert_eq!(HEADER.len(), 19);
        // What has no form there is refused before it is sent.
        for (kind, value) in [
            (Kind::Time, Value::Time(Timestamp(i64::MIN))),
            (Kind::Time, Value::Time(Timestamp(i64::MIN + POSTGRES_EPOCH))),
            (Kind::Uuid, Value::Text("x".into())),
            (Kind::Int, Value::Uuids(vec![])),
        ] {
            assert!(
                write_row(&mut Vec::new(), [kind].into_iter(), [value].iter()).is_err(),
                "{kind:?}"
            );
        }
    }
}
