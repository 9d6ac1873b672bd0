//! Which numbers are there. Counting by the index tells it for whole streams: a stream without holes has as many rows
//! as its last number less its first, plus one. Only where that fails is the stream cut into blocks which are counted in
//! turn, and only in blocks that have holes is there work for each row.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, RangeInclusive};

use ves::{Span, Spans, StreamKey};

use crate::conn::Conn;
use crate::entry::{StreamState, read_stream};
use crate::error::{LogError, RowError, Rows};
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

impl View {
    /// Which numbers are there in every stream that has events, a counter or commitments. Where no number is missing between the first and the
    /// last of a stream, no row of it is looked at, only the index.
    ///
    /// # Errors
    /// If the database fails. Rows of no known stream are in [`Rows::unreadable`].
    pub async fn presence(&mut self, filter: &StreamFilter) -> Result<Rows<StreamPresence>, LogError> {
        let unique = self.numbers_are_unique().await?;
        let parameters = [filter.tenant.into(), filter.store.into()];
        let mut counted = Vec::new();
        let mut found = Rows::default();
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
                Err(what) => found.unreadable.push(RowError {
                    table: "ves_events",
                    stream,
                    sequence: None,
                    what,
                }),
            }
            ControlFlow::Continue(())
        };
        self.conn
            .query(DOING, both!("presence_of_streams"), &parameters, &mut each)
            .await?;
        let mut states = Vec::new();
        for (stream, count, first, last) in counted {
            let mut state = StreamState::new(stream);
            let number = |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok());
            (state.event_count, state.first, state.last) = (count, number(first), number(last));
            if first.is_some_and(|first| first < 1) {
                // Seldom enough to look again.
                state = self.count_of(&stream).await?;
                state.misnumbered = count.saturating_sub(state.event_count);
            }
            states.push(state);
        }
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
                    found.unreadable.push(RowError {
                        table,
                        stream,
                        sequence: None,
                        what,
                    });
                }
                ControlFlow::Continue(())
            };
            self.conn.query(DOING, sql, &parameters, &mut each).await?;
        }
        for state in states {
            let known = known
                .entry(state.stream)
                .or_insert_with(|| StreamState::new(state.stream));
            (known.event_count, known.misnumbered) = (state.event_count, state.misnumbered);
            (known.first, known.last) = (state.first, state.last);
        }
        for state in known.into_values() {
            let present = self.present(&state, unique).await?;
            found.rows.push(StreamPresence {
                stream: state.stream,
                misnumbered: state.misnumbered,
                repeated: state.event_count.saturating_sub(present.count()),
                ranges: present.into(),
                counter: state.counter,
                last_committed: state.last_committed,
            });
        }
        Ok(found)
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
        // What is still to be looked at, the first last.
        let mut waiting = vec![part];
        while let Some(part) = waiting.pop() {
            if part.is_whole() {
                present.extend(Span::new(part.first, part.last));
            } else if part.rows <= ROWS || part.width() <= ROWS {
                self.islands(&state.stream, &part, &mut present).await?;
            } else {
                waiting.extend(self.cut(&state.stream, &part).await?.into_iter().rev());
            }
        }
        Ok(present)
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
    RowError {
        table: "ves_events",
        stream: Some(*stream),
        sequence: None,
        what,
    }
    .into()
}
