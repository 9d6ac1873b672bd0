//! Values on their way into and out of a database, in one form for both kinds of database.

use sqlx::postgres::PgRow;
use sqlx::{Row as _, ValueRef as _};
use uuid::Uuid;
use ves::Timestamp;

use crate::cells::RawRow;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueKind {
    /// `uuid`; in a snapshot lower-case hyphenated text.
    Uuid,
    /// `int2`, `int4` or `int8`; a `numeric` without a fraction will do.
    Int,
    /// `text` or `varchar` of any length; what can be written as text will do.
    Text,
    /// `bytea`.
    Bytes,
    /// `jsonb`; in a snapshot text as PostgreSQL renders it. JSON in `json` or text will do.
    Json,
    /// `timestamptz`; in a snapshot RFC 3339 text with six digits and a `Z`.
    Time,
}

/// How a column is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadAs {
    /// As it is.
    Itself,
    /// Made a value of this type.
    Cast(&'static str),
}

impl ValueKind {
    /// How a column of a type, as PostgreSQL names it, is read as this kind: what counts is what it can hold. `None` if it
    /// cannot be.
    pub(crate) fn read_as(self, found: &str) -> Option<ReadAs> {
        match (self, found) {
            (ValueKind::Uuid, "uuid")
            | (ValueKind::Int, "smallint" | "integer" | "bigint")
            | (ValueKind::Text, "text" | "character varying")
            | (ValueKind::Bytes, "bytea")
            | (ValueKind::Json, "jsonb")
            | (ValueKind::Time, "timestamp with time zone") => Some(ReadAs::Itself),
            (ValueKind::Int, "numeric") => Some(ReadAs::Cast("int8")),
            (
                ValueKind::Text,
                "character" | "citext" | "name" | "enum" | "json" | "jsonb" | "xml" | "uuid",
            ) => Some(ReadAs::Cast("text")),
            (ValueKind::Json, "json" | "text" | "character varying") => Some(ReadAs::Cast("jsonb")),
            _ => None,
        }
    }

    /// What a column of this kind is in the sequencer's own database.
    pub(crate) fn postgres_type(self) -> &'static str {
        match self {
            ValueKind::Uuid => "uuid",
            ValueKind::Int => "bigint",
            ValueKind::Text => "text",
            ValueKind::Bytes => "bytea",
            ValueKind::Json => "jsonb",
            ValueKind::Time => "timestamp with time zone",
        }
    }

    /// The type of a STRICT table's column that holds this kind.
    pub(crate) fn snapshot_type(self) -> &'static str {
        match self {
            ValueKind::Uuid | ValueKind::Text | ValueKind::Json | ValueKind::Time => "TEXT",
            ValueKind::Int => "INTEGER",
            ValueKind::Bytes => "BLOB",
        }
    }
}

/// A value that is written, or given to a query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Uuid(Uuid),
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    Time(Timestamp),
    /// What stands where a text should be and is none, or a time that has no form in a snapshot: for snapshots only.
    TextBytes(Vec<u8>),
    /// A list, for PostgreSQL only.
    Uuids(Vec<Uuid>),
    /// A list, for PostgreSQL only.
    Texts(Vec<String>),
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

macro_rules! value_from {
    ($($type:ty => |$v:ident| $value:expr;)*) => {
        $(impl From<$type> for Value {
            fn from($v: $type) -> Self {
                $value
            }
        })*
    };
}

