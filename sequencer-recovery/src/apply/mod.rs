//! Applying a plan: one transaction for each stream, under the sequencer's own locks, checked before it is
//! committed. Running it again changes nothing.
//!
//! A stream's section goes through two steps. `prepare` holds no lock: it reads the stream, verifies what the plan has
//! for it again, makes the receipts, and sends the rows to where they wait. `write` reserves commands, writes the rows where
//! nobody sees them yet, and reads them back; then it takes the locks in the sequencer's order, makes sure that
//! nothing has changed since, sets the counter, and commits. So the sequencer waits for the last step only. A repair that
//! moves rows, and one that others were in the way of, takes the locks before it writes.

mod appending;
pub mod counters;
mod found;
pub mod moves;
mod prepare;
mod read_back;
mod report;
mod rows;
mod sections;
pub mod undo;
pub mod undo_file;
mod write;

use std::path::PathBuf;
use std::time::Duration;

use cli_common::provenance::Provenance;
use cli_common::{Cancel, Progress};
use event_log::{Log, LogError, RowError};
use ves::{Hash32, SequencerId};

use crate::error::RecoveryError;
use crate::plan::plan_file::PlanFile;
use crate::plan::planned::PlannedStream;
use crate::sealed_file::Mark;
use crate::skipped::Skipped;
use crate::stream::preflight;
use crate::stream::sequencer_keys::SigningKeys;
use undo_file::change::Change;
use undo_file::{UndoHeader, UndoLine, UndoWriter};

pub use report::{AppliedStream, ApplyReport, StreamStatus};

pub(crate) use found::{Found, stored_leaves};
pub(crate) use rows::Receipts;

use sections::Sections;

/// What the operator gives besides the plan.
pub struct ApplyOptions {
    /// How long to wait for the sequencer's locks.
    pub lock_timeout: Duration,
    /// The sequencer's signing keys: restored receipts are signed with the one in force at their place.
    pub sequencer_keys: SigningKeys,
    /// Who restored receipts are from, if the log has no receipt to learn it from.
    pub sequencer_id: Option<SequencerId>,
    /// A file for the undo bundle; it must not exist yet.
    pub undo: Option<PathBuf>,
    /// Do everything, checks included, and roll it back instead of committing.
    pub dry_run: bool,
    /// Write an entry to the log's journal of repairs with each stream that is changed.
    pub journal: bool,
    /// Where the undo file comes from, if it is to say so.
    pub provenance: Option<Provenance>,
    /// Let triggers and rules of others act on what is written; a change of it is found before the commit.
    pub with_triggers: bool,
}

/// What writes, as undo bundles and the journal name it.
pub(crate) const TOOL: &str = concat!("sequencer-recovery ", env!("CARGO_PKG_VERSION"));

/// Rows are looked up in groups of this many.
const GROUP: usize = 1000;

/// How often a stream is begun at most, if others' transactions end ours.
const ATTEMPTS: u64 = 5;

/// How long until it is begun again, for each time that it was.
const PAUSE: Duration = Duration::from_millis(100);

/// Applies a plan, stream by stream. A stream that fails is rolled back, told in the report, and does not stop
/// the others.
///
/// # Errors
/// A plan that cannot be read to its end, a database that cannot be reached, an undo file that cannot be made. Nothing
/// was changed then. Whatever stops the work later is in [`ApplyReport::stopped`], so that what was done is told.
pub async fn apply(
    log: &Log,
    db: String,
    plan: &PlanFile,
    options: &ApplyOptions,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<ApplyReport, RecoveryError> {
    let mut report = ApplyReport::new(plan.id(), db, log.place().clone(), options);
    log.check_writable()?;
    preflight::check(&mut log.view().await?, options.with_triggers).await?;
    if options.journal {
        // Before the long work.
        log.check_journal().await?;
    }
    let mut lines = Sections::new(plan)?;
    let mut undo = match &options.undo {
        Some(path) => {
            let made_at = log.view().await?.database_time().await?;
            let header = UndoHeader {
                schema: undo_file::SCHEMA.into(),
                made_at,
                tool: TOOL.into(),
                provenance: options.provenance.clone().map(Box::new),
                db: report.db.clone(),
                plan_id: plan.id(),
            };
            Some(UndoWriter::create(path, &header, plan.lines_in_all())?)
        }
        None => None,
    };
    let watch = Watch { progress, cancel };
    let done = apply_all(log, &mut lines, options, undo.as_mut(), &mut report, watch).await;
    progress.finish();
    report.stopped = done.err();
    // Whatever happened: what was committed until then can be taken back.
    if let Some(undo) = undo {
        report.undo_file = Some(undo.finish());
    }
    Ok(report)
}

async fn apply_all(
    log: &Log,
    lines: &mut Sections<'_>,
    options: &ApplyOptions,
    mut undo: Option<&mut UndoWriter>,
    report: &mut ApplyReport,
    watch: Watch<'_>,
) -> Result<(), RecoveryError> {
    let Watch { progress, cancel } = watch;
    // Whether the plan was made before an index was damaged or after: a repair asks the indexes, too.
    progress.start("comparing indexes with their tables", None);
    let damage = log.view().await?.look_for_damage().await?;
    progress.finish();
    progress.start("applying", Some(lines.lines_in_all()));
    let mut advanced = 0;
    let mut unsigned_receipts = Skipped::default();
    while let Some(header) = lines.next_stream()? {
        if let Err(cancelled) = cancel.check() {
            report.untouched += 1 + lines.count_streams()?;
            return Err(cancelled.into());
        }
        let mut applied = AppliedStream::new(&header);
        let result = if let Some(what) = damage.refusal(&header.stream) {
            let stream = header.stream;
            Err(RecoveryError::Damaged { stream, what })
        } else {
            let mut job = Job {
                plan_id: report.plan_id,
                header: &header,
                options,
                undo: undo.as_deref_mut(),
                applied: &mut applied,
                ahead: false,
                watch,
            };
            job.run(log, lines).await
        };
        match result {
            Ok(()) => {}
            Err(error @ (RecoveryError::Plan(_) | RecoveryError::Cancelled(_))) => {
                report.untouched += 1 + lines.count_streams().unwrap_or(0);
                return Err(error);
            }
            Err(error) => {
                let error = error.of_stream(&header.stream);
                let journal = std::mem::take(&mut applied.journal);
                applied = AppliedStream::new(&header);
                applied.journal = journal;
                applied.error = Some(error.to_string());
                report.errors.push(error);
            }
        }
        lines.skip_to_next_stream()?;
        // Of what was applied each event was told of when it was verified.
        advanced += applied.events + applied.tombstones + applied.appended;
        let rest = lines.lines_read().saturating_sub(advanced);
        progress.advance(rest);
        advanced += rest;
        report.tell(&mut applied, &mut unsigned_receipts, options);
        report.streams.push(applied);
    }
    report.not_checked.extend(unsigned_receipts.lines());
    Ok(())
}

/// Who hears how far the work is, and who may stop it.
#[derive(Clone, Copy)]
struct Watch<'a> {
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
}

