//! Reading an archive: as a log's outline, and its events in order.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use anchor_verify::verify::source::{Chunk, KeptRows, Wanted};
use anchor_verify::verify::{LogSource, VerifyError};
use event_log::{LogEntry, Outline, RowError, Scope, StreamOutline, UnreadableKey};
use ves::{Hash32, Span, Spans, StreamKey};

use crate::error::ArchiveError;
use crate::file::{EventsReader, FetchedGroup};
use crate::manifest::{EventsFile, Manifest, ReadManifest, StreamPart};
use crate::store::Store;
use crate::tables;

/// An archive as one manifest has it.
#[derive(Debug, Clone)]
pub struct Archive {
    store: Store,
    read: ReadManifest,
}

impl Archive {
    /// Opens an archive as its newest manifest has it.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn open(store: Store) -> Result<Self, ArchiveError> {
        let read = Manifest::newest(&store)?.ok_or_else(|| ArchiveError::NoArchive(store.name()))?;
        Ok(Self { store, read })
    }

    /// Opens an archive as one of its manifests has it, which is known by its number and hash.
    ///
    /// # Errors
    /// If it is not there, or another one is.
    pub fn open_at(store: Store, number: u64, sha256: &Hash32) -> Result<Self, ArchiveError> {
        let read = Manifest::read(&store, number)?.ok_or_else(|| ArchiveError::NoArchive(store.name()))?;
        if read.sha256 != *sha256 {
            let what = format!("hashes to {}, not to {sha256}", read.sha256);
            return Err(ArchiveError::damaged(&format!("manifest {number}"), what));
        }
        Ok(Self { store, read })
    }

    /// Where it lies.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What it is made of.
    pub fn manifest(&self) -> &Manifest {
        &self.read.manifest
    }

    /// The manifest with its hash.
    pub fn read_manifest(&self) -> &ReadManifest {
        &self.read
    }

    /// Keys, streams and commitments, as the log had them.
    ///
    /// # Errors
    /// If a table is missing or altered.
    pub fn outline(&self, scope: &Scope) -> Result<Outline, ArchiveError> {
        let manifest = &self.read.manifest;
        let mut commitments: BTreeMap<StreamKey, Vec<_>> = BTreeMap::new();
        for (_, c) in tables::read_commitments(&self.store, &manifest.commitments)? {
            commitments.entry(c.stream).or_default().push(c);
        }
        let tenants: BTreeSet<_> = scope.streams.iter().map(|stream| stream.tenant_id).collect();
        let admits = |tenant| tenants.is_empty() || tenants.contains(&tenant);
        let mut keys = tables::read_keys(&self.store, &manifest.keys)?;
        keys.retain(|key| admits(key.tenant_id));
        let streams = manifest
            .streams
            .iter()
            .filter(|part| scope.admits(&part.stream()));
        let streams = streams.map(|part| {
            let mut commitments = commitments.remove(&part.stream()).unwrap_or_default();
            commitments.sort_by_key(|c| (c.sequence_start, c.sequence_end, c.batch_id));
            StreamOutline {
                stream: part.stream(),
                range: None,
                events: part.events,
                first: part.first,
                last: part.last,
                counter: part.counter,
                commitments,
            }
        });
        let streams = streams.collect();
        let unreadable = || manifest.unreadable.iter();
        let is_key = |table: &str| table == "agent_signing_keys";
        Ok(Outline {
            whole: scope.streams.is_empty(),
            keys,
            unreadable_keys: unreadable()
                .filter(|row| is_key(&row.table))
                .filter(|row| row.key.is_none_or(|(tenant, ..)| admits(tenant)))
                .map(|row| UnreadableKey {
                    name: row.key,
                    error: row.row_error(),
                })
                .collect(),
            streams,
            // Those of events come with the events.
            unreadable: unreadable()
                .filter(|row| !is_key(&row.table) && !is_of_events(&row.table))
                .filter(|row| row.stream.is_none_or(|stream| scope.admits(&stream)))
                .map(crate::manifest::Unreadable::row_error)
                .collect(),
        })
    }

    /// The archive as something that is verified, or read into a snapshot.
    pub fn source(&self, scope: Scope) -> ArchiveSource {
        ArchiveSource {
            archive: self.clone(),
            scope,
        }
    }

    /// The files of a stream that hold some of these numbers.
    pub(crate) fn files<'a>(
        &'a self,
        stream: &StreamKey,
        spans: &'a Spans,
    ) -> impl Iterator<Item = &'a EventsFile> + use<'a> {
        let streams = &self.read.manifest.streams;
        let at = streams.binary_search_by_key(stream, StreamPart::stream).ok();
        let files = at.map_or(&[][..], |at| &streams[at].files);
        files.iter().filter(|file| touches(spans, file.from, file.to))
    }
}

