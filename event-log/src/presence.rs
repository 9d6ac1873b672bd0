//! Which numbers are there. Counting by the index tells it for whole streams: a stream without holes has as many rows
//! as its last number less its first, plus one. Only where that fails is the stream cut into blocks which are counted in
//! turn, and only in blocks that have holes is there work for each row. Where streams are long, PostgreSQL counts the
//! blocks of all of them at once instead, which takes hardly longer than to count the streams.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, RangeInclusive};

use ves::{Span, Spans, StoreId, StreamKey, TenantId};

use crate::conn::Conn;
use crate::entry::{StreamState, read_stream};
use crate::error::{LogError, RowError, Rows};
use crate::schema::VES_EVENTS;
use crate::sql::{both, postgres, snapshot};
use crate::value::{Columns, Row, Value};
use crate::view::{StreamFilter, View};

/// Into how many blocks a part with holes is cut at most, and how many rows are worth a block.
const BLOCKS: u64 = 1024;
const BLOCK_ROWS: u64 = 256;

/// A part of at most so many rows is read row by row rather than cut again.
const ROWS: u64 = 4096;

const DOING: &str = "looking for holes";

/// Which numbers of a stream are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamPresence {
    /// The stream.
    pub stream: StreamKey,
    /// The numbers that are there, as ranges in order that do not touch each other.
    pub ranges: Vec<RangeInclusive<u64>>,
    /// How many rows have a number below 1, which no event can have.
    pub misnumbered: u64,
    /// How many rows repeat a number of the stream, which the sequencer's own schema makes impossible.
    pub repeated: u64,
    /// `ves_sequence_counters`; `None` if the row is missing.
    pub counter: Option<u64>,
    /// The highest number in a commitment.
    pub last_committed: Option<u64>,
}

/// A part of a stream, with how many rows it has.
struct Part {
    first: u64,
    last: u64,
    rows: u64,
}

impl Part {
    fn width(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    fn is_whole(&self) -> bool {
        self.rows == self.width()
    }
}

/// What the events of a stream hold.
#[derive(Debug, Default)]
struct StreamContents {
    present: Spans,
    misnumbered: u64,
    repeated: u64,
}

/// The rows of `presence_by_blocks.sql`.
struct Blocks {
    most: i64,
    /// There are more streams than that.
    too_many: bool,
    held: BTreeMap<StreamKey, StreamContents>,
    /// Parts that are to be cut again, the first last.
    large: BTreeMap<StreamKey, Vec<Part>>,
    failed: Option<LogError>,
}

impl Blocks {
    fn new(most: i64) -> Self {
        Self {
            most,
            too_many: false,
            held: BTreeMap::new(),
            large: BTreeMap::new(),
            failed: None,
        }
    }

    fn row(&mut self, row: Row<'_>) {
        let mut stream = None;
        if let Err(what) = self.read(&mut Columns::new(row), &mut stream) {
            self.failed = Some(row_error("ves_events", stream, what).into());
        }
    }

    fn read(&mut self, c: &mut Columns<'_>, stream: &mut Option<StreamKey>) -> Result<(), String> {
        let (tenant, store) = (c.optional_uuid("tenant_id")?, c.optional_uuid("store_id")?);
        let bounds = (c.optional_number("first")?, c.optional_number("last")?);
        let (Some(tenant), Some(store)) = (tenant, store) else {
            self.too_many = c.int("count")? > self.most;
            return Ok(());
        };
        let key = *stream.insert(StreamKey::new(TenantId(tenant), StoreId(store)));
        let rows = c.number("count")?;
        let held = self.held.entry(key).or_default();
        let (Some(first), Some(last)) = bounds else {
            held.misnumbered = rows;
            return Ok(());
        };
        let part = Part { first, last, rows };
        if part.is_whole() {
            held.present.extend(Span::new(first, last));
        } else {
            self.large.entry(key).or_default().insert(0, part);
        }
        Ok(())
    }

    /// Itself, if all is in it; `None` if there are too many streams.
    fn complete(self) -> Result<Option<Self>, LogError> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok((!self.too_many).then_some(Self { failed: None, ..self })),
        }
    }
}

