//! The sequences beside the VES log: the older `events` log and the x402 payment intents, each with a counter of its
//! own. Their numbers are read, and their counters raised; their content is not.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{ControlFlow, RangeInclusive};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ves::StreamKey;

use crate::conn::Conn;
use crate::entry::{as_i64, read_stream};
use crate::error::{LogError, RowError, Rows};
use crate::schema::{
    COMMITMENTS, EVENTS, SEQUENCE_COUNTERS, Table, X402_PAYMENT_INTENTS, X402_SEQUENCE_COUNTERS,
};
use crate::sql::{both, postgres, snapshot};
use crate::value::{Columns, Row, Value};
use crate::view::{StreamFilter, View};

/// One of the sequences beside the VES log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// The older log: `events`, counted by `sequence_counters`.
    Events,
    /// Payment intents: `x402_payment_intents`, counted by `x402_sequence_counters`.
    X402,
}

impl Family {
    /// Its name on the command line and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::Events => "events",
            Family::X402 => "x402",
        }
    }

    /// The table with the numbers.
    pub fn table(self) -> &'static str {
        self.tables()[0].name
    }

    /// The table with the counters.
    pub fn counter_table(self) -> &'static str {
        self.tables()[1].name
    }

    fn tables(self) -> [&'static Table; 2] {
        match self {
            Family::Events => [&EVENTS, &SEQUENCE_COUNTERS],
            Family::X402 => [&X402_PAYMENT_INTENTS, &X402_SEQUENCE_COUNTERS],
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A stream of a family as its tables count it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FamilyState {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// How many rows have a number.
    pub count: u64,
    /// The lowest number.
    pub first: Option<u64>,
    /// The highest number.
    pub last: Option<u64>,
    /// How many rows have a number below 1. They are in no other count.
    pub misnumbered: u64,
    /// The counter; `None` if the row is missing.
    pub counter: Option<u64>,
    /// How many commitments there are.
    pub commitment_count: u64,
    /// The highest number in a commitment.
    pub last_committed: Option<u64>,
}

/// The streams of a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyStreams {
    /// The streams, in order. Empty if the rows or the counters could not be read at all.
    pub streams: Rows<FamilyState>,
    /// Tables that are not there, or not as expected: nothing of them was read.
    pub missing: Vec<&'static str>,
}

impl View {
    /// The streams of a family that its rows, counters or commitments tell of.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn family_streams(
        &mut self,
        family: Family,
        filter: &StreamFilter,
    ) -> Result<FamilyStreams, LogError> {
        let doing = "counting the streams";
        type Fill = fn(&mut Columns<'_>, &mut FamilyState) -> Result<(), String>;
        let rows: Fill = |c, state| {
            state.count = c.number("count")?;
            state.first = c.optional_number("first")?;
            state.last = c.optional_number("last")?;
            state.misnumbered = c.number("misnumbered")?;
            Ok(())
        };
        let counters: Fill = |c, state| {
            state.counter = Some(c.number("current_sequence")?);
            Ok(())
        };
        let commitments: Fill = |c, state| {
            state.commitment_count = c.number("count")?;
            state.last_committed = c.optional_number("sequence_end")?;
            Ok(())
        };
        let sources: Vec<(&'static Table, &'static str, Fill)> = match family {
            Family::Events => vec![
                (&EVENTS, both!("older_streams"), rows),
                (&SEQUENCE_COUNTERS, both!("older_counters"), counters),
                (&COMMITMENTS, both!("older_commitments"), commitments),
            ],
            Family::X402 => vec![
                (&X402_PAYMENT_INTENTS, both!("x402_streams"), rows),
                (&X402_SEQUENCE_COUNTERS, both!("x402_counters"), counters),
            ],
        };
        let mut found = FamilyStreams {
            streams: Rows::default(),
            missing: Vec::new(),
        };
        for (table, ..) in &sources {
            if !self.conn.has(table).await? {
                found.missing.push(table.name);
            }
        }
        if family.tables().iter().any(|t| found.missing.contains(&t.name)) {
            return Ok(found);
        }
        let filter = [filter.tenant.into(), filter.store.into()];
        let mut streams = BTreeMap::<StreamKey, FamilyState>::new();
        for (table, sql, fill) in sources {
            if found.missing.contains(&table.name) {
                continue;
            }
            let mut each = |row: Row<'_>| {
                let mut c = Columns::new(row);
                let error = |stream, what| RowError {
                    table: table.name,
                    stream,
                    sequence: None,
                    what,
                };
                match read_stream(&mut c) {
                    Err(what) => found.streams.unreadable.push(error(None, what)),
                    Ok(stream) => {
                        let state = streams.entry(stream).or_insert_with(|| FamilyState::new(stream));
                        if let Err(what) = fill(&mut c, state) {
                            found.streams.unreadable.push(error(Some(stream), what));
                        }
                    }
                }
                ControlFlow::Continue(())
            };
            self.conn.query(doing, sql, &filter, &mut each).await?;
        }
        found.streams.rows = streams.into_values().collect();
        Ok(found)
    }

    /// The numbers of a family's stream that are there, as ranges in order. Costs a look at every row only if there
    /// are holes.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn family_ranges(
        &mut self,
        family: Family,
        state: &FamilyState,
    ) -> Result<Vec<RangeInclusive<u64>>, LogError> {
        let (Some(first), Some(last)) = (state.first, state.last) else {
            return Ok(Vec::new());
        };
        if state.count == last - first + 1 {
            return Ok(vec![first..=last]);
        }
        let sql = match family {
            Family::Events => both!("older_islands"),
            Family::X402 => both!("x402_islands"),
        };
        let parameters = [state.stream.tenant_id.into(), state.stream.store_id.into()];
        let (mut ranges, mut failed) = (Vec::new(), None);
        self.conn
            .query("looking for holes", sql, &parameters, &mut |row| {
                let mut c = Columns::new(row);
                match (c.number("first"), c.number("last")) {
                    (Ok(first), Ok(last)) => ranges.push(first..=last),
                    (Err(what), _) | (_, Err(what)) => failed = Some(what),
                }
                ControlFlow::Continue(())
            })
            .await?;
        match failed {
            None => Ok(ranges),
            Some(what) => Err(row_error(family.table(), &state.stream, what)),
        }
    }
}

