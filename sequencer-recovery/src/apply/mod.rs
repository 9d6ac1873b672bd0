//! Applying a plan: one transaction for each stream, under the sequencer's own locks, checked before it is
//! committed. Running it again changes nothing.

mod appending;
mod found;
mod report;
mod rows;
mod sections;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use cli_common::{Cancel, Progress};
use event_log::{
    Commitment, Entity, JournalCounts, JournalEntry, JournalState, Log, LogError, ReceiptDefaults, Repair,
    RestoredEvent, RowError,
};
use ves::{CommandId, Hash32, KeyRegistry, SequencerId, Timestamp};

use crate::accept_keys::PlannedKey;
use crate::append;
use crate::error::RecoveryError;
use crate::plan_file::{PlanFile, PlannedBookkeeping, PlannedEvent, PlannedStream};
use crate::preflight;
use crate::read_back::{Expectation, check_commitments};
use crate::skipped::Skipped;
use crate::undo_file::{self, UndoHeader, UndoLine, UndoSealed, UndoStream, UndoWriter};

pub use report::{AppliedStream, ApplyReport, StreamStatus};

pub(crate) use found::{Found, stored_leaves};
pub(crate) use rows::make_receipt;

use found::not_yet_applied;
use rows::{commitment_row, new_receipt, planned_leaf, receipt_defaults, restored_receipt, verify_again};
use sections::Sections;

/// What the operator gives besides the plan.
pub struct ApplyOptions {
    /// How long to wait for the sequencer's locks.
    pub lock_timeout: Duration,
    /// The sequencer's signing key: restored receipts are signed with it.
    pub sequencer_key: Option<ed25519_dalek::SigningKey>,
    /// Who restored receipts are from, if the log has no receipt to learn it from.
    pub sequencer_id: Option<SequencerId>,
    /// A file for the undo bundle; it must not exist yet.
    pub undo: Option<PathBuf>,
    /// Do everything, checks included, and roll it back instead of committing.
    pub dry_run: bool,
    /// Write an entry to the log's journal of repairs with each stream that is changed.
    pub journal: bool,
    /// Let triggers and rules of others act on what is written; a change of it is found before the commit.
    pub with_triggers: bool,
}

/// What writes, as undo bundles and the journal name it.
pub(crate) const TOOL: &str = concat!("sequencer-recovery ", env!("CARGO_PKG_VERSION"));

/// Rows are looked up in groups of this many.
const GROUP: usize = 1000;

