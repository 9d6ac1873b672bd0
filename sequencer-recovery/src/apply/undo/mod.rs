//! Taking an `apply` back, with the bundle that it wrote: one transaction for all its streams, under the sequencer's own
//! locks. A stream is taken back only if it is exactly as the apply left it, and is then exactly as it was before,
//! down to a counter that was behind. So this is for the time before the sequencer is started again: a number that it
//! gave out since would be given out twice. One stream that moved proves that it was started, and so does a session that
//! looks like its own: then no stream is taken back, unless the operator says so.

mod compare;
mod group;
mod report;
mod take_back;

use std::collections::BTreeSet;
use std::time::Duration;

use cli_common::{Cancel, Progress};
use event_log::{JournalTable, Log, Repair, Reserved};
use ves::{CommandId, StreamKey};

use group::{Back, Group};
use take_back::{journal_entry, put_back, take_back};

use crate::apply::undo_file::{UndoFile, UndoSection};
use crate::error::RecoveryError;
use crate::stream::living::Signs;
use crate::stream::preflight;

pub use report::{UndoReport, UndoStatus, UndoneStream};

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
        let mut rows = bundle.changes(section).map_err(RecoveryError::Bundle)?;
        while let Some(group) = Group::next(&mut rows)? {
            let forgotten = group.back.commands.into_iter();
            all.extend(forgotten.map(|(command_id, created_at)| Reserved {
                stream,
                command_id,
                created_at,
            }));
        }
    }
    Ok(all)
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
        let mut rows = self.bundle.changes(section).map_err(RecoveryError::Bundle)?;
        let mut back = Back::default();
        while let Some(group) = Group::next(&mut rows)? {
            self.cancel.check()?;
            take_back(repair, &group, undone).await?;
            back.extend(group.back);
        }
        put_back(repair, back, section.sealed.counter_after, undone).await?;
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
