//! Reading a log: one consistent view of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, RangeInclusive};

use ves::{CommandId, EventId, SequencerId, SigningKey, StoreId, StreamKey, TenantId, Timestamp};

use crate::conn::Conn;
use crate::entry::{
    Commitment, Entity, FoundEvents, LeafEntry, LeafInput, LogEntry, LogKeys, OrphanReceipts,
    ReceiptDefaults, StreamState, VersionDrift, read_commitment, read_found, read_key, read_leaf_entry,
    read_leaf_input, read_stream,
};
use crate::entry_rows::{ChunkSize, EventColumns, Reading};
use crate::error::{LogError, RowError, Rows};
use crate::options::OpenOptions;
use crate::place::Place;
use crate::raw::{RawEntries, RawRows};
use crate::readers::Readers;
use crate::sql::{both, postgres, snapshot};
use crate::value::{Columns, Row, Value};

/// How many rows, and about how many bytes, a reader is handed at once.
const CHUNK_ROWS: usize = 1024;
const CHUNK_BYTES: usize = 8 << 20;

/// So many rows without a time that can be read are passed over, at most.
const MOST_TIMES: usize = 1000;

/// Which streams to look at: those of a tenant, of a store, or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamFilter {
    /// Only this tenant's.
    pub tenant: Option<TenantId>,
    /// Only this store's.
    pub store: Option<StoreId>,
}

impl StreamFilter {
    /// Whether it lets a stream through.
    pub fn admits(&self, stream: &StreamKey) -> bool {
        self.tenant.is_none_or(|tenant| tenant == stream.tenant_id)
            && self.store.is_none_or(|store| store == stream.store_id)
    }
}

impl From<&StreamKey> for StreamFilter {
    fn from(stream: &StreamKey) -> Self {
        Self {
            tenant: Some(stream.tenant_id),
            store: Some(stream.store_id),
        }
    }
}

/// One consistent view of a log: whatever others write, all that is read through it is of one moment.
///
/// Made by [`Log::view`](crate::Log::view); a [`Repair`](crate::Repair) has one too, which sees what the repair wrote.
/// Values come back as stored, not verified. Methods take `&mut self` since they share one connection.
pub struct View {
    pub(crate) conn: Conn,
    pub(crate) place: Place,
    pub(crate) options: OpenOptions,
    /// An index was found that lacks rows of its table: none is asked any more, see [`View::look_for_damage`].
    pub(crate) heap_only: bool,
    pub(crate) readers: Readers,
}

/// Receives rows in chunks, in order; breaks off by returning [`ControlFlow::Break`].
pub type EachChunk<'a, T> = &'a mut dyn FnMut(Vec<Result<T, RowError>>) -> ControlFlow<()>;

pub(crate) fn of(stream: &StreamKey) -> [Value; 2] {
    [stream.tenant_id.into(), stream.store_id.into()]
}

impl View {
    /// Where this is: the server, the database, the role; for every report.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The streams that events, counters or commitments tell of, in order.
    ///
    /// # Errors
    /// If the database fails. Rows of no known stream are in [`Rows::unreadable`].
    pub async fn streams(&mut self, filter: &StreamFilter) -> Result<Rows<StreamState>, LogError> {
        let doing = "counting the streams";
        let filter = [filter.tenant.into(), filter.store.into()];
        let mut streams = BTreeMap::<StreamKey, StreamState>::new();
        let mut unreadable = Vec::new();

        type Fill = fn(&mut Columns<'_>, &mut StreamState) -> Result<(), String>;
        let sources: [(&'static str, &'static str, Fill); 3] = [
            ("ves_events", both!("streams_of_events"), |c, state| {
                state.event_count = c.number("count")?;
                state.first = c.optional_number("first")?;
                state.last = c.optional_number("last")?;
                state.misnumbered = c.number("misnumbered")?;
                Ok(())
            }),
            (
                "ves_sequence_counters",
                both!("streams_of_counters"),
                |c, state| {
                    state.counter = Some(c.number("current_sequence")?);
                    Ok(())
                },
            ),
            ("ves_commitments", both!("streams_of_commitments"), |c, state| {
                state.commitment_count = c.number("count")?;
                state.first_committed = c.optional_number("sequence_start")?;
                state.last_committed = c.optional_number("sequence_end")?;
                Ok(())
            }),
        ];
        for (table, sql, fill) in sources {
            let mut each = |row: Row<'_>| {
                let mut c = Columns::new(row);
                let error = |stream, what| RowError {
                    table,
                    stream,
                    sequence: None,
                    what,
                };
                match read_stream(&mut c) {
                    Err(what) => unreadable.push(error(None, what)),
                    Ok(stream) => {
                        let state = streams.entry(stream).or_insert_with(|| StreamState::new(stream));
                        if let Err(what) = fill(&mut c, state) {
                            unreadable.push(error(Some(stream), what));
                        }
                    }
                }
                ControlFlow::Continue(())
            };
            self.conn.query(doing, sql, &filter, &mut each).await?;
        }
        Ok(Rows {
            rows: streams.into_values().collect(),
            unreadable,
        })
    }

