//! What a log has: asked of PostgreSQL, of a snapshot, or of an export of the log.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{ControlFlow, RangeInclusive};
use std::path::Path;

use cli_common::archive::{ArchiveAddress, ArchiveCopy, ArchiveError, ArchiveReader};
use cli_common::{Cancel, DbTarget};
use event_log::{
    FoundEvent, LeafInput, Log, LogError, OpenOptions, Place, RowError, Rows, StreamFilter, StreamState,
    UnreadableEvent, View,
};
use tokio::runtime::Runtime;
use ves::{EventId, Hash32, SigningKey, StreamKey};

use crate::error::OutboxError;
use crate::source::{Source, SourceError, is_pipe, looks_like_export};

/// A log, opened for questions. Each of its methods blocks, so it must not be used on a thread that drives an
/// async runtime.
pub struct KnownLog {
    inner: Inner,
    name: String,
    not_checked: Vec<String>,
    /// Events in rows that do not say where, as far as they were told.
    damaged: BTreeSet<EventId>,
    left_out: BTreeSet<StreamKey>,
    /// Of an archive: the snapshot that is asked in its place. It goes with the value.
    _copy: Option<ArchiveCopy>,
}

enum Inner {
    Database { runtime: Runtime, view: Box<View> },
    Export(ExportedLog),
}

#[derive(Default)]
struct ExportedLog {
    events: HashMap<EventId, Found>,
    numbers: BTreeMap<StreamKey, BTreeMap<u64, EventId>>,
}

/// Where a log has an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The stream.
    pub stream: StreamKey,
    /// The number; an export of a log may not say it.
    pub sequence: Option<u64>,
    /// The signing hash, where it came with the answer.
    pub signing_hash: Option<Hash32>,
}

/// A log that cannot be opened or asked.
#[derive(Debug, thiserror::Error)]
pub enum KnownLogError {
    /// The database.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The export.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A line of the export: what it holds is in the log, and must not be taken for missing.
    #[error("{0}: an export of a log must be whole, or what it lost would be taken for missing from the log")]
    BrokenExport(String),
    /// The archive, by its address.
    #[error("{0}: {1}")]
    Archive(String, #[source] ArchiveError),
    /// An archive that is not whole, and what is wrong with it.
    #[error("{0}: {1}. An archive must be whole, or what it lost would be taken for missing from the log")]
    BrokenArchive(String, String),
    /// An outbox, read beside the log.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The runtime cannot be started.
    #[error("the runtime cannot be started: {0}")]
    Runtime(std::io::Error),
}

impl KnownLog {
    /// Opens a log: one consistent view of it.
    ///
    /// # Errors
    /// It cannot be reached, or is none.
    pub fn open(target: &DbTarget) -> Result<Self, KnownLogError> {
        Self::open_with(target, &OpenOptions::default())
    }

