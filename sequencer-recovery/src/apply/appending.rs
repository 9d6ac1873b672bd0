//! Giving events that were never sequenced the next numbers.

use std::collections::{BTreeMap, BTreeSet};

use event_log::{Entity, Repair, RestoredEvent};
use ves::receipt::receipt_hash;
use ves::{CommandId, KeyRegistry, Timestamp};

use super::Job;
use super::prepare::Prepared;
use super::rows::{Versions, leaf_of};
use super::sections::Sections;
use crate::apply::undo_file::change::{Change, Stands};
use crate::error::RecoveryError;
use crate::plan::append;
use crate::plan::planned::PlannedAppend;
use crate::witness::flaw::flaw;

/// What grows by events that are appended.
#[derive(Default)]
pub(super) struct Grown {
    entities: BTreeMap<Entity, Growth>,
    /// Their commands: none of them may have been accepted.
    pub(super) commands: BTreeSet<CommandId>,
}

/// How an entity grows.
struct Growth {
    /// The version that its row has; `None` if there is none.
    stored: Option<i64>,
    /// The version before its appended events.
    before: i64,
    /// How many of its events are appended.
    more: i64,
}

impl Grown {
    pub(super) fn has(&self, entity: &Entity) -> bool {
        self.entities.contains_key(entity)
    }

    /// Raises the entities' versions, which must be as they were when the events were checked.
    pub(super) async fn raise(
        &self,
        repair: &mut Repair,
        versions: &mut Versions,
    ) -> Result<(), RecoveryError> {
        let stream = *repair.stream();
        let more: Vec<(Entity, i64)> = self
            .entities
            .iter()
            .map(|(e, growth)| (e.clone(), growth.more))
            .collect();
        let mut grown = 0;
        for (entity, after) in repair.add_to_entity_versions(&more).await? {
            let Some(growth) = self.entities.get(&entity) else {
                continue;
            };
            if growth.before + growth.more != after {
                let what = format!(
                    "the version of {} {} was {} a moment ago and is {}",
                    entity.entity_type,
                    entity.entity_id,
                    growth.before,
                    after - growth.more
                );
                return Err(RecoveryError::Drift { stream, what });
            }
            grown += 1;
            // One that was raised before: what it was then is what undo goes back to.
            versions
                .entry(entity)
                .and_modify(|known| known.1 = after)
                .or_insert((growth.stored, after));
        }
        if grown != self.entities.len() {
            let what = format!("{grown} entities instead of {} were raised", self.entities.len());
            return Err(RecoveryError::Outcome { stream, what });
        }
        Ok(())
    }
}

/// Where the next event goes, and when.
struct Next {
    sequence: u64,
    now: Timestamp,
    /// The versions that entities have in their rows, and once the plan's events are back.
    versions: BTreeMap<Entity, (Option<i64>, i64)>,
    /// Commands that are accepted.
    accepted: BTreeSet<CommandId>,
}

