//! Writing repairs: one transaction for one stream, under the sequencer's own locks.

use std::collections::BTreeSet;
use std::time::Duration;

use ves::{CommandId, Receipt, StreamKey, Timestamp};

use crate::conn::{Conn, insert_snapshot, snapshot_execute};
use crate::entry::{
    Commitment, DedupeOrphan, Entity, RestoredEvent, as_i64, commitment_row, dedupe_row, event_row,
    receipt_row,
};
use crate::error::{LogError, RowError};
use crate::schema::VES_COMMITMENTS;
use crate::sql::{both, postgres, snapshot};
use crate::staging::{self, MakeRow, NotInserted, Stage, Staging, stage_entities};
use crate::value::{Columns, Value};
use crate::view::View;

/// A transaction that repairs one stream.
///
/// It holds what the sequencer holds: in PostgreSQL the advisory lock under which commitments are made and the stream's
/// row in `ves_sequence_counters` FOR UPDATE, under which numbers are given out, at READ COMMITTED; of a snapshot the
/// whole file. Nothing is kept unless [`Repair::commit`] is called: dropping it rolls back.
pub struct Repair {
    pub(crate) view: View,
    stream: StreamKey,
    counter_before: Option<u64>,
    counter: u64,
    staging: Staging,
}

impl Repair {
    pub(crate) async fn begin(
        mut view: View,
        stream: StreamKey,
        lock_timeout: Duration,
    ) -> Result<Self, LogError> {
        let conn = &mut view.conn;
        let doing = "locking the stream";
        let of = [stream.tenant_id.into(), stream.store_id.into()];
        conn.begin_writing(doing, lock_timeout).await?;
        if matches!(conn, Conn::Postgres(_)) {
            let key = ves::stream::advisory_lock_key(&stream);
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
        let counter = counter.map_err(|what| RowError {
            table: "ves_sequence_counters",
            stream: Some(stream),
            sequence: None,
            what,
        })?;
        let counter_before = if missing { None } else { Some(counter) };
        Ok(Self {
            view,
            stream,
            counter_before,
            counter,
            staging: Staging::default(),
        })
    }

    /// The stream that is repaired.
    pub fn stream(&self) -> &StreamKey {
        &self.stream
    }

    /// The counter as found; `None` if its row was missing (the repair has made one, of 0).
    pub fn counter_before(&self) -> Option<u64> {
        self.counter_before
    }

    /// Reads inside the transaction: what was there when the locks were had, and what the repair wrote since.
    pub fn view(&mut self) -> &mut View {
        &mut self.view
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
        self.insert(doing, &staging::EVENTS, events, &event_row, |restored| {
            let id = restored.event.event_id;
            (Some(restored.sequence_number), format!("event {id}"))
        })
        .await
    }

    /// Inserts receipts of events that are in the log.
    ///
    /// # Errors
    /// [`LogError::RefusedRow`] for a receipt whose event has one already, or is not in the log. Then the repair can
    /// only be dropped.
    pub async fn insert_receipts(&mut self, receipts: &[Receipt]) -> Result<u64, LogError> {
        let doing = "inserting receipts";
        self.insert(doing, &staging::RECEIPTS, receipts, &receipt_row, |receipt| {
            let id = receipt.event_id;
            (Some(receipt.sequence_number), format!("receipt of event {id}"))
        })
        .await
    }

    /// Remembers commands as accepted at a time; those already remembered stay as they are. Says how many are new.
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
        let mut orphans = self.view.dedupe_orphans(&self.stream).await?.all()?;
        orphans.retain(|orphan| wanted.contains(&orphan.command_id));
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

    /// Raises the version of each of these entities to the number of its events in the stream, in this log and
    /// the older one; a version that is higher stays. Says how many were raised.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn raise_entity_versions(
        &mut self,
        entities: impl IntoIterator<Item = Entity>,
    ) -> Result<u64, LogError> {
        let doing = "raising entity versions";
        let [tenant, store]: [Value; 2] = [self.stream.tenant_id.into(), self.stream.store_id.into()];
        // Each once: counted by a join, an entity named twice would count double.
        let entities: BTreeSet<Entity> = entities.into_iter().collect();
        let conn = &mut self.view.conn;
        if entities.is_empty() {
            return Ok(0);
        }
        if matches!(conn, Conn::Postgres(_)) {
            let names = entities.iter().map(|e| (&*e.entity_type, &*e.entity_id));
            stage_entities(conn, doing, names).await?;
            return conn
                .execute(doing, postgres!("raise_entity_versions"), &[tenant, store])
                .await;
        }
        let Conn::Snapshot { connection, .. } = conn else {
            return Ok(0);
        };
        let failed = |e| LogError::sqlite(doing, e);
        let mut statement = connection
            .prepare(snapshot!("raise_entity_version"))
            .map_err(failed)?;
        let mut raised = 0;
        for entity in entities {
            let parameters = [
                tenant.clone(),
                store.clone(),
                entity.entity_type.into(),
                entity.entity_id.into(),
            ];
            raised += snapshot_execute(&mut statement, &parameters).map_err(failed)?;
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
        if counter < self.counter {
            return Err(refused(format!(
                "it is {} and must never be lowered, to {counter} or at all",
                self.counter
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
                self.counter = counter;
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
        if last.is_some_and(|last| u64::try_from(last).is_ok_and(|last| last > self.counter)) {
            let what = format!(
                "the counter is {}, below the last number {}",
                self.counter,
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
        done.map_err(|NotInserted { row, error }| {
            let Some(value) = row.and_then(|at| values.get(at)) else {
                return *error;
            };
            let what = match *error {
                LogError::Refused { what, .. } => what,
                error => error.to_string(),
            };
            let (sequence, name) = name(value);
            let row = RowError {
                table: stage.table.name,
                stream: Some(self.stream),
                sequence,
                what: format!("{name}: {what}"),
            };
            LogError::RefusedRow { doing, row }
        })
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
