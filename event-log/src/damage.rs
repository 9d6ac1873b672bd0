//! Reading around what the server cannot give out: a value whose pages are gone, bytes that have no form in UTF-8. Such a
//! row ends a statement and with it the transaction. Here each long read stands inside a savepoint, so that the view stays
//! the one consistent view that it was, and the read goes on behind the row; what of the row can be read is kept.

use std::ops::ControlFlow;

use futures_util::TryStreamExt as _;
use ves::StreamKey;

use crate::bind::postgres_arguments;
use crate::conn::{Conn, Session};
use crate::entry_rows::Reading;
use crate::error::{LogError, RowError};
use crate::raw::RawRows;
use crate::schema::{Table, VES_EVENTS, VES_SEQUENCER_RECEIPTS};
use crate::sql::postgres;
use crate::value::{Cell, Columns, Row, Value, ValueKind};

/// After a row that could not be read, so many numbers are asked for at once, and twice as many each time that goes well:
/// a table with many such rows is not sorted from each of them to its end.
const FIRST_WINDOW: i64 = 256;

const DOING: &str = "reading around what cannot be read";

/// A row that the server does not give out whole.
pub(crate) struct BrokenRow {
    /// Its values as far as they can be read; NULL where not.
    pub(crate) values: Vec<Value>,
    /// The columns that cannot, by their place, and why.
    pub(crate) broken: Vec<(usize, String)>,
}

impl BrokenRow {
    /// The columns and reasons in words.
    pub(crate) fn describe(&self, table: &Table) -> String {
        let name = |at: usize| table.columns.get(at).map_or("?", |(name, _)| *name);
        let columns: Vec<String> = self
            .broken
            .iter()
            .map(|(at, what)| format!("{}: {what}", name(*at)))
            .collect();
        columns.join("; ")
    }

    /// The value of a column by its name.
    pub(crate) fn value(&self, table: &Table, name: &str) -> Option<&Value> {
        let at = table.columns.iter().position(|(column, _)| *column == name)?;
        self.values.get(at)
    }
}

