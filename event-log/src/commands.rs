//! The commands of a stream: those that are remembered as accepted, beside those that its events carry.

use ves::{CommandId, EventId, StreamKey};

use crate::entry::{DedupeOrphan, MissingDedupe};
use crate::error::{LogError, Rows};
use crate::sql::both;
use crate::value::Columns;
use crate::view::{View, of, row_error};

/// What the remembered commands of a stream and those of its events lack of each other.
#[derive(Debug, Default)]
pub struct CommandsApart {
    /// Remembered as accepted while no event has them: their events would be refused.
    pub orphans: Rows<DedupeOrphan>,
    /// Events whose command is not remembered: it could be given again.
    pub missing: Rows<MissingDedupe>,
}

impl View {
    /// Compares the remembered commands of a stream with those of its events. Where all are on both sides, its events are gone
    /// through once.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn commands_apart(&mut self, stream: &StreamKey) -> Result<CommandsApart, LogError> {
        let (orphans, some_missing) = self.apart(stream).await?;
        let missing = match some_missing {
            true => self.dedupe_missing(stream).await?,
            false => Rows::default(),
        };
        Ok(CommandsApart { orphans, missing })
    }

    /// Commands of a stream that are remembered as accepted while no event has them: their events would be refused.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn dedupe_orphans(&mut self, stream: &StreamKey) -> Result<Rows<DedupeOrphan>, LogError> {
        Ok(self.apart(stream).await?.0)
    }

    /// The orphans, and whether there are commands of events that are not remembered.
    async fn apart(&mut self, stream: &StreamKey) -> Result<(Rows<DedupeOrphan>, bool), LogError> {
        let found = self
            .rows(
                "comparing commands",
                both!("commands_apart"),
                &of(stream),
                |row| {
                    let mut c = Columns::new(row);
                    let mut read = || {
                        if c.int("of_event")? == 1 {
                            return Ok(None);
                        }
                        Ok(Some(DedupeOrphan {
                            command_id: CommandId(c.uuid("command_id")?),
                            created_at: c.time("created_at")?,
                        }))
                    };
                    read().map_err(|what| row_error("ves_command_dedupe", stream, what))
                },
            )
            .await?;
        let some_missing = found.rows.iter().any(Option::is_none);
        let orphans = Rows {
            rows: found.rows.into_iter().flatten().collect(),
            unreadable: found.unreadable,
        };
        Ok((orphans, some_missing))
    }

    /// Events of a stream whose command is not remembered as accepted: it could be given again.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn dedupe_missing(&mut self, stream: &StreamKey) -> Result<Rows<MissingDedupe>, LogError> {
        self.rows(
            "comparing commands",
            both!("dedupe_missing"),
            &of(stream),
            |row| {
                let mut c = Columns::new(row);
                let mut read = || {
                    Ok(MissingDedupe {
                        command_id: CommandId(c.uuid("command_id")?),
                        event_id: EventId(c.uuid("event_id")?),
                        sequence_number: c.number("sequence_number")?,
                    })
                };
                read().map_err(|what| row_error("ves_events", stream, what))
            },
        )
        .await
    }
}