value_from! {
    Uuid => |v| Value::Uuid(v);
    ves::TenantId => |v| Value::Uuid(v.0);
    ves::StoreId => |v| Value::Uuid(v.0);
    ves::EventId => |v| Value::Uuid(v.0);
    ves::AgentId => |v| Value::Uuid(v.0);
    ves::CommandId => |v| Value::Uuid(v.0);
    ves::BatchId => |v| Value::Uuid(v.0);
    ves::SequencerId => |v| Value::Uuid(v.0);
    i64 => |v| Value::Int(v);
    i32 => |v| Value::Int(v.into());
    i16 => |v| Value::Int(v.into());
    u32 => |v| Value::Int(v.into());
    &str => |v| Value::Text(v.to_owned());
    String => |v| Value::Text(v);
    Vec<u8> => |v| Value::Bytes(v);
    ves::Hash32 => |v| Value::Bytes(v.0.to_vec());
    ves::SignatureBytes => |v| Value::Bytes(v.0.to_vec());
    Timestamp => |v| Value::Time(v);
}

/// A value as read, borrowed from its row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cell<'a> {
    Uuid(Uuid),
    Int(i64),
    /// Text and JSON.
    Text(&'a str),
    Bytes(&'a [u8]),
    Time(Timestamp),
}

impl Cell<'_> {
    pub(crate) fn to_value(self) -> Value {
        match self {
            Cell::Uuid(v) => Value::Uuid(v),
            Cell::Int(v) => Value::Int(v),
            Cell::Text(v) => Value::Text(v.to_owned()),
            Cell::Bytes(v) => Value::Bytes(v.to_vec()),
            Cell::Time(v) => Value::Time(v),
        }
    }
}

/// A row of either database.
#[derive(Clone, Copy)]
pub(crate) enum Row<'a> {
    Postgres(&'a PgRow),
    Snapshot(&'a rusqlite::Row<'a>),
    /// Fetched from a snapshot before.
    Raw(RawRow<'a>),
    /// Fetched from PostgreSQL before: every value is a blob.
    Fetched(RawRow<'a>),
}

impl<'a> Row<'a> {
    /// The value of a column, `None` if it is NULL.
    ///
    /// # Errors
    /// What the value is instead, if it is not of that kind.
    pub(crate) fn get(&self, index: usize, kind: ValueKind) -> Result<Option<Cell<'a>>, String> {
        match self {
            Row::Postgres(row) => {
                let value = row.try_get_raw(index).map_err(|e| e.to_string())?;
                if value.is_null() {
                    return Ok(None);
                }
                postgres_cell(value.as_bytes().map_err(|e| e.to_string())?, kind).map(Some)
            }
            Row::Fetched(row) => row
                .bytes(index)
                .map(|bytes| postgres_cell(bytes, kind))
                .transpose(),
            Row::Snapshot(row) => {
                let value = row.get_ref(index).map_err(|e| e.to_string())?;
                snapshot_cell(value, kind)
            }
            Row::Raw(row) => snapshot_cell(row.value(index), kind),
        }
    }

    /// A value that cannot be understood, to be copied into a snapshot as it is: there it cannot be understood either.
    /// `None` if a snapshot has no place for it.
    pub(crate) fn as_it_is(&self, index: usize, kind: ValueKind) -> Option<Value> {
        use rusqlite::types::ValueRef;
        let snapshot = |value: ValueRef<'_>| match value {
            ValueRef::Text(bytes) if kind.snapshot_type() == "TEXT" => Some(Value::TextBytes(bytes.to_vec())),
            _ => None,
        };
        match self {
            Row::Postgres(row) => postgres_as_it_is(row.try_get_raw(index).ok()?.as_bytes().ok()?, kind),
            Row::Fetched(row) => postgres_as_it_is(row.bytes(index)?, kind),
            Row::Snapshot(row) => snapshot(row.get_ref(index).ok()?),
            Row::Raw(row) => snapshot(row.value(index)),
        }
    }

    /// A time that bounds something, `None` if it is NULL. Beyond the years that a time can be of, and for PostgreSQL's
    /// infinite times, there is no bound on that side.
    fn bound(&self, index: usize) -> Result<Option<Bound>, String> {
        let failed = match self.get(index, ValueKind::Time) {
            Ok(None) => return Ok(None),
            Ok(Some(Cell::Time(time))) => return Ok(Some(Bound::At(time))),
            Ok(Some(_)) => return Err("a value of another kind".into()),
            Err(what) => what,
        };
        let text = match self.as_it_is(index, ValueKind::Time) {
            Some(Value::Text(text)) => text,
            Some(Value::TextBytes(bytes)) => String::from_utf8(bytes).map_err(|_| failed.clone())?,
            _ => return Err(failed),
        };
        match text.as_str() {
            INFINITY => Ok(Some(Bound::Never)),
            MINUS_INFINITY => Ok(Some(Bound::Always)),
            text => match text
                .strip_prefix('@')
                .and_then(|micros| micros.parse::<i128>().ok())
            {
                Some(micros) if micros < i128::from(FIRST_TIME) => Ok(Some(Bound::Always)),
                Some(micros) if micros > i128::from(LAST_TIME) => Ok(Some(Bound::Never)),
                _ => Err(failed),
            },
        }
    }
}