    /// The highest number that a receipt gives, of every stream that has receipts. Every row of two tables is looked at; who
    /// reads the events anyway sees their receipts too.
    ///
    /// # Errors
    /// If the database fails. Rows of no known stream are in [`Rows::unreadable`].
    pub async fn highest_receipts(
        &mut self,
        filter: &StreamFilter,
    ) -> Result<Rows<(StreamKey, u64)>, LogError> {
        let filter = [filter.tenant.into(), filter.store.into()];
        let mut found = Rows::default();
        let mut each = |row: Row<'_>| {
            let mut c = Columns::new(row);
            let mut stream = None;
            let mut read = || {
                let key = read_stream(&mut c)?;
                stream = Some(key);
                Ok((key, c.number("sequence_number")?))
            };
            match read() {
                Ok(highest) => found.rows.push(highest),
                Err(what) => found.unreadable.push(RowError {
                    table: "ves_sequencer_receipts",
                    stream,
                    sequence: None,
                    what,
                }),
            }
            ControlFlow::Continue(())
        };
        self.conn
            .query(
                "looking for the last receipts",
                both!("highest_receipts"),
                &filter,
                &mut each,
            )
            .await?;
        Ok(found)
    }

    /// The numbers of a stream that are there, as ranges in order. Rows are looked at only where some are missing; see
    /// [`View::ranges_of`] for a stream whose rows are counted already.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn present_ranges(&mut self, stream: &StreamKey) -> Result<Vec<RangeInclusive<u64>>, LogError> {
        Ok(self.present_spans(stream).await?.into())
    }

    /// Gives the events of a range to `each`, with their receipts, in the order of their numbers and in chunks: the
    /// memory that this takes does not grow with the log.
    ///
    /// # Errors
    /// If the database fails. A row that cannot be understood is given as an error, in its place.
    pub async fn for_each_entry(
        &mut self,
        stream: &StreamKey,
        range: RangeInclusive<u64>,
        each: EachChunk<'_, LogEntry>,
    ) -> Result<(), LogError> {
        self.for_each_raw_chunk(stream, range, &mut |chunk| each(chunk.read()))
            .await
    }

    /// As [`View::for_each_entry`], but what is given is only fetched: another thread may make values of it, with
    /// [`RawEntries::read`].
    ///
    /// # Errors
    /// If the database fails.
    pub async fn for_each_raw_chunk(
        &mut self,
        stream: &StreamKey,
        range: RangeInclusive<u64>,
        each: &mut dyn FnMut(RawEntries) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        let read = &mut |rows| each(RawEntries::new(*stream, rows));
        self.for_each_rows(stream, range, EventColumns::All, read).await
    }

    /// As [`View::for_each_entry`], but of events only what their leaves are made of: without payloads it takes a fraction of
    /// the time. A row whose other columns cannot be understood is no error here.
    ///
    /// # Errors
    /// As [`View::for_each_entry`].
    pub async fn for_each_leaf_entry(
        &mut self,
        stream: &StreamKey,
        range: RangeInclusive<u64>,
        each: EachChunk<'_, LeafEntry>,
    ) -> Result<(), LogError> {
        let read = &mut |rows: RawRows| each(rows.read(|row| read_leaf_entry(row, stream)));
        self.for_each_rows(stream, range, EventColumns::Leaf, read).await
    }

    async fn for_each_rows(
        &mut self,
        stream: &StreamKey,
        range: RangeInclusive<u64>,
        columns: EventColumns,
        each: &mut dyn FnMut(RawRows) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        let Ok(start) = i64::try_from(*range.start()) else {
            return Ok(());
        };
        let end = i64::try_from(*range.end()).unwrap_or(i64::MAX);
        let size = ChunkSize {
            rows: CHUNK_ROWS,
            bytes: CHUNK_BYTES,
        };
        let reading = Reading {
            doing: "reading events",
            stream,
            columns,
            size,
        };
        self.entries_by_all(reading, (start, end), each).await
    }

    /// As [`View::for_each_entry`], but only what leaves are made of.
    ///
    /// # Errors
    /// As [`View::for_each_entry`].
    pub async fn for_each_leaf_input(
        &mut self,
        stream: &StreamKey,
        range: RangeInclusive<u64>,
        each: EachChunk<'_, LeafInput>,
    ) -> Result<(), LogError> {
        let Ok(start) = i64::try_from(*range.start()) else {
            return Ok(());
        };
        let end = i64::try_from(*range.end()).unwrap_or(i64::MAX);
        let [tenant, store] = of(stream);
        let mut chunk = Vec::new();
        let mut stopped = false;
        self.conn
            .query(
                "reading leaves",
                both!("leaf_inputs"),
                &[tenant, store, start.into(), end.into()],
                &mut |row| {
                    chunk.push(read_leaf_input(row, stream));
                    if chunk.len() < CHUNK_ROWS {
                        return ControlFlow::Continue(());
                    }
                    let flow = each(std::mem::take(&mut chunk));
                    stopped = flow.is_break();
                    flow
                },
            )
            .await?;
        if !stopped && !chunk.is_empty() {
            let _ = each(chunk);
        }
        Ok(())
    }

    /// All events of a range at once: for ranges known to be small.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn entries(
        &mut self,
        stream: &StreamKey,
        range: RangeInclusive<u64>,
    ) -> Result<Rows<LogEntry>, LogError> {
        let mut rows = Rows::default();
        self.for_each_entry(stream, range, &mut |chunk| {
            chunk.into_iter().for_each(|entry| rows.push(entry));
            ControlFlow::Continue(())
        })
        .await?;
        Ok(rows)
    }

    /// The commitments of a stream, by their first number.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn commitments(&mut self, stream: &StreamKey) -> Result<Rows<Commitment>, LogError> {
        self.rows("reading commitments", both!("commitments"), &of(stream), |row| {
            read_commitment(row, stream)
        })
        .await
    }

    /// The commitments of a stream from the one that begins last below `number` on, by their first number, and at most
    /// `most` of them.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn commitments_from(
        &mut self,
        stream: &StreamKey,
        number: u64,
        most: u32,
    ) -> Result<Rows<Commitment>, LogError> {
        let [tenant, store] = of(stream);
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        let parameters = [tenant, store, number.into(), i64::from(most).into()];
        self.rows(
            "reading commitments",
            both!("commitments_from"),
            &parameters,
            |row| read_commitment(row, stream),
        )
        .await
    }

    /// The keys of a tenant's agents, or of all agents.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn keys(&mut self, tenant: Option<TenantId>) -> Result<Rows<SigningKey>, LogError> {
        let LogKeys { keys, unreadable } = self.log_keys(tenant).await?;
        Ok(Rows {
            rows: keys,
            unreadable: unreadable.into_iter().map(|key| key.error).collect(),
        })
    }

    /// As [`View::keys`], with the names of those that cannot be read.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn log_keys(&mut self, tenant: Option<TenantId>) -> Result<LogKeys, LogError> {
        let mut found = LogKeys::default();
        let mut each = |row: Row<'_>| {
            match read_key(row) {
                Ok(key) => found.keys.push(key),
                Err(key) => found.unreadable.push(*key),
            }
            ControlFlow::Continue(())
        };
        let doing = "reading agents' keys";
        self.conn
            .query(doing, both!("keys"), &[tenant.into()], &mut each)
            .await?;
        Ok(found)
    }

    /// Which of these events are in the log, and where, in whatever stream.
    ///
    /// # Errors
    /// If the database fails. A row that does not say where its event is, is in [`FoundEvents::unreadable`].
    pub async fn find_events(&mut self, events: &[EventId]) -> Result<FoundEvents, LogError> {
        let doing = "looking for events";
        let mut found = FoundEvents::default();
        let mut nameless = None;
        let mut each = |row: Row<'_>| {
            match read_found(row) {
                Ok(Ok(event)) => found.placed.push(event),
                Ok(Err(event)) => found.unreadable.push(*event),
                Err(error) => nameless = Some(error),
            }
            ControlFlow::Continue(())
        };
        if matches!(self.conn, Conn::Postgres(_)) {
            for ids in events.chunks(10_000) {
                let ids = Value::Uuids(ids.iter().map(|id| id.0).collect());
                self.conn
                    .query(doing, postgres!("find_events"), &[ids], &mut each)
                    .await?;
            }
        } else {
            for id in events {
                self.conn
                    .query(doing, snapshot!("find_event"), &[(*id).into()], &mut each)
                    .await?;
            }
        }
        match nameless {
            None => Ok(found),
            Some(error) => Err(error.into()),
        }
    }

    /// Which of these commands are carried by events in rows that do not say of which stream they are: such a row carries
    /// its command all the same.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn commands_of_no_stream(
        &mut self,
        commands: &[CommandId],
    ) -> Result<Vec<CommandId>, LogError> {
        let doing = "looking for commands of events of no stream";
        let wanted: BTreeSet<CommandId> = commands.iter().copied().collect();
        let mut carried = Vec::new();
        let mut each = |row: Row<'_>| {
            let mut c = Columns::new(row);
            if let Ok(command) = c.uuid("command_id").map(CommandId)
                && wanted.contains(&command)
                && read_stream(&mut c).is_err()
            {
                carried.push(command);
            }
            ControlFlow::Continue(())
        };
        if matches!(self.conn, Conn::Postgres(_)) {
            for ids in commands.chunks(10_000) {
                let ids = Value::Uuids(ids.iter().map(|id| id.0).collect());
                self.conn
                    .query(doing, postgres!("events_of_commands"), &[ids], &mut each)
                    .await?;
            }
        } else if !commands.is_empty() {
            // No index of a snapshot knows commands, so all are looked at once.
            self.conn
                .query(doing, snapshot!("events_with_commands"), &[], &mut each)
                .await?;
        }
        Ok(carried)
    }

    /// Which of these commands of a stream are remembered as accepted.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn remembered_commands(
        &mut self,
        stream: &StreamKey,
        commands: &[CommandId],
    ) -> Result<Vec<CommandId>, LogError> {
        let found = self.remembered_since(stream, commands).await?;
        Ok(found.into_iter().map(|(id, _)| id).collect())
    }

    /// Which of these commands are remembered as accepted, and since when; `None` if that time cannot be read.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn remembered_since(
        &mut self,
        stream: &StreamKey,
        commands: &[CommandId],
    ) -> Result<Vec<(CommandId, Option<Timestamp>)>, LogError> {
        let doing = "looking for commands";
        let mut found = Rows::default();
        let mut each = |row: Row<'_>| {
            let mut c = Columns::new(row);
            let mut read = || Ok((CommandId(c.uuid("command_id")?), c.time("created_at").ok()));
            found.push(read().map_err(|what| row_error("ves_command_dedupe", stream, what)));
            ControlFlow::Continue(())
        };
        let [tenant, store] = of(stream);
        if matches!(self.conn, Conn::Postgres(_)) {
            for ids in commands.chunks(10_000) {
                let ids = Value::Uuids(ids.iter().map(|id| id.0).collect());
                let parameters = [tenant.clone(), store.clone(), ids];
                self.conn
                    .query(doing, postgres!("find_commands"), &parameters, &mut each)
                    .await?;
            }
        } else {
            for id in commands {
                let parameters = [tenant.clone(), store.clone(), (*id).into()];
                self.conn
                    .query(doing, snapshot!("find_command"), &parameters, &mut each)
                    .await?;
            }
        }
        // The commands are those that were asked for, so they can be read.
        found.all()
    }

    /// The stored version of an entity; `None` if there is no row.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn entity_version(
        &mut self,
        stream: &StreamKey,
        entity: &Entity,
    ) -> Result<Option<i64>, LogError> {
        let [tenant, store] = of(stream);
        let parameters = [
            tenant,
            store,
            entity.entity_type.as_str().into(),
            entity.entity_id.as_str().into(),
        ];
        let found = self
            .conn
            .query_one(
                "reading an entity's version",
                both!("entity_version"),
                &parameters,
                |row| Columns::new(row).int("version"),
            )
            .await?;
        located("entity_versions", Some(stream), found)
    }

    /// The stored versions of a stream's entities.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn entity_versions(&mut self, stream: &StreamKey) -> Result<Rows<(Entity, i64)>, LogError> {
        self.rows(
            "reading entity versions",
            both!("entity_versions"),
            &of(stream),
            |row| {
                let mut c = Columns::new(row);
                let mut read = || Ok((read_entity(&mut c)?, c.int("version")?));
                read().map_err(|what| row_error("entity_versions", stream, what))
            },
        )
        .await
    }

    /// The entities of a stream whose stored version is not the number of their events, in this log and the
    /// older one together, in order.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn version_drift(&mut self, stream: &StreamKey) -> Result<Rows<VersionDrift>, LogError> {
        let mut drift = self
            .rows(
                "comparing entity versions",
                both!("version_drift"),
                &of(stream),
                |row| {
                    let mut c = Columns::new(row);
                    let mut read = || {
                        Ok(VersionDrift {
                            entity: read_entity(&mut c)?,
                            version: c.optional_int("version")?,
                            events: c.number("events")?,
                        })
                    };
                    read().map_err(|what| row_error("entity_versions", stream, what))
                },
            )
            .await?;
        // The databases collate differently.
        drift.rows.sort();
        Ok(drift)
    }

    /// Receipts whose event is not in the log, of all streams together.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn receipts_of_no_event(&mut self) -> Result<OrphanReceipts, LogError> {
        let found = self
            .conn
            .query_one(
                "looking for receipts without an event",
                both!("receipts_of_no_event"),
                &[],
                |row| {
                    let mut c = Columns::new(row);
                    Ok(OrphanReceipts {
                        count: c.number("count")?,
                        highest: c.optional_int("sequence_number")?,
                    })
                },
            )
            .await?;
        located("ves_sequencer_receipts", None, found).map(Option::unwrap_or_default)
    }

    /// What a receipt made for this stream should say: as its newest receipt, or as the newest of the log.
    ///
    /// # Errors
    /// If the database fails, or that receipt cannot be understood.
    pub async fn receipt_defaults(
        &mut self,
        stream: &StreamKey,
    ) -> Result<Option<ReceiptDefaults>, LogError> {
        let doing = "reading the newest receipt";
        let read = |row: Row<'_>| {
            let mut c = Columns::new(row);
            Ok(ReceiptDefaults {
                sequencer_id: SequencerId(c.uuid("sequencer_id")?),
                sequencer_key_version: c.number("sequencer_key_version")?,
                receipt_signature_scheme: c.number("receipt_signature_scheme")?,
            })
        };
        let mut found = self
            .conn
            .query_one(doing, both!("receipt_defaults"), &of(stream), read)
            .await?;
        if found.is_none() {
            found = self
                .conn
                .query_one(doing, both!("receipt_defaults_any"), &[], read)
                .await?;
        }
        located("ves_sequencer_receipts", Some(stream), found)
    }

    /// How far the read models have followed the stream.
    ///
    /// # Errors
    /// If the database fails, or holds a negative number.
    pub async fn projection_checkpoint(&mut self, stream: &StreamKey) -> Result<Option<u64>, LogError> {
        let found = self
            .conn
            .query_one(
                "reading the projection checkpoint",
                both!("projection_checkpoint"),
                &of(stream),
                |row| Columns::new(row).number("last_projected_sequence"),
            )
            .await?;
        located("projection_checkpoints", Some(stream), found)
    }

    /// When the nearest event below a number was sequenced, of those whose time can be read.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn last_sequenced_before(
        &mut self,
        stream: &StreamKey,
        sequence: u64,
    ) -> Result<Option<Timestamp>, LogError> {
        let [tenant, store] = of(stream);
        let mut sequence = i64::try_from(sequence).unwrap_or(i64::MAX);
        // A row whose time is none says nothing; that it cannot be read is told where rows are read.
        for _ in 0..MOST_TIMES {
            let parameters = [tenant.clone(), store.clone(), sequence.into()];
            let found = self
                .conn
                .query_one(
                    "reading a time of sequencing",
                    both!("last_sequenced_before"),
                    &parameters,
                    |row| {
                        let mut c = Columns::new(row);
                        (c.time("sequenced_at"), c.int("sequence_number"))
                    },
                )
                .await?;
            match found {
                Some((Ok(time), _)) => return Ok(Some(time)),
                Some((Err(_), Ok(number))) => sequence = number,
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The counter of a stream; `None` if the row is missing.
    ///
    /// # Errors
    /// If the database fails, or the counter is negative.
    pub async fn counter(&mut self, stream: &StreamKey) -> Result<Option<u64>, LogError> {
        let found = self
            .conn
            .query_one("reading the counter", both!("counter"), &of(stream), |row| {
                Columns::new(row).number("current_sequence")
            })
            .await?;
        located("ves_sequence_counters", Some(stream), found)
    }

    /// What time it is now: by the database's clock, or for a snapshot by this machine's.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn database_time(&mut self) -> Result<Timestamp, LogError> {
        let sql = match self.conn {
            Conn::Postgres(_) => postgres!("database_time"),
            Conn::Snapshot { .. } => snapshot!("database_time"),
        };
        let time = self
            .conn
            .query_one("asking for the time", sql, &[], |row| {
                Columns::new(row).time("now")
            })
            .await?;
        let time = time.unwrap_or_else(|| Err("no answer".into()));
        time.map_err(|what| {
            RowError {
                table: "the clock",
                stream: None,
                sequence: None,
                what,
            }
            .into()
        })
    }

    pub(crate) async fn rows<T>(
        &mut self,
        doing: &'static str,
        sql: &'static str,
        parameters: &[Value],
        read: impl Fn(Row<'_>) -> Result<T, RowError>,
    ) -> Result<Rows<T>, LogError> {
        let mut rows = Rows::default();
        self.conn
            .query(doing, sql, parameters, &mut |row| {
                rows.push(read(row));
                ControlFlow::Continue(())
            })
            .await?;
        Ok(rows)
    }
}

fn read_entity(c: &mut Columns<'_>) -> Result<Entity, String> {
    Ok(Entity {
        entity_type: c.text("entity_type")?.to_owned(),
        entity_id: c.text("entity_id")?.to_owned(),
    })
}

pub(crate) fn row_error(table: &'static str, stream: &StreamKey, what: String) -> RowError {
    RowError {
        table,
        stream: Some(*stream),
        sequence: None,
        what,
    }
}

fn located<T>(
    table: &'static str,
    stream: Option<&StreamKey>,
    found: Option<Result<T, String>>,
) -> Result<Option<T>, LogError> {
    let error = |what| {
        RowError {
            table,
            stream: stream.copied(),
            sequence: None,
            what,
        }
        .into()
    };
    found.transpose().map_err(error)
}