    /// As [`KnownLog::open`], with options.
    ///
    /// # Errors
    /// As [`KnownLog::open`].
    pub fn open_with(target: &DbTarget, options: &OpenOptions) -> Result<Self, KnownLogError> {
        if let DbTarget::Snapshot(path) = target
            && (is_pipe(path) || looks_like_export(path))
        {
            return Self::of_export(path);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(KnownLogError::Runtime)?;
        let mut view = runtime.block_on(async { Log::open_with(target, options).await?.view().await })?;
        // An event that an index lacks would be called missing, and its agent told to push it again; after this, no
        // damaged index is asked.
        let damage = runtime.block_on(view.look_for_damage())?;
        for fault in &damage.indexes {
            tracing::warn!("index {}: {}; {}", fault.index, fault.what, fault.remedy);
        }
        let mut not_checked = damage.not_checked;
        if damage.left_out.count > 0 {
            not_checked.push(format!(
                "{} row(s) that the snapshot of the log does not have, or not whole",
                damage.left_out.count
            ));
        }
        let left_out = damage
            .left_out
            .rows
            .iter()
            .filter(|row| row.table == "ves_events" && !row.in_part);
        let left_out: BTreeSet<StreamKey> = left_out.filter_map(event_log::LeftOut::stream).collect();
        Ok(Self {
            inner: Inner::Database {
                runtime,
                view: Box::new(view),
            },
            name: target.to_string(),
            not_checked,
            damaged: BTreeSet::new(),
            left_out,
            _copy: None,
        })
    }

    /// Opens an archive of events, by way of a copy.
    ///
    /// # Errors
    /// As [`KnownLog::open`], and if the archive cannot be copied whole: what is left out would be taken for missing from it.
    pub fn open_archive(
        address: &ArchiveAddress,
        reader: &ArchiveReader,
        cancel: &Cancel,
        options: &OpenOptions,
    ) -> Result<Self, KnownLogError> {
        let refused = |error| KnownLogError::Archive(address.to_string(), error);
        let copy = reader.copy(address, &[], cancel).map_err(refused)?;
        if let Some(damage) = &copy.damage {
            return Err(KnownLogError::BrokenArchive(address.to_string(), damage.clone()));
        }
        let mut log = Self::open_with(&DbTarget::Snapshot(copy.snapshot().to_owned()), options)?;
        log.name = address.to_string();
        log.not_checked.extend_from_slice(&copy.not_checked);
        log._copy = Some(copy);
        Ok(log)
    }

    /// What of the log could not be read or compared, for the end of a report.
    pub fn not_checked(&self) -> &[String] {
        &self.not_checked
    }

    /// Whether the log is a snapshot that had to leave events of a stream out: what it lacks may be in the log itself.
    pub fn leaves_out(&self, stream: &StreamKey) -> bool {
        self.left_out.contains(stream)
    }

    fn of_export(path: &Path) -> Result<Self, KnownLogError> {
        let source = Source::open(path)?;
        if let Some(flaw) = source.damage() {
            return Err(KnownLogError::BrokenExport(format!("{}: {flaw}", path.display())));
        }
        let mut log = ExportedLog::default();
        let mut broken = None;
        source.for_each(&mut |item| {
            match item {
                Ok(item) => {
                    let row = item.row;
                    let found = Found {
                        stream: row.stream,
                        sequence: row.claimed_sequence,
                        signing_hash: row.content.event().map(ves::Event::signing_hash),
                    };
                    log.events.insert(row.event_id, found);
                    if let Some(number) = row.claimed_sequence {
                        log.numbers
                            .entry(row.stream)
                            .or_default()
                            .insert(number, row.event_id);
                    }
                }
                Err(what) => {
                    broken = Some(what);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        match broken {
            Some(what) => Err(KnownLogError::BrokenExport(what)),
            None => Ok(Self {
                inner: Inner::Export(log),
                name: path.display().to_string(),
                not_checked: Vec::new(),
                damaged: BTreeSet::new(),
                left_out: BTreeSet::new(),
                _copy: None,
            }),
        }
    }

    /// Whether it knows no stream and no event.
    ///
    /// # Errors
    /// The database fails.
    pub fn is_empty(&mut self) -> Result<bool, KnownLogError> {
        match &mut self.inner {
            Inner::Database { runtime, view } => {
                let found = runtime.block_on(view.streams(&StreamFilter::default()))?;
                Ok(found.rows.is_empty() && found.unreadable.is_empty())
            }
            Inner::Export(log) => Ok(log.events.is_empty()),
        }
    }

    /// The log's name, without secrets.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it was looked at; an export does not say.
    pub fn place(&self) -> Option<&Place> {
        match &self.inner {
            Inner::Database { view, .. } => Some(view.place()),
            Inner::Export(_) => None,
        }
    }

    /// Whether it is an export, which knows neither keys nor counters.
    pub fn is_export(&self) -> bool {
        matches!(self.inner, Inner::Export(_))
    }

    /// Which of these events the log has, and where, or what of the row cannot be read that should say where. Such a row is
    /// told in [`KnownLog::not_checked`].
    ///
    /// # Errors
    /// The database fails.
    pub fn find(
        &mut self,
        events: &[EventId],
    ) -> Result<HashMap<EventId, Result<Found, UnreadableEvent>>, KnownLogError> {
        let found = match &mut self.inner {
            Inner::Database { runtime, view } => runtime.block_on(view.find_events(events))?.by_event(),
            Inner::Export(log) => {
                return Ok(events
                    .iter()
                    .filter_map(|id| log.events.get(id).map(|found| (*id, Ok(*found))))
                    .collect());
            }
        };
        let placed = found.into_iter().map(|(id, found)| {
            let place = |at: FoundEvent| Found {
                stream: at.stream,
                // A row with a number that no event can have is there all the same.
                sequence: Some(at.sequence_number).filter(|number| *number > 0),
                signing_hash: None,
            };
            (id, found.map(place).inspect_err(|row| self.tell_damaged(row)))
        });
        Ok(placed.collect())
    }

    /// Says once that an event is in a row which does not say where; so many are named.
    fn tell_damaged(&mut self, row: &UnreadableEvent) {
        const NAMED: usize = 200;
        if self.damaged.len() == NAMED || !self.damaged.insert(row.event_id) {
            return;
        }
        let what = format!(
            "the row is there and cannot be read, so its event is not missing: {}",
            row.error
        );
        tracing::warn!("{}: {what}", self.name);
        self.not_checked.push(what);
        if self.damaged.len() == NAMED {
            self.not_checked.push("more such rows are not named".to_owned());
        }
    }

    /// The signing hashes that the log stores at these positions of a stream; `None` where the row cannot be read.
    ///
    /// # Errors
    /// The database fails.
    pub fn signing_hashes(
        &mut self,
        stream: &StreamKey,
        numbers: &[u64],
    ) -> Result<HashMap<u64, Option<(EventId, Hash32)>>, KnownLogError> {
        let mut hashes = HashMap::new();
        let Inner::Database { runtime, view } = &mut self.inner else {
            return Ok(hashes);
        };
        let mut numbers = numbers.to_vec();
        numbers.sort_unstable();
        for range in runs(&numbers) {
            let mut each = |chunk: Vec<Result<LeafInput, RowError>>| {
                for leaf in chunk {
                    match leaf {
                        Ok(leaf) if numbers.binary_search(&leaf.sequence_number).is_ok() => {
                            let stored = (leaf.event_id, leaf.event_signing_hash);
                            hashes.insert(leaf.sequence_number, Some(stored));
                        }
                        Ok(_) => {}
                        Err(row) => {
                            if let Some(number) = row.sequence {
                                hashes.insert(number, None);
                            }
                        }
                    }
                }
                ControlFlow::Continue(())
            };
            runtime.block_on(view.for_each_leaf_input(stream, range, &mut each))?;
        }
        Ok(hashes)
    }

    /// The streams of the log. A counter or commitment that cannot be read is left out.
    ///
    /// # Errors
    /// The database fails.
    pub fn streams(&mut self) -> Result<Vec<StreamState>, KnownLogError> {
        match &mut self.inner {
            Inner::Database { runtime, view } => {
                let found = runtime.block_on(view.streams(&StreamFilter::default()))?;
                Ok(self.told(found))
            }
            Inner::Export(log) => Ok(log
                .numbers
                .iter()
                .map(|(stream, numbers)| StreamState {
                    stream: *stream,
                    event_count: numbers.len() as u64,
                    first: numbers.keys().next().copied(),
                    last: numbers.keys().next_back().copied(),
                    misnumbered: 0,
                    counter: None,
                    commitment_count: 0,
                    first_committed: None,
                    last_committed: None,
                })
                .collect()),
        }
    }

    /// The rows that can be read; of the others it is said that they were not looked at.
    fn told<T>(&mut self, found: Rows<T>) -> Vec<T> {
        for row in found.unreadable {
            tracing::warn!("{}: {row}", self.name);
            self.not_checked.push(row.to_string());
        }
        found.rows
    }

    /// The highest number that a receipt of the log gives, by stream; nothing for an export, whose lines are judged one
    /// by one.
    ///
    /// # Errors
    /// The database fails.
    pub fn highest_receipts(&mut self) -> Result<BTreeMap<StreamKey, u64>, KnownLogError> {
        match &mut self.inner {
            Inner::Database { runtime, view } => {
                let found = runtime.block_on(view.highest_receipts(&StreamFilter::default()))?;
                Ok(self.told(found).into_iter().collect())
            }
            Inner::Export(_) => Ok(BTreeMap::new()),
        }
    }

    /// The numbers of a stream that the log has.
    ///
    /// # Errors
    /// The database fails.
    pub fn present(&mut self, stream: &StreamKey) -> Result<Vec<RangeInclusive<u64>>, KnownLogError> {
        match &mut self.inner {
            Inner::Database { runtime, view } => Ok(runtime.block_on(view.present_ranges(stream))?),
            Inner::Export(log) => {
                let numbers: Vec<u64> = log
                    .numbers
                    .get(stream)
                    .into_iter()
                    .flat_map(|n| n.keys().copied())
                    .collect();
                let mut ranges: Vec<RangeInclusive<u64>> = Vec::new();
                for number in numbers {
                    match ranges.last_mut() {
                        Some(last) if *last.end() + 1 == number => *last = *last.start()..=number,
                        _ => ranges.push(number..=number),
                    }
                }
                Ok(ranges)
            }
        }
    }

    /// The agents' keys that the log knows; none, if it is an export.
    ///
    /// # Errors
    /// The database fails.
    pub fn keys(&mut self) -> Result<Vec<SigningKey>, KnownLogError> {
        match &mut self.inner {
            Inner::Database { runtime, view } => {
                let found = runtime.block_on(view.keys(None))?;
                Ok(self.told(found))
            }
            Inner::Export(_) => Ok(Vec::new()),
        }
    }
}

/// Sorted numbers as ranges; a small hole is cheaper to read over than another query.
fn runs(numbers: &[u64]) -> Vec<RangeInclusive<u64>> {
    const HOLE: u64 = 256;
    let mut runs: Vec<RangeInclusive<u64>> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some(run) if number - run.end() <= HOLE => *run = *run.start()..=number,
            _ => runs.push(number..=number),
        }
    }
    runs
}

/// Whether a number is in one of the ranges, which are in order.
pub fn contains(ranges: &[RangeInclusive<u64>], number: u64) -> bool {
    let at = ranges.partition_point(|range| *range.end() < number);
    ranges.get(at).is_some_and(|range| range.contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_read_over_small_holes_alone() {
        assert_eq!(runs(&[]), []);
        assert_eq!(runs(&[1, 2, 3, 200, 1000]), [1..=200, 1000..=1000]);
        let ranges = [1..=5, 9..=9];
        assert!([1, 5, 9].into_iter().all(|n| contains(&ranges, n)));
        assert!([0, 6, 8, 10].into_iter().all(|n| !contains(&ranges, n)));
    }
}
