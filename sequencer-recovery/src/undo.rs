//! Taking an `apply` back, with the bundle that it wrote: one transaction for each stream, under the sequencer's own
//! locks. A stream is taken back only if it is exactly as the apply left it, and is then exactly as it was before,
//! down to a counter that was behind. So this is for the time before the sequencer is started again: a number that it
//! gave out since would be given out twice.

use std::time::Duration;

use cli_common::{Cancel, Progress};
use event_log::{
    Commitment, Entity, JournalCounts, JournalEntry, JournalState, JournalTable, Log, Place, Renumbered,
    Repair,
};
use serde::Serialize;
use ves::{BatchId, CommandId, EventId, Hash32, Receipt, SigningKey, StreamKey, Timestamp};

use crate::apply::{Found, TOOL, stored_leaves};
use crate::error::RecoveryError;
use crate::undo_file::{SectionLines, UndoFile, UndoLine, UndoSection};

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoStatus {
    /// It is as it was before the apply.
    Undone,
    /// It was as before the apply already; nothing was changed.
    AlreadyUndone,
    /// Nothing was changed; the error says why.
    Failed,
}

/// One stream's outcome.
#[derive(Debug, Serialize)]
pub struct UndoneStream {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// What became of it.
    pub status: UndoStatus,
    /// Keys that are no longer registered.
    pub keys: u64,
    /// Events that have their number of before again.
    #[serde(skip_serializing_if = "is_zero")]
    pub moved_back: u64,
    /// Commitments that are there again.
    #[serde(skip_serializing_if = "is_zero")]
    pub commitments_back: u64,
    /// Events taken out again.
    pub events: u64,
    /// Receipts taken out again.
    pub receipts: u64,
    /// Command ids that are no longer remembered.
    pub commands: u64,
    /// Command ids that are remembered again.
    pub commands_back: u64,
    /// Entity versions that are as before.
    pub entity_versions: u64,
    /// Commitments taken out again.
    pub commitments: u64,
    /// Where the projection checkpoint is again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projection: Option<u64>,
    /// The counter as found.
    pub counter_before: Option<u64>,
    /// The counter now.
    pub counter_after: Option<u64>,
    /// What the journal said of the plan and the stream before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub journal: Vec<JournalEntry>,
    /// Why the journal has no entry of this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_in_journal: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The outcome of an undo. Documented in docs/plan.md.
#[derive(Debug, Serialize)]
pub struct UndoReport {
    /// `recovery-undone/1`.
    pub schema: &'static str,
    /// The plan whose apply is taken back.
    pub plan_id: Hash32,
    /// The log, without secrets.
    pub db: String,
    /// Where it was worked on.
    pub place: Place,
    /// The streams, in the bundle's order.
    pub streams: Vec<UndoneStream>,
    /// What the user must know, loudly.
    pub warnings: Vec<String>,
    /// What was not checked, and why.
    pub not_checked: Vec<String>,
    /// The errors of failed streams, in order.
    #[serde(skip)]
    pub errors: Vec<RecoveryError>,
}

impl UndoReport {
    /// Streams that were changed.
    pub fn changed(&self) -> usize {
        self.streams
            .iter()
            .filter(|s| s.status == UndoStatus::Undone)
            .count()
    }
}

/// Rows are taken out in groups of this many.
const GROUP: usize = 1000;

/// Takes an apply back, stream by stream. A stream that fails is left as it is, told in the report, and does not stop
/// the others.
///
/// # Errors
/// A bundle that cannot be read to its end, [`RecoveryError::Cancelled`] (streams already taken back stay so, and
/// running again goes on with the rest).
pub async fn undo(
    log: &Log,
    db: String,
    bundle: &UndoFile,
    lock_timeout: Duration,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<UndoReport, RecoveryError> {
    let mut report = UndoReport {
        schema: "recovery-undone/1",
        plan_id: bundle.header().plan_id,
        db,
        place: log.place().clone(),
        streams: Vec::new(),
        warnings: Vec::new(),
        not_checked: vec![
            "whether the sequencer was started since the plan was applied: numbers that it gave out and that left no \
             row here cannot be seen"
                .into(),
        ],
        errors: Vec::new(),
    };
    if !bundle.complete() {
        report.not_checked.push(
            "the end of the bundle: streams that are not in what was sealed of it are not taken back".into(),
        );
    }
    progress.start("undoing", Some(bundle.sections().len() as u64));
    for section in bundle.sections() {
        cancel.check()?;
        let mut undone = UndoneStream::new(section.opened.stream);
        match undo_stream(log, bundle, section, lock_timeout, &mut undone, cancel).await {
            Ok(()) => {}
            Err(error @ (RecoveryError::Bundle(_) | RecoveryError::Cancelled(_))) => return Err(error),
            Err(error) => {
                let found = undone.counter_before;
                let journal = std::mem::take(&mut undone.journal);
                undone = UndoneStream::new(section.opened.stream);
                undone.journal = journal;
                (undone.counter_before, undone.counter_after) = (found, found);
                undone.error = Some(error.to_string());
                report.errors.push(error);
            }
        }
        if let Some(what) = &undone.not_in_journal {
            report.warnings.push(format!(
                "{}: the journal has no entry of this: {what}",
                undone.stream
            ));
        }
        report.streams.push(undone);
        progress.advance(1);
    }
    progress.finish();
    let lowered = report
        .streams
        .iter()
        .filter(|s| s.status == UndoStatus::Undone && s.counter_after < s.counter_before)
        .count();
    if lowered > 0 {
        report.warnings.push(format!(
            "the counter of {lowered} stream(s) was LOWERED to what it was before the plan was applied: do not start \
             the sequencer before the log is repaired again, or it gives promised numbers to other events"
        ));
    }
    Ok(report)
}

impl UndoneStream {
    fn new(stream: StreamKey) -> Self {
        Self {
            stream,
            status: UndoStatus::Failed,
            keys: 0,
            moved_back: 0,
            commitments_back: 0,
            events: 0,
            receipts: 0,
            commands: 0,
            commands_back: 0,
            entity_versions: 0,
            commitments: 0,
            projection: None,
            counter_before: None,
            counter_after: None,
            journal: Vec::new(),
            not_in_journal: None,
            error: None,
        }
    }
}

async fn undo_stream(
    log: &Log,
    bundle: &UndoFile,
    section: &UndoSection,
    lock_timeout: Duration,
    undone: &mut UndoneStream,
    cancel: &Cancel,
) -> Result<(), RecoveryError> {
    let stream = section.opened.stream;
    let mut repair = log.repair(&stream, lock_timeout).await?;
    let counter = repair.counter_before();
    undone.counter_before = counter;
    undone.counter_after = counter;
    let plan_id = bundle.header().plan_id;
    undone.journal = repair.view().journal_of(&plan_id, &stream).await?.rows;
    let compared = compare(&mut repair, bundle, section, counter, cancel).await?;
    if compared.from_before.is_none() {
        // Dropping the transaction rolls back the counter row that taking the lock may have made.
        undone.status = UndoStatus::AlreadyUndone;
        return Ok(());
    }
    if let Some(what) = compared.from_left {
        return Err(RecoveryError::NotAsLeft { stream, what });
    }
    let mut lines = bundle.lines(section).map_err(RecoveryError::Bundle)?;
    // What was moved made room for the rest, so it goes back last, when the rest is out again.
    let (mut moved, mut withdrawn) = (Vec::new(), Vec::new());
    while let Some(group) = Group::next(&mut lines)? {
        cancel.check()?;
        match group {
            Group::Moved(events) => moved.extend(events),
            Group::Withdrawn(commitments) => withdrawn.extend(commitments),
            group => take_back(&mut repair, group, undone).await?,
        }
    }
    move_back(&mut repair, moved, section.sealed.counter_after, undone).await?;
    undone.commitments_back = repair.insert_commitments(&withdrawn).await?;
    let was = section.opened.counter_before;
    repair
        .take_back_counter(section.sealed.counter_after, was)
        .await?;
    let counter = repair.view().counter(&stream).await?;
    let compared = compare(&mut repair, bundle, section, counter, cancel).await?;
    if let Some(what) = compared.from_before {
        return Err(RecoveryError::Outcome { stream, what });
    }
    cancel.check()?;
    undone.counter_after = was;
    // A journal that the apply did not keep is not begun here, and the way back does not depend on it.
    match repair.view().journal_table().await? {
        JournalTable::Absent | JournalTable::MayNotMake(_) => {}
        JournalTable::ReadOnly(what) | JournalTable::Unusable(what) => undone.not_in_journal = Some(what),
        JournalTable::Ready => {
            let written_at = repair.view().database_time().await?;
            repair
                .write_journal(&journal_entry(undone, plan_id, written_at))
                .await?;
        }
    }
    repair.commit_as_it_was().await?;
    undone.status = UndoStatus::Undone;
    Ok(())
}

/// An event that goes back to its number of before.
struct MovedBack {
    event_id: EventId,
    from: u64,
    to: u64,
    sequenced_at: Timestamp,
    leaf: Hash32,
    receipt: Option<Box<Receipt>>,
}

async fn move_back(
    repair: &mut Repair,
    moved: Vec<MovedBack>,
    counter_left: u64,
    undone: &mut UndoneStream,
) -> Result<(), RecoveryError> {
    let ids: Vec<EventId> = moved.iter().map(|m| m.event_id).collect();
    for ids in ids.chunks(GROUP) {
        let removed = repair.remove_receipts(ids).await?;
        if removed != ids.len() as u64 {
            let what = format!("{removed} receipts instead of {} were taken back", ids.len());
            return Err(RecoveryError::Outcome {
                stream: *repair.stream(),
                what,
            });
        }
    }
    let back: Vec<Renumbered> = moved
        .iter()
        .map(|m| Renumbered {
            event_id: m.event_id,
            from: m.to,
            to: m.from,
            sequenced_at: m.sequenced_at,
        })
        .collect();
    let highest = moved.iter().map(|m| m.from.max(m.to)).max().unwrap_or(0);
    repair.renumber_events(&back, highest.max(counter_left)).await?;
    let receipts: Vec<Receipt> = moved.into_iter().filter_map(|m| m.receipt.map(|r| *r)).collect();
    for receipts in receipts.chunks(GROUP) {
        repair.insert_receipts(receipts).await?;
    }
    undone.moved_back = back.len() as u64;
    Ok(())
}

fn journal_entry(undone: &UndoneStream, plan_id: Hash32, written_at: Timestamp) -> JournalEntry {
    JournalEntry {
        written_at,
        state: JournalState::Undone,
        plan_id,
        stream: undone.stream,
        tool: TOOL.into(),
        counter_before: undone.counter_before,
        counter_after: undone.counter_after,
        counts: JournalCounts {
            // Tombstones and what was appended are among them.
            events: undone.events,
            moved: undone.moved_back,
            keys: undone.keys,
            receipts: undone.receipts,
            // As of the apply: those that it remembered, and those that it forgot.
            commands: undone.commands,
            commands_forgotten: undone.commands_back,
            entity_versions: undone.entity_versions,
            commitments: undone.commitments,
            commitments_superseded: undone.commitments_back,
            projection: undone.projection,
            ..JournalCounts::default()
        },
    }
}

/// Lines of one kind.
enum Group {
    Key(SigningKey),
    Moved(Vec<MovedBack>),
    Withdrawn(Vec<Commitment>),
    Events(Vec<(u64, EventId, Hash32)>),
    Receipts(Vec<EventId>),
    Commands(Vec<CommandId>),
    Forgotten(Vec<(CommandId, Timestamp)>),
    Version {
        entity: Entity,
        before: Option<i64>,
        after: i64,
    },
    Commitments(Vec<BatchId>),
    Projection {
        before: u64,
        after: u64,
    },
}

impl Group {
    /// The next lines of a section, as far as they are of one kind.
    fn next(lines: &mut SectionLines) -> Result<Option<Self>, RecoveryError> {
        let Some(first) = lines.peek().map_err(RecoveryError::Bundle)? else {
            return Ok(None);
        };
        let mut group = match first {
            UndoLine::Moved { .. } => Group::Moved(Vec::new()),
            UndoLine::Withdrawn { .. } => Group::Withdrawn(Vec::new()),
            UndoLine::Event { .. } => Group::Events(Vec::new()),
            UndoLine::Receipt { .. } => Group::Receipts(Vec::new()),
            UndoLine::Command { .. } => Group::Commands(Vec::new()),
            UndoLine::Forgotten { .. } => Group::Forgotten(Vec::new()),
            UndoLine::Commitment { .. } => Group::Commitments(Vec::new()),
            UndoLine::Version {
                entity,
                before,
                after,
            } => {
                let group = Group::Version {
                    entity: entity.clone(),
                    before: *before,
                    after: *after,
                };
                lines.next().map_err(RecoveryError::Bundle)?;
                return Ok(Some(group));
            }
            UndoLine::Key { key } => {
                let group = Group::Key(key.clone());
                lines.next().map_err(RecoveryError::Bundle)?;
                return Ok(Some(group));
            }
            UndoLine::Projection { before, after } => {
                let group = Group::Projection {
                    before: *before,
                    after: *after,
                };
                lines.next().map_err(RecoveryError::Bundle)?;
                return Ok(Some(group));
            }
            // The structure was checked when the bundle was opened.
            UndoLine::Undo(_) | UndoLine::Stream(_) | UndoLine::Sealed(_) | UndoLine::End { .. } => {
                return Ok(None);
            }
        };
        for _ in 0..GROUP {
            let Some(line) = lines.peek().map_err(RecoveryError::Bundle)? else {
                break;
            };
            match (&mut group, line) {
                (
                    Group::Moved(all),
                    UndoLine::Moved {
                        event_id,
                        from,
                        to,
                        sequenced_at,
                        leaf,
                        receipt,
                    },
                ) => all.push(MovedBack {
                    event_id: *event_id,
                    from: *from,
                    to: *to,
                    sequenced_at: *sequenced_at,
                    leaf: *leaf,
                    receipt: receipt.clone(),
                }),
                (Group::Withdrawn(all), UndoLine::Withdrawn { commitment }) => {
                    all.push((**commitment).clone());
                }
                (
                    Group::Events(all),
                    UndoLine::Event {
                        sequence,
                        event_id,
                        leaf,
                    },
                ) => all.push((*sequence, *event_id, *leaf)),
                (Group::Receipts(all), UndoLine::Receipt { event_id, .. }) => all.push(*event_id),
                (Group::Commands(all), UndoLine::Command { command_id }) => all.push(*command_id),
                (
                    Group::Forgotten(all),
                    UndoLine::Forgotten {
                        command_id,
                        created_at,
                    },
                ) => all.push((*command_id, *created_at)),
                (Group::Commitments(all), UndoLine::Commitment { batch_id }) => all.push(*batch_id),
                _ => break,
            }
            lines.next().map_err(RecoveryError::Bundle)?;
        }
        Ok(Some(group))
    }
}

/// How a stream differs from the two states that the bundle knows of: the first difference of each.
struct Compared {
    from_left: Option<String>,
    from_before: Option<String>,
}

impl Compared {
    fn left(&mut self, what: impl FnOnce() -> String) {
        if self.from_left.is_none() {
            self.from_left = Some(what());
        }
    }

    fn before(&mut self, what: impl FnOnce() -> String) {
        if self.from_before.is_none() {
            self.from_before = Some(what());
        }
    }

    /// One thing that is in one of two states, or in neither.
    fn is<T: PartialEq + std::fmt::Display>(&mut self, what: &str, found: &T, left: &T, before: &T) {
        if found != left {
            self.left(|| format!("{what} is {found} and was left at {left}"));
        }
        if found != before {
            self.before(|| format!("{what} is {found} and was {before}"));
        }
    }
}

async fn compare(
    repair: &mut Repair,
    bundle: &UndoFile,
    section: &UndoSection,
    counter: Option<u64>,
    cancel: &Cancel,
) -> Result<Compared, RecoveryError> {
    let stream = section.opened.stream;
    let (opened, sealed) = (&section.opened, &section.sealed);
    let found = Found::read(repair.view(), &stream, counter, None).await?;
    let mut compared = Compared {
        from_left: None,
        from_before: None,
    };
    let as_left = found.fingerprint == sealed.fingerprint_after;
    if !as_left {
        let number = |counter: Option<u64>| counter.map_or("missing".to_owned(), |c| c.to_string());
        if found.head > sealed.head_after {
            compared.left(|| {
                format!(
                    "event {} was added; the last was {}",
                    found.head, sealed.head_after
                )
            });
        }
        if counter != Some(sealed.counter_after) {
            compared.left(|| {
                format!(
                    "the counter is {} and was left at {}",
                    number(counter),
                    sealed.counter_after
                )
            });
        }
        if found.commitments != sealed.commitments_after {
            compared.left(|| {
                format!(
                    "there are {} commitments and {} were left",
                    found.commitments, sealed.commitments_after
                )
            });
        }
    }
    if found.fingerprint != opened.fingerprint_before {
        compared.before(|| "its events, receipts, commitments or counter differ".into());
    }
    let mut lines = bundle.lines(section).map_err(RecoveryError::Bundle)?;
    while let Some(group) = Group::next(&mut lines)? {
        cancel.check()?;
        compare_group(repair, &group, &mut compared).await?;
    }
    if !as_left {
        compared.left(|| "an event, receipt or commitment was changed, added or removed".into());
    }
    Ok(compared)
}

async fn compare_group(
    repair: &mut Repair,
    group: &Group,
    compared: &mut Compared,
) -> Result<(), RecoveryError> {
    let stream = *repair.stream();
    match group {
        Group::Key(key) => {
            let registered = repair.view().keys(Some(stream.tenant_id)).await?.rows;
            let found = registered
                .into_iter()
                .find(|k| (k.agent_id, k.key_id) == (key.agent_id, key.key_id));
            let text = |found: Option<&SigningKey>| match found {
                None => "missing".to_owned(),
                Some(found) if found == key => key.public_key.to_string(),
                Some(found) => format!("{} ({}), changed since", found.public_key, found.status),
            };
            let what = format!("key {} of agent {}", key.key_id, key.agent_id);
            compared.is(&what, &text(found.as_ref()), &text(Some(key)), &text(None));
        }
        Group::Events(events) => {
            let first = events.iter().map(|(at, ..)| *at).min().unwrap_or(0);
            let last = events.iter().map(|(at, ..)| *at).max().unwrap_or(0);
            if compared.from_left.is_none() {
                let stored = stored_leaves(repair.view(), &stream, first..=last).await?;
                for (at, id, leaf) in events {
                    match stored.get(at) {
                        Some(there) if there == leaf => {}
                        Some(_) => compared.left(|| format!("position {at} holds another event than {id}")),
                        None => compared.left(|| format!("event {id} is no longer at {at}")),
                    }
                }
            }
            if compared.from_left.is_none() {
                let ids: Vec<EventId> = events.iter().map(|(_, id, _)| *id).collect();
                let proofs = repair.proofs_of_events(&ids).await?;
                if proofs > 0 {
                    compared.left(|| {
                        format!("{proofs} row(s) of ves_compliance_proofs refer to events at {first}-{last}")
                    });
                }
            }
        }
        Group::Moved(events) => {
            for event in events
                .iter()
                .filter(|_| compared.from_left.is_none())
                .collect::<Vec<_>>()
            {
                let stored = stored_leaves(repair.view(), &stream, event.to..=event.to).await?;
                if stored.get(&event.to) != Some(&event.leaf) {
                    compared.left(|| format!("event {} is not at {}", event.event_id, event.to));
                }
            }
        }
        // In the fingerprint.
        Group::Withdrawn(_) | Group::Receipts(_) => {}
        Group::Commands(commands) => {
            let known = repair
                .view()
                .remembered_commands(&stream, commands)
                .await?
                .all()?;
            let count = commands.len();
            compared.is("the number of commands remembered", &known.len(), &count, &0);
        }
        Group::Forgotten(commands) => {
            let ids: Vec<CommandId> = commands.iter().map(|(id, _)| *id).collect();
            let known = repair.view().remembered_commands(&stream, &ids).await?.all()?;
            compared.is(
                "the number of commands forgotten",
                &(ids.len() - known.len()),
                &ids.len(),
                &0,
            );
        }
        Group::Version {
            entity,
            before,
            after,
        } => {
            let found = repair.view().entity_version(&stream, entity).await?;
            let text = |version: Option<i64>| version.map_or("missing".to_owned(), |v| v.to_string());
            let what = format!("the version of {} {}", entity.entity_type, entity.entity_id);
            compared.is(&what, &text(found), &text(Some(*after)), &text(*before));
        }
        Group::Commitments(batches) => {
            if compared.from_left.is_none() {
                let proofs = repair.proofs_of_batches(batches).await?;
                if proofs > 0 {
                    compared
                        .left(|| format!("{proofs} row(s) of ves_validity_proofs refer to its commitments"));
                }
            }
        }
        Group::Projection { before, after } => {
            let found = repair.view().projection_checkpoint(&stream).await?;
            let found = found.map_or("missing".to_owned(), |at| at.to_string());
            compared.is(
                "the projection checkpoint",
                &found,
                &after.to_string(),
                &before.to_string(),
            );
        }
    }
    Ok(())
}

async fn take_back(
    repair: &mut Repair,
    group: Group,
    undone: &mut UndoneStream,
) -> Result<(), RecoveryError> {
    let stream = *repair.stream();
    let all = |what: &str, done: u64, wanted: usize| {
        if done == wanted as u64 {
            return Ok(());
        }
        let what = format!("{done} {what} instead of {wanted} were taken back");
        Err(RecoveryError::Outcome { stream, what })
    };
    match group {
        Group::Key(key) => {
            let removed = repair
                .remove_key(key.agent_id, key.key_id, key.public_key)
                .await?;
            all("keys", removed.into(), 1)?;
            undone.keys += 1;
        }
        // These wait until all others are done.
        Group::Moved(_) | Group::Withdrawn(_) => {}
        Group::Events(events) => {
            let ids: Vec<EventId> = events.iter().map(|(_, id, _)| *id).collect();
            let receipts = repair.remove_receipts(&ids).await?;
            all("receipts", receipts, ids.len())?;
            let removed = repair.remove_events(&ids).await?;
            all("events", removed, ids.len())?;
            undone.receipts += receipts;
            undone.events += removed;
        }
        Group::Receipts(events) => {
            let removed = repair.remove_receipts(&events).await?;
            all("receipts", removed, events.len())?;
            undone.receipts += removed;
        }
        Group::Commands(commands) => {
            let removed = repair.remove_commands(&commands).await?;
            all("commands", removed, commands.len())?;
            undone.commands += removed;
        }
        Group::Forgotten(commands) => {
            let back = repair.insert_dedupe(&commands).await?;
            all("forgotten commands", back, commands.len())?;
            undone.commands_back += back;
        }
        Group::Version {
            entity,
            before,
            after,
        } => {
            let done = repair.take_back_entity_version(&entity, after, before).await?;
            all("entity versions", done.into(), 1)?;
            undone.entity_versions += 1;
        }
        Group::Commitments(batches) => {
            let removed = repair.remove_commitments(&batches).await?;
            all("commitments", removed, batches.len())?;
            undone.commitments += removed;
        }
        Group::Projection { before, after } => {
            let done = repair.take_back_projection(after, before).await?;
            all("projections", done.into(), 1)?;
            undone.projection = Some(before);
        }
    }
    Ok(())
}