impl View {
    /// Which numbers are there in every stream that has events, a counter or commitments. Where no number is missing between the first and the
    /// last of a stream, no row of it is looked at, only the index.
    ///
    /// # Errors
    /// If the database fails. Rows of no known stream are in [`Rows::unreadable`].
    pub async fn presence(&mut self, filter: &StreamFilter) -> Result<Rows<StreamPresence>, LogError> {
        let unique = self.numbers_are_unique().await?;
        let mut unreadable = Vec::new();
        let by_blocks = match unique {
            true => self.held_by_blocks(filter).await?,
            false => None,
        };
        let mut held = match by_blocks {
            Some(held) => held,
            None => self.held_by_count(filter, unique, &mut unreadable).await?,
        };
        let known = self.known_streams(filter, &mut unreadable).await?;
        for stream in known.keys() {
            held.entry(*stream).or_default();
        }
        let presence = |(stream, held): (StreamKey, StreamContents)| {
            let known = known.get(&stream);
            StreamPresence {
                stream,
                ranges: held.present.into(),
                misnumbered: held.misnumbered,
                repeated: held.repeated,
                counter: known.and_then(|state| state.counter),
                last_committed: known.and_then(|state| state.last_committed),
            }
        };
        Ok(Rows {
            rows: held.into_iter().map(presence).collect(),
            unreadable,
        })
    }

