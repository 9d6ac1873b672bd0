//! Reading the receipts of neighbouring events together. `entries.sql` finds each receipt by its event's id, which is random:
//! a walk through an index for each event, which costs the server more than the event itself. But a receipt is written with its
//! event, so that the receipts of a range of events mostly lie beside each other in their table. Here they are read as they lie,
//! and a receipt is recognised by its event's id. From an event on whose receipt is not among them, the range is read by
//! `entries.sql`: an event without a receipt is believed only from there.

use std::collections::HashMap;
use std::ops::ControlFlow;

use ves::StreamKey;

use crate::cells::RawTable;
use crate::conn::{Conn, FIRST_ROWS};
use crate::copy_out::CopiedRow;
use crate::entry::ENTRY_SEQUENCE;
use crate::entry_rows::{ChunkSize, ENTRY_COLUMNS, OF_EVENT, OF_RECEIPT};
use crate::error::LogError;
use crate::raw::RawRows;
use crate::schema::{VES_EVENTS, VES_SEQUENCER_RECEIPTS};
use crate::sql::postgres;
use crate::value::{Columns, Row, Value, postgres_int};

/// So many numbers are asked for at once: first to see how receipts lie, and at most.
const FIRST: i64 = 512;
const MOST: i64 = 8192;

/// For fewer numbers the question costs more than it saves.
const SHORT: i64 = 128;

/// After a disappointment, so many numbers are read by `entries.sql` at most before the next try.
const LONGEST_WAIT: i64 = 128 * MOST;

/// A range with fewer rows than one for so many numbers is read without asking piece by piece.
const SPARSE: i64 = 8;

/// A block of the table holds some forty receipts. Up to three that are not wanted beside each that is, reading them costs less
/// than finding one.
const NUMBERS_FOR_A_BLOCK: i64 = 10;

/// So many bytes of receipts are held: those signed by ML-DSA are large.
const HELD: usize = 16 << 20;

/// Where a receipt's columns begin in a row of `entries.sql`; the first is its event's id.
const RECEIPT: usize = OF_EVENT;

/// Whether receipts lie beside their neighbours on this server, by what was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Nearness {
    /// Whether the server and the tables are such that it can be told; `None` if nobody asked.
    possible: Option<bool>,
    /// How many numbers are asked for next; 0 at first.
    size: i64,
    /// How many are to be read by `entries.sql` before.
    wait: i64,
    /// How many that was the last time.
    last: i64,
}

impl Nearness {
    fn next_size(&self) -> i64 {
        self.size.clamp(FIRST, MOST)
    }

    fn reward(&mut self) {
        self.size = (self.next_size() * 4).min(MOST);
        self.last = 0;
    }

    fn disappoint(&mut self) {
        self.size = FIRST;
        self.last = (self.last * 2).clamp(MOST, LONGEST_WAIT);
        self.wait = self.last;
    }
}

/// How a piece ended.
enum Ended {
    /// All rows of it were handed over, so many.
    Whole(i64),
    /// The reader wants no more.
    Stopped,
    /// Not all of its receipts are where they were looked for.
    Elsewhere,
}

impl Conn {
    /// As [`Conn::entries_around`]: faster, where receipts lie beside each other as their events do.
    pub(crate) async fn entries_in_order(
        &mut self,
        doing: &'static str,
        stream: &StreamKey,
        range: (i64, i64),
        size: ChunkSize,
        each: &mut dyn FnMut(RawRows) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        let (mut start, end) = range;
        if end.saturating_sub(start) < SHORT || !self.tells_nearness(doing).await? {
            return self.entries_around(doing, stream, range, size, each).await;
        }
        loop {
            let Some(nearness) = self.nearness() else {
                return Ok(());
            };
            let wait = std::mem::take(&mut nearness.wait);
            let (to, rows) = if wait > 0 {
                let to = start.saturating_add(wait - 1).min(end);
                let (mut rows, mut stopped) = (0, false);
                let counted = &mut |some: RawRows| {
                    rows += some.len() as i64;
                    let flow = each(some);
                    stopped = flow.is_break();
                    flow
                };
                self.entries_around(doing, stream, (start, to), size, counted)
                    .await?;
                if stopped {
                    return Ok(());
                }
                (to, rows)
            } else {
                let to = start.saturating_add(nearness.next_size() - 1).min(end);
                let mut piece = Piece::new(size, start, each);
                self.run(doing, postgres!("read_entries")).await?;
                let ended = self.piece(doing, stream, (start, to), &mut piece).await;
                let (next, stopped) = (piece.next, piece.stopped);
                match ended {
                    Err(error) if error.damage().is_some() => {
                        self.run(doing, postgres!("read_rollback")).await?;
                        if stopped {
                            return Ok(());
                        }
                        return self.entries_around(doing, stream, (next, end), size, each).await;
                    }
                    ended => {
                        let ended = ended?;
                        self.run(doing, postgres!("read_rollback")).await?;
                        let Some(nearness) = self.nearness() else {
                            return Ok(());
                        };
                        match ended {
                            Ended::Stopped => return Ok(()),
                            Ended::Elsewhere => {
                                nearness.disappoint();
                                start = next;
                                continue;
                            }
                            Ended::Whole(rows) => {
                                nearness.reward();
                                (to, rows)
                            }
                        }
                    }
                }
            };
            if to >= end {
                return Ok(());
            }
            let sparse = rows < (to - start) / SPARSE;
            start = to + 1;
            if sparse {
                return self.entries_around(doing, stream, (start, end), size, each).await;
            }
        }
    }

    fn nearness(&mut self) -> Option<&mut Nearness> {
        match self {
            Conn::Postgres(session) => Some(&mut session.nearness),
            Conn::Snapshot { .. } => None,
        }
    }

