//! The second step: everything is written and read back, before the stream is locked where that can be, and under the
//! locks, where nothing may have changed since the first step, it is committed.

use std::collections::{BTreeMap, BTreeSet};

use event_log::{Entity, JournalCounts, JournalEntry, JournalState, Repair, Reserved};
use ves::{CommandId, Hash32, StreamKey, Timestamp};

use super::found::{Whole, identity};
use super::prepare::Prepared;
use super::rows::Versions;
use super::{Job, StreamStatus, TOOL};
use crate::apply::read_back::{check_commitments, check_roots};
use crate::apply::undo_file::change::{Change, Image, Left};
use crate::apply::undo_file::{Anchored, UndoSealed};
use crate::error::RecoveryError;
use crate::plan::planned::PlannedKey;

impl Job<'_> {
    /// Writes a stream's repair. One that only adds rows is written and read back before the stream is locked, which is
    /// locked for the last step alone; `alone` locks first, as one that moves rows always does.
    pub(super) async fn write(&mut self, mut prepared: Prepared, alone: bool) -> Result<(), RecoveryError> {
        let adds = prepared.moves.moves.is_empty() && prepared.moves.superseded.is_empty();
        self.ahead = adds && !alone && !prepared.repair.is_locked();
        let new = if self.ahead {
            let (commands, timeout) = (&prepared.commands, self.options.lock_timeout);
            prepared.repair.write_ahead(commands, timeout).await?
        } else {
            self.lock(&mut prepared).await?
        };
        self.keep_commands(&mut prepared, new).await?;
        // A snapshot was locked before it was read.
        if prepared.moved.is_none() {
            self.check_unchanged(&mut prepared).await?;
        }
        self.register(&mut prepared).await?;
        let moved = match prepared.moved.take() {
            Some(moved) => moved,
            None => self.carry_out(&mut prepared).await?,
        };
        self.write_rows(&mut prepared).await?;
        self.forget_commands(&mut prepared).await?;
        self.raise_versions(&mut prepared).await?;
        let repair = &mut prepared.repair;
        repair.let_others_pass().await?;
        prepared.expected.check_rows(repair).await?;
        self.applied.roots_equal = check_roots(repair, self.header, &prepared.commitments).await?;
        prepared.moves.check(repair, &moved).await?;
        let afterwards = if self.undo.is_some() {
            let last = prepared.found.head.max(self.header.counter_after.unwrap_or(0));
            Some(prepared.found.marked.afterwards(repair, last).await?)
        } else {
            None
        };
        if self.ahead {
            repair.let_others_pass().await?;
            self.lock(&mut prepared).await?;
            self.ahead = false;
        }
        self.finish(prepared, afterwards).await
    }

    /// The last step, under the locks: commitments, counter and projection, and the commit.
    async fn finish(
        &mut self,
        mut prepared: Prepared,
        afterwards: Option<Whole>,
    ) -> Result<(), RecoveryError> {
        let stream = self.header.stream;
        self.check_count(&mut prepared).await?;
        self.set_back_projection(&mut prepared).await?;
        let Prepared {
            mut repair,
            commitments_after,
            recovered_head,
            rows,
            ..
        } = prepared;
        self.applied.commitments = repair.insert_commitments(&rows).await?;
        self.record(rows.iter().map(|c| Change::Commitment {
            batch_id: c.batch_id,
            image: Image::inserted(Left::As(Box::new(c.clone()))),
        }))?;
        if let Some(counter_after) = self.header.counter_after {
            repair.set_counter(counter_after).await?;
            self.applied.counter_after = Some(counter_after);
        }
        let counter = repair.view().counter(&stream).await?;
        if self
            .header
            .counter_after
            .is_some_and(|after| counter != Some(after))
        {
            let after = self.header.counter_after.unwrap_or(0);
            let what = format!("the counter is {counter:?} and not {after}");
            return Err(RecoveryError::Outcome { stream, what });
        }
        check_commitments(repair.view(), &stream, &rows).await?;
        self.watch.cancel.check()?;
        if self.applied.changed_nothing() {
            // The plan only tells what stays open here, or is done already. Dropping the transaction rolls it back.
            self.applied.status = StreamStatus::AlreadyApplied;
            return Ok(());
        }
        if let (Some(undo), Some(whole)) = (&mut self.undo, afterwards) {
            let stored = repair.view().commitments(&stream).await?.rows;
            if !stored
                .iter()
                .map(identity)
                .eq(commitments_after.iter().map(identity))
            {
                let what = "the commitments are not those that the plan leaves".to_owned();
                return Err(RecoveryError::Outcome { stream, what });
            }
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
        self.commit(repair, recovered_head).await
    }

    /// Makes sure that nobody else wrote events to the stream, or removed some.
    async fn check_count(&self, prepared: &mut Prepared) -> Result<(), RecoveryError> {
        let stream = self.header.stream;
        let (from, below) = prepared.found.marked.at();
        let there = prepared.repair.view().count_from(&stream, from).await?;
        let (before, inserted) = (prepared.found.events - below, prepared.expected.inserted());
        // What was found in a snapshot is as it was before rows went in.
        if there == before + inserted {
            return Ok(());
        }
        let what = format!("{there} events from {from} on instead of {before} and {inserted}");
        Err(RecoveryError::Outcome { stream, what })
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

    /// Takes the locks, the commands among them if they are not reserved yet, and makes sure that the sequencer has not
    /// moved since the stream was found.
    async fn lock(
        &mut self,
        prepared: &mut Prepared,
    ) -> Result<BTreeSet<(StreamKey, CommandId)>, RecoveryError> {
        let commands: &[Reserved] = if self.ahead { &[] } else { &prepared.commands };
        let timeout = self.options.lock_timeout;
        let new = prepared.repair.lock(&[], commands, timeout).await?;
        if prepared.moved.is_some() {
            return Ok(new);
        }
        let stream = self.header.stream;
        let drift = |what: String| RecoveryError::Drift { stream, what };
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
        Ok(new)
    }

    /// Makes sure that the events are still as they were found.
    async fn check_unchanged(&self, prepared: &mut Prepared) -> Result<(), RecoveryError> {
        let stream = self.header.stream;
        let found = &prepared.found;
        if found.marked.again(&mut prepared.repair).await?.fingerprint == found.fingerprint {
            return Ok(());
        }
        let what = "events were written, changed or removed a moment ago".to_owned();
        Err(RecoveryError::Drift { stream, what })
    }

    /// Notes which commands are remembered that were not.
    async fn keep_commands(
        &mut self,
        prepared: &mut Prepared,
        new: BTreeSet<(StreamKey, CommandId)>,
    ) -> Result<(), RecoveryError> {
        let stream = self.header.stream;
        if let Some(command) = prepared
            .grown
            .commands
            .iter()
            .find(|command| !new.contains(&(stream, **command)))
        {
            let what = format!("duplicate_command_id: {command} was accepted meanwhile");
            return Err(RecoveryError::Drift { stream, what });
        }
        self.applied.commands = new.len() as u64;
        let since = self.check_commands(prepared, &new).await?;
        self.record(new.into_iter().filter_map(|(_, command_id)| {
            let since = *since.get(&command_id)?;
            Some(Change::Command {
                command_id,
                image: Image::inserted(Left::As(since?)),
            })
        }))
    }

    /// Makes sure that all commands are remembered, and the new ones as they were to be; says since when, if somebody needs
    /// to know.
    async fn check_commands(
        &self,
        prepared: &mut Prepared,
        new: &BTreeSet<(StreamKey, CommandId)>,
    ) -> Result<BTreeMap<CommandId, Option<Timestamp>>, RecoveryError> {
        if self.undo.is_none() && !self.options.with_triggers {
            return Ok(BTreeMap::new());
        }
        let stream = self.header.stream;
        let wanted: BTreeSet<(CommandId, Timestamp)> = prepared
            .commands
            .iter()
            .map(|c| (c.command_id, c.created_at))
            .collect();
        let ids: BTreeSet<CommandId> = wanted.iter().map(|(id, _)| *id).collect();
        let ids: Vec<CommandId> = ids.into_iter().collect();
        let there = prepared.repair.view().remembered_since(&stream, &ids).await?;
        let there: BTreeMap<CommandId, Option<Timestamp>> = there.into_iter().collect();
        // What was remembered before is as it was, also if nobody can read since when.
        let as_wanted = |(id, since): (&CommandId, &Option<Timestamp>)| {
            !new.contains(&(stream, *id)) || since.is_some_and(|since| wanted.contains(&(*id, since)))
        };
        if there.len() != ids.len() || !there.iter().all(as_wanted) {
            let what = "commands are not remembered as they were inserted".to_owned();
            return Err(RecoveryError::Outcome { stream, what });
        }
        Ok(there)
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
                self.record([Change::Key(Image::inserted(Box::new(key.clone())))])?;
                continue;
            }
            let registered = repair.view().keys(Some(stream.tenant_id)).await?.rows;
            let registered = registered
                .into_iter()
                .find(|k| (k.agent_id, k.key_id) == (key.agent_id, key.key_id));
            if registered.as_ref().is_none_or(|r| !r.same_public_key(key)) {
                let what = format!(
                    "key {} of agent {} is {} by now, and the plan has {}",
                    key.key_id,
                    key.agent_id,
                    registered.map_or("unreadable".to_owned(), |k| k.public_name()),
                    key.public_name()
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

    /// Forgets commands that no event carries.
    async fn forget_commands(&mut self, prepared: &mut Prepared) -> Result<(), RecoveryError> {
        let (repair, bookkeeping) = (&mut prepared.repair, &prepared.bookkeeping);
        let forgotten = repair.forget_commands(&bookkeeping.forget).await?;
        self.applied.commands_forgotten = forgotten.len() as u64;
        self.record(forgotten.into_iter().map(|o| Change::Command {
            command_id: o.command_id,
            image: Image::removed(o.created_at),
        }))
    }

    /// Has the projections begin again where the stream changed.
    async fn set_back_projection(&mut self, prepared: &mut Prepared) -> Result<(), RecoveryError> {
        let stream = self.header.stream;
        let (repair, bookkeeping) = (&mut prepared.repair, &prepared.bookkeeping);
        if let Some(after) = bookkeeping.projection {
            let before = repair.view().projection_checkpoint(&stream).await?;
            if repair.set_back_projection(after).await? {
                let now = repair.view().projection_checkpoint(&stream).await?;
                if now != Some(after) {
                    let what = format!("the projection checkpoint is {now:?} and not {after}");
                    return Err(RecoveryError::Outcome { stream, what });
                }
                self.applied.projection_set_back_to = Some(after);
                self.record([Change::Projection(Image::changed(before.or(Some(after)), after))])?;
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
        let rows = versions.into_iter().map(|(entity, (before, after))| {
            let image = Image::changed(before, after);
            Change::EntityVersion { entity, image }
        });
        self.record(rows)
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
                counters_only: false,
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