impl FamilyState {
    fn new(stream: StreamKey) -> Self {
        Self {
            stream,
            count: 0,
            first: None,
            last: None,
            misnumbered: 0,
            counter: None,
            commitment_count: 0,
            last_committed: None,
        }
    }
}

fn row_error(table: &'static str, stream: &StreamKey, what: String) -> LogError {
    RowError {
        table,
        stream: Some(*stream),
        sequence: None,
        what,
    }
    .into()
}

/// The statements that raise a counter.
struct Raise {
    create: &'static str,
    lock: &'static str,
    raise: &'static str,
    max: &'static str,
}

impl Raise {
    fn of(family: Family, conn: &Conn) -> Self {
        match (family, conn) {
            (Family::Events, Conn::Postgres(_)) => Self {
                create: postgres!("older_create_counter"),
                lock: postgres!("older_lock_counter"),
                raise: postgres!("older_raise_counter"),
                max: both!("older_max_sequence"),
            },
            (Family::Events, Conn::Snapshot { .. }) => Self {
                create: snapshot!("older_create_counter"),
                lock: both!("older_counter"),
                raise: snapshot!("older_raise_counter"),
                max: both!("older_max_sequence"),
            },
            (Family::X402, Conn::Postgres(_)) => Self {
                create: postgres!("x402_create_counter"),
                lock: postgres!("x402_lock_counter"),
                raise: postgres!("x402_raise_counter"),
                max: both!("x402_max_sequence"),
            },
            (Family::X402, Conn::Snapshot { .. }) => Self {
                create: snapshot!("x402_create_counter"),
                lock: both!("x402_counter"),
                raise: snapshot!("x402_raise_counter"),
                max: both!("x402_max_sequence"),
            },
        }
    }
}

/// See [`Log::raise_family_counter`](crate::Log::raise_family_counter). Dropping the connection rolls back.
pub(crate) async fn raise_counter(
    mut conn: Conn,
    family: Family,
    stream: &StreamKey,
    floor: u64,
    lock_timeout: Duration,
) -> Result<(Option<u64>, u64), LogError> {
    let doing = "raising the counter";
    let refused = |what| LogError::Refused { doing, what };
    conn.begin_writing(doing, lock_timeout).await?;
    for table in family.tables() {
        if !conn.has(table).await? {
            return Err(refused(format!(
                "table {} is not there, or not as expected",
                table.name
            )));
        }
    }
    let statements = Raise::of(family, &conn);
    let of: [Value; 2] = [stream.tenant_id.into(), stream.store_id.into()];
    let missing = conn.execute(doing, statements.create, &of).await? == 1;
    let found = conn
        .query_one(doing, statements.lock, &of, |row| {
            Columns::new(row).number::<u64>("current_sequence")
        })
        .await?;
    let found = found.unwrap_or_else(|| Err("the counter's row is gone".into()));
    let found = found.map_err(|what| row_error(family.counter_table(), stream, what))?;
    let before = if missing { None } else { Some(found) };
    let last = conn
        .query_one(doing, statements.max, &of, |row| {
            Columns::new(row).optional_int("max")
        })
        .await?;
    let last = last.transpose().map_err(refused)?.flatten();
    let last = last.and_then(|last| u64::try_from(last).ok()).unwrap_or(0);
    let after = found.max(floor);
    if last > after {
        return Err(refused(format!("{floor} is below the last number, {last}")));
    }
    if before == Some(after) {
        return Ok((before, after));
    }
    let value = as_i64("counter", after).map_err(refused)?;
    let [tenant, store] = of;
    match conn
        .execute(doing, statements.raise, &[value.into(), tenant, store])
        .await?
    {
        1 => {
            let what = format!("counter of stream {stream} in {}", family.counter_table());
            conn.commit(&what).await.map(|()| (before, after))
        }
        changed => Err(refused(format!("{changed} rows would change instead of 1"))),
    }
}
