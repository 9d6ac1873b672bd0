//! Filling tables of PostgreSQL fast: rows go into a temporary table by COPY in the binary format (narrow ones as arrays), and
//! from there into their table by one INSERT … SELECT a group. That is one message a group instead of one a row, and the server neither
//! parses a value nor looks a row up by its text.
//!
//! The temporary table has columns of its own types (`sql/event-log/postgres/stage_*.sql`), so what goes over the wire
//! does not depend on whether a column of the log is `int2`, `int4` or `int8`; the INSERT converts as any assignment
//! does, and constraints and triggers have their say there. It is gone when the session ends.
//!
//! Rows may wait there: what a repair is about to write arrives before the locks of its stream are taken, so that they
//! are held only as long as the INSERT takes.
//!
//! The format: <https://www.postgresql.org/docs/15/sql-copy.html#id-1.9.3.55.9.4>.

use std::ops::{Range, RangeInclusive};

use sqlx::PgConnection;
use sqlx::error::DatabaseError;
use sqlx::postgres::PgCopyIn;
use uuid::Uuid;
use ves::Timestamp;

use crate::conn::{Conn, Session};
use crate::error::{LogError, NotInserted};
use crate::schema::{Table, VES_COMMAND_DEDUPE, VES_EVENTS, VES_SEQUENCER_RECEIPTS};
use crate::sql::postgres;
use crate::value::{POSTGRES_EPOCH, Value, ValueKind};
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
    arrive: Arrive,
    insert: &'static str,
    /// Inserts what is not there yet. Looking first costs as much again as inserting, so this is for when `insert`
    /// was refused.
    add: Option<&'static str>,
    clear: &'static str,
    /// What waits on a line, if that is an event or its receipt.
    pub(crate) line: Option<&'static str>,
}

