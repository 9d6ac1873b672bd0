//! Applying a plan: one transaction for each stream, under the sequencer's own locks, checked before it is
//! committed. Running it again changes nothing.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use cli_common::{Cancel, Progress};
use event_log::{
    Commitment, Entity, JournalCounts, JournalEntry, JournalState, Log, LogEntry, LogError, ReceiptDefaults,
    Repair, RestoredEvent, RowError, View,
};
use serde::Serialize;
use ves::merkle::{self, leaf_hash};
use ves::receipt::{receipt_hash, sign_receipt_hash};
use ves::{
    CommandId, EventCheck, EventId, Hash32, KeyRegistry, Receipt, SequencerId, SignatureCheck, StreamKey,
    Timestamp,
};

use crate::accept_keys::PlannedKey;
use crate::append::{self, PlannedAppend};
use crate::error::RecoveryError;
use crate::fingerprint::FingerprintBuilder;
use crate::grade::Grade;
use crate::moves::Moves;
use crate::plan_file::{
    PlanFile, PlanLine, PlanLines, PlannedBookkeeping, PlannedCommitment, PlannedEvent, PlannedStream,
};
use crate::read_back::Expectation;
use crate::skipped::Skipped;
use crate::undo_file::{self, UndoHeader, UndoLine, UndoSealed, UndoStream, UndoWriter};

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
}

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamStatus {
    /// Changed as planned.
    Applied,
    /// It was as the plan leaves it already; nothing was changed.
    AlreadyApplied,
    /// Nothing was changed; the error says why.
    Failed,
}

/// One stream's outcome.
#[derive(Debug, Serialize)]
pub struct AppliedStream {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// What became of it.
    pub status: StreamStatus,
    /// Events that got another number.
    #[serde(skip_serializing_if = "is_zero")]
    pub moved: u64,
    /// Their receipts that were replaced.
    #[serde(skip_serializing_if = "is_zero")]
    pub receipts_superseded: u64,
    /// Commitments over them that went.
    #[serde(skip_serializing_if = "is_zero")]
    pub commitments_superseded: u64,
    /// Numbers that were given out twice and stay with the event that has them now.
    #[serde(skip_serializing_if = "is_zero")]
    pub reissued: u64,
    /// Events inserted at positions that were lost.
    pub events: u64,
    /// Tombstones inserted at positions that are lost.
    pub tombstones: u64,
    /// Events inserted after the floor, which were never sequenced.
    pub appended: u64,
    /// Keys registered.
    pub keys: u64,
    /// Receipts inserted.
    pub receipts: u64,
    /// Of them signed: by a witness's receipt or with the given key.
    pub receipts_signed: u64,
    /// Command ids remembered.
    pub commands: u64,
    /// Command ids forgotten, since no event carries them.
    pub commands_forgotten: u64,
    /// Entity versions raised.
    pub entity_versions: u64,
    /// Where the projection checkpoint was set back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projection_set_back_to: Option<u64>,
    /// Commitments inserted.
    pub commitments: u64,
    /// Batches whose roots were recomputed in the transaction and came out equal.
    pub roots_equal: u64,
    /// The counter before.
    pub counter_before: Option<u64>,
    /// The counter after.
    pub counter_after: Option<u64>,
    /// Positions that stay open.
    pub open_positions: u64,
    /// What the journal said of this plan and stream before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub journal: Vec<JournalEntry>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What was not checked of it.
    #[serde(skip)]
    not_checked: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The outcome of a plan. Documented in docs/plan.md.
#[derive(Debug, Serialize)]
pub struct ApplyReport {
    /// `recovery-apply/1`.
    pub schema: &'static str,
    /// The plan's id.
    pub plan_id: Hash32,
    /// The log, without secrets.
    pub db: String,
    /// Everything below would be so; nothing was written.
    pub dry_run: bool,
    /// Whether the log's journal of repairs has an entry for each stream that was changed.
    pub journal: bool,
    /// The streams, in the plan's order.
    pub streams: Vec<AppliedStream>,
    /// What was not checked, and why.
    pub not_checked: Vec<String>,
    /// The errors of failed streams, in order.
    #[serde(skip)]
    pub errors: Vec<RecoveryError>,
}

impl ApplyReport {
    /// Streams that were changed.
    pub fn changed(&self) -> usize {
        self.streams
            .iter()
            .filter(|s| s.status == StreamStatus::Applied)
            .count()
    }

