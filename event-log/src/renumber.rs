//! Giving events other numbers: for a stream in which numbers were given out twice.

use ves::{EventId, Timestamp};

use crate::conn::Conn;
use crate::entry::as_i64;
use crate::error::LogError;
use crate::repair::Repair;
use crate::sql::{postgres, snapshot};

/// An event that gets another number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renumbered {
    /// The event.
    pub event_id: EventId,
    /// The number that it has.
    pub from: u64,
    /// The number that it gets.
    pub to: u64,
    /// When it was numbered, as its row says from now on.
    pub sequenced_at: Timestamp,
}

impl Repair {
    /// Gives events of the stream other numbers. Their rows stay, and what refers to them; their receipts are for the
    /// caller. Numbers may be exchanged among the events: each goes first to a number after `parking`, above which
    /// there must be no row, none of the new numbers, and room.
    ///
    /// # Errors
    /// [`LogError::Refused`] if an event does not have the number that it is said to have, or a new number is taken.
    pub async fn renumber_events(&mut self, events: &[Renumbered], parking: u64) -> Result<(), LogError> {
        let mut places = Vec::with_capacity(events.len());
        let mut place = parking;
        for _ in events {
            place = place.saturating_add(1);
            places.push(place);
        }
        for (event, place) in events.iter().zip(&places) {
            self.renumber(event, event.from, *place).await?;
        }
        for (event, place) in events.iter().zip(&places) {
            self.renumber(event, *place, event.to).await?;
        }
        Ok(())
    }

    async fn renumber(&mut self, event: &Renumbered, from: u64, to: u64) -> Result<(), LogError> {
        let doing = "giving events other numbers";
        let refused = |what| LogError::Refused { doing, what };
        let number = |value| as_i64("sequence_number", value).map_err(refused);
        let (from, to) = (number(from)?, number(to)?);
        let parameters = [
            to.into(),
            event.sequenced_at.into(),
            self.stream().tenant_id.into(),
            self.stream().store_id.into(),
            event.event_id.into(),
            from.into(),
        ];
        let sql = match self.view.conn {
            Conn::Postgres(_) => postgres!("renumber_event"),
            Conn::Snapshot { .. } => snapshot!("renumber_event"),
        };
        match self.view.conn.execute(doing, sql, &parameters).await? {
            1 => Ok(()),
            changed => Err(refused(format!(
                "{changed} rows instead of 1 have event {} at {from}",
                event.event_id
            ))),
        }
    }
}
