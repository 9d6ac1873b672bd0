//! Writing repairs: one transaction for one stream, under the sequencer's own locks.
//!
//! # The order of locks
//! A sequencer that accepts events inserts their command ids into `ves_command_dedupe`, in no fixed order, and locks the
//! counter's row after that; then come the versions of entities, events, receipts and the counter. Who makes a commitment
//! takes the stream's advisory lock and nothing else that anybody waits for. The older log's writer locks
//! `sequence_counters` and then versions of entities. So a repair takes, in this order:
//!
//! 1. **its command ids**, all of them, before it holds anything else. Two that insert the same ids in different orders
//!    wait for each other, and the sequencer's order is not known; so here a repair waits only [`SLICE`], far less than
//!    PostgreSQL waits before it looks for a deadlock (`deadlock_timeout`, 1 s; less where the server has less), and then
//!    lets go of everything, and begins again a moment later. The sequencer's transaction never becomes the victim.
//! 2. **the advisory lock** of the stream's commitments: who holds it never waits for command ids or the counter.
//! 3. **the counter's row**: who holds it has its command ids already, so it waits for nothing that a repair holds.
//! 4. **the older log's counter**, if there is a row: who holds it wants versions of entities, which a repair touches
//!    only from here on.
//!
//! After that nobody else writes what a repair writes. A repair that only adds to a stream may write its rows between the
//! first and the second step ([`Repair::write_ahead`]): nobody sees them before the commit, and the sequencer's requests wait for the
//! last step alone. A repair of several streams takes all command ids first, then the
//! locks of one stream after the other in the order of their ids; the sequencer never holds locks of two streams.
//! What may deadlock all the same (somebody's transaction by hand, say) is [`LogError::Conflict`]: the caller begins again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ves::{CommandId, EventId, Receipt, StoreId, StreamKey, TenantId, Timestamp};

use crate::conn::{Conn, insert_snapshot};
use crate::entry::{
    Commitment, DedupeOrphan, Entity, RestoredEvent, as_i64, commitment_row, dedupe_row, event_row,
    receipt_row,
};
use crate::error::{LogError, NotInserted, RowError};
use crate::schema::{SEQUENCE_COUNTERS, VES_COMMITMENTS};
use crate::sql::{both, postgres, snapshot};
use crate::staging::{self, MakeRow, Stage, Staging, stage_entities};
use crate::value::{Columns, Row, Value};
use crate::view::View;

/// How long a repair waits at most for a command id that another transaction is about to accept, before it lets go of all
/// that it holds; a quarter of `deadlock_timeout`, where that is less. With the time that the statement itself takes this
/// must stay below `deadlock_timeout`.
const SLICE: Duration = Duration::from_millis(50);

/// The slice of a server that looks for deadlocks after so many milliseconds.
fn slice_of(deadlock_timeout: u64) -> Duration {
    // PostgreSQL knows no shorter wait.
    Duration::from_millis(deadlock_timeout / 4).clamp(Duration::from_millis(1), SLICE)
}

/// How long until it tries again; longer each time, up to ten times as long.
const PAUSE: Duration = Duration::from_millis(20);

/// So many rows are written ahead at once: whoever comes to wait for one of them waits for so many more, some 20 ms.
const AHEAD_ROWS: i64 = 500;

/// A transaction that repairs one stream, or several one after the other.
///
/// It holds what the sequencer holds: in PostgreSQL the advisory lock under which commitments are made and the stream's
/// row in `ves_sequence_counters` FOR UPDATE, under which numbers are given out, at READ COMMITTED; of a snapshot the
/// whole file. Nothing is kept unless [`Repair::commit`] is called: dropping it rolls back.
///
/// Before [`Repair::lock`] it is being prepared: in PostgreSQL nothing of the log is locked, [`Repair::view`] shows what
/// is committed (so that what was read must be looked at again under the locks), and events and receipts arrive where [`Repair::write_staged`] takes them from. Of a snapshot the
/// whole file is locked from the beginning, and they are written at once.
pub struct Repair {
    pub(crate) view: View,
    stream: StreamKey,
    /// The counters of the streams that are locked.
    locked: BTreeMap<StreamKey, Counter>,
    staging: Staging,
    /// The entities that wait to be raised; in PostgreSQL they are staged.
    entities: BTreeSet<Entity>,
    /// Rows that were written while they were staged.
    written: WrittenRows,
    /// Rows are written before the locks are taken.
    ahead: bool,
    /// How long it waits for what a sequencer may hold, see [`SLICE`].
    slice: Duration,
}

