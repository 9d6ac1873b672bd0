//! Reading a long range over several connections that see the same moment. PostgreSQL answers each connection by a process of
//! its own, on one processor; whoever has processors to spare would wait for it otherwise. The range is read in pieces, a piece
//! on each connection, and handed over in order. The view is exported to the other connections
//! (<https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-SNAPSHOT-SYNCHRONIZATION>). Where there can be no
//! others (a pooler or a role with few connections, a server that exports nothing), the view's own does all of it.

use std::ops::ControlFlow;
use std::thread::available_parallelism;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;

use crate::conn::Conn;
use crate::entry_rows::Reading;
use crate::error::LogError;
use crate::options::OpenOptions;
use crate::raw::RawRows;
use crate::view::View;

/// A range of so many numbers is worth more connections.
const WORTH: i64 = 16_384;

/// So many numbers are read at once over one connection.
const PIECE: i64 = 2048;

/// So many rows of a piece are held until it is its turn: more there are only where numbers are there several times.
const HELD: usize = 4 * PIECE as usize;

/// Pieces with fewer rows than one for so many numbers are not worth their questions.
const SPARSE: i64 = 8;

/// How long opening more connections may take: a pooler that has no more to give lets us wait. Less than what is told as
/// waiting.
const OPENING: Duration = Duration::from_millis(1500);

/// So many connections are used at most: others want to be answered too.
const MOST: usize = 4;

/// The connections of a view beside its own.
pub(crate) enum Readers {
    /// There are none, and there will be none.
    None,
    /// So many are opened when they are wanted.
    Wanted(usize),
    /// They are open, each in a transaction of the view's moment.
    Open(Vec<Conn>),
}

impl Readers {
    /// As many as the options ask for; by default one connection for two processors of this machine.
    pub(crate) fn of(options: &OpenOptions) -> Self {
        let usual = || (available_parallelism().map_or(1, usize::from) / 2).min(MOST);
        match options.connections.unwrap_or_else(usual) {
            0 | 1 => Self::None,
            more => Self::Wanted(more - 1),
        }
    }
}

impl View {
    /// As [`Conn::entries_in_order`], over several connections if the range is long enough.
    pub(crate) async fn entries_by_all(
        &mut self,
        reading: Reading<'_>,
        range: (i64, i64),
        each: &mut dyn FnMut(RawRows) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        // Without an index every piece would be looked for in the whole table.
        if range.1.saturating_sub(range.0) >= WORTH && !self.heap_only {
            self.open_readers().await?;
            if let Readers::Open(others) = &mut self.readers {
                let conns = std::iter::once(&mut self.conn).chain(others).collect();
                return reading.by(conns, range, each).await;
            }
        }
        if self.heap_only {
            return self.conn.entries_around(reading, range, each).await;
        }
        self.conn.entries_in_order(reading, range, each).await
    }

    async fn open_readers(&mut self) -> Result<(), LogError> {
        let Readers::Wanted(count) = self.readers else {
            return Ok(());
        };
        self.readers = Readers::None;
        let opening = self.conn.beside(count, &self.options.cancel);
        match tokio::time::timeout(OPENING, opening).await {
            Ok(Ok(conns)) if !conns.is_empty() => self.readers = Readers::Open(conns),
            Ok(Ok(_)) => {}
            Ok(Err(error @ LogError::Cancelled { .. })) => return Err(error),
            Ok(Err(error)) => tracing::debug!("the log is read over one connection alone: {error}"),
            Err(_) => {
                tracing::debug!("the log is read over one connection alone: others are waited for too long");
            }
        }
        Ok(())
    }
}

/// A piece that was read.
struct Piece<'c> {
    conn: &'c mut Conn,
    range: (i64, i64),
    rows: Vec<RawRows>,
    /// It has more rows than may be held, and none of them is.
    crowded: bool,
}

impl Piece<'_> {
    fn is_sparse(&self) -> bool {
        let rows: usize = self.rows.iter().map(RawRows::len).sum();
        let width = self.range.1 - self.range.0 + 1;
        !self.crowded && (rows as i64) < width / SPARSE
    }
}

impl Reading<'_> {
    async fn by(
        self,
        conns: Vec<&mut Conn>,
        (start, end): (i64, i64),
        each: &mut dyn FnMut(RawRows) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        let mut next = Some(start);
        let mut cut = || {
            let first = next?;
            let last = first.saturating_add(PIECE - 1).min(end);
            next = (last < end).then_some(last + 1);
            Some((first, last))
        };
        let mut running = FuturesOrdered::new();
        for conn in conns {
            if let Some(range) = cut() {
                running.push_back(self.piece(conn, range));
            }
        }
        let mut in_pieces = true;
        while let Some(piece) = running.next().await {
            let piece = piece?;
            in_pieces &= !piece.is_sparse();
            let Piece {
                conn,
                range,
                rows,
                crowded,
            } = piece;
            if crowded {
                if self.all(conn, range, each).await?.is_break() {
                    return Ok(());
                }
            } else if rows.into_iter().try_for_each(&mut *each).is_break() {
                return Ok(());
            }
            if in_pieces {
                if let Some(range) = cut() {
                    running.push_back(self.piece(conn, range));
                }
            } else if running.is_empty() {
                // What is left has few rows, or large holes.
                let Some((first, _)) = cut() else { break };
                return self.all(conn, (first, end), each).await.map(drop);
            }
        }
        Ok(())
    }

    async fn piece<'c>(self, conn: &'c mut Conn, range: (i64, i64)) -> Result<Piece<'c>, LogError> {
        let (mut rows, mut count, mut crowded) = (Vec::new(), 0, false);
        conn.entries_in_order(self, range, &mut |more| {
            count += more.len();
            crowded = count > HELD;
            if crowded {
                return ControlFlow::Break(());
            }
            rows.push(more);
            ControlFlow::Continue(())
        })
        .await?;
        if crowded {
            rows = Vec::new();
        }
        Ok(Piece {
            conn,
            range,
            rows,
            crowded,
        })
    }

    /// Hands over a range as it is read.
    async fn all(
        self,
        conn: &mut Conn,
        range: (i64, i64),
        each: &mut dyn FnMut(RawRows) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, LogError> {
        let mut flow = ControlFlow::Continue(());
        conn.entries_in_order(self, range, &mut |rows| {
            flow = each(rows);
            flow
        })
        .await?;
        Ok(flow)
    }
}
