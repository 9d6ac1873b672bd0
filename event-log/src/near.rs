//! Reading the receipts of neighbouring events together. `entries.sql` finds each receipt by its event's id, which is random:
//! a walk through an index for each event, which costs the server more than the event itself. But a receipt is written with its
//! event, so that the receipts of a range of events mostly lie beside each other in their table. Here they are read as they lie,
//! and a receipt is recognised by its event's id. From an event on whose receipt is not among them, the range is read by
//! `entries.sql`: an event without a receipt is believed only from there.

use std::collections::HashMap;
use std::ops::ControlFlow;

use crate::cells::RawTable;
use crate::conn::{Conn, FIRST_ROWS};
use crate::entry::number_of;
use crate::entry_rows::{ChunkSize, EventColumns, OF_RECEIPT, Reading};
use crate::error::LogError;
use crate::nearness::Nearness;
use crate::raw::{RawRows, push_columns};
use crate::schema::{VES_EVENTS, VES_SEQUENCER_RECEIPTS};
use crate::sql::postgres;
use crate::value::{Cell, Columns, Row, Value, ValueKind};

/// For fewer numbers the question costs more than it saves.
const SHORT: i64 = 128;

/// A range with fewer rows than one for so many numbers is read without asking piece by piece.
const SPARSE: i64 = 8;

/// A block of the table holds some forty receipts. Up to three that are not wanted beside each that is, reading them costs less
/// than finding one.
const NUMBERS_FOR_A_BLOCK: i64 = 10;

/// So many bytes of receipts are held: those signed by ML-DSA are large.
const HELD: usize = 16 << 20;

/// How far a range was read.
enum Reached {
    /// To this number, which had so many rows with those before it.
    To(i64, i64),
    /// The rest, from this number on, is read again: receipts lie elsewhere.
    Again(i64),
    /// The rest, from this number on, has a row that cannot be read.
    Around(i64),
    /// The reader wants no more.
    Stopped,
}

impl Conn {
    /// As [`Conn::entries_around`]: faster, where receipts lie beside each other as their events do.
    pub(crate) async fn entries_in_order(
        &mut self,
        reading: Reading<'_>,
        range: (i64, i64),
        each: &mut dyn FnMut(RawRows) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        let (mut start, end) = range;
        if end.saturating_sub(start) < SHORT || !self.tells_nearness(reading.doing).await? {
            return self.entries_around(reading, range, each).await;
        }
        while let Some(nearness) = self.nearness() {
            let read = match std::mem::take(&mut nearness.wait) {
                0 => {
                    let to = start.saturating_add(nearness.next_size() - 1).min(end);
                    self.together(reading, (start, to), each).await?
                }
                wait => {
                    let to = start.saturating_add(wait - 1).min(end);
                    self.one_by_one(reading, (start, to), each).await?
                }
            };
            let to = match read {
                Reached::Stopped => break,
                Reached::Again(next) => {
                    start = next;
                    continue;
                }
                // So much at once goes on behind the row.
                Reached::Around(next) => next - 1,
                Reached::To(to, rows) if rows >= (to - start) / SPARSE => {
                    if to == end {
                        break;
                    }
                    start = to + 1;
                    continue;
                }
                Reached::To(to, _) => to,
            };
            if to < end {
                return self.entries_around(reading, (to + 1, end), each).await;
            }
            break;
        }
        Ok(())
    }

    /// Reads a range by `entries.sql`.
    async fn one_by_one(
        &mut self,
        reading: Reading<'_>,
        (start, to): (i64, i64),
        each: &mut dyn FnMut(RawRows) -> ControlFlow<()>,
    ) -> Result<Reached, LogError> {
        let (mut rows, mut stopped) = (0, false);
        self.entries_around(reading, (start, to), &mut |some| {
            rows += some.len() as i64;
            let flow = each(some);
            stopped = flow.is_break();
            flow
        })
        .await?;
        Ok(match stopped {
            true => Reached::Stopped,
            false => Reached::To(to, rows),
        })
    }