/// One stream's repair, with what it has to tell.
struct Job<'a> {
    plan_id: Hash32,
    header: &'a PlannedStream,
    options: &'a ApplyOptions,
    undo: Option<&'a mut UndoWriter>,
    applied: &'a mut AppliedStream,
    /// Rows are being written before the stream is locked.
    ahead: bool,
    watch: Watch<'a>,
}

impl Job<'_> {
    /// Repairs the stream, and begins again if another's transaction was in the way.
    async fn run(&mut self, log: &Log, lines: &mut Sections<'_>) -> Result<(), RecoveryError> {
        let mark = lines.mark();
        for attempt in 1.. {
            self.ahead = false;
            // Once others were in the way, the stream is locked before anything is written: then they wait.
            let done = self.attempt(log, &mark, lines, attempt > 1).await;
            let conflict = matches!(&done, Err(RecoveryError::Log(error)) if self.is_conflict(error));
            if let Some(undo) = &mut self.undo {
                // A section that is not sealed belongs to a transaction that is not committed.
                if conflict {
                    undo.withdraw();
                } else {
                    undo.discard();
                }
            }
            match done {
                Err(_) if conflict && attempt < ATTEMPTS => {
                    self.watch.cancel.check()?;
                    *self.applied = AppliedStream::new(self.header);
                    self.applied.begun_again = attempt;
                    tokio::time::sleep(PAUSE * u32::try_from(attempt).unwrap_or(1)).await;
                    lines.rewind(&mark)?;
                }
                done => return done.map_err(|error| at_line(error, lines, &mark)),
            }
        }
        Ok(())
    }

    /// Whether others were in the way: before the locks are had, also if a row that was to be written is there, or is just
    /// being written.
    fn is_conflict(&self, error: &LogError) -> bool {
        let ahead = self.ahead && (error.is_locked() || matches!(error, LogError::RefusedRow { .. }));
        ahead || error.is_conflict()
    }

    async fn attempt(
        &mut self,
        log: &Log,
        mark: &Mark,
        lines: &mut Sections<'_>,
        alone: bool,
    ) -> Result<(), RecoveryError> {
        match self.prepare(log, mark, lines).await? {
            Some(prepared) => self.write(prepared, alone).await,
            None => {
                self.applied.status = StreamStatus::AlreadyApplied;
                Ok(())
            }
        }
    }

    /// Says in the undo bundle, if one is written, which rows were changed.
    fn record(&mut self, rows: impl IntoIterator<Item = Change>) -> Result<(), RecoveryError> {
        if let Some(undo) = &mut self.undo {
            for row in rows {
                undo.line(&UndoLine::Row(row))?;
            }
        }
        Ok(())
    }
}

/// Says on which line of the plan the event stands that cannot be written.
fn at_line(error: RecoveryError, lines: &Sections<'_>, mark: &Mark) -> RecoveryError {
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
    let line = lines.line_of(mark, sequence).ok().flatten();
    RecoveryError::Refused {
        stream,
        sequence,
        what: match line {
            Some(line) => format!("{what} (line {line} of the plan)"),
            None => what,
        },
    }
}
