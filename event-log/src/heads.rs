//! Where each stream ends, without a look at all its rows: what is asked every minute, or while a service waits to start.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use ves::StreamKey;

use crate::conn::Conn;
use crate::entry::read_stream;
use crate::error::{LogError, RowError, Rows};
use crate::sql::{both, postgres, snapshot};
use crate::value::{Columns, Row};
use crate::view::{StreamFilter, View};

/// Where a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamHead {
    /// The stream.
    pub stream: StreamKey,
    /// The highest number of an event.
    pub last: Option<u64>,
    /// `ves_sequence_counters`; `None` if the row is missing.
    pub counter: Option<u64>,
}

impl View {
    /// The last number and the counter of every stream that has events or a counter, in order.
    ///
    /// # Errors
    /// If the database fails. Rows of no known stream are in [`Rows::unreadable`].
    pub async fn heads(&mut self, filter: &StreamFilter) -> Result<Rows<StreamHead>, LogError> {
        let heads = match self.conn {
            Conn::Postgres(_) => postgres!("stream_heads"),
            Conn::Snapshot { .. } => snapshot!("stream_heads"),
        };
        let filter = [filter.tenant.into(), filter.store.into()];
        let mut found: BTreeMap<StreamKey, StreamHead> = BTreeMap::new();
        let mut unreadable = Vec::new();
        for (table, sql) in [
            ("ves_events", heads),
            ("ves_sequence_counters", both!("streams_of_counters")),
        ] {
            let mut each = |row: Row<'_>| {
                let mut c = Columns::new(row);
                let mut named = None;
                let mut read = || {
                    let stream = read_stream(&mut c)?;
                    named = Some(stream);
                    let number = c.optional_number::<u64>("number")?;
                    let (last, counter) = (None, None);
                    let new = StreamHead {
                        stream,
                        last,
                        counter,
                    };
                    let head = found.entry(stream).or_insert(new);
                    match table {
                        "ves_events" => head.last = number,
                        _ => head.counter = number,
                    }
                    Ok(())
                };
                if let Err(what) = read() {
                    unreadable.push(RowError {
                        table,
                        stream: named,
                        sequence: None,
                        what,
                    });
                }
                ControlFlow::Continue(())
            };
            self.conn
                .query("looking where the streams end", sql, &filter, &mut each)
                .await?;
        }
        let rows = found.into_values().collect();
        Ok(Rows { rows, unreadable })
    }
}
