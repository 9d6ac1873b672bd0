//! Single events of an archive, in few requests: by the manifest, the index of event ids, and one row group.

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;

use anchor_verify::proof::ProofSource;
use anchor_verify::verify::VerifyError;
use event_log::{LeafInput, LogEntry, RowError};
use ves::{EventId, Span, Spans, StreamKey};

use crate::archive::Archive;
use crate::error::ArchiveError;
use crate::file::EventsReader;
use crate::ids::IdsReader;
use crate::manifest::{EventsFile, StreamPart};

/// An archive that single events are looked for in.
pub struct Finder {
    archive: Archive,
    /// Only these streams; all, if none is named.
    streams: Vec<StreamKey>,
    /// The object that was read last: the event, its batch and its row are in one, or in two.
    last: Option<(String, EventsReader)>,
    /// The row group that was read last: the event's own is asked for up to three times.
    group: Option<(String, usize, Arc<Vec<LogEntry>>)>,
}

impl Finder {
    /// Looks in these streams; in all, if none is named.
    pub fn new(archive: Archive, streams: Vec<StreamKey>) -> Self {
        Self {
            archive,
            streams,
            last: None,
            group: None,
        }
    }

    /// How often the store was asked.
    pub fn requests(&self) -> u64 {
        self.archive.store().requests()
    }

    fn reader(&mut self, stream: &StreamKey, file: &EventsFile) -> Result<&EventsReader, ArchiveError> {
        if self.last.as_ref().is_none_or(|(path, _)| *path != file.path) {
            let reader = EventsReader::open(self.archive.store(), *stream, file)?;
            self.last = Some((file.path.clone(), reader));
        }
        let (_, reader) = self.last.as_ref().expect("it was just read");
        Ok(reader)
    }

    /// Where an event stands: by the index of ids, or by the filters of the files where it is not whole.
    fn find(&mut self, event: EventId) -> Result<Option<(StreamKey, u64)>, ArchiveError> {
        let manifest = self.archive.manifest();
        let (ids, parts) = (manifest.ids.clone(), manifest.streams.clone());
        let store = self.archive.store().clone();
        let mut whole = true;
        for file in ids.iter().rev() {
            let found = IdsReader::open(&store, file).and_then(|file| file.find(&store, event));
            let stands = match found {
                Ok(Some(stands)) => stands,
                Ok(None) => continue,
                // The index says only what the files' own filters say, too.
                Err(error @ ArchiveError::Damaged { .. }) => {
                    tracing::warn!("{error}; the filters of the files are asked instead");
                    whole = false;
                    continue;
                }
                Err(error) => return Err(error),
            };
            // The index is a hint: what counts is the row.
            let row = self.entry_at(&stands.stream, stands.number)?;
            if row.is_some_and(|entry| entry.event.event_id == event) && self.admits(&stands.stream) {
                return Ok(Some((stands.stream, stands.number)));
            }
        }
        let indexed: u64 = ids.iter().map(|file| file.rows).sum();
        if whole && indexed >= parts.iter().map(StreamPart::archived).sum() {
            return Ok(None);
        }
        self.ask_filters(event, &parts)
    }

    fn admits(&self, stream: &StreamKey) -> bool {
        self.streams.is_empty() || self.streams.contains(stream)
    }

    /// Asks the filters of all files, and reads the row groups that may hold the event.
    fn ask_filters(
        &mut self,
        event: EventId,
        parts: &[StreamPart],
    ) -> Result<Option<(StreamKey, u64)>, ArchiveError> {
        let store = self.archive.store().clone();
        for part in parts {
            let stream = part.stream();
            let files = part
                .files
                .iter()
                .filter(|_| self.streams.is_empty() || self.streams.contains(&stream));
            for file in files.cloned().collect::<Vec<_>>() {
                let reader = self.reader(&stream, &file)?;
                for group in reader.groups_with(event)? {
                    let entries = reader.fetch(&store, group)?.entries()?;
                    let found = entries.iter().find(|entry| entry.event.event_id == event);
                    if let Some(entry) = found {
                        return Ok(Some((stream, entry.sequence_number)));
                    }
                }
            }
        }
        Ok(None)
    }

    fn entry_at(&mut self, stream: &StreamKey, number: u64) -> Result<Option<LogEntry>, ArchiveError> {
        let mut found = None;
        self.entries(stream, number..=number, &mut |mut entries| {
            found = entries.pop();
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// Reads the row groups with these numbers of a stream.
    fn entries(
        &mut self,
        stream: &StreamKey,
        numbers: RangeInclusive<u64>,
        each: &mut dyn FnMut(Vec<LogEntry>) -> ControlFlow<()>,
    ) -> Result<(), ArchiveError> {
        let Some(span) = Span::new(*numbers.start(), *numbers.end()) else {
            return Ok(());
        };
        let spans = Spans::from(span);
        let files: Vec<EventsFile> = self.archive.files(stream, &spans).cloned().collect();
        for file in files {
            let store = self.archive.store().clone();
            self.reader(stream, &file)?;
            let Some((_, reader)) = &self.last else { continue };
            for (index, group) in reader.groups().iter().enumerate() {
                if group.to < span.start() || group.from > span.end() {
                    continue;
                }
                let known = self
                    .group
                    .as_ref()
                    .filter(|(path, at, _)| *path == file.path && *at == index);
                let entries = match known {
                    Some((_, _, entries)) => Arc::clone(entries),
                    None => Arc::new(reader.fetch(&store, index)?.entries()?),
                };
                let within = entries
                    .iter()
                    .filter(|entry| span.contains(entry.sequence_number));
                let within = within.cloned().collect();
                self.group = Some((file.path.clone(), index, entries));
                if each(within).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

impl ProofSource for Finder {
    fn place_of(&mut self, event: EventId) -> Result<(StreamKey, u64), VerifyError> {
        let found = self.find(event)?;
        found.ok_or_else(|| VerifyError::Refused(format!("event {event} is not in the archive")))
    }

    fn leaf_inputs(
        &mut self,
        stream: &StreamKey,
        numbers: RangeInclusive<u64>,
        each: &mut dyn FnMut(Vec<Result<LeafInput, RowError>>) -> ControlFlow<()>,
    ) -> Result<(), VerifyError> {
        let inputs = |entry: LogEntry| LeafInput {
            sequence_number: entry.sequence_number,
            event_id: entry.event.event_id,
            event_signing_hash: entry.event_signing_hash,
            agent_signature: entry.event.agent_signature,
        };
        Ok(self.entries(stream, numbers, &mut |entries| {
            each(entries.into_iter().map(|entry| Ok(inputs(entry))).collect())
        })?)
    }

    fn entry(&mut self, stream: &StreamKey, sequence: u64) -> Result<Option<LogEntry>, VerifyError> {
        Ok(self.entry_at(stream, sequence)?)
    }
}