/// Whether some of these numbers are wanted.
fn touches(spans: &Spans, from: u64, to: u64) -> bool {
    Span::new(from, to).is_some_and(|span| !spans.within(span).is_empty())
}

fn is_of_events(table: &str) -> bool {
    matches!(table, "ves_events" | "ves_sequencer_receipts")
}

/// An archive, read as a log. What is damaged in it is told in the places of the rows that are lost by it.
#[derive(Debug)]
pub struct ArchiveSource {
    archive: Archive,
    scope: Scope,
}

impl LogSource for ArchiveSource {
    fn outline(&mut self) -> Result<Outline, VerifyError> {
        Ok(self.archive.outline(&self.scope)?)
    }

    fn entries(
        &mut self,
        wanted: &[Wanted],
        each: &mut dyn FnMut(Chunk) -> ControlFlow<()>,
    ) -> Result<(), VerifyError> {
        let Self { archive, .. } = self;
        for (stream, spans) in wanted {
            let rows = archive.read.manifest.unreadable.iter().filter(|row| {
                is_of_events(&row.table)
                    && row.stream == Some(*stream)
                    && row.sequence_number.is_none_or(|number| spans.contains(number))
            });
            let rows: Vec<_> = rows.map(|row| Err(row.row_error())).collect();
            if !rows.is_empty() && each(Chunk::Read(rows)).is_break() {
                return Ok(());
            }
            for file in archive.files(stream, spans) {
                let flow = match EventsReader::open(&archive.store, *stream, file) {
                    Ok(reader) => give(&archive.store, &reader, spans, each)?,
                    // An object that is not what it was is damage of the archive; a store that fails is a failure.
                    Err(error) => each(Chunk::Read(vec![Err(lost(*stream, file.from, error)?)])),
                };
                if flow.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// What is said of rows that damage has taken.
fn lost(stream: StreamKey, from: u64, error: ArchiveError) -> Result<RowError, ArchiveError> {
    match error {
        ArchiveError::Damaged { .. } => Ok(RowError {
            table: "ves_events",
            stream: Some(stream),
            sequence: Some(from),
            what: error.to_string(),
        }),
        error => Err(error),
    }
}

fn give(
    store: &Store,
    reader: &EventsReader,
    spans: &Spans,
    each: &mut dyn FnMut(Chunk) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, ArchiveError> {
    for (index, group) in reader.groups().iter().enumerate() {
        if !touches(spans, group.from, group.to) {
            continue;
        }
        let fetched = reader.fetch(store, index)?;
        let kept = Kept {
            spans: spans.clone(),
            fetched,
        };
        if each(Chunk::Kept(Box::new(kept))).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// A row group that whoever checks its events takes apart.
struct Kept {
    spans: Spans,
    fetched: FetchedGroup,
}

impl KeptRows for Kept {
    fn count(&self) -> usize {
        usize::try_from(self.fetched.group.rows).unwrap_or(usize::MAX)
    }

    fn read(self: Box<Self>) -> Vec<Result<LogEntry, RowError>> {
        let group = &self.fetched.group;
        match self.fetched.entries() {
            Ok(entries) => {
                let all = Span::new(group.from, group.to).is_some_and(|span| self.spans.covers(span));
                let wanted = |entry: &LogEntry| all || self.spans.contains(entry.sequence_number);
                entries.into_iter().filter(wanted).map(Ok).collect()
            }
            Err(error) => vec![Err(RowError {
                table: "ves_events",
                stream: Some(self.fetched.stream()),
                sequence: Some(group.from),
                what: error.to_string(),
            })],
        }
    }
}

impl From<ArchiveError> for VerifyError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Source(error) => error,
            ArchiveError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            error => Self::Archive(Box::new(error)),
        }
    }
}
