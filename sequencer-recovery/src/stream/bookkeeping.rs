//! What the sequencer keeps beside the events, and what of it must be mended.

use event_log::{CommandsApart, DedupeOrphan, Entity, LogError, MissingDedupe, Rows, VersionDrift, View};
use serde::{Deserialize, Serialize};
use ves::span::Spans;
use ves::{CommandId, StreamKey};

use crate::error::RecoveryError;
use crate::finding::{Code, Finding};

/// What follows from the events and was lost or left over beside them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bookkeeping {
    /// Positions of events that are there and have no receipt.
    pub receipts: Spans,
    /// Commands of events that are there and are not remembered, with the event's position.
    pub remember: Vec<(CommandId, u64)>,
    /// Commands that are remembered and that no event carries.
    pub forget: Vec<CommandId>,
    /// Entities whose version is below the number of their events.
    pub raise_versions: Vec<Entity>,
    /// Where the projection checkpoint goes back to.
    pub projection: Option<u64>,
}

impl Bookkeeping {
    /// True if there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Judges what the sequencer keeps beside a stream's events. Receipts are for whoever reads the events.
    pub(super) fn of(kept: KeptRows, stands: StreamReach, findings: &mut Vec<Finding>) -> Self {
        let mut judge = Judge { stands, findings };
        Self {
            receipts: Spans::default(),
            forget: judge.orphans(kept.commands.orphans, &kept.carried),
            remember: judge.forgotten(kept.commands.missing),
            raise_versions: judge.versions(kept.versions),
            projection: judge.projection(kept.projection),
        }
    }
}

/// What the sequencer keeps beside a stream's events, as far as it does not go with them.
pub(super) struct KeptRows {
    commands: CommandsApart,
    /// Commands among those without an event that one carries whose row does not say of which stream it is.
    carried: Vec<CommandId>,
    versions: Rows<VersionDrift>,
    /// How far a projection has got.
    projection: Rows<u64>,
}

impl KeptRows {
    /// Reads it.
    ///
    /// # Errors
    /// What the log's database says.
    pub(super) async fn read(view: &mut View, stream: &StreamKey) -> Result<Self, RecoveryError> {
        let commands = view.commands_apart(stream).await?;
        let orphans = commands.orphans.rows.iter();
        let orphans: Vec<CommandId> = orphans.map(|orphan| orphan.command_id).collect();
        let projection = match view.projection_checkpoint(stream).await {
            Err(LogError::Row(row)) => Rows {
                rows: Vec::new(),
                unreadable: vec![row],
            },
            checkpoint => Rows {
                rows: checkpoint?.into_iter().collect(),
                unreadable: Vec::new(),
            },
        };
        Ok(Self {
            carried: view.commands_of_no_stream(&orphans).await?,
            commands,
            versions: view.version_drift(stream).await?,
            projection,
        })
    }
}

/// How far a stream stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamReach {
    /// The stream.
    pub(super) stream: StreamKey,
    /// Its last event.
    pub(super) last: Option<u64>,
    /// Its first missing position.
    pub(super) first_gap: Option<u64>,
}

struct Judge<'a> {
    stands: StreamReach,
    findings: &'a mut Vec<Finding>,
}

impl Judge<'_> {
    fn find(&mut self, code: Code, message: String, count: usize) {
        let finding = Finding::new(code, message).stream(self.stands.stream);
        self.findings.push(finding.count(count as u64));
    }

    /// The rows that can be read; each of the others is a finding.
    fn readable<T>(&mut self, found: Rows<T>) -> Vec<T> {
        for row in found.unreadable {
            let message = format!("{}: {}", row.table, row.what);
            let finding = Finding::new(Code::EventUnreadable, message);
            self.findings.push(finding.stream(self.stands.stream));
        }
        found.rows
    }

    fn orphans(&mut self, found: Rows<DedupeOrphan>, carried: &[CommandId]) -> Vec<CommandId> {
        let mut orphans = self.readable(found);
        // An event whose row does not say of which stream it is carries its command all the same: forgotten, it could be
        // given again.
        orphans.retain(|orphan| !carried.contains(&orphan.command_id));
        if let Some(first) = orphans.first() {
            let message = format!(
                "{} command id(s) are recorded as used, and no event carries them (first: {}); their events can never \
                 be pushed again",
                orphans.len(),
                first.command_id
            );
            self.find(Code::DedupeOrphan, message, orphans.len());
        }
        orphans.iter().map(|o| o.command_id).collect()
    }

    fn forgotten(&mut self, found: Rows<MissingDedupe>) -> Vec<(CommandId, u64)> {
        let missing = self.readable(found);
        if let Some(first) = missing.first() {
            let message = format!(
                "{} command id(s) of events are not recorded as used (first: {} at {})",
                missing.len(),
                first.command_id,
                first.sequence_number
            );
            self.find(Code::DedupeMissing, message, missing.len());
        }
        let pair = |m: &MissingDedupe| (m.command_id, m.sequence_number);
        missing.iter().map(pair).collect()
    }

    /// Entities whose version is below the number of their events.
    fn versions(&mut self, found: Rows<VersionDrift>) -> Vec<Entity> {
        let drift = self.readable(found);
        if let Some(first) = drift.first() {
            let message = format!(
                "{} entity version(s) are not the number of the entity's events (first: {} {}: version {}, {} event(s))",
                drift.len(),
                first.entity.entity_type,
                first.entity.entity_id,
                first.version.map_or("none".to_owned(), |v| v.to_string()),
                first.events
            );
            self.find(Code::VersionDrift, message, drift.len());
        }
        let behind = |version: i64, events: u64| u64::try_from(version).is_ok_and(|v| v < events);
        let to_raise = drift
            .into_iter()
            .filter(|d| d.version.is_none_or(|version| behind(version, d.events)));
        to_raise.map(|d| d.entity).collect()
    }

    /// Where the projection checkpoint goes back to, if it has run past a missing event.
    fn projection(&mut self, found: Rows<u64>) -> Option<u64> {
        let StreamReach {
            stream,
            last,
            first_gap,
        } = self.stands;
        let checkpoint = self.readable(found);
        let last = last.unwrap_or(0);
        let past = |c: &u64| *c > last || first_gap.is_some_and(|gap| gap <= *c);
        let checkpoint = checkpoint.first().copied().filter(past)?;
        let from = first_gap.unwrap_or(last + 1).min(last + 1);
        let message = format!(
            "a projection has got to {checkpoint}, and {from} is missing: it will not see what is refilled"
        );
        let finding = Finding::new(Code::ProjectionAhead, message).stream(stream);
        self.findings.push(finding.range(from, checkpoint.max(from)));
        Some(from - 1)
    }
}