    /// Reads a range with the receipts that lie beside each other.
    async fn together(
        &mut self,
        reading: Reading<'_>,
        (start, to): (i64, i64),
        each: &mut dyn FnMut(RawRows) -> ControlFlow<()>,
    ) -> Result<Reached, LogError> {
        let mut piece = Piece::new(reading, start, each);
        self.run(reading.doing, postgres!("read_entries")).await?;
        let whole = match self.fetch_piece(reading, (start, to), &mut piece).await {
            Ok(whole) => Some(whole),
            Err(error) if error.damage().is_some() => None,
            Err(error) => return Err(error),
        };
        let Piece {
            stopped, next, rows, ..
        } = piece;
        self.run(reading.doing, postgres!("read_rollback")).await?;
        if let (Some(nearness), Some(whole)) = (self.nearness(), whole) {
            match whole {
                true => nearness.reward(),
                false => nearness.disappoint(),
            }
        }
        Ok(match whole {
            _ if stopped => Reached::Stopped,
            Some(true) => Reached::To(to, rows),
            Some(false) => Reached::Again(next),
            None => Reached::Around(next),
        })
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

    /// Whether all rows of a piece came, each with its receipt.
    async fn fetch_piece(
        &mut self,
        Reading {
            doing,
            stream,
            columns,
            ..
        }: Reading<'_>,
        (start, to): (i64, i64),
        piece: &mut Piece<'_>,
    ) -> Result<bool, LogError> {
        let Conn::Postgres(session) = self else {
            return Ok(false);
        };
        let blocks = (to - start) / NUMBERS_FOR_A_BLOCK + 1;
        let parameters: [Value; 5] = [
            stream.tenant_id.into(),
            stream.store_id.into(),
            start.into(),
            to.into(),
            blocks.into(),
        ];
        let mut whole = true;
        let fetched = session
            .fetch(doing, columns.near(), &parameters, &mut |row| {
                whole = piece.take(row)?;
                Ok(match whole && !piece.stopped {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                })
            })
            .await;
        // What came before a row that cannot be read is sound.
        piece.hand_over();
        fetched?;
        // That nothing is there is not told from nothing that is near.
        Ok(whole && piece.rows > 0)
    }
}

/// What was read of a piece.
struct Piece<'a> {
    columns: EventColumns,
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
    fn new(reading: Reading<'_>, start: i64, each: &'a mut dyn FnMut(RawRows) -> ControlFlow<()>) -> Self {
        let Reading { columns, size, .. } = reading;
        Self {
            columns,
            size,
            each,
            receipts: RawTable::new(OF_RECEIPT, 0),
            of_event: HashMap::new(),
            chunk: RawTable::new(columns.with_receipt(), size.rows.min(FIRST_ROWS)),
            last: None,
            next: start,
            rows: 0,
            stopped: false,
        }
    }

    /// Takes a row: first come receipts, then events. False if what it needs is elsewhere: then it was not taken.
    fn take(&mut self, row: Row<'_>) -> Result<bool, String> {
        let Some(event) = id(row, 0)? else {
            return self.receipt(row);
        };
        let number = number_of(row, self.columns.sequence());
        let receipt = self.of_event.get(&event).copied().flatten();
        let (Some(number), Some(receipt)) = (number, receipt) else {
            return Ok(false);
        };
        // All rows of a number that is there twice are read otherwise: the first of them was not handed over yet.
        if self.last == Some(number) {
            self.chunk.truncate(self.chunk.len() - 1);
            self.last = number.checked_sub(1);
            return Ok(false);
        }
        if self.chunk.len() >= self.size.rows || self.chunk.byte_len() >= self.size.bytes {
            self.hand_over();
        }
        push_columns(&mut self.chunk, row, 0..self.columns.of_event())?;
        self.chunk.push_from(&self.receipts, receipt);
        self.last = Some(number);
        self.rows += 1;
        Ok(true)
    }

    fn receipt(&mut self, row: Row<'_>) -> Result<bool, String> {
        let columns = self.columns.of_event()..self.columns.with_receipt();
        let Some(event) = id(row, columns.start)? else {
            return Ok(false);
        };
        let at = self.receipts.len();
        push_columns(&mut self.receipts, row, columns)?;
        self.of_event
            .entry(event)
            .and_modify(|at| *at = None)
            .or_insert(Some(at));
        Ok(self.receipts.byte_len() <= HELD)
    }

    fn hand_over(&mut self) {
        if self.chunk.len() == 0 || self.stopped {
            return;
        }
        if let Some(last) = self.last {
            self.next = last.saturating_add(1);
        }
        let full = std::mem::replace(
            &mut self.chunk,
            RawTable::new(self.columns.with_receipt(), self.size.rows),
        );
        self.stopped = (self.each)(RawRows::Postgres(full)).is_break();
    }
}

/// The id in a column; `None` if it is NULL.
fn id(row: Row<'_>, column: usize) -> Result<Option<[u8; 16]>, String> {
    match row.get(column, ValueKind::Uuid)? {
        Some(Cell::Uuid(id)) => Ok(Some(id.into_bytes())),
        _ => Ok(None),
    }
}