/// Applies a plan, stream by stream. A stream that fails is rolled back, told in the report, and does not stop
/// the others.
///
/// # Errors
/// A plan that cannot be read to its end, a database that cannot be reached, [`RecoveryError::Cancelled`]
/// (streams already committed stay so, and running again goes on with the rest).
pub async fn apply(
    log: &Log,
    db: String,
    plan: &PlanFile,
    options: &ApplyOptions,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<ApplyReport, RecoveryError> {
    let mut report = ApplyReport {
        schema: "recovery-apply/1",
        plan_id: plan.id(),
        db,
        place: log.place().clone(),
        dry_run: options.dry_run,
        journal: options.journal,
        streams: Vec::new(),
        not_checked: Vec::new(),
        errors: Vec::new(),
    };
    log.check_writable()?;
    preflight::check(&mut log.view().await?, options.with_triggers).await?;
    if options.journal {
        // Before the long work.
        log.check_journal().await?;
    }
    let mut undo = match &options.undo {
        Some(path) => {
            let made_at = log.view().await?.database_time().await?;
            let header = UndoHeader {
                schema: undo_file::SCHEMA.into(),
                made_at,
                tool: TOOL.into(),
                db: report.db.clone(),
                plan_id: plan.id(),
            };
            Some(UndoWriter::create(path, &header)?)
        }
        None => None,
    };
    let done = apply_all(log, plan, options, undo.as_mut(), &mut report, progress, cancel).await;
    // Whatever happened: what was committed until then can be taken back.
    if let Some(undo) = undo {
        undo.finish()?;
    }
    done?;
    Ok(report)
}

async fn apply_all(
    log: &Log,
    plan: &PlanFile,
    options: &ApplyOptions,
    mut undo: Option<&mut UndoWriter>,
    report: &mut ApplyReport,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(), RecoveryError> {
    let mut lines = Sections::new(plan.lines()?);
    let mut unsigned_receipts = Skipped::default();
    progress.start("applying", None);
    while let Some(header) = lines.next_stream()? {
        cancel.check()?;
        let mut applied = AppliedStream::new(&header);
        let result = {
            let mut job = Job {
                plan_id: plan.id(),
                header: &header,
                options,
                undo: undo.as_deref_mut(),
                applied: &mut applied,
                versions: BTreeMap::new(),
            };
            job.run(log, &mut lines, progress, cancel).await
        };
        // A section that is not sealed belongs to a transaction that is not committed.
        if let Some(undo) = undo.as_deref_mut() {
            undo.discard()?;
        }
        match result {
            Ok(()) => {}
            Err(error @ (RecoveryError::Plan(_) | RecoveryError::Cancelled(_))) => return Err(error),
            Err(error) => {
                let journal = std::mem::take(&mut applied.journal);
                applied = AppliedStream::new(&header);
                applied.journal = journal;
                applied.error = Some(error.to_string());
                report.errors.push(error);
            }
        }
        lines.skip_to_next_stream()?;
        report.not_checked.append(&mut applied.not_checked);
        let unsigned = applied.receipts - applied.receipts_signed;
        if unsigned > 0 {
            unsigned_receipts.add(
                header.stream,
                "restored receipt(s)",
                "they have no signature (give --sequencer-key to sign them)",
                unsigned,
            );
        }
        match applied.status {
            StreamStatus::Applied => {}
            StreamStatus::AlreadyApplied => report.not_checked.push(format!(
                "{}: nothing was written, so payloads and roots were not recomputed (audit does)",
                header.stream
            )),
            StreamStatus::Failed => {
                report.not_checked.push(format!(
                    "{}: it was not repaired, so nothing of it was checked",
                    header.stream
                ));
            }
        }
        report.streams.push(applied);
    }
    report.not_checked.extend(unsigned_receipts.lines());
    progress.finish();
    Ok(())
}

/// One stream's repair, with what it has to tell.
struct Job<'a> {
    plan_id: Hash32,
    header: &'a PlannedStream,
    options: &'a ApplyOptions,
    undo: Option<&'a mut UndoWriter>,
    applied: &'a mut AppliedStream,
    /// Entity versions as they were and as they became, for the undo bundle.
    versions: BTreeMap<Entity, (Option<i64>, i64)>,
}

impl Job<'_> {
    async fn run(
        &mut self,
        log: &Log,
        lines: &mut Sections,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<(), RecoveryError> {
        let header = self.header;
        let stream = header.stream;
        let mut repair = log.repair(&stream, self.options.lock_timeout).await?;
        let counter = repair.counter_before();
        self.applied.counter_before = counter;
        self.applied.counter_after = counter;
        self.applied.journal = repair.view().journal_of(&self.plan_id, &stream).await?.rows;
        let mut keys = KeyRegistry::new(repair.view().keys(Some(stream.tenant_id)).await?.rows);
        let sequencer_key = self.options.sequencer_key.as_ref();
        let before = Found::read(repair.view(), &stream, counter, sequencer_key).await?;
        if before.fingerprint != header.fingerprint {
            // Dropping the transaction rolls back the counter row that taking the lock may have made.
            let differs = not_yet_applied(repair.view(), header, counter, lines).await?;
            drop(repair);
            return match differs {
                None => {
                    self.applied.status = StreamStatus::AlreadyApplied;
                    Ok(())
                }
                Some(what) => Err(RecoveryError::Drift { stream, what }),
            };
        }
        if let Some(key) = sequencer_key
            && before.receipt_signed_by_another
        {
            let what = format!(
                "the given sequencer key {} did not sign the receipts that the stream has",
                Hash32(key.verifying_key().to_bytes())
            );
            return Err(RecoveryError::Refused {
                stream,
                sequence: before.first_signed.unwrap_or(0),
                what,
            });
        }
        if let Some(undo) = &mut self.undo {
            undo.begin(UndoStream {
                stream,
                fingerprint_before: before.fingerprint,
                counter_before: counter,
            })?;
        }
        let defaults = receipt_defaults(repair.view(), &stream, self.options).await?;
        self.register(&mut repair, lines.keys()?, &mut keys).await?;

        let moves = lines.next_moves()?;
        let mut moved = moves
            .carry_out(&mut repair, header.counter_after, defaults, self.options)
            .await?;
        self.applied.moved = moves.moves.len() as u64;
        self.applied.commitments_superseded = moves.superseded.len() as u64;
        self.applied.receipts_superseded = moved.superseded_receipts;
        self.applied.receipts += self.applied.moved;
        self.applied.receipts_signed += moved.signed;
        self.record(std::mem::take(&mut moved.undo))?;
        if moved.proofs > 0 {
            self.applied.not_checked.push(format!(
                "{stream}: {} row(s) of ves_compliance_proofs refer to events that got other numbers",
                moved.proofs
            ));
        }
        let mut expected = Expectation::new(header);
        let mut entities: BTreeSet<Entity> = BTreeSet::new();
        loop {
            cancel.check()?;
            let mut group = lines.next_group()?;
            let lost = group.is_empty();
            if lost {
                group = lines.next_tombstones(stream)?;
            }
            if group.is_empty() {
                break;
            }
            let written = self
                .write_group(&mut repair, &group, &keys, defaults, &mut expected)
                .await;
            let inserted = written.map_err(|error| at_line(error, &group, lines.group_at))?;
            *(if lost {
                &mut self.applied.tombstones
            } else {
                &mut self.applied.events
            }) += inserted;
            entities.extend(group.iter().map(|e| append::entity_of(&e.event)));
            progress.advance(group.len() as u64);
        }
        let (commitments, bookkeeping) = lines.rest()?;
        entities.extend(bookkeeping.raise_versions.iter().cloned());
        self.keep_books(&mut repair, &bookkeeping, defaults, &mut expected)
            .await?;
        self.raise_versions(&mut repair, entities).await?;
        self.append_all(
            &mut repair,
            lines,
            &keys,
            defaults,
            &mut expected,
            progress,
            cancel,
        )
        .await?;
        let versions = std::mem::take(&mut self.versions);
        if self.options.with_triggers {
            check_versions(&mut repair, &versions).await?;
        }
        self.record(
            versions
                .into_iter()
                .map(|(entity, (before, after))| UndoLine::Version {
                    entity,
                    before,
                    after,
                }),
        )?;
        let rows: Vec<Commitment> = commitments.iter().map(|c| commitment_row(&stream, c)).collect();
        self.applied.commitments = repair.insert_commitments(&rows).await?;
        self.record(rows.iter().map(|c| UndoLine::Commitment { batch_id: c.batch_id }))?;
        if let Some(counter_after) = header.counter_after {
            repair.set_counter(counter_after).await?;
            self.applied.counter_after = Some(counter_after);
        }
        self.applied.roots_equal = expected
            .check(repair.view(), header, &commitments, before.events)
            .await?;
        check_commitments(repair.view(), &stream, &rows).await?;
        moves.check(&mut repair, &moved).await?;
        cancel.check()?;
        if self.applied.changed_nothing() {
            // The plan only tells what stays open here, or is done already. Dropping the transaction rolls it back.
            self.applied.status = StreamStatus::AlreadyApplied;
            return Ok(());
        }
        if let Some(undo) = &mut self.undo {
            let counter = repair.view().counter(&stream).await?;
            let after = Found::read(repair.view(), &stream, counter, None).await?;
            undo.seal(UndoSealed {
                fingerprint_after: after.fingerprint,
                counter_after: counter.unwrap_or(0),
                head_after: after.head,
                commitments_after: after.commitments,
                lines: 0,
                sha256: Hash32::ZERO,
            })?;
        }
        if self.options.journal {
            let written_at = repair.view().database_time().await?;
            repair.write_journal(&self.journal_entry(written_at)).await?;
        }
        if self.options.dry_run {
            repair.rehearse().await?;
        } else {
            repair.commit().await?;
        }
        self.applied.status = StreamStatus::Applied;
        Ok(())
    }

    /// Registers keys that the log lost. One that somebody registered meanwhile must be the same.
    async fn register(
        &mut self,
        repair: &mut Repair,
        planned: Vec<PlannedKey>,
        keys: &mut KeyRegistry,
    ) -> Result<(), RecoveryError> {
        let stream = self.header.stream;
        for PlannedKey { key, .. } in planned {
            let now = repair.view().database_time().await?;
            if repair.insert_key(&key, now).await? {
                let there = repair.view().keys(Some(stream.tenant_id)).await?.rows;
                if !there.contains(&key) {
                    let what = format!(
                        "key {} of agent {} is not as it was registered",
                        key.key_id, key.agent_id
                    );
                    return Err(RecoveryError::Outcome { stream, what });
                }
                self.applied.keys += 1;
                self.record([UndoLine::Key { key: key.clone() }])?;
                keys.insert(key);
                continue;
            }
            let registered = repair.view().keys(Some(stream.tenant_id)).await?.rows;
            let registered = registered
                .into_iter()
                .find(|k| (k.agent_id, k.key_id) == (key.agent_id, key.key_id));
            match registered {
                Some(registered) if registered.public_key == key.public_key => keys.insert(registered),
                registered => {
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
        }
        Ok(())
    }

    fn journal_entry(&self, written_at: Timestamp) -> JournalEntry {
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
            },
        }
    }

    /// Says in the undo bundle, if one is written, what was done.
    fn record(&mut self, lines: impl IntoIterator<Item = UndoLine>) -> Result<(), RecoveryError> {
        if let Some(undo) = &mut self.undo {
            for line in lines {
                undo.line(&line)?;
            }
        }
        Ok(())
    }

    /// Remembers commands, and records those that were not.
    async fn remember(
        &mut self,
        repair: &mut Repair,
        commands: &[(CommandId, Timestamp)],
    ) -> Result<(), RecoveryError> {
        if self.undo.is_none() && !self.options.with_triggers {
            self.applied.commands += repair.insert_dedupe(commands).await?;
            return Ok(());
        }
        let stream = *repair.stream();
        let ids: BTreeSet<CommandId> = commands.iter().map(|(id, _)| *id).collect();
        let ids: Vec<CommandId> = ids.into_iter().collect();
        let known = repair.view().remembered_commands(&stream, &ids).await?.all()?;
        let known: BTreeSet<CommandId> = known.into_iter().collect();
        let new: Vec<CommandId> = ids.into_iter().filter(|id| !known.contains(id)).collect();
        let inserted = repair.insert_dedupe(commands).await?;
        if inserted != new.len() as u64 {
            let what = format!("{} commands were to be remembered and {inserted} were", new.len());
            return Err(RecoveryError::Outcome { stream, what });
        }
        let there = repair.view().remembered_since(&stream, &new).await?.all()?;
        let wanted: BTreeSet<(CommandId, Timestamp)> = commands.iter().copied().collect();
        if there.len() != new.len() || !there.iter().all(|row| wanted.contains(row)) {
            let what = "commands are not remembered as they were inserted".to_owned();
            return Err(RecoveryError::Outcome { stream, what });
        }
        self.applied.commands += inserted;
        self.record(new.into_iter().map(|command_id| UndoLine::Command { command_id }))
    }

    /// Raises entity versions, and notes what they were.
    async fn raise_versions(
        &mut self,
        repair: &mut Repair,
        entities: BTreeSet<Entity>,
    ) -> Result<(), RecoveryError> {
        let stream = *repair.stream();
        let mut raised = Vec::new();
        // An undo bundle needs to know which; and one that is raised for what is appended, too, is counted once.
        let by_name = self.undo.is_some() || self.header.appended > 0 || self.options.with_triggers;
        if by_name && !entities.is_empty() {
            for drift in repair.view().version_drift(&stream).await?.all()? {
                let after = i64::try_from(drift.events).unwrap_or(i64::MAX);
                if drift.version.is_none_or(|version| version < after) && entities.contains(&drift.entity) {
                    raised.push((drift.entity, (drift.version, after)));
                }
            }
        }
        self.applied.entity_versions = repair.raise_entity_versions(entities).await?;
        if by_name && self.applied.entity_versions != raised.len() as u64 {
            let what = format!(
                "{} entity versions were to be raised and {} were",
                raised.len(),
                self.applied.entity_versions
            );
            return Err(RecoveryError::Outcome { stream, what });
        }
        self.versions.extend(raised);
        Ok(())
    }

    /// Puts right what follows from events that are there already.
    async fn keep_books(
        &mut self,
        repair: &mut Repair,
        bookkeeping: &PlannedBookkeeping,
        defaults: Option<ReceiptDefaults>,
        expected: &mut Expectation,
    ) -> Result<(), RecoveryError> {
        let stream = *repair.stream();
        for range in &bookkeeping.receipts {
            let mut from = *range.start();
            while from <= *range.end() {
                let to = (*range.end()).min(from + GROUP as u64 - 1);
                let entries = repair.view().entries(&stream, from..=to).await?.rows;
                let mut receipts = Vec::new();
                for entry in entries.into_iter().filter(|e| e.receipt.is_none()) {
                    let sequence = entry.sequence_number;
                    let sound = entry.event.check_payload().is_match()
                        && entry.event.signing_hash() == entry.event_signing_hash;
                    let receipt = if sound {
                        new_receipt(&stream, &entry, defaults, self.options)
                    } else {
                        Err("its event does not verify".to_owned())
                    };
                    receipts.push(receipt.map_err(|what| RecoveryError::Refused {
                        stream,
                        sequence,
                        what,
                    })?);
                }
                self.applied.receipts_signed += receipts
                    .iter()
                    .filter(|r| r.sequencer_signature.is_some())
                    .count() as u64;
                self.applied.receipts += repair.insert_receipts(&receipts).await?;
                receipts.iter().for_each(|receipt| expected.add_receipt(receipt));
                self.record(receipts.iter().map(|r| UndoLine::Receipt {
                    sequence: r.sequence_number,
                    event_id: r.event_id,
                }))?;
                from = to + 1;
            }
        }
        let mut commands = Vec::new();
        for (command, sequence) in &bookkeeping.remember {
            let entries = repair.view().entries(&stream, *sequence..=*sequence).await?.rows;
            commands.extend(
                entries
                    .iter()
                    .filter(|e| e.event.command_id == Some(*command))
                    .map(|e| (*command, e.sequenced_at)),
            );
        }
        self.remember(repair, &commands).await?;
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

    /// Verifies a group of planned events again and inserts everything that each accepted event writes.
    async fn write_group(
        &mut self,
        repair: &mut Repair,
        group: &[PlannedEvent],
        keys: &KeyRegistry,
        defaults: Option<ReceiptDefaults>,
        expected: &mut Expectation,
    ) -> Result<u64, RecoveryError> {
        let header = self.header;
        let stream = header.stream;
        let mut events = Vec::with_capacity(group.len());
        let mut receipts = Vec::with_capacity(group.len());
        let mut commands = Vec::new();
        for planned in group {
            let refused = |what: String| RecoveryError::Refused {
                stream,
                sequence: planned.sequence,
                what,
            };
            let signing_hash = verify_again(planned, header, keys).map_err(refused)?;
            let receipt =
                restored_receipt(planned, &stream, &signing_hash, defaults, self.options).map_err(refused)?;
            self.applied.receipts_signed += u64::from(receipt.sequencer_signature.is_some());
            if let Some(command_id) = planned.event.command_id {
                commands.push((command_id, planned.sequenced_at));
            }
            expected.add(
                planned.sequence,
                &planned.event,
                &signing_hash,
                planned.sequenced_at,
                &receipt,
            );
            events.push(RestoredEvent {
                event: planned.event.clone(),
                sequence_number: planned.sequence,
                event_signing_hash: signing_hash,
                sequenced_at: planned.sequenced_at,
            });
            receipts.push(receipt);
        }
        let inserted = repair.insert_events(&events).await?;
        self.applied.receipts += repair.insert_receipts(&receipts).await?;
        self.record(group.iter().map(|planned| UndoLine::Event {
            sequence: planned.sequence,
            event_id: planned.event.event_id,
            leaf: planned_leaf(&stream, planned),
        }))?;
        self.remember(repair, &commands).await?;
        Ok(inserted)
    }
}

/// Compares the versions that were raised with what stands there.
async fn check_versions(
    repair: &mut Repair,
    versions: &BTreeMap<Entity, (Option<i64>, i64)>,
) -> Result<(), RecoveryError> {
    let stream = *repair.stream();
    for (entity, (_, after)) in versions {
        let now = repair.view().entity_version(&stream, entity).await?;
        if now != Some(*after) {
            let (kind, id) = (&entity.entity_type, &entity.entity_id);
            let what = format!("the version of {kind} {id} is {now:?} and not {after}");
            return Err(RecoveryError::Outcome { stream, what });
        }
    }
    Ok(())
}

/// Says on which line of the plan the event stands that cannot be written.
fn at_line(error: RecoveryError, group: &[PlannedEvent], first: u64) -> RecoveryError {
    let (stream, sequence, what) = match error {
        RecoveryError::Refused {
            stream,
            sequence,
            what,
        } => (stream, sequence, what),
        RecoveryError::Log(LogError::RefusedRow {
            row:
                RowError {
                    stream: Some(stream),
                    sequence: Some(sequence),
                    what,
                    table,
                },
            ..
        }) => (stream, sequence, format!("{table}: {what}")),
        other => return other,
    };
    let line = group
        .iter()
        .zip(first..)
        .find(|(planned, _)| planned.sequence == sequence)
        .map_or(first, |(_, line)| line);
    RecoveryError::Refused {
        stream,
        sequence,
        what: format!("{what} (line {line} of the plan)"),
    }
}