/// A counter under its lock.
#[derive(Clone, Copy)]
struct Counter {
    /// As found; `None` if its row was missing.
    before: Option<u64>,
    /// As it is.
    now: u64,
}

/// How many rows [`Repair::write_staged`] wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WrittenRows {
    /// Events.
    pub events: u64,
    /// Receipts.
    pub receipts: u64,
}

/// A command that is about to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reserved {
    /// The stream of its event.
    pub stream: StreamKey,
    /// The command.
    pub command_id: CommandId,
    /// Since when it is remembered.
    pub created_at: Timestamp,
}

/// An entity whose version was raised.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RaisedVersion {
    /// The entity.
    pub entity: Entity,
    /// Its version before; `None` if it had no row.
    pub before: Option<i64>,
    /// Its version since.
    pub after: i64,
}

impl Repair {
    pub(crate) async fn prepare(
        mut view: View,
        stream: StreamKey,
        lock_timeout: Duration,
    ) -> Result<Self, LogError> {
        view.conn
            .begin_writing("preparing a repair", lock_timeout)
            .await?;
        let slice = match view.conn {
            Conn::Postgres(_) => {
                let timeout = |row: Row<'_>| Columns::new(row).number("deadlock_timeout");
                let sql = postgres!("deadlock_timeout");
                let found = view
                    .conn
                    .query_one("preparing a repair", sql, &[], timeout)
                    .await?;
                found.and_then(Result::ok).map_or(SLICE, slice_of)
            }
            Conn::Snapshot { .. } => SLICE,
        };
        let mut repair = Self {
            view,
            stream,
            slice,
            locked: BTreeMap::new(),
            staging: Staging::default(),
            entities: BTreeSet::new(),
            written: WrittenRows::default(),
            ahead: false,
        };
        if matches!(repair.view.conn, Conn::Snapshot { .. }) {
            let counter = repair.lock_stream(&stream).await?;
            repair.locked.insert(stream, counter);
        }
        Ok(repair)
    }

    /// Takes the locks of the stream and of `more` streams, and reserves commands, as the sequencer does before it
    /// accepts their events (see this module). Says which of them are new; those already remembered stay as they are.
    /// From here on [`Repair::view`] shows what is there under the locks.
    ///
    /// # Errors
    /// [`LogError::Locked`] if the locks cannot be had within `lock_timeout`, [`LogError::Conflict`] after a deadlock.
    /// Then the repair can only be dropped.
    pub async fn lock(
        &mut self,
        more: &[StreamKey],
        commands: &[Reserved],
        lock_timeout: Duration,
    ) -> Result<BTreeSet<(StreamKey, CommandId)>, LogError> {
        // Whoever holds the counter may wait for what was written ahead.
        let patience = lock_timeout.min(if self.ahead { self.slice } else { Duration::MAX });
        let new = match self.view.conn {
            Conn::Postgres(_) => self.reserve(commands, patience).await?,
            Conn::Snapshot { .. } => self.reserve_in_file(commands).await?,
        };
        let streams: BTreeSet<StreamKey> = more.iter().copied().chain([self.stream]).collect();
        for stream in streams {
            if !self.locked.contains_key(&stream) {
                let counter = self.lock_stream(&stream).await?;
                self.locked.insert(stream, counter);
            }
        }
        if self.ahead {
            self.ahead = false;
            let conn = &mut self.view.conn;
            conn.set_lock_timeout("locking the stream", lock_timeout).await?;
        }
        Ok(new)
    }

