//! Adding to an archive what a log has more than it.
//!
//! Objects are written first, under names that say what is in them; the manifest that names them comes last and makes all
//! of it visible at once. Whoever is interrupted has changed nothing, and writes the same objects again.

mod prepare;
mod stream;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use anchor_verify::AnchorsFile;
use anchor_verify::verify::LogSource;
use cli_common::{Cancel, Progress};
use ed25519_dalek::SigningKey;
use event_log::{Commitment, Outline, Pipeline, StreamOutline};
use serde::Serialize;
use ves::{BatchId, Hash32, Spans, StreamKey, Timestamp};

use crate::error::ArchiveError;
use crate::ids::Ids;
use crate::layout::Layout;
use crate::manifest::{Manifest, ObjectRef, ReadManifest, SCHEMA, StreamPart, Unreadable};
use crate::store::Store;
use crate::tables;
use prepare::{Prepared, prepare};
use stream::{Ended, StreamWriter};

/// Beyond so many objects, the commitments are written anew as one.
const MAX_COMMITMENT_OBJECTS: usize = 32;

/// How an archive is written.
#[derive(Debug, Clone)]
pub struct WriteOptions<'a> {
    /// What the manifest calls the log; without secrets.
    pub log: &'a str,
    /// Anchors to be kept beside the events.
    pub anchors: Option<&'a AnchorsFile>,
    /// Signs the manifest.
    pub key: Option<&'a SigningKey>,
    /// Archive a stream anew where the log lacks, or has otherwise, what is archived of it.
    pub although_rewound: bool,
    /// Files end where a batch does, once they have so many events.
    pub file_rows: u64,
    /// And row groups, once they have so many: what a reader has in memory for each thread.
    pub group_rows: u64,
}

impl<'a> WriteOptions<'a> {
    /// The usual sizes: files of a million events, row groups of 16,384.
    pub fn new(log: &'a str) -> Self {
        Self {
            log,
            anchors: None,
            key: None,
            although_rewound: false,
            file_rows: 1 << 20,
            group_rows: 1 << 14,
        }
    }
}

/// What was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WriteReport {
    /// The newest manifest.
    pub manifest: u64,
    /// SHA-256 of it.
    pub manifest_sha256: Hash32,
    /// Whether this run wrote it; if not, there was nothing to add.
    pub added: bool,
    /// How many streams the archive has.
    pub streams: u64,
    /// How many events it has.
    pub events: u64,
    /// How many events were written by this run, those among them that were archived in smaller files before.
    pub events_written: u64,
    /// In how many files.
    pub files_written: u64,
    /// Of how many bytes.
    pub bytes_written: u64,
    /// Rows of the log that could not be read, and are not archived.
    pub unreadable: Vec<Unreadable>,
    /// Streams that went back behind the archive, and why that is seen; they were left as they are archived, unless it was
    /// asked to archive them anew.
    pub rewound: Vec<Rewound>,
}

/// A stream of which the log has less than the archive, or something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rewound {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// What is seen.
    pub what: String,
}

/// Adds to an archive what a log has more than it.
///
/// # Errors
/// If the log or the store fails, or another writer is at work.
pub fn write(
    store: &Store,
    source: &mut dyn LogSource,
    options: &WriteOptions<'_>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<WriteReport, ArchiveError> {
    let before = Manifest::newest(store)?;
    let outline = source.outline()?;
    let ids = before.as_ref().map_or(&[][..], |before| &before.manifest.ids);
    let ids = RefCell::new(Ids::new(store, ids));
    let mut run = Run::new((store, &ids), options, before.as_ref(), &outline)?;
    let all: Vec<&StreamOutline> = outline.streams.iter().collect();
    let again = run.pass(source, &all, progress, cancel)?;
    // What is behind the first gap that was filled is written anew, all of it.
    let again: Vec<&StreamOutline> = all
        .into_iter()
        .filter(|stream| again.contains(&stream.stream))
        .collect();
    if !again.is_empty() {
        run.forget(&again);
        run.pass(source, &again, progress, cancel)?;
    }
    run.keep_lost(&outline);
    run.finish(&outline)
}

