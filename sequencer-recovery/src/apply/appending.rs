//! Giving events that were never sequenced the next numbers.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use cli_common::{Cancel, Progress};
use event_log::{Entity, ReceiptDefaults, Repair, RestoredEvent};
use ves::receipt::receipt_hash;
use ves::{CommandId, KeyRegistry, Timestamp};

use super::Job;
use super::rows::{leaf_of, make_receipt};
use super::sections::Sections;
use crate::append::{self, PlannedAppend};
use crate::error::RecoveryError;
use crate::read_back::Expectation;
use crate::undo_file::UndoLine;

impl Job<'_> {
    /// Gives what was never sequenced the next numbers, as the sequencer would: each event is checked again as it
    /// checks them, and writes what an accepted event writes.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a thing of its own, and there is one caller"
    )]
    pub(super) async fn append_all(
        &mut self,
        repair: &mut Repair,
        lines: &mut Sections,
        keys: &KeyRegistry,
        defaults: Option<ReceiptDefaults>,
        expected: &mut Expectation,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<(), RecoveryError> {
        let header = self.header;
        let stream = header.stream;
        let mut next = match header.counter_after {
            Some(last) if header.appended > 0 => (last + 1).saturating_sub(header.appended),
            _ => return Ok(()),
        };
        // Now, as the sequencer would say; never before what has a lower number.
        let mut now = repair.view().database_time().await?;
        if let Some(last) = repair.view().last_sequenced_before(&stream, next).await? {
            now = now.max(last);
        }
        loop {
            cancel.check()?;
            let group = lines.next_appends()?;
            if group.is_empty() {
                return Ok(());
            }
            self.append_group(repair, &group, &mut next, now, keys, defaults, expected)
                .await?;
            progress.advance(group.len() as u64);
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "each is a thing of its own, and there is one caller"
    )]
    async fn append_group(
        &mut self,
        repair: &mut Repair,
        group: &[PlannedAppend],
        next: &mut u64,
        now: Timestamp,
        keys: &KeyRegistry,
        defaults: Option<ReceiptDefaults>,
        expected: &mut Expectation,
    ) -> Result<(), RecoveryError> {
        let stream = self.header.stream;
        let ids: Vec<CommandId> = group.iter().filter_map(|a| a.event.command_id).collect();
        let known = repair.view().remembered_commands(&stream, &ids).await?.all()?;
        let mut accepted: BTreeSet<CommandId> = known.into_iter().collect();
        let mut grown: BTreeMap<Entity, (Option<i64>, i64)> = BTreeMap::new();
        let (mut events, mut receipts, mut commands) = (Vec::new(), Vec::new(), Vec::new());
        for planned in group {
            let event = &planned.event;
            let refused = |what: String| RecoveryError::Refused {
                stream,
                sequence: planned.sequence,
                what: format!("event {} cannot be appended: {what}", event.event_id),
            };
            if event.stream != stream || planned.sequence != *next {
                return Err(refused(format!(
                    "the plan gives it {} in {}",
                    planned.sequence, event.stream
                )));
            }
            *next += 1;
            let checked = match append::flaw(event) {
                Some(flaw) => Err(flaw),
                None => append::check_key(event, keys, planned.judge_keys, now),
            };
            checked.map_err(|rejection| refused(format!("{}: {}", rejection.reason, rejection.message)))?;
            if let Some(command) = event.command_id {
                if !accepted.insert(command) {
                    return Err(refused(format!("duplicate_command_id: {command}")));
                }
                commands.push((command, now));
            }
            let entity = append::entity_of(event);
            let found = match grown.get(&entity) {
                Some(found) => *found,
                None => (repair.view().entity_version(&stream, &entity).await?, 0),
            };
            let version = found.0.unwrap_or(0) + found.1;
            if let Some(wanted) = event.base_version.filter(|wanted| *wanted != version) {
                return Err(refused(format!(
                    "version_conflict: expected {wanted}, actual {version}"
                )));
            }
            grown.insert(entity, (found.0, found.1 + 1));
            let signing_hash = event.signing_hash();
            let hash = receipt_hash(&stream, &event.event_id, planned.sequence, &signing_hash);
            let receipt = make_receipt(
                event.event_id,
                planned.sequence,
                now,
                hash,
                defaults,
                self.options,
            )
            .map_err(refused)?;
            self.applied.receipts_signed += u64::from(receipt.sequencer_signature.is_some());
            expected.add(planned.sequence, event, &signing_hash, now, &receipt);
            events.push(RestoredEvent {
                event: event.clone(),
                sequence_number: planned.sequence,
                event_signing_hash: signing_hash,
                sequenced_at: now,
            });
            receipts.push(receipt);
        }
        self.applied.appended += repair.insert_events(&events).await?;
        self.applied.receipts += repair.insert_receipts(&receipts).await?;
        self.record(events.iter().map(|restored| UndoLine::Event {
            sequence: restored.sequence_number,
            event_id: restored.event.event_id,
            leaf: leaf_of(&stream, restored.sequence_number, &restored.event),
        }))?;
        self.remember(repair, &commands).await?;
        for (entity, (before, more)) in grown {
            repair.add_to_entity_version(&entity, more).await?;
            let after = before.unwrap_or(0) + more;
            match self.versions.entry(entity) {
                // Raised before: what it was then is what undo goes back to.
                Entry::Occupied(mut known) => known.get_mut().1 = after,
                Entry::Vacant(new) => {
                    new.insert((before, after));
                    self.applied.entity_versions += 1;
                }
            }
        }
        Ok(())
    }
}