    /// Reserves commands as [`Repair::lock`] does, and lets rows be written from here on without the stream's locks, so
    /// that [`Repair::lock`] is needed for the last step only. Says which of the commands are new.
    ///
    /// That is sound if the caller makes sure under the locks that nobody else wrote to the stream: the counter is the one
    /// that the rows were made for, and there are as many events as there should be. Nobody sees the rows before. A sequencer that gives out
    /// one of their numbers meanwhile, under the counter's lock, waits for this transaction: see [`Repair::let_others_pass`]. No
    /// wait of this transaction is longer than a moment until then, and ends as [`LogError::Locked`]: whoever it waits for
    /// may wait for it. Of a snapshot the locks are held, and this reserves commands only.
    ///
    /// # Errors
    /// As [`Repair::lock`].
    pub async fn write_ahead(
        &mut self,
        commands: &[Reserved],
        lock_timeout: Duration,
    ) -> Result<BTreeSet<(StreamKey, CommandId)>, LogError> {
        if matches!(self.view.conn, Conn::Snapshot { .. }) {
            return self.reserve_in_file(commands).await;
        }
        let new = self.reserve(commands, lock_timeout).await?;
        let doing = "writing ahead";
        self.view
            .conn
            .set_lock_timeout(doing, lock_timeout.min(self.slice))
            .await?;
        self.ahead = true;
        Ok(new)
    }

    /// Between [`Repair::write_ahead`] and [`Repair::lock`]: finds out whether a sequencer that holds the stream's counter
    /// waits for what was written. One that waits for a command id holds no counter, and may wait.
    ///
    /// # Errors
    /// [`LogError::Conflict`] if so: the repair must be dropped, so that the sequencer goes on, and begun again.
    pub async fn let_others_pass(&mut self) -> Result<(), LogError> {
        if !self.ahead {
            return Ok(());
        }
        let doing = "writing ahead";
        let conn = &mut self.view.conn;
        let waiting = conn
            .query_one(doing, postgres!("others_wait"), &[], |row| {
                Columns::new(row).number("waiting")
            })
            .await?;
        if matches!(waiting, None | Some(Ok(0))) {
            return Ok(());
        }
        let of = [self.stream.tenant_id.into(), self.stream.store_id.into()];
        // Looking locks the row; going back lets go of it.
        conn.run(doing, postgres!("stage_savepoint")).await?;
        let free = conn
            .query_one(doing, postgres!("counter_is_free"), &of, |_| ())
            .await?;
        conn.run(doing, postgres!("stage_rollback")).await?;
        conn.run(doing, postgres!("stage_release")).await?;
        match free {
            Some(()) => Ok(()),
            None => Err(LogError::Conflict {
                doing,
                what: "a sequencer accepts events of this stream".into(),
            }),
        }
    }

    /// Ends the preparation and reserves commands, in the same transaction: behind a pooler the next may be on another
    /// connection, where nothing waits. `lock_timeout` holds for all that follows.
    async fn reserve(
        &mut self,
        commands: &[Reserved],
        lock_timeout: Duration,
    ) -> Result<BTreeSet<(StreamKey, CommandId)>, LogError> {
        let doing = "reserving commands";
        let conn = &mut self.view.conn;
        if commands.is_empty() {
            conn.set_lock_timeout(doing, lock_timeout).await?;
            return Ok(BTreeSet::new());
        }
        let row = |c: &Reserved| Ok(dedupe_row(&c.stream, c.command_id, c.created_at));
        let staged = self
            .staging
            .stage(conn, doing, &staging::DEDUPE, commands, &row)
            .await;
        let lines = staged.map_err(|e| *e.error)?;
        let deadline = Instant::now() + lock_timeout;
        let mut attempts = 0;
        conn.set_lock_timeout(doing, lock_timeout.min(self.slice)).await?;
        let new = loop {
            // Going back to it lets go of what was locked since.
            conn.run(doing, postgres!("reserve_savepoint")).await?;
            match reserve_lines(conn, doing, *lines.start(), *lines.end()).await {
                Ok(new) => break new,
                Err(error) if error.is_locked() && Instant::now() < deadline => {
                    conn.run(doing, postgres!("reserve_rollback")).await?;
                    attempts = (attempts + 1).min(10);
                    tokio::time::sleep(PAUSE * attempts).await;
                }
                Err(error) => return Err(error),
            }
        };
        conn.set_lock_timeout(doing, lock_timeout).await?;
        Ok(new)
    }

    async fn reserve_in_file(
        &mut self,
        commands: &[Reserved],
    ) -> Result<BTreeSet<(StreamKey, CommandId)>, LogError> {
        let doing = "reserving commands";
        let mut new = BTreeSet::new();
        for command in commands {
            let of = [command.command_id];
            let known = self.view.remembered_commands(&command.stream, &of).await?;
            if known.is_empty() && new.insert((command.stream, command.command_id)) {
                let row = dedupe_row(&command.stream, command.command_id, command.created_at);
                self.view
                    .conn
                    .insert(doing, staging::DEDUPE.table, vec![row])
                    .await?;
            }
        }
        Ok(new)
    }