    /// Numbers that were given out twice and stay so, over all streams.
    pub fn reissued(&self) -> u64 {
        self.streams
            .iter()
            .map(|s| s.reissued)
            .fold(0, u64::saturating_add)
    }

    /// Positions that stay open, over all streams.
    pub fn open_positions(&self) -> u64 {
        self.streams
            .iter()
            .map(|s| s.open_positions)
            .fold(0, u64::saturating_add)
    }
}

/// What writes, as undo bundles and the journal name it.
pub(crate) const TOOL: &str = concat!("sequencer-recovery ", env!("CARGO_PKG_VERSION"));

/// Rows are looked up in groups of this many.
const GROUP: usize = 1000;

/// Events are verified and inserted in groups of this many, or of about so many bytes of payloads.
const EVENTS: usize = 8192;
const EVENT_BYTES: usize = 8 << 20;

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
        dry_run: options.dry_run,
        journal: options.journal,
        streams: Vec::new(),
        not_checked: Vec::new(),
        errors: Vec::new(),
    };
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
    let mut lines = Sections {
        lines: plan.lines()?,
        next: None,
        group_at: 0,
    };
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

impl AppliedStream {
    fn changed_nothing(&self) -> bool {
        let rows = self.events
            + self.tombstones
            + self.moved
            + self.commitments_superseded
            + self.appended
            + self.keys
            + self.receipts
            + self.commands
            + self.commands_forgotten
            + self.entity_versions
            + self.commitments;
        rows == 0 && self.projection_set_back_to.is_none() && self.counter_after == self.counter_before
    }

    fn new(header: &PlannedStream) -> Self {
        Self {
            stream: header.stream,
            status: StreamStatus::Failed,
            moved: 0,
            receipts_superseded: 0,
            commitments_superseded: 0,
            reissued: header.reissued,
            not_checked: Vec::new(),
            events: 0,
            tombstones: 0,
            appended: 0,
            keys: 0,
            receipts: 0,
            receipts_signed: 0,
            commands: 0,
            commands_forgotten: 0,
            entity_versions: 0,
            projection_set_back_to: None,
            commitments: 0,
            roots_equal: 0,
            counter_before: header.counter_before,
            counter_after: header.counter_before,
            open_positions: header.open_positions,
            journal: Vec::new(),
            error: None,
        }
    }
}

/// The plan's lines, one stream's section after the other.
struct Sections {
    lines: PlanLines,
    next: Option<PlanLine>,
    /// The line in the file of the first event of the last group.
    group_at: u64,
}

impl Sections {
    fn peek(&mut self) -> Result<Option<&PlanLine>, RecoveryError> {
        if self.next.is_none() {
            self.next = self.lines.next()?;
        }
        Ok(self.next.as_ref())
    }

    fn next_stream(&mut self) -> Result<Option<PlannedStream>, RecoveryError> {
        self.peek()?;
        match self.next.take() {
            Some(PlanLine::Stream(header)) => Ok(Some(*header)),
            // The structure was checked when the plan was opened.
            _ => Ok(None),
        }
    }

    /// The keys of this stream, which stand before everything else.
    fn keys(&mut self) -> Result<Vec<PlannedKey>, RecoveryError> {
        let mut keys = Vec::new();
        while matches!(self.peek()?, Some(PlanLine::Key(_))) {
            if let Some(PlanLine::Key(key)) = self.next.take() {
                keys.push(*key);
            }
        }
        Ok(keys)
    }

