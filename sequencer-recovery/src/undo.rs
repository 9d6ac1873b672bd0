//! Taking an `apply` back, with the bundle that it wrote: one transaction for all its streams, under the sequencer's own
//! locks. A stream is taken back only if it is exactly as the apply left it, and is then exactly as it was before,
//! down to a counter that was behind. So this is for the time before the sequencer is started again: a number that it
//! gave out since would be given out twice. One stream that moved proves that it was started, and so does a session that
//! looks like its own: then no stream is taken back, unless the operator says so.

use std::collections::BTreeSet;
use std::time::Duration;

use cli_common::{Cancel, Progress};
use event_log::{
    Commitment, Entity, JournalCounts, JournalEntry, JournalState, JournalTable, Log, Place, Renumbered,
    Repair, Reserved,
};
use serde::Serialize;
use ves::{BatchId, CommandId, EventId, Hash32, Receipt, SigningKey, StreamKey, Timestamp};

use crate::apply::{Found, TOOL, stored_leaves};
use crate::error::RecoveryError;
use crate::living::Signs;
use crate::preflight;
use crate::undo_file::{Anchored, SectionLines, UndoFile, UndoLine, UndoSection};

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoStatus {
    /// It is as it was before the apply.
    Undone,
    /// It was as before the apply already; nothing was changed.
    AlreadyUndone,
    /// It is as the apply left it, and stays so, since others have moved or a sequencer may run.
    Refused,
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
    /// The same, as an error.
    #[serde(skip)]
    failure: Option<RecoveryError>,
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
    /// What speaks for a sequencer that runs.
    pub signs: Vec<String>,
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

/// What the operator decides.
#[derive(Debug, Clone, Copy)]
pub struct UndoOptions {
    /// How long to wait for the sequencer's locks.
    pub lock_timeout: Duration,
    /// Streams that are as the apply left them are taken back although others have moved, or a sequencer may run.
    pub still_only: bool,
    /// Triggers and rules of somebody's may act on what is taken back; what they change is found before the commit.
    pub with_triggers: bool,
}

/// How often it is begun at most, if others' transactions end ours.
const ATTEMPTS: u32 = 5;

/// Takes an apply back: all its streams in one transaction, or none. What stands in the way is told in the report.
///
/// # Errors
/// A bundle that cannot be read to its end, locks that cannot be had, [`RecoveryError::Cancelled`]; nothing was changed
/// then.
pub async fn undo(
    log: &Log,
    db: String,
    bundle: &UndoFile,
    options: UndoOptions,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<UndoReport, RecoveryError> {
    log.check_writable()?;
    preflight::check_undo(&mut log.view().await?, options.with_triggers).await?;
    let mut attempt = 1;
    loop {
        let mut report = UndoReport::new(bundle, db.clone(), log.place().clone());
        progress.start("undoing", Some(bundle.sections().len() as u64));
        let done = undo_all(log, bundle, options, &mut report, progress, cancel).await;
        progress.finish();
        match done {
            Err(RecoveryError::Log(error)) if error.is_conflict() && attempt < ATTEMPTS => {
                cancel.check()?;
                tokio::time::sleep(Duration::from_millis(100) * attempt).await;
                attempt += 1;
            }
            Err(error) => return Err(error),
            Ok(()) => return Ok(report),
        }
    }
}

async fn undo_all(
    log: &Log,
    bundle: &UndoFile,
    options: UndoOptions,
    report: &mut UndoReport,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(), RecoveryError> {
    let Some(first) = bundle.sections().first() else {
        return Ok(());
    };
    let streams: BTreeSet<StreamKey> = bundle.sections().iter().map(|s| s.opened.stream).collect();
    let mut signs = Signs::sessions(log).await?;
    signs
        .other_streams(log, bundle.header().made_at, &streams)
        .await?;
    if !signs.signs.is_empty() && !options.still_only {
        return refuse(report, signs, bundle);
    }
    report.not_checked.append(&mut signs.not_checked);
    report.signs.append(&mut signs.signs);
    let mut repair = log
        .prepare_repair(&first.opened.stream, options.lock_timeout)
        .await?;
    let forgotten = forgotten(bundle)?;
    let streams: Vec<StreamKey> = streams.into_iter().collect();
    let back = repair.lock(&streams, &forgotten, options.lock_timeout).await?;
    let mut undoing = Undoing {
        log,
        bundle,
        repair,
        back,
        cancel,
    };
    // All are looked at before any is changed, under the locks of all.
    for section in bundle.sections() {
        cancel.check()?;
        report.streams.push(undoing.look(section).await?);
    }
    let moved = report.streams.iter().any(|s| s.status == UndoStatus::Failed);
    if moved && !options.still_only {
        for stream in &mut report.streams {
            let as_left = stream.status == UndoStatus::Undone;
            if as_left {
                stream.status = UndoStatus::Refused;
            }
        }
        report.refused("one stream of the bundle has moved since, so a sequencer may run");
        report.collect_errors();
        return Ok(());
    }
    for (section, undone) in bundle.sections().iter().zip(&mut report.streams) {
        cancel.check()?;
        match undone.status {
            UndoStatus::Undone => undoing.take_back(section, undone).await?,
            _ => undoing.leave(section, undone).await?,
        }
        progress.advance(1);
    }
    if report.changed() > 0 {
        undoing.commit(report, options).await?;
    }
    report.collect_errors();
    Ok(())
}

/// Refuses everything before anything was looked at.
fn refuse(report: &mut UndoReport, signs: Signs, bundle: &UndoFile) -> Result<(), RecoveryError> {
    for section in bundle.sections() {
        let mut stream = UndoneStream::new(section.opened.stream);
        stream.status = UndoStatus::Refused;
        report.streams.push(stream);
    }
    report.not_checked.extend(signs.not_checked);
    report.signs = signs.signs;
    report.refused("a sequencer may run");
    report.errors.push(RecoveryError::Lives {
        signs: report.signs.join("; "),
    });
    Ok(())
}

/// The commands that a bundle remembers again. They are reserved before the counters are locked.
fn forgotten(bundle: &UndoFile) -> Result<Vec<Reserved>, RecoveryError> {
    let mut all = Vec::new();
    for section in bundle.sections() {
        let stream = section.opened.stream;
        let mut lines = bundle.lines(section).map_err(RecoveryError::Bundle)?;
        while let Some(line) = lines.next().map_err(RecoveryError::Bundle)? {
            if let UndoLine::Forgotten {
                command_id,
                created_at,
            } = line
            {
                all.push(Reserved {
                    stream,
                    command_id,
                    created_at,
                });
            }
        }
    }
    Ok(all)
}

impl UndoReport {
    fn new(bundle: &UndoFile, db: String, place: Place) -> Self {
        let mut report = Self {
            schema: "recovery-undone/1",
            plan_id: bundle.header().plan_id,
            db,
            place,
            streams: Vec::new(),
            warnings: Vec::new(),
            signs: Vec::new(),
            not_checked: vec![
                "whether the sequencer was started since the plan was applied: numbers that it gave out and that left \
                 no row here cannot be seen"
                    .into(),
            ],
            errors: Vec::new(),
        };
        if !bundle.complete() {
            report.not_checked.push(
                "the end of the bundle: streams that are not in what was sealed of it are not taken back"
                    .into(),
            );
        }
        let unknown = bundle
            .sections()
            .iter()
            .filter(|s| s.sealed.anchored_after.is_none());
        match unknown.count() {
            0 => {}
            count => report.not_checked.push(format!(
                "whether commitments of {count} stream(s) were anchored since: the bundle is of an older release"
            )),
        }
        report
    }

    fn refused(&mut self, why: &str) {
        self.warnings.push(format!(
            "NOTHING was taken back: {why}, and a counter that is lowered would give promised numbers to other events. \
             --streams-that-are-still takes back the streams that are as the apply left them"
        ));
    }

    /// Takes the errors of the streams, in order.
    fn collect_errors(&mut self) {
        for stream in &mut self.streams {
            self.errors.extend(stream.failure.take());
        }
    }
}

/// A bundle that is being taken back, under the locks of all its streams.
struct Undoing<'a> {
    log: &'a Log,
    bundle: &'a UndoFile,
    repair: Repair,
    /// Commands that are remembered again.
    back: BTreeSet<(StreamKey, CommandId)>,
    cancel: &'a Cancel,
}

impl Undoing<'_> {
    /// Finds out what a stream is like: as it was left (`Undone`: it can be), as it was before, or moved.
    async fn look(&mut self, section: &UndoSection) -> Result<UndoneStream, RecoveryError> {
        let stream = section.opened.stream;
        let mut undone = UndoneStream::new(stream);
        self.repair.turn_to(&stream)?;
        let counter = self.repair.counter_before();
        (undone.counter_before, undone.counter_after) = (counter, counter);
        let plan_id = self.bundle.header().plan_id;
        undone.journal = self.repair.view().journal_of(&plan_id, &stream).await?.rows;
        let compared = self.compare(section, counter).await?;
        undone.status = match (compared.from_before, compared.from_left) {
            (None, _) => UndoStatus::AlreadyUndone,
            (Some(_), None) => UndoStatus::Undone,
            (Some(_), Some(what)) => {
                let error = RecoveryError::NotAsLeft { stream, what };
                undone.error = Some(error.to_string());
                undone.failure = Some(error);
                UndoStatus::Failed
            }
        };
        Ok(undone)
    }

    /// Takes a stream back, and makes sure that it is as it was.
    async fn take_back(
        &mut self,
        section: &UndoSection,
        undone: &mut UndoneStream,
    ) -> Result<(), RecoveryError> {
        let stream = section.opened.stream;
        let repair = &mut self.repair;
        repair.turn_to(&stream)?;
        let mut lines = self.bundle.lines(section).map_err(RecoveryError::Bundle)?;
        // What was moved made room for the rest, so it goes back last, when the rest is out again.
        let (mut moved, mut withdrawn) = (Vec::new(), Vec::new());
        while let Some(group) = Group::next(&mut lines)? {
            self.cancel.check()?;
            match group {
                Group::Moved(events) => moved.extend(events),
                Group::Withdrawn(commitments) => withdrawn.extend(commitments),
                group => take_back(repair, group, undone).await?,
            }
        }
        move_back(repair, moved, section.sealed.counter_after, undone).await?;
        undone.commitments_back = repair.insert_commitments(&withdrawn).await?;
        let was = section.opened.counter_before;
        repair
            .take_back_counter(section.sealed.counter_after, was)
            .await?;
        let counter = repair.view().counter(&stream).await?;
        // What was reserved for it is remembered again, as it was before.
        self.back.retain(|(of, _)| *of != stream);
        if let Some(what) = self.compare(section, counter).await?.from_before {
            return Err(RecoveryError::Outcome { stream, what });
        }
        undone.counter_after = was;
        self.note(undone).await
    }

    /// Leaves a stream as it is: what was reserved for it goes again.
    async fn leave(&mut self, section: &UndoSection, undone: &mut UndoneStream) -> Result<(), RecoveryError> {
        let stream = section.opened.stream;
        self.repair.turn_to(&stream)?;
        let reserved = self.back.iter().filter(|(of, _)| *of == stream);
        let reserved: Vec<CommandId> = reserved.map(|(_, command)| *command).collect();
        self.repair.remove_commands(&reserved).await?;
        if undone.counter_before.is_none() {
            // Taking the lock made the row.
            self.repair.take_back_made_counter().await?;
        }
        Ok(())
    }

    /// Says in the journal what was done.
    async fn note(&mut self, undone: &mut UndoneStream) -> Result<(), RecoveryError> {
        let plan_id = self.bundle.header().plan_id;
        // A journal that the apply did not keep is not begun here, and the way back does not depend on it.
        match self.repair.view().journal_table().await? {
            JournalTable::Absent | JournalTable::MayNotMake(_) => {}
            JournalTable::ReadOnly(what) | JournalTable::Unusable(what) => undone.not_in_journal = Some(what),
            JournalTable::Ready => {
                let written_at = self.repair.view().database_time().await?;
                let entry = journal_entry(undone, plan_id, written_at);
                self.repair.write_journal(&entry).await?;
            }
        }
        Ok(())
    }

    /// Commits, unless a sequencer has come meanwhile.
    async fn commit(self, report: &mut UndoReport, options: UndoOptions) -> Result<(), RecoveryError> {
        // A snapshot has no sessions, and cannot be read while it is being written to.
        if self.log.snapshot_info().is_none() && !options.still_only {
            let signs = Signs::sessions(self.log).await?;
            if !signs.signs.is_empty() {
                report.streams.clear();
                report.not_checked.clear();
                return refuse(report, signs, self.bundle);
            }
        }
        self.cancel.check()?;
        self.repair.commit_as_it_was().await?;
        report.warn();
        Ok(())
    }
}

impl UndoReport {
    fn warn(&mut self) {
        for stream in &self.streams {
            if let Some(what) = &stream.not_in_journal {
                let what = format!("{}: the journal has no entry of this: {what}", stream.stream);
                self.warnings.push(what);
            }
        }
        let lowered = self
            .streams
            .iter()
            .filter(|s| s.status == UndoStatus::Undone && s.counter_after < s.counter_before)
            .count();
        if lowered > 0 {
            self.warnings.push(format!(
                "the counter of {lowered} stream(s) was LOWERED to what it was before the plan was applied: do not \
                 start the sequencer before the log is repaired again, or it gives promised numbers to other events"
            ));
        }
    }
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
            failure: None,
        }
    }
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

