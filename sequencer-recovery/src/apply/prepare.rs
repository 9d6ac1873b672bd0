//! The first step, without a lock: the stream is read, what the plan has for it is verified again, receipts are made, and
//! the rows go to where they wait.

use std::collections::{BTreeMap, BTreeSet};

use event_log::{Commitment, Entity, Log, Repair, Reserved, RestoredEvent, WrittenRows};
use ves::{CommandId, KeyRegistry, Timestamp};

use super::appending::Grown;
use super::found::{Change, Found, not_yet_applied};
use super::rows::{Receipts, commitment_row, judge_again, planned_leaf, verify_again};
use super::sections::{Outline, Sections};
use super::{GROUP, Job};
use crate::apply::moves::{Moved, Moves};
use crate::apply::read_back::Expectation;
use crate::apply::undo_file::UndoStream;
use crate::apply::undo_file::change::{Change as Row, Stands};
use crate::error::RecoveryError;
use crate::plan::append;
use crate::plan::planned::PlannedKey;
use crate::plan::planned::{PlannedCommitment, PlannedEvent};
use crate::sealed_file::Mark;
use crate::stream::bookkeeping::Bookkeeping;

/// A stream's repair up to its locks.
pub(super) struct Prepared {
    pub(super) repair: Repair,
    /// The stream as it was found.
    pub(super) found: Found,
    pub(super) keys: Vec<PlannedKey>,
    pub(super) moves: Moves,
    /// What was moved already: in a snapshot, where room must be made before rows go in.
    pub(super) moved: Option<Moved>,
    pub(super) receipts: Receipts,
    /// What must be read back.
    pub(super) expected: Expectation,
    /// How many rows wait.
    pub(super) waiting: WrittenRows,
    pub(super) commitments: Vec<PlannedCommitment>,
    pub(super) rows: Vec<Commitment>,
    /// The highest number that the recovery gave back without a hole below it.
    pub(super) recovered_head: u64,
    /// The commitments that there must be afterwards.
    pub(super) commitments_after: Vec<Commitment>,
    pub(super) bookkeeping: Bookkeeping,
    pub(super) commands: Vec<Reserved>,
    /// When the last of the plan's events was numbered.
    pub(super) last_restored: Timestamp,
    /// Entities of events that are appended, and the commands of those.
    pub(super) grown: Grown,
    /// Entities whose versions are looked at again, since triggers may change what is written.
    pub(super) entities: BTreeSet<Entity>,
}

