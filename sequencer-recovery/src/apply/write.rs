//! The second step, under the locks: nothing may have changed since the first, then everything is written, read back and
//! committed.

use std::collections::{BTreeMap, BTreeSet};

use cli_common::Cancel;
use event_log::{Entity, JournalCounts, JournalEntry, JournalState, Repair};
use ves::{CommandId, Hash32, StreamKey, Timestamp};

use super::found::identity;
use super::prepare::Prepared;
use super::{Job, StreamStatus, TOOL};
use crate::accept_keys::PlannedKey;
use crate::error::RecoveryError;
use crate::read_back::check_commitments;
use crate::undo_file::{Anchored, UndoLine, UndoSealed};

/// Entity versions as they were and as they became.
pub(super) type Versions = BTreeMap<Entity, (Option<i64>, i64)>;

impl Job<'_> {
    pub(super) async fn write(
        &mut self,
        mut prepared: Prepared,
        cancel: &Cancel,
    ) -> Result<(), RecoveryError> {
        self.lock(&mut prepared).await?;
        self.register(&mut prepared).await?;
        let moved = match prepared.moved.take() {
            Some(moved) => moved,
            None => self.carry_out(&mut prepared).await?,
        };
        self.write_rows(&mut prepared).await?;
        self.keep_books(&mut prepared).await?;
        self.raise_versions(&mut prepared).await?;
        self.applied.commitments = prepared.repair.insert_commitments(&prepared.rows).await?;
        self.record(
            prepared
                .rows
                .iter()
                .map(|c| UndoLine::Commitment { batch_id: c.batch_id }),
        )?;
        if let Some(counter_after) = self.header.counter_after {
            prepared.repair.set_counter(counter_after).await?;
            self.applied.counter_after = Some(counter_after);
        }
        let Prepared {
            mut repair,
            found,
            moves,
            expected,
            commitments,
            commitments_after,
            recovered_head,
            rows,
            ..
        } = prepared;
        self.applied.roots_equal = expected
            .check(repair.view(), self.header, &commitments, found.events)
            .await?;
        check_commitments(repair.view(), &self.header.stream, &rows).await?;
        moves.check(&mut repair, &moved).await?;
        cancel.check()?;
        if self.applied.changed_nothing() {
            // The plan only tells what stays open here, or is done already. Dropping the transaction rolls it back.
            self.applied.status = StreamStatus::AlreadyApplied;
            return Ok(());
        }
        if self.undo.is_some() {
            let stream = self.header.stream;
            let counter = repair.view().counter(&stream).await?;
            let stored = repair.view().commitments(&stream).await?.rows;
            if !stored
                .iter()
                .map(identity)
                .eq(commitments_after.iter().map(identity))
            {
                let what = "the commitments are not those that the plan leaves".to_owned();
                return Err(RecoveryError::Outcome { stream, what });
            }
            let whole = found.marked.afterwards(repair.view(), &stream).await?;
            if let Some(undo) = &mut self.undo {
                undo.seal(UndoSealed {
                    fingerprint_after: whole.fingerprint,
                    counter_after: counter.unwrap_or(0),
                    head_after: whole.head,
                    commitments_after: stored.len() as u64,
                    anchored_after: Some(Anchored::of(&stored)),
                    lines: 0,
                    sha256: Hash32::ZERO,
                })?;
            }
        }
        self.commit(repair, recovered_head).await
    }

    async fn commit(&mut self, mut repair: Repair, recovered_head: u64) -> Result<(), RecoveryError> {
        if self.options.journal {
            let written_at = repair.view().database_time().await?;
            repair
                .write_journal(&self.journal_entry(written_at, recovered_head))
                .await?;
        }
        if self.options.dry_run {
            repair.rehearse().await?;
        } else {
            repair.commit().await?;
            if let Some(undo) = &mut self.undo {
                undo.keep();
            }
        }
        self.applied.status = StreamStatus::Applied;
        Ok(())
    }

    /// Takes the locks, and makes sure that the stream is still as it was found.
    async fn lock(&mut self, prepared: &mut Prepared) -> Result<(), RecoveryError> {
        let stream = self.header.stream;
        let drift = |what: String| RecoveryError::Drift { stream, what };
        let timeout = self.options.lock_timeout;
        let new = prepared.repair.lock(&[], &prepared.commands, timeout).await?;
        for command in &prepared.grown.commands {
            if !new.contains(&(stream, *command)) {
                return Err(drift(format!(
                    "duplicate_command_id: {command} was accepted meanwhile"
                )));
            }
        }
        self.applied.commands = new.len() as u64;
        self.check_commands(prepared, &new).await?;
        self.record(
            new.into_iter()
                .map(|(_, command_id)| UndoLine::Command { command_id }),
        )?;
        if prepared.moved.is_some() {
            // A snapshot was locked before it was read.
            return Ok(());
        }
        let (repair, found) = (&mut prepared.repair, &prepared.found);
        let counter = repair.counter_before();
        if counter != found.counter {
            let show = |c: Option<u64>| c.map_or("missing".to_owned(), |c| c.to_string());
            return Err(drift(format!(
                "the counter is {} and was {} a moment ago: the sequencer runs",
                show(counter),
                show(found.counter)
            )));
        }
        let commitments = repair.view().commitments(&stream).await?.rows;
        if !commitments
            .iter()
            .map(identity)
            .eq(found.commitments.iter().map(identity))
        {
            return Err(drift("commitments were made or removed a moment ago".into()));
        }
        if found.marked.again(repair.view(), &stream).await?.fingerprint != found.fingerprint {
            return Err(drift(
                "events were written, changed or removed a moment ago".into(),
            ));
        }
        Ok(())
    }

    /// Makes sure that all commands are remembered, and the new ones as they were to be.
    async fn check_commands(
        &self,
        prepared: &mut Prepared,
        new: &BTreeSet<(StreamKey, CommandId)>,
    ) -> Result<(), RecoveryError> {
        if self.undo.is_none() && !self.options.with_triggers {
            return Ok(());
        }
        let stream = self.header.stream;
        let wanted: BTreeSet<(CommandId, Timestamp)> = prepared
            .commands
            .iter()
            .map(|c| (c.command_id, c.created_at))
            .collect();
        let ids: BTreeSet<CommandId> = wanted.iter().map(|(id, _)| *id).collect();
        let ids: Vec<CommandId> = ids.into_iter().collect();
        let there = prepared
            .repair
            .view()
            .remembered_since(&stream, &ids)
            .await?
            .all()?;
        let as_wanted =
            |row: &(CommandId, Timestamp)| !new.contains(&(stream, row.0)) || wanted.contains(row);
        if there.len() != ids.len() || !there.iter().all(as_wanted) {
            let what = "commands are not remembered as they were inserted".to_owned();
            return Err(RecoveryError::Outcome { stream, what });
        }
        Ok(())
    }

    /// Registers keys that the log lost. One that somebody registered meanwhile must be the same.
    async fn register(&mut self, prepared: &mut Prepared) -> Result<(), RecoveryError> {
        let stream = self.header.stream;
        let repair = &mut prepared.repair;
        for PlannedKey { key, .. } in &prepared.keys {
            let now = repair.view().database_time().await?;
            if repair.insert_key(key, now).await? {
                let there = repair.view().keys(Some(stream.tenant_id)).await?.rows;
                if !there.contains(key) {
                    let what = format!(
                        "key {} of agent {} is not as it was registered",
                        key.key_id, key.agent_id
                    );
                    return Err(RecoveryError::Outcome { stream, what });
                }
                self.applied.keys += 1;
                self.record([UndoLine::Key { key: key.clone() }])?;
                continue;
            }
            let registered = repair.view().keys(Some(stream.tenant_id)).await?.rows;
            let registered = registered
                .into_iter()
                .find(|k| (k.agent_id, k.key_id) == (key.agent_id, key.key_id));
            if registered.as_ref().is_none_or(|r| r.public_key != key.public_key) {
                let what = format!(
                    "key {} of agent {} is {} by now, and the plan has {}",
                    key.key_id,
                    key.agent_id,
                    registered.map_or("unreadable".to_owned(), |k| k.public_key.to_string()),
                    key.public_key
                );
                return Err(RecoveryError::Drift { stream, what });
            }
        }
        Ok(())
    }

    async fn write_rows(&mut self, prepared: &mut Prepared) -> Result<(), RecoveryError> {
        let written = prepared.repair.write_staged().await?;
        if written != prepared.waiting {
            let what = format!(
                "{} events and {} receipts were to be written, and {} and {} were",
                prepared.waiting.events, prepared.waiting.receipts, written.events, written.receipts
            );
            let stream = self.header.stream;
            return Err(RecoveryError::Outcome { stream, what });
        }
        self.applied.receipts = written.receipts + self.applied.moved;
        self.applied.receipts_unsigned = prepared.receipts.unsigned().collect();
        Ok(())
    }

    /// Puts right what follows from events that are there already.
    async fn keep_books(&mut self, prepared: &mut Prepared) -> Result<(), RecoveryError> {
        let stream = self.header.stream;
        let (repair, bookkeeping) = (&mut prepared.repair, &prepared.bookkeeping);
        let forgotten = repair.forget_commands(&bookkeeping.forget).await?;
        self.applied.commands_forgotten = forgotten.len() as u64;
        self.record(forgotten.into_iter().map(|o| UndoLine::Forgotten {
            command_id: o.command_id,
            created_at: o.created_at,
        }))?;
        if let Some(after) = bookkeeping.projection {
            let before = repair.view().projection_checkpoint(&stream).await?;
            if repair.set_back_projection(after).await? {
                let now = repair.view().projection_checkpoint(&stream).await?;
                if now != Some(after) {
                    let what = format!("the projection checkpoint is {now:?} and not {after}");
                    return Err(RecoveryError::Outcome { stream, what });
                }
                self.applied.projection_set_back_to = Some(after);
                let before = before.unwrap_or(after);
                self.record([UndoLine::Projection { before, after }])?;
            }
        }
        Ok(())
    }

    /// Raises entity versions, and notes what they were.
    async fn raise_versions(&mut self, prepared: &mut Prepared) -> Result<(), RecoveryError> {
        let mut versions: Versions = BTreeMap::new();
        let first_appended = match self.header.counter_after {
            Some(last) if self.header.appended > 0 => (last + 1).saturating_sub(self.header.appended),
            _ => u64::MAX,
        };
        for raised in prepared.repair.raise_staged_versions(first_appended).await? {
            versions.insert(raised.entity, (raised.before, raised.after));
        }
        prepared.grown.raise(&mut prepared.repair, &mut versions).await?;
        if self.options.with_triggers {
            let mut entities = std::mem::take(&mut prepared.entities);
            // Of those that grew the version was compared already, and it may be above the number of events.
            entities.retain(|entity| !prepared.grown.has(entity));
            check_versions(&mut prepared.repair, &versions, &entities).await?;
        }
        self.applied.entity_versions = versions.len() as u64;
        let lines = versions
            .into_iter()
            .map(|(entity, (before, after))| UndoLine::Version {
                entity,
                before,
                after,
            });
        self.record(lines)
    }

    fn journal_entry(&self, written_at: Timestamp, recovered_head: u64) -> JournalEntry {
        let applied = &self.applied;
        JournalEntry {
            written_at,
            state: JournalState::Applied,
            plan_id: self.plan_id,
            stream: applied.stream,
            tool: TOOL.into(),
            counter_before: applied.counter_before,
            counter_after: applied.counter_after,
            counts: JournalCounts {
                events: applied.events,
                moved: applied.moved,
                tombstones: applied.tombstones,
                appended: applied.appended,
                keys: applied.keys,
                receipts: applied.receipts,
                commands: applied.commands,
                commands_forgotten: applied.commands_forgotten,
                entity_versions: applied.entity_versions,
                commitments: applied.commitments,
                commitments_superseded: applied.commitments_superseded,
                projection: applied.projection_set_back_to,
                recovered_head: Some(recovered_head),
                counter_grade: self.header.floor.as_ref().map(|f| f.grade.as_str().to_owned()),
            },
        }
    }
}

/// Compares the versions that were raised with what stands there, and those that were to be with the number of their
/// events.
async fn check_versions(
    repair: &mut Repair,
    versions: &Versions,
    entities: &BTreeSet<Entity>,
) -> Result<(), RecoveryError> {
    let stream = *repair.stream();
    let wrong = |entity: &Entity, now: Option<i64>, after: i64| {
        let (kind, id) = (&entity.entity_type, &entity.entity_id);
        let what = format!("the version of {kind} {id} is {now:?} and not {after}");
        Err(RecoveryError::Outcome { stream, what })
    };
    for drift in repair.view().version_drift(&stream).await?.rows {
        let after = i64::try_from(drift.events).unwrap_or(i64::MAX);
        let low = drift.version.is_none_or(|version| version < after);
        let raised = versions.contains_key(&drift.entity);
        if entities.contains(&drift.entity) && (low || raised) {
            return wrong(&drift.entity, drift.version, after);
        }
    }
    for (entity, (_, after)) in versions {
        let now = repair.view().entity_version(&stream, entity).await?;
        if now != Some(*after) {
            return wrong(entity, now, *after);
        }
    }
    Ok(())
}