    async fn lock_stream(&mut self, stream: &StreamKey) -> Result<Counter, LogError> {
        let doing = "locking the stream";
        let conn = &mut self.view.conn;
        let of = [stream.tenant_id.into(), stream.store_id.into()];
        if matches!(conn, Conn::Postgres(_)) {
            let key = ves::stream::advisory_lock_key(stream);
            conn.query_one(doing, postgres!("advisory_lock"), &[key.into()], |_| ())
                .await?;
        }
        let (create, lock) = match conn {
            Conn::Postgres(_) => (postgres!("create_counter"), postgres!("lock_counter")),
            Conn::Snapshot { .. } => (snapshot!("create_counter"), both!("counter")),
        };
        let missing = conn.execute(doing, create, &of).await? == 1;
        let counter = conn
            .query_one(doing, lock, &of, |row| {
                Columns::new(row).number("current_sequence")
            })
            .await?;
        let counter: Result<u64, String> = counter.unwrap_or_else(|| Err("the counter's row is gone".into()));
        let now = counter.map_err(|what| RowError {
            table: "ves_sequence_counters",
            stream: Some(*stream),
            sequence: None,
            what,
        })?;
        if matches!(conn, Conn::Postgres(_)) && conn.has(&SEQUENCE_COUNTERS).await? {
            // A role that may not lock it writes no event of the older log either.
            let may = conn.query_one(doing, postgres!("older_may_lock"), &[], |row| {
                Columns::new(row).int("may") == Ok(1)
            });
            if may.await? == Some(true) {
                conn.query_one(doing, postgres!("older_lock_counter"), &of, |_| ())
                    .await?;
            }
        }
        let before = (!missing).then_some(now);
        Ok(Counter { before, now })
    }

    /// Whether the locks are held: of a snapshot always, once it is open.
    pub fn is_locked(&self) -> bool {
        !self.locked.is_empty()
    }

    /// Goes on to another of the streams that are locked.
    ///
    /// # Errors
    /// [`LogError::Refused`] if it is not locked.
    pub fn turn_to(&mut self, stream: &StreamKey) -> Result<(), LogError> {
        if !self.locked.contains_key(stream) {
            return Err(LogError::Refused {
                doing: "going on to a stream",
                what: format!("{stream} is not locked"),
            });
        }
        self.stream = *stream;
        Ok(())
    }

    /// The stream that is repaired.
    pub fn stream(&self) -> &StreamKey {
        &self.stream
    }

    /// The counter as found; `None` if its row was missing (the repair has made one, of 0).
    pub fn counter_before(&self) -> Option<u64> {
        self.locked.get(&self.stream).and_then(|counter| counter.before)
    }

    fn counter(&self) -> u64 {
        self.locked.get(&self.stream).map_or(0, |counter| counter.now)
    }

    /// Reads inside the transaction: what was there when the locks were had, and what the repair wrote since.
    pub fn view(&mut self) -> &mut View {
        &mut self.view
    }

    /// Has events with their numbers wait until [`Repair::write_staged`].
    ///
    /// # Errors
    /// [`LogError::RefusedRow`] for the first that cannot be sent, [`LogError::Refused`] if one is of another stream. Of a
    /// snapshot as [`Repair::insert_events`]. Then the repair can only be dropped.
    pub async fn stage_events(&mut self, events: &[RestoredEvent]) -> Result<(), LogError> {
        if matches!(self.view.conn, Conn::Snapshot { .. }) {
            self.written.events += self.insert_events(events).await?;
            return Ok(());
        }
        let doing = "sending events";
        for restored in events {
            self.check_stream(doing, &restored.event.stream)?;
        }
        let conn = &mut self.view.conn;
        let staged = self
            .staging
            .stage(conn, doing, &staging::EVENTS, events, &event_row)
            .await;
        let named = staged.map_err(|not| self.named(doing, &staging::EVENTS, not, events, name_event));
        named.map(drop)
    }