    /// What each stream's events hold, after a count of each stream's rows.
    async fn held_by_count(
        &mut self,
        filter: &StreamFilter,
        unique: bool,
        unreadable: &mut Vec<RowError>,
    ) -> Result<BTreeMap<StreamKey, StreamContents>, LogError> {
        let parameters = [filter.tenant.into(), filter.store.into()];
        let mut counted = Vec::new();
        let mut each = |row: Row<'_>| {
            let mut c = Columns::new(row);
            let mut stream = None;
            let mut read = || {
                let key = read_stream(&mut c)?;
                stream = Some(key);
                let (count, first) = (c.number::<u64>("count")?, c.optional_int("first")?);
                Ok((key, count, first, c.optional_int("last")?))
            };
            match read() {
                Ok(stream) => counted.push(stream),
                Err(what) => unreadable.push(row_error("ves_events", stream, what)),
            }
            ControlFlow::Continue(())
        };
        self.conn
            .query(DOING, both!("presence_of_streams"), &parameters, &mut each)
            .await?;
        let mut held = BTreeMap::new();
        for (stream, count, first, last) in counted {
            let mut state = StreamState::new(stream);
            let number = |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok());
            (state.event_count, state.first, state.last) = (count, number(first), number(last));
            if first.is_some_and(|first| first < 1) {
                // Seldom enough to look again.
                state = self.count_of(&stream).await?;
                state.misnumbered = count.saturating_sub(state.event_count);
            }
            let present = self.present(&state, unique).await?;
            let found = StreamContents {
                misnumbered: state.misnumbered,
                repeated: state.event_count.saturating_sub(present.count()),
                present,
            };
            held.insert(stream, found);
        }
        Ok(held)
    }

    /// The same where streams are long: in blocks, all in one statement of PostgreSQL. `None` if this log is not one for that.
    async fn held_by_blocks(
        &mut self,
        filter: &StreamFilter,
    ) -> Result<Option<BTreeMap<StreamKey, StreamContents>>, LogError> {
        match &self.conn {
            // A query in place of a table would be run for each block.
            Conn::Postgres(session) if !session.layout.is_shadowed(&VES_EVENTS) => {}
            _ => return Ok(None),
        }
        let most = self
            .conn
            .query_one(DOING, postgres!("most_streams"), &[], |row| {
                Columns::new(row).int("most")
            })
            .await?;
        let Some(Ok(most @ 1..)) = most else {
            return Ok(None);
        };
        let mut found = Blocks::new(most);
        let parameters = [
            filter.tenant.into(),
            filter.store.into(),
            most.into(),
            bound(ROWS),
        ];
        self.conn
            .query(DOING, postgres!("presence_by_blocks"), &parameters, &mut |row| {
                found.row(row);
                ControlFlow::Continue(())
            })
            .await?;
        let Some(Blocks { mut held, large, .. }) = found.complete()? else {
            return Ok(None);
        };
        for (stream, parts) in large {
            let mut present = Spans::default();
            self.look_into(&stream, parts, &mut present).await?;
            let entry = held.entry(stream).or_default();
            entry.present = entry.present.union(&present);
        }
        Ok(Some(held))
    }

    /// The streams that counters and commitments tell of.
    async fn known_streams(
        &mut self,
        filter: &StreamFilter,
        unreadable: &mut Vec<RowError>,
    ) -> Result<BTreeMap<StreamKey, StreamState>, LogError> {
        let parameters = [filter.tenant.into(), filter.store.into()];
        let mut known = BTreeMap::<StreamKey, StreamState>::new();
        for (table, sql) in [
            ("ves_sequence_counters", both!("streams_of_counters")),
            ("ves_commitments", both!("streams_of_commitments")),
        ] {
            let mut each = |row: Row<'_>| {
                let mut c = Columns::new(row);
                let mut stream = None;
                let mut read = || -> Result<(), String> {
                    let key = read_stream(&mut c)?;
                    stream = Some(key);
                    let state = known.entry(key).or_insert_with(|| StreamState::new(key));
                    if table == "ves_commitments" {
                        state.commitment_count = c.number("count")?;
                        state.first_committed = c.optional_number("sequence_start")?;
                        state.last_committed = c.optional_number("sequence_end")?;
                    } else {
                        state.counter = Some(c.number("current_sequence")?);
                    }
                    Ok(())
                };
                if let Err(what) = read() {
                    unreadable.push(row_error(table, stream, what));
                }
                ControlFlow::Continue(())
            };
            self.conn.query(DOING, sql, &parameters, &mut each).await?;
        }
        Ok(known)
    }

    /// The numbers of a stream that are there, as ranges in order. `state` is what [`View::streams`] of this view says
    /// of the stream, so that nothing is counted twice.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn ranges_of(&mut self, state: &StreamState) -> Result<Vec<RangeInclusive<u64>>, LogError> {
        let unique = self.numbers_are_unique().await?;
        Ok(self.present(state, unique).await?.into())
    }

    /// [`View::present_ranges`] as a set.
    pub(crate) async fn present_spans(&mut self, stream: &StreamKey) -> Result<Spans, LogError> {
        let state = self.count_of(stream).await?;
        let unique = self.numbers_are_unique().await?;
        self.present(&state, unique).await
    }

    /// How many events a stream has from a number on.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn count_from(&mut self, stream: &StreamKey, first: u64) -> Result<u64, LogError> {
        let Ok(first) = i64::try_from(first) else {
            return Ok(0);
        };
        let parameters = [stream.tenant_id.into(), stream.store_id.into(), first.into()];
        let counted = self
            .conn
            .query_one(DOING, both!("count_from"), &parameters, |row| {
                Columns::new(row).number("count")
            })
            .await?;
        counted.unwrap_or(Ok(0)).map_err(|what| error(stream, what))
    }

    /// Counts the numbers of a stream, those below 1 left out.
    pub(crate) async fn count_of(&mut self, stream: &StreamKey) -> Result<StreamState, LogError> {
        let parameters = [stream.tenant_id.into(), stream.store_id.into()];
        let counted = self
            .conn
            .query_one(DOING, both!("presence"), &parameters, |row| {
                let mut c = Columns::new(row);
                let mut state = StreamState::new(*stream);
                state.event_count = c.number("count")?;
                state.first = c.optional_number("first")?;
                state.last = c.optional_number("last")?;
                Ok(state)
            })
            .await?;
        let counted = counted.unwrap_or_else(|| Ok(StreamState::new(*stream)));
        counted.map_err(|what| error(stream, what))
    }

    async fn present(&mut self, state: &StreamState, unique: bool) -> Result<Spans, LogError> {
        let mut present = Spans::default();
        let (Some(first), Some(last)) = (state.first, state.last) else {
            return Ok(present);
        };
        let rows = state.event_count;
        let part = Part { first, last, rows };
        if !unique {
            self.islands(&state.stream, &part, &mut present).await?;
            return Ok(present);
        }
        self.look_into(&state.stream, vec![part], &mut present).await?;
        Ok(present)
    }

    /// Looks into parts, the first last, until nothing is left that is not whole.
    async fn look_into(
        &mut self,
        stream: &StreamKey,
        mut waiting: Vec<Part>,
        present: &mut Spans,
    ) -> Result<(), LogError> {
        while let Some(part) = waiting.pop() {
            if part.is_whole() {
                present.extend(Span::new(part.first, part.last));
            } else if part.rows <= ROWS || part.width() <= ROWS {
                self.islands(stream, &part, present).await?;
            } else {
                waiting.extend(self.cut(stream, &part).await?.into_iter().rev());
            }
        }
        Ok(())
    }

    /// Cuts a part into blocks and counts each. PostgreSQL takes those with holes apart at once, unless they are large; in a
    /// snapshot that is for [`View::islands`], and neighbours with holes become one as long as they have few rows.
    async fn cut(&mut self, stream: &StreamKey, part: &Part) -> Result<Vec<Part>, LogError> {
        let width = part.width().div_ceil((part.rows / BLOCK_ROWS).clamp(2, BLOCKS));
        let mut parameters = vec![
            bound(part.first),
            bound(width),
            stream.tenant_id.into(),
            stream.store_id.into(),
            bound(part.first),
            bound(part.last),
        ];
        let sql = match self.conn {
            Conn::Postgres(_) => {
                parameters.push(bound(ROWS));
                postgres!("parts")
            }
            Conn::Snapshot { .. } => snapshot!("parts"),
        };
        let mut parts: Vec<Part> = Vec::new();
        let mut failed = None;
        self.conn
            .query(DOING, sql, &parameters, &mut |row| {
                let mut c = Columns::new(row);
                let mut read = || -> Result<Part, String> {
                    Ok(Part {
                        first: c.number("first")?,
                        last: c.number("last")?,
                        rows: c.number("count")?,
                    })
                };
                // Blocks without any number do not come.
                match read() {
                    Ok(part) => match parts.last_mut() {
                        Some(before)
                            if !before.is_whole() && !part.is_whole() && before.rows + part.rows <= ROWS =>
                        {
                            before.last = part.last;
                            before.rows += part.rows;
                        }
                        _ => parts.push(part),
                    },
                    Err(what) => failed = Some(what),
                }
                ControlFlow::Continue(())
            })
            .await?;
        match failed {
            None => Ok(parts),
            Some(what) => Err(error(stream, what)),
        }
    }

    /// Looks at every row of a part.
    async fn islands(
        &mut self,
        stream: &StreamKey,
        part: &Part,
        present: &mut Spans,
    ) -> Result<(), LogError> {
        let parameters = [
            stream.tenant_id.into(),
            stream.store_id.into(),
            bound(part.first),
            bound(part.last),
        ];
        let mut failed = None;
        self.conn
            .query(DOING, both!("islands"), &parameters, &mut |row| {
                let mut c = Columns::new(row);
                match (c.number("first"), c.number("last")) {
                    (Ok(first), Ok(last)) => present.extend(Span::new(first, last)),
                    (Err(what), _) | (_, Err(what)) => failed = Some(what),
                }
                ControlFlow::Continue(())
            })
            .await?;
        match failed {
            None => Ok(()),
            Some(what) => Err(error(stream, what)),
        }
    }

    /// Whether the database makes sure that a stream has no number twice. Without that a count says nothing: a
    /// number that is there twice hides one that is missing.
    async fn numbers_are_unique(&mut self) -> Result<bool, LogError> {
        if self.heap_only {
            return Ok(false);
        }
        let sql = match self.conn {
            Conn::Postgres(_) => postgres!("unique_sequence"),
            Conn::Snapshot { .. } => snapshot!("unique_sequence"),
        };
        let count = self
            .conn
            .query_one(DOING, sql, &[], |row| Columns::new(row).number::<u64>("count"))
            .await?;
        Ok(matches!(count, Some(Ok(count)) if count > 0))
    }
}

/// A number as the databases hold it; what is beyond, nothing there can be beyond.
fn bound(number: u64) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

fn error(stream: &StreamKey, what: String) -> LogError {
    row_error("ves_events", Some(*stream), what).into()
}

fn row_error(table: &'static str, stream: Option<StreamKey>, what: String) -> RowError {
    RowError {
        table,
        stream,
        sequence: None,
        what,
    }
}