/// How rows arrive in the temporary table.
#[derive(Clone, Copy)]
enum Arrive {
    /// By COPY, in pieces: the server reads the first while the next is written.
    Copied(&'static str),
    /// As arrays, in one message: for narrow rows. What a COPY writes last waits on TCP until the server has told that the rest
    /// arrived, which it puts off for 40 ms where it has nothing else to say.
    Arrays(&'static str),
}

macro_rules! stage {
    ($table:expr, $name:literal, $arrive:expr, $add:expr, $line:expr) => {
        Stage {
            add: $add,
            line: $line,
            table: &$table,
            create: postgres!($name),
            arrive: $arrive,
            insert: include_str!(concat!("../../sql/event-log/postgres/", $name, "_insert.sql")),
            clear: include_str!(concat!("../../sql/event-log/postgres/", $name, "_clear.sql")),
        }
    };
}

pub(crate) static EVENTS: Stage = stage!(
    VES_EVENTS,
    "stage_ves_events",
    Arrive::Copied(postgres!("stage_ves_events_copy")),
    None,
    Some(postgres!("stage_ves_events_line"))
);
pub(crate) static RECEIPTS: Stage = stage!(
    VES_SEQUENCER_RECEIPTS,
    "stage_ves_sequencer_receipts",
    Arrive::Copied(postgres!("stage_ves_sequencer_receipts_copy")),
    None,
    Some(postgres!("stage_ves_sequencer_receipts_line"))
);
pub(crate) static DEDUPE: Stage = stage!(
    VES_COMMAND_DEDUPE,
    "stage_ves_command_dedupe",
    Arrive::Arrays(postgres!("stage_ves_command_dedupe_arrays")),
    Some(postgres!("stage_ves_command_dedupe_add")),
    None
);

/// What makes a row of a value.
pub(crate) type MakeRow<T> = dyn Fn(&T) -> Result<Vec<Value>, String> + Sync;

/// The temporary tables of a session, and what waits in them.
#[derive(Default)]
pub(crate) struct Staging {
    tables: Vec<(&'static str, Waiting)>,
    /// Some rows were there already: more may be.
    add: bool,
}

/// The lines of a temporary table.
#[derive(Default)]
struct Waiting {
    /// The next one.
    next: i64,
    /// So many from the first wait to be written: they arrived before the locks were taken.
    staged: i64,
}

/// What a group of rows is for.
#[derive(Clone, Copy)]
enum Use {
    /// To wait in the temporary table.
    Wait,
    /// To go on by this statement.
    Insert(&'static str),
}

impl Staging {
    async fn made(
        &mut self,
        conn: &mut Conn,
        doing: &'static str,
        stage: &'static Stage,
    ) -> Result<&mut Waiting, LogError> {
        let name = stage.table.name;
        let at = match self.tables.iter().position(|(made, _)| *made == name) {
            Some(at) => at,
            None => {
                conn.run(doing, stage.create).await?;
                self.tables.push((name, Waiting::default()));
                self.tables.len() - 1
            }
        };
        Ok(&mut self.tables[at].1)
    }

    /// Has a row for each value wait until [`Staging::write`]; says which lines they are. After an error the
    /// transaction is only good for being rolled back.
    pub(crate) async fn stage<T: Sync>(
        &mut self,
        conn: &mut Conn,
        doing: &'static str,
        stage: &'static Stage,
        values: &[T],
        row: &MakeRow<T>,
    ) -> Result<RangeInclusive<i64>, NotInserted> {
        let waiting = self.made(conn, doing, stage).await?;
        let first = waiting.next;
        let mut done = 0;
        while done < values.len() {
            conn.run(doing, postgres!("stage_savepoint")).await?;
            let group = &values[done..values.len().min(done + GROUP_ROWS)];
            let mut put = Put::new(stage, Use::Wait, first + done as i64);
            let arrived = put.put(conn, doing, group, GROUP_BYTES, row).await;
            named(conn, doing, put, (group, done), row, arrived).await?;
            conn.run(doing, postgres!("stage_release")).await?;
            done += put.taken;
        }
        waiting.next = first + done as i64;
        waiting.staged = waiting.next;
        Ok(first..=waiting.next - 1)
    }

    /// How many rows wait.
    pub(crate) fn waiting(&self, stage: &'static Stage) -> i64 {
        let made = self.tables.iter().find(|(name, _)| *name == stage.table.name);
        made.map_or(0, |(_, waiting)| waiting.staged)
    }

    /// Writes some of the lines that wait into their table; says how many rows that are. An error about a row says which
    /// of all that wait it is. After an error the transaction is only good for being rolled back.
    pub(crate) async fn write(
        &self,
        conn: &mut Conn,
        doing: &'static str,
        stage: &'static Stage,
        lines: Range<i64>,
    ) -> Result<u64, NotInserted> {
        if lines.is_empty() {
            return Ok(0);
        }
        conn.run(doing, postgres!("stage_savepoint")).await?;
        let written = conn
            .execute(doing, stage.insert, &[lines.start.into(), (lines.end - 1).into()])
            .await;
        match written {
            Ok(written) => {
                conn.run(doing, postgres!("stage_release")).await?;
                Ok(written)
            }
            Err(error) if may_be_of_a_row(&error) => {
                conn.run(doing, postgres!("stage_rollback")).await?;
                let found = first_refused_line(conn, doing, stage, lines).await?;
                Err(found.unwrap_or_else(|| error.into()))
            }
            Err(error) => Err(error.into()),
        }
    }

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
        let mut add = self.add;
        let waiting = self.made(conn, doing, stage).await?;
        let (mut done, mut inserted) = (0, 0);
        while done < values.len() {
            conn.run(doing, postgres!("stage_savepoint")).await?;
            let group = &values[done..values.len().min(done + GROUP_ROWS)];
            let insert = stage.add.filter(|_| add).unwrap_or(stage.insert);
            let mut put = Put::new(stage, Use::Insert(insert), waiting.next);
            let mut put_in = put.put(conn, doing, group, GROUP_BYTES, row).await;
            if let (Some(other), Err(NotInserted { row: None, error })) = (stage.add, &put_in)
                && !add
                && may_be_of_a_row(error)
            {
                add = true;
                conn.run(doing, postgres!("stage_rollback")).await?;
                put = Put::new(stage, Use::Insert(other), waiting.next);
                put_in = put.put(conn, doing, group, GROUP_BYTES, row).await;
            }
            inserted += named(conn, doing, put, (group, done), row, put_in).await?;
            if waiting.staged == 0 {
                conn.run(doing, stage.clear).await?;
            } else {
                // What waits must stay, so this stays too.
                conn.run(doing, postgres!("stage_release")).await?;
                waiting.next += put.taken as i64;
            }
            done += put.taken;
        }
        self.add = add;
        Ok(inserted)
    }
}

/// Says which of all values an error is about, where `group` begins at `done` of them.
async fn named<T: Sync>(
    conn: &mut Conn,
    doing: &'static str,
    put: Put,
    (group, done): (&[T], usize),
    row: &MakeRow<T>,
    put_in: Result<u64, NotInserted>,
) -> Result<u64, NotInserted> {
    match put_in {
        Ok(new) => Ok(new),
        Err(NotInserted { row: Some(at), error }) => Err(NotInserted {
            row: Some(done + at),
            error,
        }),
        Err(NotInserted { error, .. }) if may_be_of_a_row(&error) => {
            // All that was sent may be the cause.
            let group = if put.taken > 0 { &group[..put.taken] } else { group };
            Err(match first_refused(conn, doing, put, group, row).await? {
                Some((at, error)) => NotInserted {
                    row: Some(done + at),
                    error: Box::new(error),
                },
                None => NotInserted { row: None, error },
            })
        }
        Err(other) => Err(other),
    }
}

/// Sends rows, and inserts what arrived if that is its use.
#[derive(Clone, Copy)]
struct Put {
    stage: &'static Stage,
    to: Use,
    /// The line of the first.
    first: i64,
    /// How many were sent.
    taken: usize,
}

impl Put {
    fn new(stage: &'static Stage, to: Use, first: i64) -> Self {
        Self {
            stage,
            to,
            first,
            taken: 0,
        }
    }

    /// Sends values until about so many bytes are sent, at least one.
    async fn put<T: Sync>(
        &mut self,
        conn: &mut Conn,
        doing: &'static str,
        values: &[T],
        bytes: usize,
        row: &MakeRow<T>,
    ) -> Result<u64, NotInserted> {
        self.taken = 0;
        match self.stage.arrive {
            Arrive::Copied(sql) => self.copy(conn, doing, sql, (values, bytes), row).await?,
            Arrive::Arrays(sql) => self.send_arrays(conn, doing, sql, values, row).await?,
        }
        let last = self.first + self.taken as i64 - 1;
        match self.to {
            Use::Wait => Ok(self.taken as u64),
            Use::Insert(insert) => Ok(conn
                .execute(doing, insert, &[self.first.into(), last.into()])
                .await?),
        }
    }

    /// What the columns of the temporary table hold: the line, and those of the table.
    fn kinds(&self) -> impl Iterator<Item = ValueKind> + Clone + use<> {
        std::iter::once(ValueKind::Int).chain(self.stage.table.kinds())
    }

    async fn copy<T: Sync>(
        &mut self,
        conn: &mut Conn,
        doing: &'static str,
        sql: &'static str,
        (values, bytes): (&[T], usize),
        row: &MakeRow<T>,
    ) -> Result<(), NotInserted> {
        let mut copy = CopyIn::begin(conn, doing, sql).await?;
        for value in values {
            let line = Value::Int(self.first + self.taken as i64);
            let kinds = self.kinds();
            let sent = row(value).and_then(|values| copy.row(kinds, std::iter::once(&line).chain(&values)));
            if let Err(what) = sent {
                let (row, error) = (Some(self.taken), Box::new(LogError::Refused { doing, what }));
                copy.give_up().await?;
                return Err(NotInserted { row, error });
            }
            self.taken += 1;
            copy.send_pieces().await?;
            if copy.bytes >= bytes {
                break;
            }
        }
        copy.finish().await?;
        Ok(())
    }

    async fn send_arrays<T: Sync>(
        &mut self,
        conn: &mut Conn,
        doing: &'static str,
        sql: &'static str,
        values: &[T],
        row: &MakeRow<T>,
    ) -> Result<(), NotInserted> {
        let mut rows = Vec::with_capacity(values.len());
        for value in values {
            let refused = |what| NotInserted {
                row: Some(rows.len()),
                error: Box::new(LogError::Refused { doing, what }),
            };
            let values = row(value).map_err(refused)?;
            let line = Value::Int(self.first + rows.len() as i64);
            rows.push(std::iter::once(line).chain(values).collect());
        }
        self.taken = rows.len();
        session(conn, doing)?
            .execute_arrays(doing, sql, self.kinds(), rows)
            .await?;
        Ok(())
    }
}

/// The connection of what is no snapshot.
fn session<'c>(conn: &'c mut Conn, doing: &'static str) -> Result<&'c mut Session, LogError> {
    match conn {
        Conn::Postgres(session) => Ok(session),
        Conn::Snapshot { .. } => Err(LogError::Refused {
            doing,
            what: "a snapshot has no temporary tables".into(),
        }),
    }
}

/// Which of these values is the first that the database refuses, and why. What comes before it is inserted.
async fn first_refused<T: Sync>(
    conn: &mut Conn,
    doing: &'static str,
    put: Put,
    values: &[T],
    row: &MakeRow<T>,
) -> Result<Option<(usize, LogError)>, LogError> {
    conn.run(doing, postgres!("stage_rollback")).await?;
    // Those before `low` are in, and one of those below `high` is refused.
    let (mut low, mut high) = (0, values.len());
    let mut refused = None;
    while low < high {
        let middle = (low + (high - low) / 2).max(low + 1);
        let to = match put.to {
            Use::Wait => Use::Wait,
            Use::Insert(insert) => Use::Insert(put.stage.add.unwrap_or(insert)),
        };
        let mut part = Put::new(put.stage, to, put.first + low as i64);
        match part.put(conn, doing, &values[low..middle], usize::MAX, row).await {
            Ok(_) => {
                conn.run(doing, postgres!("stage_release")).await?;
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

/// Which of these lines that wait is the first that the table refuses.
async fn first_refused_line(
    conn: &mut Conn,
    doing: &'static str,
    stage: &'static Stage,
    lines: Range<i64>,
) -> Result<Option<NotInserted>, LogError> {
    let (mut low, mut high) = (lines.start, lines.end);
    while low < high {
        let middle = (low + (high - low) / 2).max(low + 1);
        let written = conn
            .execute(doing, stage.insert, &[low.into(), (middle - 1).into()])
            .await;
        match written {
            Ok(_) => {
                conn.run(doing, postgres!("stage_release")).await?;
                conn.run(doing, postgres!("stage_savepoint")).await?;
                low = middle;
            }
            Err(error) => {
                conn.run(doing, postgres!("stage_rollback")).await?;
                if middle == low + 1 {
                    return Ok(Some(NotInserted {
                        row: usize::try_from(low).ok(),
                        error: Box::new(error),
                    }));
                }
                high = middle;
            }
        }
    }
    Ok(None)
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
    let row = |(entity_type, entity_id): (&str, &str)| vec![entity_type.into(), entity_id.into()];
    let mut entities = entities.map(row).peekable();
    while entities.peek().is_some() {
        let rows = entities.by_ref().take(GROUP_ROWS).collect();
        let kinds = [ValueKind::Text; 2].into_iter();
        session(conn, doing)?
            .execute_arrays(doing, postgres!("stage_entities_arrays"), kinds, rows)
            .await?;
    }
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
        let Session {
            connection, watcher, ..
        } = session(conn, doing)?;
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
        kinds: impl Iterator<Item = ValueKind>,
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
    kinds: impl Iterator<Item = ValueKind>,
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

fn write_field(out: &mut Vec<u8>, kind: ValueKind, value: &Value) -> Result<(), String> {
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
        (ValueKind::Uuid, Value::Uuid(uuid)) => field([Uuid::as_bytes(uuid), &[]]),
        (ValueKind::Int, Value::Int(number)) => field([&number.to_be_bytes(), &[]]),
        (ValueKind::Bytes, Value::Bytes(bytes)) => field([bytes, &[]]),
        (ValueKind::Text, Value::Text(text)) => field([text.as_bytes(), &[]]),
        // The first byte is the version of the format.
        (ValueKind::Json, Value::Text(json)) => field([&[1], json.as_bytes()]),
        (ValueKind::Time, Value::Time(time)) => field([&postgres_time(*time)?.to_be_bytes(), &[]]),
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
                        ValueKind::Uuid => "uuid",
                        ValueKind::Int => "int8",
                        ValueKind::Text => "text",
                        ValueKind::Bytes => "bytea",
                        ValueKind::Json => "jsonb",
                        ValueKind::Time => "timestamptz",
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
            let (arrive, arrives) = match stage.arrive {
                Arrive::Copied(sql) => (
                    sql,
                    format!("COPY pg_temp.{name} ( line, {list} ) FROM STDIN (FORMAT binary)"),
                ),
                Arrive::Arrays(sql) => (
                    sql,
                    format!("INSERT INTO pg_temp.{name} (line, {list}) SELECT line, {list}"),
                ),
            };
            // Times arrive as texts.
            assert!(
                flat(arrive).replace("::timestamptz", "").contains(&arrives),
                "{arrive}"
            );
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
        let kinds = [ValueKind::Int, ValueKind::Json, ValueKind::Time, ValueKind::Bytes];
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
            (ValueKind::Time, Value::Time(Timestamp(i64::MIN))),
            (ValueKind::Time, Value::Time(Timestamp(i64::MIN + POSTGRES_EPOCH))),
            (ValueKind::Uuid, Value::Text("x".into())),
            (ValueKind::Int, Value::Uuids(vec![])),
        ] {
            assert!(
                write_row(&mut Vec::new(), [kind].into_iter(), [value].iter()).is_err(),
                "{kind:?}"
            );
        }
    }
}