    /// What comes before the stream's events: what makes room for them.
    fn next_moves(&mut self) -> Result<Moves, RecoveryError> {
        let mut found = Moves::default();
        while matches!(
            self.peek()?,
            Some(PlanLine::Reissue(_) | PlanLine::Superseded(_) | PlanLine::Move(_))
        ) {
            match self.next.take() {
                Some(PlanLine::Superseded(commitment)) => found.superseded.push(commitment),
                Some(PlanLine::Move(moved)) => found.moves.push(*moved),
                _ => {}
            }
        }
        Ok(found)
    }

    fn next_event(&mut self) -> Result<Option<PlannedEvent>, RecoveryError> {
        match self.peek()? {
            Some(PlanLine::Event(_)) => match self.next.take() {
                Some(PlanLine::Event(event)) => Ok(Some(*event)),
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// The next events of this stream, at most a group. They stand on lines that follow each other.
    fn next_group(&mut self) -> Result<Vec<PlannedEvent>, RecoveryError> {
        self.peek()?;
        self.group_at = self.lines.number();
        let (mut group, mut bytes) = (Vec::new(), 0);
        while group.len() < EVENTS
            && bytes < EVENT_BYTES
            && let Some(event) = self.next_event()?
        {
            bytes += event.event.payload.json().len();
            group.push(event);
        }
        Ok(group)
    }

    /// The next tombstones of this stream, at most a group, as the events that they are.
    fn next_tombstones(&mut self, stream: StreamKey) -> Result<Vec<PlannedEvent>, RecoveryError> {
        let mut group = Vec::new();
        while group.len() < GROUP && matches!(self.peek()?, Some(PlanLine::Tombstone(_))) {
            if let Some(PlanLine::Tombstone(tombstone)) = self.next.take() {
                let sequence = tombstone.sequence;
                let refused = |what| RecoveryError::Refused {
                    stream,
                    sequence,
                    what,
                };
                group.push(tombstone.into_event().map_err(refused)?);
            }
        }
        Ok(group)
    }

    /// The commitments and the bookkeeping of this stream, which stand before what is appended.
    fn rest(&mut self) -> Result<(Vec<PlannedCommitment>, PlannedBookkeeping), RecoveryError> {
        let (mut commitments, mut bookkeeping) = (Vec::new(), PlannedBookkeeping::default());
        while !matches!(
            self.peek()?,
            None | Some(PlanLine::Stream(_) | PlanLine::Append(_))
        ) {
            match self.next.take() {
                Some(PlanLine::Commitment(commitment)) => commitments.push(*commitment),
                Some(PlanLine::Bookkeeping(rest)) => bookkeeping = *rest,
                _ => {}
            }
        }
        Ok((commitments, bookkeeping))
    }

    /// The next events that this stream gets at its end, at most a group.
    fn next_appends(&mut self) -> Result<Vec<PlannedAppend>, RecoveryError> {
        let mut group = Vec::new();
        while group.len() < GROUP && matches!(self.peek()?, Some(PlanLine::Append(_))) {
            if let Some(PlanLine::Append(append)) = self.next.take() {
                group.push(*append);
            }
        }
        Ok(group)
    }

    fn skip_to_next_stream(&mut self) -> Result<(), RecoveryError> {
        while !matches!(self.peek()?, None | Some(PlanLine::Stream(_))) {
            self.next = None;
        }
        Ok(())
    }
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
        self.keep_books(&mut repair, &bookkeeping, defaults).await?;
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
        if self.undo.is_none() {
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
        let by_name = self.undo.is_some() || self.header.appended > 0;
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
            expected.add(planned.sequence, &planned.event, &signing_hash, &receipt);
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

/// Appending.
impl Job<'_> {
    /// Gives what was never sequenced the next numbers, as the sequencer would: each event is checked again as it
    /// checks them, and writes what an accepted event writes.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a thing of its own, and there is one caller"
    )]
    async fn append_all(
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
            expected.add(planned.sequence, event, &signing_hash, &receipt);
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

fn new_receipt(
    stream: &StreamKey,
    entry: &LogEntry,
    defaults: Option<ReceiptDefaults>,
    options: &ApplyOptions,
) -> Result<Receipt, String> {
    let hash = receipt_hash(
        stream,
        &entry.event.event_id,
        entry.sequence_number,
        &entry.event_signing_hash,
    );
    make_receipt(
        entry.event.event_id,
        entry.sequence_number,
        entry.sequenced_at,
        hash,
        defaults,
        options,
    )
}

/// The stream as found under the locks.
pub(crate) struct Found {
    pub(crate) fingerprint: Hash32,
    /// How many events it has.
    pub(crate) events: u64,
    /// The last number, 0 if there is none.
    pub(crate) head: u64,
    /// How many commitments it has.
    pub(crate) commitments: u64,
    /// The first receipt with a signature.
    first_signed: Option<u64>,
    /// That signature does not hold under the given key.
    receipt_signed_by_another: bool,
}

impl Found {
    pub(crate) async fn read(
        view: &mut View,
        stream: &StreamKey,
        counter: Option<u64>,
        sequencer_key: Option<&ed25519_dalek::SigningKey>,
    ) -> Result<Self, RecoveryError> {
        let commitments = view.commitments(stream).await?.rows;
        let mut fingerprint = FingerprintBuilder::new(stream, counter, &commitments);
        let mut before = Self {
            fingerprint: Hash32::ZERO,
            events: 0,
            head: 0,
            commitments: commitments.len() as u64,
            first_signed: None,
            receipt_signed_by_another: false,
        };
        let public = sequencer_key.map(ed25519_dalek::SigningKey::verifying_key);
        view.for_each_entry(stream, 1..=i64::MAX as u64, &mut |chunk| {
            // A row that cannot be read is not in the fingerprint of the audit either.
            for entry in chunk.into_iter().flatten() {
                fingerprint.entry(&entry);
                before.events += 1;
                before.head = entry.sequence_number;
                if let Some(receipt) = entry.receipt.filter(|r| r.sequencer_signature.is_some())
                    && before.first_signed.is_none()
                {
                    before.first_signed = Some(entry.sequence_number);
                    before.receipt_signed_by_another =
                        receipt.check_signature(public.as_ref()) == SignatureCheck::Invalid;
                }
            }
            ControlFlow::Continue(())
        })
        .await?;
        before.fingerprint = fingerprint.finish();
        Ok(before)
    }
}

/// Whether everything that the plan wants is there already; if not, the first thing that is not.
async fn not_yet_applied(
    view: &mut View,
    header: &PlannedStream,
    counter: Option<u64>,
    lines: &mut Sections,
) -> Result<Option<String>, RecoveryError> {
    let stream = header.stream;
    if counter < header.counter_after {
        let show = |c: Option<u64>| c.map_or("missing".to_owned(), |c| c.to_string());
        return Ok(Some(format!(
            "the plan was made at counter {} and sets {}, the counter is {}",
            show(header.counter_before),
            show(header.counter_after),
            show(counter)
        )));
    }
    let registered = KeyRegistry::new(view.keys(Some(stream.tenant_id)).await?.rows);
    for PlannedKey { key, .. } in lines.keys()? {
        let there = registered.get(key.tenant_id, key.agent_id, key.key_id);
        if there.is_none_or(|there| there.public_key != key.public_key) {
            return Ok(Some(format!(
                "key {} of agent {} is not registered",
                key.key_id, key.agent_id
            )));
        }
    }
    let moves = lines.next_moves()?;
    for planned in &moves.moves {
        let there = stored_leaves(view, &stream, planned.to..=planned.to).await?;
        if there.get(&planned.to) != Some(&planned.leaf) {
            let what = format!("event {} is not at {}", planned.event_id, planned.to);
            return Ok(Some(what));
        }
    }
    loop {
        let mut group = lines.next_group()?;
        if group.is_empty() {
            group = lines.next_tombstones(stream)?;
        }
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            break;
        };
        let stored = stored_leaves(view, &stream, first.sequence..=last.sequence).await?;
        for planned in &group {
            let leaf = planned_leaf(&stream, planned);
            match stored.get(&planned.sequence) {
                Some(there) if *there == leaf => {}
                there => return Ok(Some(differs(planned.sequence, there.is_some()))),
            }
        }
    }
    let (commitments, _) = lines.rest()?;
    let stored = view.commitments(&stream).await?.rows;
    for superseded in moves.superseded {
        if stored.iter().any(|c| c.batch_id == superseded.batch_id) {
            return Ok(Some(format!("commitment {} is still there", superseded.batch_id)));
        }
    }
    for planned in commitments {
        if !stored
            .iter()
            .any(|c| c.batch_id == planned.batch_id && c.merkle_root == planned.merkle_root)
        {
            return Ok(Some(format!("commitment {} is not there", planned.batch_id)));
        }
    }
    loop {
        let group = lines.next_appends()?;
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            return Ok(None);
        };
        let stored = stored_leaves(view, &stream, first.sequence..=last.sequence).await?;
        for planned in &group {
            let there = stored.get(&planned.sequence);
            if there != Some(&leaf_of(&stream, planned.sequence, &planned.event)) {
                return Ok(Some(differs(planned.sequence, there.is_some())));
            }
        }
    }
}

/// How a position differs from what the plan has for it.
fn differs(sequence: u64, filled: bool) -> String {
    if filled {
        format!("position {sequence} holds another event")
    } else {
        format!("the events, commitments or receipts differ, and {sequence} is empty")
    }
}

pub(crate) async fn stored_leaves(
    view: &mut View,
    stream: &StreamKey,
    range: RangeInclusive<u64>,
) -> Result<BTreeMap<u64, Hash32>, RecoveryError> {
    let mut leaves = BTreeMap::new();
    view.for_each_leaf_input(stream, range, &mut |chunk| {
        for input in chunk.into_iter().flatten() {
            let leaf = leaf_hash(
                stream,
                input.sequence_number,
                &input.event_signing_hash,
                &input.agent_signature,
            );
            leaves.insert(input.sequence_number, leaf);
        }
        ControlFlow::Continue(())
    })
    .await?;
    Ok(leaves)
}

fn planned_leaf(stream: &StreamKey, planned: &PlannedEvent) -> Hash32 {
    leaf_of(stream, planned.sequence, &planned.event)
}

fn leaf_of(stream: &StreamKey, sequence: u64, event: &ves::Event) -> Hash32 {
    leaf_hash(stream, sequence, &event.signing_hash(), &event.agent_signature)
}

async fn receipt_defaults(
    view: &mut View,
    stream: &StreamKey,
    options: &ApplyOptions,
) -> Result<Option<ReceiptDefaults>, RecoveryError> {
    let found = view.receipt_defaults(stream).await?;
    Ok(found.or(options.sequencer_id.map(|sequencer_id| ReceiptDefaults {
        sequencer_id,
        sequencer_key_version: 0,
        receipt_signature_scheme: 1,
    })))
}

/// A plan's digest protects from accidents only: hashes and signatures are checked again before anything is
/// written.
fn verify_again(
    planned: &PlannedEvent,
    header: &PlannedStream,
    keys: &KeyRegistry,
) -> Result<Hash32, String> {
    let event = &planned.event;
    if event.stream != header.stream {
        return Err(format!("event {} is of stream {}", event.event_id, event.stream));
    }
    if planned.sequence == 0 {
        return Err("sequences start at 1".into());
    }
    if let EventCheck::Mismatch(what) = event.check_payload() {
        return Err(format!("event {} does not verify: {what}", event.event_id));
    }
    let signing_hash = event.signing_hash();
    let in_batch = header
        .batches
        .iter()
        .any(|b| (b.sequence_start..=b.sequence_end).contains(&planned.sequence));
    match keys.check(event, &signing_hash, planned.sequenced_at) {
        SignatureCheck::Valid => {}
        SignatureCheck::Invalid => {
            return Err(format!("the signature of event {} does not hold", event.event_id));
        }
        // The batch's root, recomputed before the commit, binds the signature's bytes.
        _ if planned.grade >= Grade::Committed && in_batch => {}
        SignatureCheck::KeyNotValid(_) if planned.grade == Grade::Receipted => {}
        // Judged when the plan was made, at the event's own time.
        SignatureCheck::KeyNotValid(_) => {}
        SignatureCheck::KeyUnknown => {
            return Err(format!("the key of event {} is not registered", event.event_id));
        }
        SignatureCheck::NotChecked(why) => {
            return Err(format!(
                "the signature of event {} is NOT CHECKED: {why}",
                event.event_id
            ));
        }
    }
    Ok(signing_hash)
}

fn restored_receipt(
    planned: &PlannedEvent,
    stream: &StreamKey,
    signing_hash: &Hash32,
    defaults: Option<ReceiptDefaults>,
    options: &ApplyOptions,
) -> Result<Receipt, String> {
    let hash = receipt_hash(stream, &planned.event.event_id, planned.sequence, signing_hash);
    if let Some(receipt) = &planned.receipt {
        let fits = receipt.receipt_hash == hash
            && receipt.event_id == planned.event.event_id
            && receipt.sequence_number == planned.sequence
            && receipt.sequenced_at == planned.sequenced_at;
        return if fits {
            Ok(receipt.clone())
        } else {
            Err("its saved receipt is of another event".into())
        };
    }
    make_receipt(
        planned.event.event_id,
        planned.sequence,
        planned.sequenced_at,
        hash,
        defaults,
        options,
    )
}

pub(crate) fn make_receipt(
    event_id: EventId,
    sequence_number: u64,
    sequenced_at: Timestamp,
    hash: Hash32,
    defaults: Option<ReceiptDefaults>,
    options: &ApplyOptions,
) -> Result<Receipt, String> {
    let Some(defaults) = defaults else {
        return Err("the log has no receipt to learn the sequencer's id from: give --sequencer-id".into());
    };
    Ok(Receipt {
        event_id,
        sequencer_id: defaults.sequencer_id,
        sequence_number,
        sequenced_at,
        receipt_hash: hash,
        sequencer_signature: options
            .sequencer_key
            .as_ref()
            .map(|key| sign_receipt_hash(key, &hash)),
        sequencer_key_version: defaults.sequencer_key_version,
        receipt_signature_scheme: defaults.receipt_signature_scheme,
        receipt_signature_bundle: None,
    })
}

fn commitment_row(stream: &StreamKey, planned: &PlannedCommitment) -> Commitment {
    let count = planned.sequence_end - planned.sequence_start + 1;
    Commitment {
        batch_id: planned.batch_id,
        stream: *stream,
        ves_version: 1,
        tree_depth: merkle::tree_depth(count),
        leaf_count: u32::try_from(count).unwrap_or(u32::MAX),
        padded_leaf_count: u32::try_from(merkle::padded_leaf_count(count)).unwrap_or(u32::MAX),
        merkle_root: planned.merkle_root,
        prev_state_root: planned.prev_state_root,
        new_state_root: planned.new_state_root,
        sequence_start: planned.sequence_start,
        sequence_end: planned.sequence_end,
        committed_at: planned.committed_at,
        chain_id: planned.chain_id.and_then(|id| u32::try_from(id).ok()),
        chain_tx_hash: planned.chain_tx_hash,
        chain_block_number: planned.chain_block_number,
        anchored_at: planned.anchored_at,
    }
}