    /// Has receipts wait until [`Repair::write_staged`].
    ///
    /// # Errors
    /// [`LogError::RefusedRow`] for the first that cannot be sent. Of a snapshot as [`Repair::insert_receipts`]. Then the
    /// repair can only be dropped.
    pub async fn stage_receipts(&mut self, receipts: &[Receipt]) -> Result<(), LogError> {
        if matches!(self.view.conn, Conn::Snapshot { .. }) {
            self.written.receipts += self.insert_receipts(receipts).await?;
            return Ok(());
        }
        let doing = "sending receipts";
        let conn = &mut self.view.conn;
        let staged = self
            .staging
            .stage(conn, doing, &staging::RECEIPTS, receipts, &receipt_row)
            .await;
        let named = staged.map_err(|not| self.named(doing, &staging::RECEIPTS, not, receipts, name_receipt));
        named.map(drop)
    }

    /// Writes the events and receipts that wait; says how many, those of a snapshot included. What is written ahead is
    /// written in pieces, with a look at who waits after each.
    ///
    /// # Errors
    /// As [`Repair::insert_events`], [`Repair::insert_receipts`] and [`Repair::let_others_pass`].
    pub async fn write_staged(&mut self) -> Result<WrittenRows, LogError> {
        if matches!(self.view.conn, Conn::Postgres(_)) {
            let events = self.write("inserting events", &staging::EVENTS).await?;
            let receipts = self.write("inserting receipts", &staging::RECEIPTS).await?;
            self.written = WrittenRows { events, receipts };
        }
        Ok(self.written)
    }

    async fn write(&mut self, doing: &'static str, stage: &'static Stage) -> Result<u64, LogError> {
        let waiting = self.staging.waiting(stage);
        let step = if self.ahead { AHEAD_ROWS } else { i64::MAX };
        let (mut next, mut written) = (0, 0);
        while next < waiting {
            let lines = next..waiting.min(next.saturating_add(step));
            next = lines.end;
            written += match self.staging.write(&mut self.view.conn, doing, stage, lines).await {
                Ok(written) => written,
                Err(not) => return Err(self.refused_line(doing, stage, not).await?),
            };
            self.let_others_pass().await?;
        }
        Ok(written)
    }

    /// The error with the row that waited on the line that it is about.
    async fn refused_line(
        &mut self,
        doing: &'static str,
        stage: &'static Stage,
        NotInserted { row, error }: NotInserted,
    ) -> Result<LogError, LogError> {
        let conn = &mut self.view.conn;
        let (Some(line), Some(sql)) = (row, stage.line) else {
            return Ok(*error);
        };
        let line = i64::try_from(line).unwrap_or(i64::MAX);
        let found = conn
            .query_one(doing, sql, &[line.into()], |row| {
                let mut c = Columns::new(row);
                Ok::<_, String>((EventId(c.uuid("event_id")?), c.number("sequence_number")?))
            })
            .await?;
        let Some(Ok((event_id, sequence))) = found else {
            return Ok(*error);
        };
        let name = (Some(sequence), format!("event {event_id}"));
        Ok(self.refused_row(doing, stage, *error, name))
    }

    /// Inserts events with their numbers.
    ///
    /// # Errors
    /// [`LogError::RefusedRow`] for the first event that is already in the log, whose number is, or that does not fit;
    /// [`LogError::Refused`] if one is of another stream. Then the repair can only be dropped.
    pub async fn insert_events(&mut self, events: &[RestoredEvent]) -> Result<u64, LogError> {
        let doing = "inserting events";
        for restored in events {
            self.check_stream(doing, &restored.event.stream)?;
        }
        self.insert(doing, &staging::EVENTS, events, &event_row, name_event)
            .await
    }

    /// Inserts receipts of events that are in the log.
    ///
    /// # Errors
    /// [`LogError::RefusedRow`] for a receipt whose event has one already, or is not in the log. Then the repair can
    /// only be dropped.
    pub async fn insert_receipts(&mut self, receipts: &[Receipt]) -> Result<u64, LogError> {
        let doing = "inserting receipts";
        self.insert(doing, &staging::RECEIPTS, receipts, &receipt_row, name_receipt)
            .await
    }