/// The streams of one pass, of which one is being written.
struct Streams<'a> {
    waiting: BTreeMap<StreamKey, StreamWriter<'a>>,
    current: Option<StreamKey>,
    /// The one before: its last row group is being encoded while the rows of the current one come in.
    ending: Option<StreamKey>,
    ended: Vec<(StreamKey, Ended)>,
    failed: Result<(), ArchiveError>,
}

impl<'a> Streams<'a> {
    fn new(waiting: BTreeMap<StreamKey, StreamWriter<'a>>) -> Self {
        Self {
            waiting,
            current: None,
            ending: None,
            ended: Vec::new(),
            failed: Ok(()),
        }
    }

    /// Takes the next rows; a stream ends where another one begins, so that no more than two have files open.
    fn push(&mut self, piece: Prepared) {
        if self.failed.is_err() {
            return;
        }
        let stream = piece.stream;
        if let Some(before) = self.current.replace(stream).filter(|before| *before != stream) {
            self.failed = self.leave(before);
        }
        if let Some(writer) = self.waiting.get_mut(&stream).filter(|_| self.failed.is_ok()) {
            self.failed = writer.push(piece);
        }
    }

    /// Nothing more comes of a stream. The file is ended a stream later, so that nobody waits for its last row group.
    fn leave(&mut self, stream: StreamKey) -> Result<(), ArchiveError> {
        if let Some(writer) = self.waiting.get_mut(&stream) {
            writer.end_group()?;
        }
        match self.ending.replace(stream) {
            Some(before) => self.end(before),
            None => Ok(()),
        }
    }

    fn end(&mut self, stream: StreamKey) -> Result<(), ArchiveError> {
        if let Some(writer) = self.waiting.remove(&stream) {
            self.ended.push((stream, writer.finish()?));
        }
        Ok(())
    }

    /// Ends what is left: streams with nothing new among it.
    fn finish(mut self) -> Result<Vec<(StreamKey, Ended)>, ArchiveError> {
        std::mem::replace(&mut self.failed, Ok(()))?;
        let left: Vec<StreamKey> = self.waiting.keys().copied().collect();
        left.into_iter().try_for_each(|stream| self.end(stream))?;
        Ok(self.ended)
    }
}

/// One run of the writer.
struct Run<'a> {
    store: &'a Store,
    ids: &'a RefCell<Ids>,
    options: &'a WriteOptions<'a>,
    before: Option<&'a ReadManifest>,
    old: BTreeMap<StreamKey, StreamPart>,
    commitments: BTreeMap<BatchId, Commitment>,
    /// Whose they are.
    batches: BTreeMap<StreamKey, Vec<BatchId>>,
    parts: BTreeMap<StreamKey, StreamPart>,
    unreadable: Vec<Unreadable>,
    rewound: Vec<Rewound>,
    written: Totals,
}

/// What was written.
#[derive(Debug, Default)]
struct Totals {
    events: u64,
    files: u64,
    bytes: u64,
}

impl<'a> Run<'a> {
    fn new(
        (store, ids): (&'a Store, &'a RefCell<Ids>),
        options: &'a WriteOptions<'a>,
        before: Option<&'a ReadManifest>,
        outline: &Outline,
    ) -> Result<Self, ArchiveError> {
        let old = before.iter().flat_map(|before| &before.manifest.streams);
        let objects = before.map_or(&[][..], |before| &before.manifest.commitments);
        let keys = outline.unreadable_keys.iter().map(Unreadable::from);
        let commitments = tables::read_commitments(store, objects)?;
        let mut batches: BTreeMap<StreamKey, Vec<BatchId>> = BTreeMap::new();
        for c in commitments.values() {
            batches.entry(c.stream).or_default().push(c.batch_id);
        }
        Ok(Self {
            store,
            ids,
            options,
            before,
            old: old.map(|part| (part.stream(), part.clone())).collect(),
            commitments,
            batches,
            parts: BTreeMap::new(),
            unreadable: outline
                .unreadable
                .iter()
                .map(Unreadable::from)
                .chain(keys)
                .collect(),
            rewound: Vec::new(),
            written: Totals::default(),
        })
    }

