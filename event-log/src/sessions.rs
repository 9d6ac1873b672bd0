//! Who else is connected to the log's database, and which counters moved: signs of a sequencer that runs.

use std::ops::ControlFlow;

use ves::{StreamKey, Timestamp};

use crate::conn::Conn;
use crate::entry::read_stream;
use crate::error::{LogError, RowError, Rows};
use crate::sql::{postgres, snapshot};
use crate::value::Columns;
use crate::view::View;

/// Another client of the database.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Session {
    /// Its server process.
    pub pid: i64,
    /// Its role.
    pub role: String,
    /// What it calls itself; empty if it says nothing, or this role may not see it.
    pub application: String,
    /// Where it comes from; empty for a local socket.
    pub address: String,
    /// `active`, `idle`, `idle in transaction`; empty if this role may not see it.
    pub state: String,
    /// The beginning of its last statement; `None` if this role may not see it.
    pub statement: Option<String>,
    /// It holds or waits for advisory locks.
    pub advisory: bool,
    /// It holds or waits for locks of a transaction that writes to the log.
    pub writes: bool,
}

/// A counter that was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangedCounter {
    /// The stream.
    pub stream: StreamKey,
    /// What it is.
    pub counter: u64,
    /// Since when.
    pub updated_at: Timestamp,
}

impl View {
    /// The other clients of the database, without those of this toolkit; none of a snapshot. Which locks they hold is
    /// seen by every role, their statements only by some.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn other_sessions(&mut self) -> Result<Vec<Session>, LogError> {
        let doing = "looking at other sessions";
        let (mut sessions, mut bad) = (Vec::new(), None);
        if matches!(self.conn, Conn::Snapshot { .. }) {
            return Ok(sessions);
        }
        self.conn
            .query(doing, postgres!("sessions"), &[], &mut |row| {
                let mut c = Columns::new(row);
                let mut read = || -> Result<Session, String> {
                    Ok(Session {
                        pid: c.int("pid")?,
                        role: c.text("role")?.to_owned(),
                        application: c.text("application")?.to_owned(),
                        address: c.text("address")?.to_owned(),
                        state: c.text("state")?.to_owned(),
                        statement: c.optional_text("statement")?.map(str::to_owned),
                        advisory: c.int("advisory")? == 1,
                        writes: c.int("writes")? == 1,
                    })
                };
                match read() {
                    Ok(session) => sessions.push(session),
                    Err(what) => bad = Some(what),
                }
                ControlFlow::Continue(())
            })
            .await?;
        match bad {
            None => Ok(sessions),
            Some(what) => Err(LogError::Refused { doing, what }),
        }
    }

    /// The counters that were changed after a time, by whomever.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn counters_changed_since(
        &mut self,
        time: Timestamp,
    ) -> Result<Rows<ChangedCounter>, LogError> {
        let mut rows = Rows::default();
        let sql = match self.conn {
            Conn::Postgres(_) => postgres!("counters_changed"),
            Conn::Snapshot { .. } => snapshot!("counters_changed"),
        };
        self.conn
            .query("reading counters", sql, &[time.into()], &mut |row| {
                let mut c = Columns::new(row);
                let mut read = || -> Result<ChangedCounter, String> {
                    Ok(ChangedCounter {
                        stream: read_stream(&mut c)?,
                        counter: c.number("current_sequence")?,
                        updated_at: c.time("updated_at")?,
                    })
                };
                rows.push(read().map_err(|what| RowError {
                    table: "ves_sequence_counters",
                    stream: None,
                    sequence: None,
                    what,
                }));
                ControlFlow::Continue(())
            })
            .await?;
        Ok(rows)
    }
}