    /// Whether rows can be read as they lie, and an event has one receipt at most.
    async fn tells_nearness(&mut self, doing: &'static str) -> Result<bool, LogError> {
        let Conn::Postgres(session) = self else {
            return Ok(false);
        };
        if let Some(possible) = session.nearness.possible {
            return Ok(possible);
        }
        // A query that stands for a table has no places.
        let plain = |table| session.layout.has(table) && !session.layout.is_shadowed(table);
        let mut possible = plain(&VES_EVENTS) && plain(&VES_SEQUENCER_RECEIPTS);
        if possible {
            let count = |row: Row<'_>| Columns::new(row).int("count") == Ok(2);
            let found = self
                .query_one(doing, postgres!("tells_nearness"), &[], count)
                .await?;
            possible = found == Some(true);
        }
        if let Some(nearness) = self.nearness() {
            nearness.possible = Some(possible);
        }
        Ok(possible)
    }

    async fn piece(
        &mut self,
        doing: &'static str,
        stream: &StreamKey,
        (start, to): (i64, i64),
        piece: &mut Piece<'_>,
    ) -> Result<Ended, LogError> {
        let Conn::Postgres(session) = self else {
            return Ok(Ended::Elsewhere);
        };
        let blocks = (to - start) / NUMBERS_FOR_A_BLOCK + 1;
        let parameters: [Value; 5] = [
            stream.tenant_id.into(),
            stream.store_id.into(),
            start.into(),
            to.into(),
            blocks.into(),
        ];
        let mut ended = None;
        let copied = session
            .copy_out(doing, postgres!("entries_near"), &parameters, &mut |row| {
                ended = piece.take(row)?;
                Ok(match ended {
                    None => ControlFlow::Continue(()),
                    Some(_) => ControlFlow::Break(()),
                })
            })
            .await;
        // What came before a row that cannot be read is sound.
        piece.hand_over();
        copied?;
        Ok(match ended {
            _ if piece.stopped => Ended::Stopped,
            Some(ended) => ended,
            // That nothing is there is not told from nothing that is near.
            None if piece.rows == 0 => Ended::Elsewhere,
            None => Ended::Whole(piece.rows),
        })
    }
}

/// What was read of a piece.
struct Piece<'a> {
    size: ChunkSize,
    each: &'a mut dyn FnMut(RawRows) -> ControlFlow<()>,
    receipts: RawTable,
    /// Where the receipt of an event is among them; `None` if there are several.
    of_event: HashMap<[u8; 16], Option<usize>>,
    /// Complete rows that were not handed over.
    chunk: RawTable,
    /// The number of the row that was completed last.
    last: Option<i64>,
    /// The first number of which nothing was handed over.
    next: i64,
    /// How many rows were completed.
    rows: i64,
    /// Whether the reader wants no more.
    stopped: bool,
}

impl<'a> Piece<'a> {
    fn new(size: ChunkSize, start: i64, each: &'a mut dyn FnMut(RawRows) -> ControlFlow<()>) -> Self {
        Self {
            size,
            each,
            receipts: RawTable::new(OF_RECEIPT, 0),
            of_event: HashMap::new(),
            chunk: RawTable::new(ENTRY_COLUMNS, size.rows.min(FIRST_ROWS)),
            last: None,
            next: start,
            rows: 0,
            stopped: false,
        }
    }

    /// Takes a row: first come receipts, then events. Says how the piece ends, if this was its last one.
    fn take(&mut self, row: &CopiedRow<'_>) -> Result<Option<Ended>, String> {
        let Some(event) = id(row.value(0))? else {
            return self.receipt(row);
        };
        let number = row.value(ENTRY_SEQUENCE).and_then(postgres_int);
        let receipt = self.of_event.get(&event).copied().flatten();
        let (Some(number), Some(receipt)) = (number, receipt) else {
            return Ok(Some(Ended::Elsewhere));
        };
        // All rows of a number that is there twice are read otherwise: the first of them was not handed over yet.
        if self.last == Some(number) {
            self.chunk.truncate(self.chunk.len() - 1);
            self.last = number.checked_sub(1);
            return Ok(Some(Ended::Elsewhere));
        }
        if self.chunk.len() >= self.size.rows || self.chunk.byte_len() >= self.size.bytes {
            self.hand_over();
            if self.stopped {
                return Ok(Some(Ended::Stopped));
            }
        }
        row.push_to(&mut self.chunk, 0..OF_EVENT);
        self.chunk.push_from(&self.receipts, receipt);
        self.last = Some(number);
        self.rows += 1;
        Ok(None)
    }

    fn receipt(&mut self, row: &CopiedRow<'_>) -> Result<Option<Ended>, String> {
        let Some(event) = id(row.value(RECEIPT))? else {
            return Ok(Some(Ended::Elsewhere));
        };
        let at = self.receipts.len();
        row.push_to(&mut self.receipts, RECEIPT..RECEIPT + OF_RECEIPT);
        self.of_event
            .entry(event)
            .and_modify(|at| *at = None)
            .or_insert(Some(at));
        Ok((self.receipts.byte_len() > HELD).then_some(Ended::Elsewhere))
    }

    fn hand_over(&mut self) {
        if self.chunk.len() == 0 || self.stopped {
            return;
        }
        if let Some(last) = self.last {
            self.next = last.saturating_add(1);
        }
        let full = std::mem::replace(&mut self.chunk, RawTable::new(ENTRY_COLUMNS, self.size.rows));
        self.stopped = (self.each)(RawRows::Postgres(full)).is_break();
    }
}

/// An id; `None` if it is NULL.
fn id(value: Option<&[u8]>) -> Result<Option<[u8; 16]>, String> {
    let id = value.map(<[u8; 16]>::try_from).transpose();
    id.map_err(|_| "an id that is none".into())
}