/// PostgreSQL's times that come after and before all others, as it writes them.
const INFINITY: &str = "infinity";
const MINUS_INFINITY: &str = "-infinity";

/// The first moment of the year 1, and the last one that can be written in every zone with four digits of a year.
const FIRST_TIME: i64 = -62_135_596_800_000_000;
const LAST_TIME: i64 = 253_402_207_199_999_999;

/// A value of a snapshot that begins so could not be read where the snapshot was taken; why follows.
pub(crate) const UNREADABLE: &[u8] = b"\xffunreadable: ";

/// A time that bounds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Before all times: what begins then has always been, what ends then never was.
    Always,
    /// This one.
    At(Timestamp),
    /// After all times.
    Never,
}

impl Bound {
    /// The bound as a time that compares with all that an event can have as the bound itself does.
    pub(crate) fn time(self) -> Timestamp {
        match self {
            Bound::Always => Timestamp(FIRST_TIME),
            Bound::At(time) => time,
            Bound::Never => Timestamp(LAST_TIME),
        }
    }
}

/// Microseconds between 1970 and 2000, where PostgreSQL's time begins.
pub(crate) const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// Reads a value in PostgreSQL's binary format. That its column has a type of this kind was made sure when the log
/// was opened.
fn postgres_cell(bytes: &[u8], kind: ValueKind) -> Result<Cell<'_>, String> {
    let text = |bytes| {
        std::str::from_utf8(bytes)
            .map(Cell::Text)
            .map_err(|e| e.to_string())
    };
    match kind {
        ValueKind::Uuid => Uuid::from_slice(bytes).map(Cell::Uuid).map_err(|e| e.to_string()),
        ValueKind::Int => postgres_int(bytes)
            .map(Cell::Int)
            .ok_or_else(|| "not an integer".into()),
        ValueKind::Text => text(bytes),
        ValueKind::Bytes => Ok(Cell::Bytes(bytes)),
        // The first byte is the version of the format, and there has been one so far.
        ValueKind::Json => match bytes {
            [1, json @ ..] => text(json),
            _ => Err("not jsonb of version 1".into()),
        },
        ValueKind::Time => {
            let micros = postgres_int(bytes).ok_or("not a time")?;
            if micros == i64::MAX || micros == i64::MIN {
                return Err("an infinite time".into());
            }
            let micros = micros
                .checked_add(POSTGRES_EPOCH)
                .ok_or("a time far beyond the year 9999")?;
            in_range(Timestamp(micros)).map(Cell::Time)
        }
    }
}

/// See [`Row::as_it_is`].
fn postgres_as_it_is(bytes: &[u8], kind: ValueKind) -> Option<Value> {
    match kind {
        ValueKind::Text => Some(Value::TextBytes(bytes.to_vec())),
        ValueKind::Json => Some(Value::TextBytes(bytes.get(1..)?.to_vec())),
        ValueKind::Time => Some(Value::Text(match postgres_int(bytes)? {
            i64::MAX => INFINITY.to_owned(),
            i64::MIN => MINUS_INFINITY.to_owned(),
            micros => format!("@{}", i128::from(micros) + i128::from(POSTGRES_EPOCH)),
        })),
        ValueKind::Uuid | ValueKind::Int | ValueKind::Bytes => None,
    }
}