impl Conn {
    /// Runs a query of PostgreSQL with settings of its own; before the next one, all is as it was. The view stays usable
    /// if the server cannot answer.
    pub(crate) async fn aside(
        &mut self,
        doing: &'static str,
        settings: Option<&'static str>,
        sql: &'static str,
        parameters: &[Value],
        each: &mut dyn FnMut(Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        self.run(doing, postgres!("read_savepoint")).await?;
        let mut done = match settings {
            Some(settings) => self.run(doing, settings).await,
            None => Ok(()),
        };
        if done.is_ok() {
            done = self.query(doing, sql, parameters, each).await;
        }
        let back = self.run(doing, postgres!("read_rollback")).await;
        done.and(back)
    }

    /// Gives events and their receipts to `each`, in chunks and in order; in place of a row that cannot be read, why.
    pub(crate) async fn entries_around(
        &mut self,
        Reading {
            doing,
            stream,
            columns,
            size,
        }: Reading<'_>,
        range: (i64, i64),
        each: &mut dyn FnMut(RawRows) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        let of = |from: i64, to: i64| -> [Value; 4] {
            [
                stream.tenant_id.into(),
                stream.store_id.into(),
                from.into(),
                to.into(),
            ]
        };
        let (mut start, end) = range;
        if matches!(self, Conn::Snapshot { .. }) {
            return self
                .query_entries(doing, columns, &of(start, end), size, each)
                .await;
        }
        let mut window: Option<i64> = None;
        loop {
            let to = window.map_or(end, |window| start.saturating_add(window - 1).min(end));
            // The last number that was handed over, and how many rows with it.
            let mut last: Option<(i64, u64)> = None;
            let mut stopped = false;
            self.run(doing, postgres!("read_entries")).await?;
            let read = self
                .query_entries(doing, columns, &of(start, to), size, &mut |rows| {
                    last = rows.last_number(columns.sequence(), last);
                    let flow = each(rows);
                    stopped = flow.is_break();
                    flow
                })
                .await;
            let failed = match read {
                Ok(()) => {
                    self.run(doing, postgres!("read_rollback")).await?;
                    if stopped || to >= end {
                        return Ok(());
                    }
                    start = to + 1;
                    window = window.map(|window| window.saturating_mul(2));
                    continue;
                }
                Err(failed) if failed.damage().is_some() => failed,
                Err(error) => return Err(error),
            };
            self.run(doing, postgres!("read_rollback")).await?;
            if stopped {
                return Ok(());
            }
            let Some(bad) = self.next_unread(stream, start, to, last).await? else {
                // It was no row that could not be read.
                return Err(failed);
            };
            let rows = self.unreadable_at(stream, bad, &failed).await?;
            if each(RawRows::Unreadable(rows)).is_break() || bad >= end {
                return Ok(());
            }
            start = bad + 1;
            window = Some(FIRST_WINDOW);
        }
    }

    /// The first number of a range that has a row which was not handed over.
    async fn next_unread(
        &mut self,
        stream: &StreamKey,
        start: i64,
        to: i64,
        last: Option<(i64, u64)>,
    ) -> Result<Option<i64>, LogError> {
        let number = |row: Row<'_>| Columns::new(row).optional_int("number").unwrap_or(None);
        let [tenant, store]: [Value; 2] = [stream.tenant_id.into(), stream.store_id.into()];
        let mut from = start;
        if let Some((at, handed_over)) = last {
            let parameters = [tenant.clone(), store.clone(), at.into()];
            let copies = self
                .query_one(DOING, postgres!("copies_of_number"), &parameters, number)
                .await?;
            if copies.flatten().is_some_and(|n| n.unsigned_abs() > handed_over) {
                return Ok(Some(at));
            }
            from = at.saturating_add(1);
        }
        let parameters = [tenant, store, from.into(), to.into()];
        let next = self.query_one(DOING, postgres!("next_number"), &parameters, number);
        Ok(next.await?.flatten())
    }

    /// What cannot be read of the rows with a number.
    async fn unreadable_at(
        &mut self,
        stream: &StreamKey,
        number: i64,
        failed: &LogError,
    ) -> Result<Vec<RowError>, LogError> {
        let parameters: [Value; 3] = [stream.tenant_id.into(), stream.store_id.into(), number.into()];
        let mut found = Vec::new();
        for (table, sql) in [
            (&VES_EVENTS, postgres!("events_of_number")),
            (&VES_SEQUENCER_RECEIPTS, postgres!("receipts_of_number")),
        ] {
            let mut at = 0;
            while let Some(row) = self.by_columns(table, sql, &parameters, at).await? {
                if !row.broken.is_empty() {
                    found.push((table, row.describe(table), row));
                }
                at += 1;
            }
        }
        let error = |table: &Table, what: String| RowError {
            table: table.name,
            stream: Some(*stream),
            sequence: number.try_into().ok(),
            what,
        };
        if found.is_empty() {
            let what = failed.damage().map_or_else(|| failed.to_string(), str::to_owned);
            return Ok(vec![error(&VES_EVENTS, what)]);
        }
        let described = found.into_iter().map(|(table, what, row)| {
            let event = row.value(table, "event_id").cloned();
            match event {
                Some(Value::Uuid(event)) => error(table, format!("event {event}: {what}")),
                _ => error(table, what),
            }
        });
        Ok(described.collect())
    }

    /// Gives the rows of a table's `copy` statement to `each`, in its order; a row that the server cannot give out whole
    /// as far as it can.
    pub(crate) async fn rows_around(
        &mut self,
        doing: &'static str,
        table: &Table,
        each: &mut dyn FnMut(Result<Row<'_>, BrokenRow>) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        let Conn::Postgres(_) = self else {
            return self.query(doing, table.copy, &[], &mut |row| each(Ok(row))).await;
        };
        let mut done = 0_u64;
        loop {
            let mut stopped = false;
            self.run(doing, postgres!("read_savepoint")).await?;
            let sql = if done == 0 {
                table.copy.to_owned()
            } else {
                format!("{}\nOFFSET {done}", table.copy)
            };
            let read = self
                .query_composed(doing, sql, &[], &mut |row| {
                    done += 1;
                    let flow = each(Ok(row));
                    stopped = flow.is_break();
                    flow
                })
                .await;
            let failed = match read {
                Ok(()) => return self.run(doing, postgres!("read_release")).await,
                Err(failed) if failed.damage().is_some() => failed,
                Err(error) => return Err(error),
            };
            self.run(doing, postgres!("read_rollback")).await?;
            if stopped {
                return Ok(());
            }
            match self.by_columns(table, table.copy, &[], done).await? {
                Some(row) if !row.broken.is_empty() => {
                    done += 1;
                    if each(Err(row)).is_break() {
                        return Ok(());
                    }
                }
                // It was no row that could not be read.
                _ => return Err(failed),
            }
        }
    }

    /// Reads one row of a statement column by column; `None` if there are no more. A statement is never made of data: what
    /// is put together here are statements and names of columns of this crate, and a count.
    async fn by_columns(
        &mut self,
        table: &Table,
        sql: &str,
        parameters: &[Value],
        at: u64,
    ) -> Result<Option<BrokenRow>, LogError> {
        let mut row = BrokenRow {
            values: Vec::new(),
            broken: Vec::new(),
        };
        let mut there = false;
        for (index, (column, kind)) in table.columns.iter().enumerate() {
            let one = format!("SELECT given.{column} FROM (\n{sql}\nOFFSET {at} LIMIT 1\n) AS given");
            let mut value = Ok(Value::Null);
            self.run(DOING, postgres!("read_savepoint")).await?;
            let read = self
                .query_composed(DOING, one, parameters, &mut |row| {
                    there = true;
                    value = copied_value(row, 0, *kind);
                    ControlFlow::Break(())
                })
                .await;
            self.run(DOING, postgres!("read_rollback")).await?;
            match read {
                Ok(()) if !there => return Ok(None),
                Ok(()) => {}
                Err(error) if error.damage().is_some() => {
                    there = true;
                    value = Err(error.damage().unwrap_or_default().to_owned());
                }
                // A column that this schema does not have.
                Err(LogError::Postgres { error, .. })
                    if error
                        .as_database_error()
                        .is_some_and(|e| e.code().as_deref() == Some("42703")) => {}
                Err(error) => return Err(error),
            }
            row.values.push(value.unwrap_or_else(|what| {
                row.broken.push((index, what));
                Value::Null
            }));
        }
        Ok(Some(row))
    }

    /// As [`Conn::query`] of PostgreSQL, for a statement that is put together from statements of this crate.
    async fn query_composed(
        &mut self,
        doing: &'static str,
        sql: String,
        parameters: &[Value],
        each: &mut dyn FnMut(Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        let Conn::Postgres(session) = self else {
            return Ok(());
        };
        let as_here = session.layout.composed(&sql);
        let Session {
            connection, watcher, ..
        } = &mut **session;
        let arguments = postgres_arguments(parameters).map_err(|e| LogError::made(doing, e))?;
        let mut rows = sqlx::query_with(as_here, arguments)
            .persistent(false)
            .fetch(connection);
        while let Some(row) = watcher.watch(doing, &sql, rows.try_next()).await? {
            if each(Row::Postgres(&row)).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// A value as it is copied into a snapshot: one that has no form there stays what it is, in bytes that no reader takes
/// for a value.
pub(crate) fn copied_value(row: Row<'_>, index: usize, kind: ValueKind) -> Result<Value, String> {
    match row.get(index, kind) {
        Ok(cell) => Ok(cell.map_or(Value::Null, Cell::to_value)),
        Err(what) => row.as_it_is(index, kind).ok_or(what),
    }
}
