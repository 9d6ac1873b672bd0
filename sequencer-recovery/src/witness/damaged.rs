//! Events that a witness has and the log has too, in rows that do not say where: a column of their place cannot be read.
//!
//! Such an event is in the log. It is not missing, and it is not put back or appended, whatever the witnesses say of it.

use std::collections::{BTreeMap, BTreeSet};

use event_log::UnreadableEvent;
use outbox_sync::RowCheck;
use ves::{EventId, StreamKey};

use super::Collected;
use crate::finding::{Code, Finding};
use crate::floor::Witness;
use crate::grade::Grade;
use crate::witness::evidence::DamagedRow;

/// So many such rows are findings of their own; the rest are summed up in one.
const LISTED: usize = 200;

/// The rows that were met.
#[derive(Debug, Default)]
pub(super) struct DamagedRows {
    /// The first of them by event, with what cannot be read.
    listed: BTreeMap<EventId, String>,
    /// How often others were met.
    more: u64,
}

impl Collected {
    /// Notes an event of a stream that the log has in a row which does not say where. Only what a witness holds as it was
    /// signed (`check`) tells of which stream the row is.
    pub(super) fn note_damaged(
        &mut self,
        row: &UnreadableEvent,
        stream: StreamKey,
        check: Option<&RowCheck>,
    ) {
        let is_signed = check.is_some_and(|check| check.refusal().is_none());
        let what = row.error.to_string();
        if let Some(number) = row.number_in(&stream).filter(|_| is_signed) {
            let evidence = self.streams.entry(stream).or_default();
            // Its number may be what is damaged: no more than a claim.
            evidence.add_witness(Witness {
                sequence: number,
                grade: Grade::Claimed,
                who: "a row of the log that cannot be read".to_owned(),
                identity: String::new(),
            });
            let event_id = row.event_id;
            evidence
                .damaged
                .entry(number)
                .or_insert(DamagedRow { event_id, what });
        } else if self.damaged.listed.len() < LISTED {
            self.damaged.listed.insert(row.event_id, what);
        } else if !self.damaged.listed.contains_key(&row.event_id) {
            self.damaged.more += 1;
        }
    }

    /// Each such row is a finding. Those that a stream has at a number are told with the stream's other rows.
    pub(super) fn tell_damaged(&mut self) {
        let of_streams = self.streams.values();
        let placed: BTreeSet<EventId> = of_streams
            .flat_map(|evidence| evidence.damaged.values().map(|row| row.event_id))
            .collect();
        let DamagedRows { listed, more } = std::mem::take(&mut self.damaged);
        for (_, what) in listed.into_iter().filter(|(id, _)| !placed.contains(id)) {
            let message = format!("the row is there and cannot be read, so its event is not missing: {what}");
            self.findings.push(Finding::new(Code::EventUnreadable, message));
        }
        if more > 0 {
            let message =
                format!("{more} more events that witnesses have are there in rows that cannot be read");
            self.findings
                .push(Finding::new(Code::EventUnreadable, message).count(more));
        }
    }
}
