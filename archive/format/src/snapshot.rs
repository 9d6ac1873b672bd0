//! An archive as a snapshot file, which all tools read as a log.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::Path;

use anchor_verify::verify::LogSource;
use cli_common::{Cancel, Progress};
use event_log::{Entity, LogEntry, Outline, RestoredEvent, RowError, Scope, Snapshot};
use serde::Serialize;
use ves::{CommandId, StreamKey, Timestamp};

use crate::archive::Archive;
use crate::error::ArchiveError;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotReport {
    /// How many streams.
    pub streams: u64,
    /// How many events.
    pub events: u64,
    /// How many of them with receipts.
    pub receipts: u64,
    /// How many commitments.
    pub commitments: u64,
    /// How many agents' keys.
    pub keys: u64,
    /// What could not be read, and is not in the snapshot.
    pub left_out: Vec<String>,
}

/// Writes an archive, or some of its streams, as a snapshot. The commands and the versions of entities, which an archive does
/// not hold, are made from the events.
///
/// # Errors
/// If the archive cannot be read, or the file not be written. What is damaged is left out and named.
pub fn write_snapshot(
    archive: &Archive,
    scope: Scope,
    out: &Path,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<SnapshotReport, ArchiveError> {
    let mut source = archive.source(scope);
    let outline = source.outline()?;
    let mut snapshot = Snapshot::create(out).map_err(refused)?;
    let at = archive.manifest().written_at;
    let mut writer = Writer {
        report: SnapshotReport {
            streams: outline.streams.len() as u64,
            events: 0,
            receipts: 0,
            commitments: outline
                .streams
                .iter()
                .map(|stream| stream.commitments.len() as u64)
                .sum(),
            keys: outline.keys.len() as u64,
            left_out: outline.unreadable.iter().map(ToString::to_string).collect(),
        },
        versions: BTreeMap::new(),
        commands: BTreeMap::new(),
        failed: None,
    };
    begin(&mut snapshot, &outline, archive, at)?;
    let wanted: Vec<_> = outline
        .streams
        .iter()
        .filter_map(|stream| Some((stream.stream, crate::layout::from_on(1, stream.last?))))
        .collect();
    progress.start(
        "writing the snapshot",
        Some(outline.streams.iter().map(|stream| stream.events).sum()),
    );
    source.entries(&wanted, &mut |chunk| {
        let rows = chunk.read();
        progress.advance(rows.len() as u64);
        if let Err(error) = writer.rows(
            &mut snapshot,
            rows.into_iter().map(|row| row.map(|held| held.entry)),
        ) {
            writer.failed = Some(error);
            return ControlFlow::Break(());
        }
        match cancel.is_cancelled() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    cancel.check()?;
    writer.failed.take().map_or(Ok(()), Err)?;
    for (stream, versions) in &writer.versions {
        let versions: Vec<(Entity, i64)> = versions.iter().map(|(entity, n)| (entity.clone(), *n)).collect();
        snapshot
            .insert_entity_versions(stream, &versions, at)
            .map_err(refused)?;
    }
    for stream in &outline.streams {
        snapshot
            .insert_commitments(&stream.commitments)
            .map_err(refused)?;
    }
    snapshot.finish().map_err(refused)?;
    progress.finish();
    Ok(writer.report)
}

fn refused(error: event_log::LogError) -> ArchiveError {
    ArchiveError::Source(error.into())
}

fn begin(
    snapshot: &mut Snapshot,
    outline: &Outline,
    archive: &Archive,
    at: Timestamp,
) -> Result<(), ArchiveError> {
    let source = format!(
        "manifest {} of {}",
        archive.manifest().number,
        archive.store().name()
    );
    snapshot.describe(at, &source).map_err(refused)?;
    snapshot.insert_keys(&outline.keys, at).map_err(refused)?;
    let counters = outline
        .streams
        .iter()
        .filter_map(|stream| Some((stream.stream, stream.counter?)));
    snapshot
        .insert_counters(&counters.collect::<Vec<_>>(), at)
        .map_err(refused)
}

/// Puts events into a snapshot.
struct Writer {
    report: SnapshotReport,
    versions: BTreeMap<StreamKey, HashMap<Entity, i64>>,
    commands: BTreeMap<StreamKey, HashSet<CommandId>>,
    failed: Option<ArchiveError>,
}

impl Writer {
    fn rows(
        &mut self,
        snapshot: &mut Snapshot,
        rows: impl Iterator<Item = Result<LogEntry, RowError>>,
    ) -> Result<(), ArchiveError> {
        let mut events: Vec<RestoredEvent> = Vec::new();
        let mut receipts = Vec::new();
        let mut commands: BTreeMap<StreamKey, Vec<(CommandId, Timestamp)>> = BTreeMap::new();
        for row in rows {
            let mut entry = match row {
                Ok(entry) => entry,
                Err(error) => {
                    self.report.left_out.push(error.to_string());
                    continue;
                }
            };
            let stream = entry.event.stream;
            receipts.extend(entry.receipt.take());
            if let Some(command) = entry.event.command_id {
                commands
                    .entry(stream)
                    .or_default()
                    .push((command, entry.sequenced_at));
            }
            let entity = Entity {
                entity_type: entry.event.entity_type.clone(),
                entity_id: entry.event.entity_id.clone(),
            };
            *self
                .versions
                .entry(stream)
                .or_default()
                .entry(entity)
                .or_default() += 1;
            events.push(entry.into());
        }
        self.report.events += events.len() as u64;
        self.report.receipts += receipts.len() as u64;
        snapshot.insert_events(&events).map_err(refused)?;
        snapshot.insert_receipts(&receipts).map_err(refused)?;
        for (stream, mut of_stream) in commands {
            // A command may have more than one event.
            let known = self.commands.entry(stream).or_default();
            of_stream.retain(|(command, _)| known.insert(*command));
            snapshot.insert_dedupe(&stream, &of_stream).map_err(refused)?;
        }
        Ok(())
    }
}