impl Undoing<'_> {
    async fn compare(
        &mut self,
        section: &UndoSection,
        counter: Option<u64>,
    ) -> Result<Compared, RecoveryError> {
        let stream = section.opened.stream;
        let (repair, bundle, cancel) = (&mut self.repair, self.bundle, self.cancel);
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
            let commitments = found.commitments.len() as u64;
            if commitments != sealed.commitments_after {
                compared.left(|| {
                    format!(
                        "there are {commitments} commitments and {} were left",
                        sealed.commitments_after
                    )
                });
            }
        }
        let anchored = Anchored::of(&found.commitments);
        if let Some(left) = sealed.anchored_after.filter(|left| *left != anchored) {
            compared.left(|| {
            format!(
                "{} of its commitments are anchored (chain_tx_hash) and {} were, or by other transactions",
                anchored.count, left.count
            )
        });
        }
        if found.fingerprint != opened.fingerprint_before {
            compared.before(|| "its events, receipts, commitments or counter differ".into());
        }
        let mut lines = bundle.lines(section).map_err(RecoveryError::Bundle)?;
        while let Some(group) = Group::next(&mut lines)? {
            cancel.check()?;
            compare_group(repair, &self.back, &group, &mut compared).await?;
        }
        if !as_left {
            compared.left(|| "an event, receipt or commitment was changed, added or removed".into());
        }
        Ok(compared)
    }
}

async fn compare_group(
    repair: &mut Repair,
    back: &BTreeSet<(StreamKey, CommandId)>,
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
            // Those that were not remembered are reserved.
            let forgotten = commands.iter().filter(|(id, _)| back.contains(&(stream, *id)));
            let count = commands.len();
            compared.is("the number of commands forgotten", &forgotten.count(), &count, &0);
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
        // They were reserved when the locks were taken.
        Group::Forgotten(commands) => undone.commands_back += commands.len() as u64,
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