impl Job<'_> {
    /// Gives what was never sequenced the next numbers, as the sequencer would: each event is checked again as it
    /// checks them, and has wait what an accepted event writes.
    pub(super) async fn append_all(
        &mut self,
        prepared: &mut Prepared,
        lines: &mut Sections<'_>,
        keys: &KeyRegistry,
        raised: &BTreeMap<Entity, i64>,
    ) -> Result<(), RecoveryError> {
        let header = self.header;
        let stream = header.stream;
        let first = match header.counter_after {
            Some(last) if header.appended > 0 => (last + 1).saturating_sub(header.appended),
            _ => return Ok(()),
        };
        // Now, as the sequencer would say; never before what has a lower number.
        let view = prepared.repair.view();
        let mut now = view.database_time().await?;
        if let Some(last) = view.last_sequenced_before(&stream, first).await? {
            now = now.max(last);
        }
        let mut next = Next {
            sequence: first,
            now: now.max(prepared.last_restored),
            versions: self.versions_after(prepared, raised).await?,
            accepted: prepared.commands.iter().map(|c| c.command_id).collect(),
        };
        loop {
            self.watch.cancel.check()?;
            let group = lines.next_appends()?;
            if group.is_empty() {
                return Ok(());
            }
            self.append_group(prepared, &group, &mut next, keys).await?;
            self.watch.progress.advance(group.len() as u64);
        }
    }

    /// The versions of entities that will be raised first.
    async fn versions_after(
        &self,
        prepared: &mut Prepared,
        raised: &BTreeMap<Entity, i64>,
    ) -> Result<BTreeMap<Entity, (Option<i64>, i64)>, RecoveryError> {
        let stream = self.header.stream;
        let locked = prepared.repair.is_locked();
        let view = prepared.repair.view();
        let mut versions = BTreeMap::new();
        // A row that cannot be read says nothing of an entity that can be named, or its version is refused below.
        let drifts = view.version_drift(&stream).await?.rows;
        let drifts: BTreeMap<Entity, _> = drifts.into_iter().map(|d| (d.entity.clone(), d)).collect();
        for (entity, back) in raised {
            let stored = view.entity_version(&stream, entity).await?;
            let version = stored.unwrap_or(0);
            let in_log = drifts
                .get(entity)
                .map_or(version, |d| i64::try_from(d.events).unwrap_or(i64::MAX));
            // In a snapshot the plan's events are among them already.
            let back = if locked { 0 } else { *back };
            versions.insert(entity.clone(), (stored, version.max(in_log + back)));
        }
        Ok(versions)
    }

    async fn append_group(
        &mut self,
        prepared: &mut Prepared,
        group: &[PlannedAppend],
        next: &mut Next,
        keys: &KeyRegistry,
    ) -> Result<(), RecoveryError> {
        let stream = self.header.stream;
        let ids: Vec<CommandId> = group.iter().filter_map(|a| a.event.command_id).collect();
        let view = prepared.repair.view();
        next.accepted
            .extend(view.remembered_commands(&stream, &ids).await?);
        let (mut events, mut receipts) = (Vec::new(), Vec::new());
        for planned in group {
            let event = &planned.event;
            let refused = |what: String| RecoveryError::Refused {
                stream,
                sequence: planned.sequence,
                what: format!("event {} cannot be appended: {what}", event.event_id),
            };
            if event.stream != stream || planned.sequence != next.sequence {
                return Err(refused(format!(
                    "the plan gives it {} in {}",
                    planned.sequence, event.stream
                )));
            }
            next.sequence += 1;
            let checked = match flaw(event) {
                Some(flaw) => Err(flaw),
                None => append::check_key(event, keys, planned.judge_keys, next.now),
            };
            checked.map_err(|rejection| refused(format!("{}: {}", rejection.reason, rejection.message)))?;
            if let Some(command) = event.command_id {
                if !next.accepted.insert(command) {
                    return Err(refused(format!("duplicate_command_id: {command}")));
                }
                prepared.grown.commands.insert(command);
                prepared.reserve(Some(command), next.now);
            }
            let version = prepared.version(append::entity_of(event), next).await?;
            if let Some(wanted) = event.base_version.filter(|wanted| *wanted != version) {
                return Err(refused(format!(
                    "version_conflict: expected {wanted}, actual {version}"
                )));
            }
            let signing_hash = event.signing_hash();
            let hash = receipt_hash(&stream, &event.event_id, planned.sequence, &signing_hash);
            let receipt = prepared
                .receipts
                .make(event.event_id, planned.sequence, next.now, hash)
                .map_err(refused)?;
            self.applied.receipts_signed += u64::from(receipt.sequencer_signature.is_some());
            prepared
                .expected
                .add(planned.sequence, event, &signing_hash, next.now, &receipt);
            events.push(RestoredEvent {
                event: event.clone(),
                sequence_number: planned.sequence,
                event_signing_hash: signing_hash,
                sequenced_at: next.now,
            });
            receipts.push(receipt);
        }
        prepared.stage(&events, &receipts).await?;
        self.applied.appended += events.len() as u64;
        self.record(events.iter().flat_map(|restored| {
            let at = Stands {
                sequence: restored.sequence_number,
                leaf: leaf_of(&stream, restored.sequence_number, &restored.event),
            };
            Change::event(restored.event.event_id, None, at)
        }))
    }
}

impl Prepared {
    /// The version of an entity before its next appended event, which is counted.
    async fn version(&mut self, entity: Entity, next: &Next) -> Result<i64, RecoveryError> {
        if let Some(growth) = self.grown.entities.get_mut(&entity) {
            growth.more += 1;
            return Ok(growth.before + growth.more - 1);
        }
        let stream = *self.repair.stream();
        let (stored, before) = match next.versions.get(&entity) {
            Some(versions) => *versions,
            None => {
                let stored = self.repair.view().entity_version(&stream, &entity).await?;
                (stored, stored.unwrap_or(0))
            }
        };
        let growth = Growth {
            stored,
            before,
            more: 1,
        };
        self.grown.entities.insert(entity, growth);
        Ok(before)
    }
}