    /// Remembers commands as accepted at a time; those already remembered stay as they are. Says how many are new.
    ///
    /// Under the locks of a stream that is being written to this can deadlock with the writer: [`Repair::lock`]
    /// reserves commands in time.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn insert_dedupe(&mut self, commands: &[(CommandId, Timestamp)]) -> Result<u64, LogError> {
        let doing = "inserting accepted commands";
        let stream = self.stream;
        let row = move |(id, at): &(CommandId, Timestamp)| Ok(dedupe_row(&stream, *id, *at));
        self.insert(doing, &staging::DEDUPE, commands, &row, |(id, _)| {
            (None, format!("command {id}"))
        })
        .await
    }

    /// Forgets commands that no event of the stream carries; says which were remembered, and since when. A command
    /// that an event does carry stays.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn forget_commands(&mut self, commands: &[CommandId]) -> Result<Vec<DedupeOrphan>, LogError> {
        let wanted: BTreeSet<CommandId> = commands.iter().copied().collect();
        let found = self.view.dedupe_orphans(&self.stream).await?;
        let mut orphans = found.rows;
        orphans.retain(|orphan| wanted.contains(&orphan.command_id));
        // One of which nobody knows since when it was remembered could not be put back. What is not to be forgotten may be
        // as unreadable as it likes.
        if orphans.len() < wanted.len()
            && let Some(row) = found.unreadable.into_iter().next()
        {
            return Err(row.into());
        }
        for orphan in &orphans {
            let parameters = [
                self.stream.tenant_id.into(),
                self.stream.store_id.into(),
                orphan.command_id.into(),
            ];
            self.view
                .conn
                .execute("forgetting commands", both!("forget_command"), &parameters)
                .await?;
        }
        Ok(orphans)
    }

    /// Sets the projection checkpoint back, so that what comes after is projected again; one that is there or before
    /// stays. Says whether it was set back.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_back_projection(&mut self, sequence: u64) -> Result<bool, LogError> {
        let doing = "setting back the projection";
        let sql = match self.view.conn {
            Conn::Postgres(_) => postgres!("set_back_projection"),
            Conn::Snapshot { .. } => snapshot!("set_back_projection"),
        };
        let value = as_i64("checkpoint", sequence).map_err(|what| LogError::Refused { doing, what })?;
        let parameters = [
            value.into(),
            self.stream.tenant_id.into(),
            self.stream.store_id.into(),
        ];
        Ok(self.view.conn.execute(doing, sql, &parameters).await? > 0)
    }

    /// Raises the version of each of these entities to the number of its events in the stream, in this log and the
    /// older one; a version that is higher stays. Says how many were raised.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn raise_entity_versions(
        &mut self,
        entities: impl IntoIterator<Item = Entity>,
    ) -> Result<u64, LogError> {
        self.stage_entities(entities).await?;
        let raised = self.raise_staged_versions(u64::MAX).await?;
        Ok(raised.len() as u64)
    }

    /// Has entities wait until [`Repair::raise_staged_versions`]; those of before are forgotten.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn stage_entities(
        &mut self,
        entities: impl IntoIterator<Item = Entity>,
    ) -> Result<(), LogError> {
        // Each once: counted by a join, an entity named twice would count double.
        self.entities = entities.into_iter().collect();
        if !self.entities.is_empty() && matches!(self.view.conn, Conn::Postgres(_)) {
            let names = self.entities.iter().map(|e| (&*e.entity_type, &*e.entity_id));
            stage_entities(&mut self.view.conn, "sending entities", names).await?;
        }
        Ok(())
    }

    /// Raises the version of each entity that waits to the number of its events in the stream, in this log up to
    /// `below` and in the older one; a version that is higher stays. Says which were raised.
    ///
    /// # Errors
    /// If the database fails, or holds versions that are none.
    pub async fn raise_staged_versions(&mut self, below: u64) -> Result<Vec<RaisedVersion>, LogError> {
        let doing = "raising entity versions";
        let below = i64::try_from(below).unwrap_or(i64::MAX);
        let entities = std::mem::take(&mut self.entities);
        if entities.is_empty() {
            return Ok(Vec::new());
        }
        if matches!(self.view.conn, Conn::Snapshot { .. }) {
            return self.raise_in_file(doing, entities, below).await;
        }
        let of = [
            self.stream.tenant_id.into(),
            self.stream.store_id.into(),
            below.into(),
        ];
        let (mut raised, mut bad) = (Vec::new(), None);
        self.view
            .conn
            .query(doing, postgres!("raise_entity_versions"), &of, &mut |row| {
                let mut c = Columns::new(row);
                let mut read = || -> Result<RaisedVersion, String> {
                    Ok(RaisedVersion {
                        entity: Entity {
                            entity_type: c.text("entity_type")?.to_owned(),
                            entity_id: c.text("entity_id")?.to_owned(),
                        },
                        before: c.optional_int("before")?,
                        after: c.int("after")?,
                    })
                };
                match read() {
                    Ok(one) => raised.push(one),
                    Err(what) => bad = Some(what),
                }
                std::ops::ControlFlow::Continue(())
            })
            .await?;
        match bad {
            None => Ok(raised),
            Some(what) => Err(LogError::Refused { doing, what }),
        }
    }

    async fn raise_in_file(
        &mut self,
        doing: &'static str,
        entities: BTreeSet<Entity>,
        below: i64,
    ) -> Result<Vec<RaisedVersion>, LogError> {
        let stream = self.stream;
        let mut raised = Vec::new();
        for entity in entities {
            let before = self.view.entity_version(&stream, &entity).await?;
            let parameters: [Value; 5] = [
                stream.tenant_id.into(),
                stream.store_id.into(),
                entity.entity_type.as_str().into(),
                entity.entity_id.as_str().into(),
                below.into(),
            ];
            let conn = &mut self.view.conn;
            if conn
                .execute(doing, snapshot!("raise_entity_version"), &parameters)
                .await?
                == 0
            {
                continue;
            }
            if let Some(after) = self.view.entity_version(&stream, &entity).await? {
                raised.push(RaisedVersion {
                    entity,
                    before,
                    after,
                });
            }
        }
        Ok(raised)
    }

    /// Sets the counter: the last number given out.
    ///
    /// # Errors
    /// [`LogError::Refused`] if that would lower it.
    pub async fn set_counter(&mut self, counter: u64) -> Result<(), LogError> {
        let doing = "setting the counter";
        let refused = |what| LogError::Refused { doing, what };
        if counter < self.counter() {
            return Err(refused(format!(
                "it is {} and must never be lowered, to {counter} or at all",
                self.counter()
            )));
        }
        let sql = match self.view.conn {
            Conn::Postgres(_) => postgres!("set_counter"),
            Conn::Snapshot { .. } => snapshot!("set_counter"),
        };
        let value = as_i64("counter", counter).map_err(refused)?;
        let parameters = [
            value.into(),
            self.stream.tenant_id.into(),
            self.stream.store_id.into(),
        ];
        match self.view.conn.execute(doing, sql, &parameters).await? {
            1 => {
                if let Some(locked) = self.locked.get_mut(&self.stream) {
                    locked.now = counter;
                }
                Ok(())
            }
            changed => Err(refused(format!("{changed} rows would change instead of 1"))),
        }
    }

    /// Inserts commitments.
    ///
    /// # Errors
    /// [`LogError::Refused`] if one is already there, is of another stream, or does not fit.
    pub async fn insert_commitments(&mut self, commitments: &[Commitment]) -> Result<u64, LogError> {
        let doing = "inserting commitments";
        for commitment in commitments {
            self.check_stream(doing, &commitment.stream)?;
        }
        let rows = rows(doing, commitments, commitment_row)?;
        self.view.conn.insert(doing, &VES_COMMITMENTS, rows).await
    }

    /// Keeps what was written and lets go of the locks.
    ///
    /// # Errors
    /// [`LogError::Refused`] if the counter is below a number in the stream's rows: the sequencer would stop.
    /// After any error nothing is kept.
    pub async fn commit(mut self) -> Result<(), LogError> {
        self.check_counter().await?;
        self.view.conn.commit(&format!("stream {}", self.stream)).await
    }

    /// Finds out whether [`Repair::commit`] would succeed, and keeps nothing: the log is as it was, and the locks are let
    /// go of.
    ///
    /// # Errors
    /// As [`Repair::commit`].
    pub async fn rehearse(mut self) -> Result<(), LogError> {
        let doing = "rehearsing";
        self.check_counter().await?;
        if matches!(self.view.conn, Conn::Postgres(_)) {
            self.view.conn.run(doing, postgres!("check_constraints")).await?;
        }
        self.view.conn.run(doing, both!("rollback")).await
    }

    async fn check_counter(&mut self) -> Result<(), LogError> {
        let doing = "committing";
        let of = [self.stream.tenant_id.into(), self.stream.store_id.into()];
        let conn = &mut self.view.conn;
        let last = conn
            .query_one(doing, both!("max_sequence"), &of, |row| {
                Columns::new(row).optional_int("max")
            })
            .await?;
        let last = last
            .transpose()
            .map_err(|what| LogError::Refused { doing, what })?
            .flatten();
        if last.is_some_and(|last| u64::try_from(last).is_ok_and(|last| last > self.counter())) {
            let what = format!(
                "the counter is {}, below the last number {}",
                self.counter(),
                last.unwrap_or(0)
            );
            return Err(LogError::Refused { doing, what });
        }
        Ok(())
    }

    /// Inserts many rows; an error says which of them is refused.
    async fn insert<T: Sync>(
        &mut self,
        doing: &'static str,
        stage: &'static Stage,
        values: &[T],
        row: &MakeRow<T>,
        name: impl Fn(&T) -> (Option<u64>, String),
    ) -> Result<u64, LogError> {
        let conn = &mut self.view.conn;
        let done = match conn {
            Conn::Postgres(_) => self.staging.insert(conn, doing, stage, values, row).await,
            Conn::Snapshot { connection, .. } => {
                insert_snapshot(connection, doing, stage.table, values.iter().map(row))
            }
        };
        done.map_err(|not| self.named(doing, stage, not, values, name))
    }

    /// The error with the row that it is about.
    fn named<T>(
        &self,
        doing: &'static str,
        stage: &'static Stage,
        not: NotInserted,
        values: &[T],
        name: impl Fn(&T) -> (Option<u64>, String),
    ) -> LogError {
        match not.row.and_then(|at| values.get(at)) {
            Some(value) => self.refused_row(doing, stage, *not.error, name(value)),
            None => *not.error,
        }
    }

    fn refused_row(
        &self,
        doing: &'static str,
        stage: &'static Stage,
        error: LogError,
        (sequence, name): (Option<u64>, String),
    ) -> LogError {
        let what = match error {
            LogError::Refused { what, .. } => what,
            error => error.to_string(),
        };
        let row = RowError {
            table: stage.table.name,
            stream: Some(self.stream),
            sequence,
            what: format!("{name}: {what}"),
        };
        LogError::RefusedRow { doing, row }
    }

    fn check_stream(&self, doing: &'static str, stream: &StreamKey) -> Result<(), LogError> {
        if *stream == self.stream {
            return Ok(());
        }
        Err(LogError::Refused {
            doing,
            what: format!("{stream} is not the stream that is repaired, {}", self.stream),
        })
    }
}