impl Job<'_> {
    /// Prepares the repair; `None` if everything that the plan wants is there already.
    pub(super) async fn prepare(
        &mut self,
        log: &Log,
        mark: &Mark,
        lines: &mut Sections<'_>,
    ) -> Result<Option<Prepared>, RecoveryError> {
        let header = self.header;
        let stream = header.stream;
        let mut repair = log.prepare_repair(&stream, self.options.lock_timeout).await?;
        let view = repair.view();
        self.applied.journal = view.journal_of(&self.plan_id, &stream).await?.rows;
        let counter = counter(&mut repair).await?;
        self.applied.counter_before = counter;
        self.applied.counter_after = counter;
        let outline = lines.outline(mark)?;
        let found = self.read(&mut repair, counter, &outline).await?;
        let planned = outline.commitments.iter().map(|c| c.sequence_end);
        let stay = found.commitments.iter();
        let stay = stay.filter(|c| !outline.superseded.contains(&c.batch_id));
        let committed = stay.map(|c| c.sequence_end).chain(planned).max();
        let next = committed.and_then(|last| last.checked_add(1));
        self.applied.commits_stop_at = next.filter(|next| outline.open.contains(*next));
        if found.fingerprint != header.fingerprint {
            let differs = not_yet_applied(repair.view(), header, counter, lines).await?;
            return match differs {
                None => Ok(None),
                Some(what) => Err(RecoveryError::Drift { stream, what }),
            };
        }
        if let Some(undo) = &mut self.undo {
            undo.begin(UndoStream {
                stream,
                fingerprint_before: found.fingerprint,
                counter_before: counter,
            })?;
        }
        let versions = found.key_versions.clone();
        let receipts = Receipts::read(repair.view(), &stream, versions, self.options).await?;
        let mut registered = repair.view().log_keys(Some(stream.tenant_id)).await?.registry();
        let keys = lines.keys()?;
        self.believe(&keys, &mut registered)?;
        let rows: Vec<Commitment> = outline
            .commitments
            .iter()
            .map(|c| commitment_row(&stream, c))
            .collect();
        let mut prepared = Prepared {
            recovered_head: outline.recovered_head.min(header.head_before),
            commitments_after: commitments_after(&found.commitments, &outline, &rows),
            repair,
            found,
            keys,
            moves: lines.next_moves()?,
            moved: None,
            receipts,
            expected: Expectation::new(header),
            waiting: WrittenRows::default(),
            commitments: Vec::new(),
            rows,
            bookkeeping: Bookkeeping::default(),
            commands: Vec::new(),
            last_restored: Timestamp(i64::MIN),
            grown: Grown::default(),
            entities: BTreeSet::new(),
        };
        if prepared.repair.is_locked() {
            prepared.moved = Some(self.carry_out(&mut prepared).await?);
        }
        let mut entities = self.verify_all(&mut prepared, lines, &registered).await?;
        let (commitments, bookkeeping) = lines.rest()?;
        prepared.commitments = commitments;
        prepared.bookkeeping = bookkeeping;
        for entity in &prepared.bookkeeping.raise_versions {
            entities.entry(entity.clone()).or_default();
        }
        self.read_books(&mut prepared).await?;
        self.append_all(&mut prepared, lines, &registered, &entities)
            .await?;
        if self.options.with_triggers {
            prepared.entities = entities.keys().cloned().collect();
        }
        prepared.repair.stage_entities(entities.into_keys()).await?;
        Ok(Some(prepared))
    }

    async fn read(
        &self,
        repair: &mut Repair,
        counter: Option<u64>,
        outline: &Outline,
    ) -> Result<Found, RecoveryError> {
        let stream = self.header.stream;
        let rows: Vec<Commitment> = outline
            .commitments
            .iter()
            .map(|c| commitment_row(&stream, c))
            .collect();
        let after = |before: &[Commitment]| commitments_after(before, outline, &rows);
        let change = Change {
            from: outline.first,
            // A missing row is made when the counter is locked.
            counter: self.header.counter_after.or(Some(counter.unwrap_or(0))),
            commitments: &after,
        };
        let expected = [self.header.fingerprint];
        Found::read(repair.view(), &stream, counter, Some(change), &expected).await
    }

    /// Takes the keys that are registered again into account; one that somebody registered meanwhile must be the same.
    fn believe(&self, planned: &[PlannedKey], registered: &mut KeyRegistry) -> Result<(), RecoveryError> {
        for PlannedKey { key, .. } in planned {
            match registered.get(key.tenant_id, key.agent_id, key.key_id) {
                None => registered.insert(key.clone()),
                Some(there) if there.same_public_key(key) => {}
                Some(there) => {
                    let what = format!(
                        "key {} of agent {} is {} by now, and the plan has {}",
                        key.key_id,
                        key.agent_id,
                        there.public_name(),
                        key.public_name()
                    );
                    let stream = self.header.stream;
                    return Err(RecoveryError::Drift { stream, what });
                }
            }
        }
        Ok(())
    }

    /// Makes room for what comes back, and says what that took.
    pub(super) async fn carry_out(&mut self, prepared: &mut Prepared) -> Result<Moved, RecoveryError> {
        let header = self.header;
        let mut moved = prepared
            .moves
            .carry_out(&mut prepared.repair, header.counter_after, &mut prepared.receipts)
            .await?;
        self.applied.moved = prepared.moves.moves.len() as u64;
        self.applied.commitments_superseded = prepared.moves.superseded.len() as u64;
        self.applied.receipts_superseded = moved.superseded_receipts;
        self.applied.receipts_signed += moved.signed;
        self.record(std::mem::take(&mut moved.undo))?;
        if moved.proofs > 0 {
            self.applied.not_checked.push(format!(
                "{}: {} row(s) of ves_compliance_proofs refer to events that got other numbers",
                header.stream, moved.proofs
            ));
        }
        Ok(moved)
    }

    /// Verifies events and tombstones; says of which entities how many are.
    async fn verify_all(
        &mut self,
        prepared: &mut Prepared,
        lines: &mut Sections<'_>,
        keys: &KeyRegistry,
    ) -> Result<BTreeMap<Entity, i64>, RecoveryError> {
        let mut entities = BTreeMap::new();
        loop {
            self.watch.cancel.check()?;
            let mut group = lines.next_group()?;
            let lost = group.is_empty();
            if lost {
                group = lines.next_tombstones(self.header.stream)?;
            }
            if group.is_empty() {
                return Ok(entities);
            }
            self.verify_group(prepared, &group, keys).await?;
            let count = group.len() as u64;
            *(if lost {
                &mut self.applied.tombstones
            } else {
                &mut self.applied.events
            }) += count;
            for planned in &group {
                *entities.entry(append::entity_of(&planned.event)).or_default() += 1;
            }
            self.watch.progress.advance(count);
        }
    }

    /// Verifies a group of planned events again, and has everything wait that each accepted event writes.
    async fn verify_group(
        &mut self,
        prepared: &mut Prepared,
        group: &[PlannedEvent],
        keys: &KeyRegistry,
    ) -> Result<(), RecoveryError> {
        let header = self.header;
        let stream = header.stream;
        let mut events = Vec::with_capacity(group.len());
        let mut receipts = Vec::with_capacity(group.len());
        for (planned, verdict) in group.iter().zip(judge_again(group, keys)) {
            let refused = |what: String| RecoveryError::Refused {
                stream,
                sequence: planned.sequence,
                what,
            };
            let signing_hash = verify_again(planned, header, &verdict).map_err(refused)?;
            let receipt = prepared.receipts.restored(planned, &stream, &signing_hash);
            let receipt = receipt.map_err(refused)?;
            self.applied.receipts_signed += u64::from(receipt.sequencer_signature.is_some());
            prepared.reserve(planned.event.command_id, planned.sequenced_at);
            prepared.last_restored = prepared.last_restored.max(planned.sequenced_at);
            prepared.expected.add(
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
        prepared.stage(&events, &receipts).await?;
        self.record(group.iter().flat_map(|planned| {
            let at = Stands {
                sequence: planned.sequence,
                leaf: planned_leaf(&stream, planned),
            };
            Row::event(planned.event.event_id, None, at)
        }))
    }

    /// Reads what the bookkeeping is about: events without receipts, and those whose commands are not remembered.
    async fn read_books(&mut self, prepared: &mut Prepared) -> Result<(), RecoveryError> {
        let stream = self.header.stream;
        for span in prepared.bookkeeping.receipts.clone().iter() {
            for piece in span.pieces(GROUP as u64) {
                let entries = prepared
                    .repair
                    .view()
                    .entries(&stream, piece.positions())
                    .await?
                    .rows;
                let mut receipts = Vec::new();
                for entry in entries.iter().filter(|e| e.receipt.is_none()) {
                    let made = prepared.receipts.missing(&stream, entry);
                    receipts.push(made.map_err(|what| RecoveryError::Refused {
                        stream,
                        sequence: entry.sequence_number,
                        what,
                    })?);
                }
                let signed = receipts.iter().filter(|r| r.sequencer_signature.is_some());
                self.applied.receipts_signed += signed.count() as u64;
                prepared.stage(&[], &receipts).await?;
                for receipt in &receipts {
                    prepared.expected.add_receipt(receipt);
                }
                let rows = receipts.iter();
                self.record(rows.map(|r| Row::receipt(r.event_id, None, r.sequence_number)))?;
            }
        }
        for (command, sequence) in prepared.bookkeeping.remember.clone() {
            let entries = prepared
                .repair
                .view()
                .entries(&stream, sequence..=sequence)
                .await?
                .rows;
            for entry in entries.iter().filter(|e| e.event.command_id == Some(command)) {
                prepared.reserve(Some(command), entry.sequenced_at);
            }
        }
        Ok(())
    }
}

impl Prepared {
    /// Has rows wait.
    pub(super) async fn stage(
        &mut self,
        events: &[RestoredEvent],
        receipts: &[ves::Receipt],
    ) -> Result<(), RecoveryError> {
        self.repair.stage_events(events).await?;
        self.repair.stage_receipts(receipts).await?;
        self.waiting.events += events.len() as u64;
        self.waiting.receipts += receipts.len() as u64;
        Ok(())
    }

    /// Notes a command that is to be remembered.
    pub(super) fn reserve(&mut self, command: Option<CommandId>, created_at: Timestamp) {
        let stream = *self.repair.stream();
        self.commands.extend(command.map(|command_id| Reserved {
            stream,
            command_id,
            created_at,
        }));
    }
}

/// The counter as it is seen now; under a lock as it was before the lock made its row.
async fn counter(repair: &mut Repair) -> Result<Option<u64>, RecoveryError> {
    if repair.is_locked() {
        return Ok(repair.counter_before());
    }
    let stream = *repair.stream();
    Ok(repair.view().counter(&stream).await?)
}

/// The commitments that a section leaves, in the order of their ranges.
fn commitments_after(before: &[Commitment], outline: &Outline, come: &[Commitment]) -> Vec<Commitment> {
    let stay = before
        .iter()
        .filter(|c| !outline.superseded.contains(&c.batch_id));
    let mut after: Vec<Commitment> = stay.chain(come).cloned().collect();
    after.sort_by_key(|c| (c.sequence_start, c.batch_id));
    after
}