/// A time that can be written with four digits of a year, after Christ.
fn in_range(time: Timestamp) -> Result<Timestamp, String> {
    match time.0 {
        ..FIRST_TIME => Err(format!("a time before Christ: {time}")),
        FIRST_TIME..=LAST_TIME => Ok(time),
        _ => Err(format!("a time beyond the year 9999: {time}")),
    }
}

fn postgres_int(bytes: &[u8]) -> Option<i64> {
    match *bytes {
        [a, b] => Some(i16::from_be_bytes([a, b]).into()),
        [a, b, c, d] => Some(i32::from_be_bytes([a, b, c, d]).into()),
        [a, b, c, d, e, f, g, h] => Some(i64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => None,
    }
}

/// Reads a value of a snapshot, which can be anything.
///
/// A uuid or time that is not written as this crate writes it is refused: comparisons by text would miss it.
fn snapshot_cell(value: rusqlite::types::ValueRef<'_>, kind: ValueKind) -> Result<Option<Cell<'_>>, String> {
    use rusqlite::types::ValueRef;
    let cell = match (kind, value) {
        (_, ValueRef::Null) => return Ok(None),
        (ValueKind::Int, ValueRef::Integer(number)) => Cell::Int(number),
        (ValueKind::Bytes, ValueRef::Blob(bytes)) => Cell::Bytes(bytes),
        (ValueKind::Uuid | ValueKind::Text | ValueKind::Json | ValueKind::Time, ValueRef::Text(bytes)) => {
            if let Some(why) = bytes.strip_prefix(UNREADABLE) {
                let why = String::from_utf8_lossy(why);
                return Err(format!("it could not be read when the snapshot was taken: {why}"));
            }
            let text = std::str::from_utf8(bytes).map_err(|_| "text that is not UTF-8")?;
            match kind {
                ValueKind::Uuid => Cell::Uuid(canonical_uuid(text)?),
                ValueKind::Time => Cell::Time(canonical_time(text)?),
                _ => Cell::Text(text),
            }
        }
        (_, other) => {
            return Err(format!(
                "a value of type {} instead of {kind:?}",
                other.data_type()
            ));
        }
    };
    Ok(Some(cell))
}

fn canonical_uuid(text: &str) -> Result<Uuid, String> {
    // Of the forms that are read, only the hyphenated one has this length.
    let digits = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-');
    let canonical = text.len() == 36 && text.bytes().all(digits);
    let uuid = canonical.then(|| Uuid::try_parse(text).ok()).flatten();
    uuid.ok_or_else(|| format!("not a lower-case hyphenated uuid: {:?}", clip(text)))
}

fn canonical_time(text: &str) -> Result<Timestamp, String> {
    let not = || format!("not a time as 2026-01-31T00:00:00.000000Z: {:?}", clip(text));
    if let Some(time) = Timestamp::from_canonical(text) {
        return in_range(time);
    }
    match text {
        INFINITY | MINUS_INFINITY => return Err("an infinite time".into()),
        _ if text.starts_with('@') => {
            return Err(format!("a time that no calendar has: {} us", clip(&text[1..])));
        }
        _ => {}
    }
    // What the fast path leaves open: the last year there is, and those before the first.
    let time: Timestamp = text.parse().map_err(|_| not())?;
    if time.to_string() == text {
        in_range(time)
    } else {
        Err(not())
    }
}

fn clip(text: &str) -> String {
    text.chars().take(60).collect()
}

/// Reads a row column by column. The names are for messages; the order is what counts.
pub(crate) struct Columns<'a> {
    row: Row<'a>,
    next: usize,
}

macro_rules! column {
    ($(#[$doc:meta])* $name:ident, $optional:ident, $kind:expr, $variant:ident -> $type:ty) => {
        $(#[$doc])*
        pub(crate) fn $optional(&mut self, name: &str) -> Result<Option<$type>, String> {
            match self.cell(name, $kind)? {
                None => Ok(None),
                Some(Cell::$variant(value)) => Ok(Some(value)),
                Some(_) => Err(format!("{name}: a value of another kind")),
            }
        }

        $(#[$doc])*
        pub(crate) fn $name(&mut self, name: &str) -> Result<$type, String> {
            self.$optional(name)?.ok_or_else(|| format!("{name} is NULL"))
        }
    };
}

impl<'a> Columns<'a> {
    pub(crate) fn new(row: Row<'a>) -> Self {
        Self { row, next: 0 }
    }

    fn cell(&mut self, name: &str, kind: ValueKind) -> Result<Option<Cell<'a>>, String> {
        let index = self.next;
        self.next += 1;
        self.row
            .get(index, kind)
            .map_err(|what| format!("{name}: {what}"))
    }

    column!(uuid, optional_uuid, ValueKind::Uuid, Uuid -> Uuid);
    column!(int, optional_int, ValueKind::Int, Int -> i64);
    column!(text, optional_text, ValueKind::Text, Text -> &'a str);
    column!(time, optional_time, ValueKind::Time, Time -> Timestamp);

    /// A time that bounds something, if there is one.
    pub(crate) fn optional_bound(&mut self, name: &str) -> Result<Option<Bound>, String> {
        let index = self.next;
        self.next += 1;
        self.row.bound(index).map_err(|what| format!("{name}: {what}"))
    }

    pub(crate) fn optional_json(&mut self, name: &str) -> Result<Option<&'a str>, String> {
        match self.cell(name, ValueKind::Json)? {
            None => Ok(None),
            Some(Cell::Text(json)) => Ok(Some(json)),
            Some(_) => Err(format!("{name}: a value of another kind")),
        }
    }

    pub(crate) fn optional_bytes(&mut self, name: &str) -> Result<Option<&'a [u8]>, String> {
        match self.cell(name, ValueKind::Bytes)? {
            None => Ok(None),
            Some(Cell::Bytes(bytes)) => Ok(Some(bytes)),
            Some(_) => Err(format!("{name}: a value of another kind")),
        }
    }

    /// An integer in the range of the type asked for.
    pub(crate) fn number<T: TryFrom<i64>>(&mut self, name: &str) -> Result<T, String> {
        let value = self.int(name)?;
        value
            .try_into()
            .map_err(|_| format!("{name}: {value} is out of range"))
    }

    /// An integer in the range of the type asked for, if there is one.
    pub(crate) fn optional_number<T: TryFrom<i64>>(&mut self, name: &str) -> Result<Option<T>, String> {
        match self.optional_int(name)? {
            None => Ok(None),
            Some(value) => match value.try_into() {
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(format!("{name}: {value} is out of range")),
            },
        }
    }

    /// Bytes of the length of the type asked for.
    pub(crate) fn fixed<T>(&mut self, name: &str) -> Result<T, String>
    where
        T: for<'b> TryFrom<&'b [u8], Error = ves::digest::HexError>,
    {
        self.optional_fixed(name)?
            .ok_or_else(|| format!("{name} is NULL"))
    }

    /// Bytes of the length of the type asked for, if there are any.
    pub(crate) fn optional_fixed<T>(&mut self, name: &str) -> Result<Option<T>, String>
    where
        T: for<'b> TryFrom<&'b [u8], Error = ves::digest::HexError>,
    {
        match self.optional_bytes(name)? {
            None => Ok(None),
            Some(bytes) => match T::try_from(bytes) {
                Ok(value) => Ok(Some(value)),
                Err(error) => Err(format!(
                    "{name}: {} bytes instead of {}",
                    bytes.len(),
                    error.expected
                )),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::types::ValueRef;

    use super::*;

    #[test]
    fn postgres_values() {
        assert_eq!(postgres_cell(&[0xff, 0xfe], ValueKind::Int), Ok(Cell::Int(-2)));
        assert_eq!(postgres_cell(&[0, 0, 1, 0], ValueKind::Int), Ok(Cell::Int(256)));
        assert!(postgres_cell(&[1, 2, 3], ValueKind::Int).is_err());
        assert_eq!(postgres_cell(b"\x01{}", ValueKind::Json), Ok(Cell::Text("{}")));
        assert!(postgres_cell(b"{}", ValueKind::Json).is_err());
        assert!(postgres_cell(b"", ValueKind::Json).is_err());
        assert!(postgres_cell(&[1; 15], ValueKind::Uuid).is_err());
        assert!(postgres_cell(&[0xff], ValueKind::Text).is_err());
        let epoch = 0_i64.to_be_bytes();
        assert_eq!(
            postgres_cell(&epoch, ValueKind::Time).unwrap(),
            Cell::Time("2000-01-01T00:00:00Z".parse().unwrap())
        );
        assert!(postgres_cell(&i64::MAX.to_be_bytes(), ValueKind::Time).is_err());
        assert!(postgres_cell(&i64::MIN.to_be_bytes(), ValueKind::Time).is_err());
        assert!(postgres_cell(&(i64::MAX - 1).to_be_bytes(), ValueKind::Time).is_err());
        for (micros, words) in [
            (FIRST_TIME - 1, "before Christ"),
            (LAST_TIME + 1, "beyond the year 9999"),
        ] {
            let bytes = (micros - POSTGRES_EPOCH).to_be_bytes();
            let what = postgres_cell(&bytes, ValueKind::Time).unwrap_err();
            assert!(what.contains(words), "{what}");
        }
        for edge in [FIRST_TIME, LAST_TIME] {
            let bytes = (edge - POSTGRES_EPOCH).to_be_bytes();
            assert_eq!(
                postgres_cell(&bytes, ValueKind::Time),
                Ok(Cell::Time(Timestamp(edge)))
            );
            let text = Timestamp(edge).to_string();
            let read = snapshot_cell(ValueRef::Text(text.as_bytes()), ValueKind::Time);
            assert_eq!(read, Ok(Some(Cell::Time(Timestamp(edge)))), "{text}");
        }
    }

    #[test]
    fn snapshot_values_are_refused_unless_written_as_we_write_them() {
        let text = |text: &'static str, kind| snapshot_cell(ValueRef::Text(text.as_bytes()), kind);
        assert!(text("0f0fadcc-f9d1-5602-8113-29cdc04a12ee", ValueKind::Uuid).is_ok());
        for bad in [
            "0F0FADCC-f9d1-5602-8113-29cdc04a12ee",
            "0f0fadccf9d15602811329cdc04a12ee",
            "",
            "x",
        ] {
            assert!(text(bad, ValueKind::Uuid).is_err(), "{bad}");
        }
        assert!(text("2026-11-20T05:57:11.194000Z", ValueKind::Time).is_ok());
        for bad in [
            "2026-11-20T05:57:11.194Z",
            "2026-11-20T05:57:11.194000+00:00",
            "infinity",
            "",
        ] {
            assert!(text(bad, ValueKind::Time).is_err(), "{bad}");
        }
        assert!(snapshot_cell(ValueRef::Text(&[0xff]), ValueKind::Text).is_err());
        assert!(snapshot_cell(ValueRef::Real(1.0), ValueKind::Int).is_err());
        assert!(snapshot_cell(ValueRef::Text(b"1"), ValueKind::Int).is_err());
        assert!(snapshot_cell(ValueRef::Text(b"1"), ValueKind::Bytes).is_err());
        assert_eq!(snapshot_cell(ValueRef::Null, ValueKind::Int), Ok(None));
    }
}