pub(crate) fn rows<T>(
    doing: &'static str,
    values: &[T],
    row: fn(&T) -> Result<Vec<Value>, String>,
) -> Result<Vec<Vec<Value>>, LogError> {
    values
        .iter()
        .map(row)
        .collect::<Result<_, _>>()
        .map_err(|what| LogError::Refused { doing, what })
}

fn name_event(restored: &RestoredEvent) -> (Option<u64>, String) {
    let name = format!("event {}", restored.event.event_id);
    (Some(restored.sequence_number), name)
}

fn name_receipt(receipt: &Receipt) -> (Option<u64>, String) {
    let name = format!("receipt of event {}", receipt.event_id);
    (Some(receipt.sequence_number), name)
}

/// Reserves the commands on these lines; says which of them are new.
async fn reserve_lines(
    conn: &mut Conn,
    doing: &'static str,
    first: i64,
    last: i64,
) -> Result<BTreeSet<(StreamKey, CommandId)>, LogError> {
    let (mut new, mut bad) = (BTreeSet::new(), None);
    let lines = [first.into(), last.into()];
    conn.query(doing, postgres!("reserve_commands"), &lines, &mut |row| {
        let mut c = Columns::new(row);
        let mut read = || -> Result<(StreamKey, CommandId), String> {
            let tenant = TenantId(c.uuid("tenant_id")?);
            let stream = StreamKey::new(tenant, StoreId(c.uuid("store_id")?));
            Ok((stream, CommandId(c.uuid("command_id")?)))
        };
        match read() {
            Ok(one) => drop(new.insert(one)),
            Err(what) => bad = Some(what),
        }
        std::ops::ControlFlow::Continue(())
    })
    .await?;
    match bad {
        None => Ok(new),
        Some(what) => Err(LogError::Refused { doing, what }),
    }
}