    /// Reads what is new of these streams and writes it. Returns the streams that have to be read whole: the log has more of
    /// what is archived already.
    fn pass(
        &mut self,
        source: &mut dyn LogSource,
        streams: &[&StreamOutline],
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<BTreeSet<StreamKey>, ArchiveError> {
        let mut writers = BTreeMap::new();
        let mut wanted: Vec<(StreamKey, Spans)> = Vec::new();
        for outline in streams {
            if let Some(what) = self.lost_commitment(outline) {
                self.keep(outline.stream, what);
                continue;
            }
            match StreamWriter::begin(
                (self.store, self.ids),
                self.options,
                outline,
                self.old.get(&outline.stream),
            ) {
                Ok(writer) => {
                    let spans = writer.wanted();
                    if !spans.is_empty() {
                        wanted.push((outline.stream, spans));
                    }
                    writers.insert(outline.stream, writer);
                }
                Err(what) => self.keep(outline.stream, what),
            }
        }
        let total = wanted
            .iter()
            .map(|(_, spans)| spans.count())
            .fold(0, u64::saturating_add);
        progress.start("archiving events", Some(total));
        let mut pipeline = Pipeline::new(prepare);
        let streams = RefCell::new(Streams::new(writers));
        let mut take = |pieces: Vec<Prepared>| {
            for piece in pieces {
                progress.advance(piece.numbers.len() as u64);
                streams.borrow_mut().push(piece);
            }
        };
        source.entries(&wanted, &mut |chunk| {
            if cancel.is_cancelled() || streams.borrow().failed.is_err() {
                return ControlFlow::Break(());
            }
            pipeline.push(chunk, &mut take);
            ControlFlow::Continue(())
        })?;
        cancel.check()?;
        pipeline.finish(&mut take);
        progress.finish();
        let mut again = BTreeSet::new();
        for (stream, ended) in streams.into_inner().finish()? {
            match ended {
                Ended::Whole(part, unreadable, written) => {
                    self.written.events += written.events;
                    self.written.files += written.files;
                    self.written.bytes += written.bytes;
                    self.unreadable.extend(unreadable);
                    self.parts.insert(stream, part);
                }
                Ended::More => drop(again.insert(stream)),
                Ended::Rewound(what) if self.options.although_rewound => {
                    self.rewound.push(Rewound { stream, what });
                    again.insert(stream);
                }
                Ended::Rewound(what) => self.keep(stream, what),
            }
        }
        Ok(again)
    }

    /// A commitment that is archived, and that the log has not.
    fn lost_commitment(&self, outline: &StreamOutline) -> Option<String> {
        if self.options.although_rewound {
            return None;
        }
        let archived = self.batches.get(&outline.stream)?;
        let there: BTreeSet<BatchId> = outline.commitments.iter().map(|c| c.batch_id).collect();
        let lost = archived.iter().find(|batch| !there.contains(batch))?;
        Some(format!(
            "the commitment of batch {lost} is archived, and not in the log"
        ))
    }

    /// Leaves a stream as it is archived.
    fn keep(&mut self, stream: StreamKey, what: String) {
        if let Some(part) = self.old.get(&stream) {
            self.parts.insert(stream, part.clone());
            self.rewound.push(Rewound { stream, what });
        }
    }

    /// These streams are archived as if nothing were there of them.
    fn forget(&mut self, streams: &[&StreamOutline]) {
        for outline in streams {
            let rewound = self
                .rewound
                .iter()
                .any(|rewound| rewound.stream == outline.stream);
            match self.old.get_mut(&outline.stream) {
                // What it holds is looked for in the log all the same, but for what is known to be lost.
                Some(part) if !rewound => part.head = None,
                _ => drop(self.old.remove(&outline.stream)),
            }
        }
    }

    /// Streams that the log does not have any more stay.
    fn keep_lost(&mut self, outline: &Outline) {
        let there: BTreeSet<StreamKey> = outline.streams.iter().map(|stream| stream.stream).collect();
        let lost: Vec<StreamKey> = self
            .old
            .keys()
            .filter(|stream| !there.contains(stream))
            .copied()
            .collect();
        for stream in lost {
            self.keep(stream, "the log has nothing of it any more".to_owned());
        }
    }

    /// Writes the tables and the manifest.
    fn finish(mut self, outline: &Outline) -> Result<WriteReport, ArchiveError> {
        let mut manifest = self.manifest(outline)?;
        let unchanged = self.before.filter(|before| {
            let old = &before.manifest;
            let as_old = Manifest {
                number: old.number,
                previous: old.previous,
                written_at: old.written_at,
                log: old.log.clone(),
                ..manifest.clone()
            };
            as_old == *old
        });
        let (number, sha256) = match unchanged {
            Some(before) => (before.manifest.number, before.sha256),
            None => {
                manifest.ids = self.ids.borrow_mut().finish()?;
                (manifest.number, manifest.write(self.store, self.options.key)?)
            }
        };
        self.rewound.sort_by_key(|rewound| rewound.stream);
        self.rewound.dedup();
        Ok(WriteReport {
            manifest: number,
            manifest_sha256: sha256,
            added: unchanged.is_none(),
            streams: manifest.streams.len() as u64,
            events: manifest.streams.iter().map(StreamPart::archived).sum(),
            events_written: self.written.events,
            files_written: self.written.files,
            bytes_written: self.written.bytes,
            unreadable: manifest.unreadable,
            rewound: self.rewound,
        })
    }

    fn manifest(&mut self, outline: &Outline) -> Result<Manifest, ArchiveError> {
        let before = self.before.map(|before| &before.manifest);
        let mut unreadable = std::mem::take(&mut self.unreadable);
        unreadable.sort_by_cached_key(|row| serde_json::to_string(row).unwrap_or_default());
        unreadable.dedup();
        let mut anchors = before.map_or_else(Vec::new, |before| before.anchors.clone());
        if let Some(given) = self.options.anchors {
            let object = tables::write(self.store, "anchors", &tables::anchor_rows(given)?)?;
            if !anchors.contains(&object) {
                anchors.push(object);
            }
        }
        Ok(Manifest {
            schema: SCHEMA.to_owned(),
            number: before.map_or(1, |before| before.number + 1),
            previous: self.before.map(|before| before.sha256),
            written_at: now(),
            log: self.options.log.to_owned(),
            streams: std::mem::take(&mut self.parts).into_values().collect(),
            keys: tables::write(self.store, "keys", &tables::key_rows(&outline.keys)?)?,
            commitments: self.commitment_objects(outline)?,
            anchors,
            // Those of what is new come last, if there is anything new.
            ids: before.map_or_else(Vec::new, |before| before.ids.clone()),
            unreadable,
        })
    }

    /// The objects of the commitments: those that there are, and one more for what is new or has changed.
    fn commitment_objects(&mut self, outline: &Outline) -> Result<Vec<ObjectRef>, ArchiveError> {
        let mut objects = self
            .before
            .map_or_else(Vec::new, |before| before.manifest.commitments.clone());
        let anew = self.options.although_rewound && !self.rewound.is_empty();
        let kept: BTreeSet<StreamKey> = match anew {
            // What is lost altogether stays.
            true => outline.streams.iter().map(|stream| stream.stream).collect(),
            false => self.rewound.iter().map(|rewound| rewound.stream).collect(),
        };
        let mut all = std::mem::take(&mut self.commitments);
        if anew {
            all.retain(|_, c| !kept.contains(&c.stream));
        }
        let there = outline
            .streams
            .iter()
            .filter(|stream| anew || !kept.contains(&stream.stream));
        let there = there.flat_map(|stream| &stream.commitments);
        let new: Vec<Commitment> = there
            .filter(|c| all.get(&c.batch_id) != Some(c))
            .cloned()
            .collect();
        if anew || objects.len() >= MAX_COMMITMENT_OBJECTS {
            objects.clear();
            all.extend(new.into_iter().map(|c| (c.batch_id, c)));
            let rows = tables::commitment_rows(&all.into_values().collect::<Vec<_>>())?;
            objects.push(tables::write(self.store, "commitments", &rows)?);
        } else if !new.is_empty() {
            objects.push(tables::write(
                self.store,
                "commitments",
                &tables::commitment_rows(&new)?,
            )?);
        }
        Ok(objects)
    }
}

/// The batches of a stream.
fn layout(outline: &StreamOutline) -> Layout {
    let ranges = outline.commitments.iter();
    Layout::new(
        ranges
            .filter_map(|c| ves::Span::new(c.sequence_start, c.sequence_end))
            .collect(),
    )
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX)))
}
