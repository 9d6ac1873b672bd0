//! Exports: events of outboxes in a file that can be checked, handed over, read again.
//!
//! NDJSON, one event a line behind a header line, or one JSON document (docs/export.md). Beside it lies a manifest
//! with counts and the file's SHA-256. Writing and reading stream.

mod sink;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cli_common::files::{self, InputFile};
use cli_common::provenance::Provenance;
use cli_common::{Access, Existing, WholeFile};
use event_log::Place as LogPlace;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use ves::{Event, StoreId, StreamKey, TenantId, Timestamp};

use crate::error::FileError;
use crate::lines::for_each_line;
use crate::row::{Content, HeldRow, Item, Origin, OutboxStatus, RowPlace, Table};
use crate::verify::{Verification, state_name};
use crate::wire::WireEvent;
use sink::Sink;

/// The `schema` of an export.
pub const SCHEMA: &str = "event-export/1";
/// The `schema` of a manifest.
pub const MANIFEST_SCHEMA: &str = "export-manifest/1";
/// The longest line that is read: a payload, twice escaped at most.
const MAX_LINE_BYTES: usize = 64 << 20;
/// The largest export in the form of one document that is read. NDJSON has no limit.
const MAX_DOCUMENT_BYTES: u64 = 1 << 30;

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// One event a line.
    Ndjson,
    /// One document.
    Json,
}

/// What an event is to a log that lacks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A witness says that it had a number, and no better one contradicts: the log lost it.
    Missing,
    /// Its own outbox alone says so, and the log or another witness has another event at that number: lost with
    /// another number, or never accepted.
    Doubtful,
    /// Nobody says that it ever had a number: still to be sent.
    NeverSequenced,
    /// Refused by the sequencer, and nobody says otherwise.
    Rejected,
}

/// Where an exported event was held, and what was said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldAs {
    /// The outbox.
    pub file: String,
    /// The table.
    pub table: Table,
    /// The row; of the outbox tables the agent's own order.
    pub row: i64,
    /// The agent's belief, for its own events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<OutboxStatus>,
    /// The number that the holder claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_sequence: Option<u64>,
    /// When the sequencer is said to have given it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequenced_at: Option<Timestamp>,
}

impl HeldAs {
    /// What a row says of itself.
    pub fn of(row: &HeldRow) -> Self {
        Self {
            file: row.place.file.display().to_string(),
            table: row.place.table,
            row: row.place.row,
            status: match row.origin {
                Origin::Outbox { status, .. } => Some(status),
                Origin::Pulled | Origin::Quarantined => None,
            },
            claimed_sequence: row.claimed_sequence,
            sequenced_at: row.sequenced_at,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<Class>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verdict: Option<String>,
    held: HeldAs,
    event: WireEvent,
}

impl Line {
    /// The line of a row's event; an event that cannot be written as JSON is said in words.
    fn new(
        row: &HeldRow,
        event: &Event,
        class: Option<Class>,
        verdict: Option<Verification>,
    ) -> Result<Self, String> {
        let verdict = verdict.map(|v| match v {
            Verification::Holds => "holds".to_owned(),
            _ => "not_checked".to_owned(),
        });
        Ok(Self {
            kind: "event".into(),
            class,
            verdict,
            held: HeldAs::of(row),
            event: WireEvent::new(event)?,
        })
    }
}

/// The line of a row's event in an export, without what separates it from others: what [`ExportWriter::add`] writes.
///
/// # Errors
/// The event cannot be written as JSON, in words.
pub fn event_line(row: &HeldRow, event: &Event) -> Result<Vec<u8>, String> {
    let line = Line::new(row, event, None, None)?;
    serde_json::to_vec(&line).map_err(|error| error.to_string())
}

#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(rename = "type")]
    kind: String,
    schema: String,
}

/// Events of one stream in an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamCount {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// How many events.
    pub events: u64,
}

/// What an export holds, and how to know that it is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportManifest {
    /// [`MANIFEST_SCHEMA`].
    pub schema: String,
    /// The name of the export, without folders.
    pub file: String,
    /// How it is written.
    pub format: ExportFormat,
    /// How many events it holds.
    pub events: u64,
    /// How long it is.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// Events by stream.
    pub streams: Vec<StreamCount>,
    /// Events by the state that their holder gives them.
    pub states: BTreeMap<String, u64>,
    /// Events by [`Class`], if they were compared with a log.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub classes: BTreeMap<Class, u64>,
    /// What it was made from.
    #[serde(flatten)]
    pub made_from: MadeFrom,
}

/// What an export was made from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeFrom {
    /// The log that its events were compared with, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_from: Option<String>,
    /// Where that log was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<LogPlace>,
    /// The tool, the time and the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}

/// Where the manifest of an export lies.
pub fn manifest_path(export: &Path) -> PathBuf {
    let mut name = export.as_os_str().to_owned();
    name.push(".manifest.json");
    name.into()
}

/// Which events are asked for. An empty value asks for all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// In one of these states, by [`state_name`]; none: in any.
    pub states: Vec<&'static str>,
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// Of this store.
    pub store: Option<StoreId>,
    /// Created at this time or later.
    pub since: Option<Timestamp>,
    /// Created before this time.
    pub until: Option<Timestamp>,
    /// Of entities of this type.
    pub entity_type: Option<String>,
    /// Of entities with this id.
    pub entity_id: Option<String>,
}

/// What a [`Filter`] goes by.
pub(crate) struct RowFacts<'a> {
    pub(crate) state: &'static str,
    pub(crate) stream: StreamKey,
    pub(crate) created_at: &'a str,
    pub(crate) entity_type: &'a str,
    pub(crate) entity_id: &'a str,
}

impl Filter {
    /// Whether the event of a row is asked for.
    pub fn wants_event(&self, row: &HeldRow, event: &Event) -> bool {
        self.wants(&RowFacts {
            state: state_name(&row.origin),
            stream: event.stream,
            created_at: &event.created_at,
            entity_type: &event.entity_type,
            entity_id: &event.entity_id,
        })
    }

    pub(crate) fn wants(&self, facts: &RowFacts<'_>) -> bool {
        let created: Option<Timestamp> = match (self.since, self.until) {
            (None, None) => None,
            _ => facts.created_at.parse().ok(),
        };
        (self.states.is_empty() || self.states.contains(&facts.state))
            && self.tenant.is_none_or(|t| t == facts.stream.tenant_id)
            && self.store.is_none_or(|s| s == facts.stream.store_id)
            && self
                .since
                .is_none_or(|since| created.is_some_and(|at| at >= since))
            && self
                .until
                .is_none_or(|until| created.is_some_and(|at| at < until))
            && self.entity_type.as_ref().is_none_or(|t| t == facts.entity_type)
            && self.entity_id.as_ref().is_none_or(|id| id == facts.entity_id)
    }
}

/// Exported events in figures.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    events: u64,
    streams: BTreeMap<StreamKey, u64>,
    states: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub(crate) fn add(&mut self, stream: StreamKey, state: &'static str) {
        self.events += 1;
        *self.streams.entry(stream).or_default() += 1;
        *self.states.entry(state).or_default() += 1;
    }

    fn add_all(&mut self, other: &Self) {
        self.events += other.events;
        for (stream, events) in &other.streams {
            *self.streams.entry(*stream).or_default() += events;
        }
        for (state, events) in &other.states {
            *self.states.entry(state).or_default() += events;
        }
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }
}

/// Text as a JSON string.
pub(crate) fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An export being written. It appears under its name, complete and on disk, with [`ExportWriter::finish`]; until
/// then it is a temporary file in the same folder, and dropping it removes that.
pub struct ExportWriter {
    file: WholeFile,
    existing: Existing,
    sink: Sink,
    /// One line in the making.
    line: Vec<u8>,
    path: PathBuf,
    format: ExportFormat,
    tally: Tally,
    classes: BTreeMap<Class, u64>,
}

/// What an [`ExportWriter`] can go back to.
pub struct ExportMark {
    sink: sink::SinkMark,
    tally: Tally,
    classes: BTreeMap<Class, u64>,
}

impl ExportWriter {
    /// Begins an export that will have this path, where no file is.
    ///
    /// # Errors
    /// There is a file of that name already, or the folder cannot be written to.
    pub fn create(path: &Path, format: ExportFormat) -> Result<Self, FileError> {
        Self::create_over(path, format, Existing::Keep)
    }

    /// Begins an export that will have this path; `existing` says what becomes of an export that is there.
    ///
    /// # Errors
    /// The name, or that of the manifest, is taken, or the folder cannot be written to.
    pub fn create_over(path: &Path, format: ExportFormat, existing: Existing) -> Result<Self, FileError> {
        for taken in [path.to_owned(), manifest_path(path)] {
            WholeFile::check(&taken, existing).map_err(|e| FileError::new(&taken, e))?;
        }
        let file = WholeFile::create(path, Access::Owner, existing).map_err(|e| FileError::new(path, e))?;
        let sink = Sink::new(file.as_file().try_clone().map_err(|e| FileError::new(path, e))?);
        let mut writer = Self {
            file,
            existing,
            sink,
            line: Vec::new(),
            path: path.to_owned(),
            format,
            tally: Tally::default(),
            classes: BTreeMap::new(),
        };
        let begun = match format {
            ExportFormat::Ndjson => format!("{{\"type\":\"header\",\"schema\":\"{SCHEMA}\"}}\n"),
            ExportFormat::Json => format!("{{\"schema\":\"{SCHEMA}\",\"events\":["),
        };
        writer
            .sink
            .append(begun.as_bytes())
            .map_err(|e| FileError::new(path, e))?;
        Ok(writer)
    }

    /// Where the export is now.
    pub fn mark(&self) -> ExportMark {
        ExportMark {
            sink: self.sink.mark(),
            tally: self.tally.clone(),
            classes: self.classes.clone(),
        }
    }

    /// Forgets what was added since.
    pub fn rewind(&mut self, to: ExportMark) {
        self.sink.rewind(&to.sink);
        self.tally = to.tally;
        self.classes = to.classes;
    }

    /// How the export is written.
    pub fn format(&self) -> ExportFormat {
        self.format
    }

    /// Adds lines that were made elsewhere (see [`crate::fast_export`]).
    ///
    /// # Errors
    /// The disk fails.
    pub fn add_lines(&mut self, lines: &ExportLines) -> Result<(), FileError> {
        let mut text = lines.text.as_slice();
        if self.format == ExportFormat::Json && self.tally.events == 0 {
            // Nothing is before the first that a comma would part it from.
            text = text.strip_prefix(b",").unwrap_or(text);
        }
        self.sink
            .append(text)
            .map_err(|e| FileError::new(&self.path, e))?;
        self.tally.add_all(&lines.tally);
        Ok(())
    }

    /// Adds the event of a row.
    ///
    /// # Errors
    /// The event cannot be written as JSON (the inner error; it is left out), or the disk fails.
    pub fn add(
        &mut self,
        row: &HeldRow,
        event: &Event,
        class: Option<Class>,
        verdict: Option<Verification>,
    ) -> Result<Result<(), String>, FileError> {
        let line = match Line::new(row, event, class, verdict) {
            Ok(line) => line,
            Err(what) => return Ok(Err(what)),
        };
        self.line.clear();
        self.line.extend_from_slice(before_line(self.format));
        serde_json::to_writer(&mut self.line, &line).map_err(|e| FileError::new(&self.path, e))?;
        self.line.extend_from_slice(behind_line(self.format));
        let first = self.format == ExportFormat::Json && self.tally.events == 0;
        let text = &self.line[usize::from(first)..];
        self.sink
            .append(text)
            .map_err(|e| FileError::new(&self.path, e))?;
        self.tally.add(event.stream, state_name(&row.origin));
        if let Some(class) = class {
            *self.classes.entry(class).or_default() += 1;
        }
        Ok(Ok(()))
    }

    /// Writes everything to disk, gives the file its name, and writes the manifest beside it.
    ///
    /// # Errors
    /// The disk fails, or the name was taken meanwhile: then nothing is left behind under it.
    pub fn finish(mut self, made_from: MadeFrom) -> Result<ExportManifest, FileError> {
        let path = self.path.clone();
        let error = |e: io::Error| FileError::new(&path, e);
        if self.format == ExportFormat::Json {
            self.sink.append(b"\n]}\n").map_err(error)?;
        }
        let (bytes, sha256) = self.sink.finish().map_err(error)?;
        let manifest = ExportManifest {
            schema: MANIFEST_SCHEMA.into(),
            file: path
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default(),
            format: self.format,
            events: self.tally.events,
            bytes,
            sha256: hex::encode(sha256),
            streams: self
                .tally
                .streams
                .into_iter()
                .map(|(stream, events)| StreamCount { stream, events })
                .collect(),
            states: self
                .tally
                .states
                .into_iter()
                .map(|(state, events)| (state.to_owned(), events))
                .collect(),
            classes: self.classes,
            made_from,
        };
        let beside = manifest_path(&path);
        let write = || -> io::Result<()> {
            let mut file = WholeFile::create(&beside, Access::Owner, self.existing)?;
            serde_json::to_writer_pretty(&mut file, &manifest)?;
            file.write_all(b"\n")?;
            file.finish()
        };
        self.file.finish().map_err(error)?;
        write().map_err(|e| FileError::new(&beside, e))?;
        Ok(manifest)
    }
}

/// What stands before the line of an event; nothing but white space before the first.
pub(crate) fn before_line(format: ExportFormat) -> &'static [u8] {
    match format {
        ExportFormat::Ndjson => b"",
        ExportFormat::Json => b",\n",
    }
}

/// What stands behind the line of an event.
pub(crate) fn behind_line(format: ExportFormat) -> &'static [u8] {
    match format {
        ExportFormat::Ndjson => b"\n",
        ExportFormat::Json => b"",
    }
}

/// Lines of an export, made by several threads at once.
#[derive(Debug, Default)]
pub struct ExportLines {
    pub(crate) text: Vec<u8>,
    pub(crate) tally: Tally,
}

impl ExportLines {
    /// Their text.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// How many events they are.
    pub fn events(&self) -> u64 {
        self.tally.events()
    }
}

/// An export that is read.
#[derive(Debug)]
pub struct Export {
    path: PathBuf,
    /// Where it can be read: kept, if it came from a pipe.
    input: InputFile,
    format: ExportFormat,
    manifest: Option<ExportManifest>,
    flaw: Option<String>,
}

impl Export {
    /// Opens an export, and compares it with its manifest if that lies beside it.
    ///
    /// # Errors
    /// It cannot be read, or is no export.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let input = InputFile::new(path).map_err(|e| FileError::new(path, e))?;
        Self::of_input(input)
    }

    /// As [`Export::open`], of a file that was looked at already.
    ///
    /// # Errors
    /// As [`Export::open`].
    pub fn of_input(input: InputFile) -> Result<Self, FileError> {
        let path = input.shown();
        let meta = input.path().metadata().map_err(|e| FileError::new(path, e))?;
        let format = recognise(&input)?;
        if format == ExportFormat::Json && meta.len() > MAX_DOCUMENT_BYTES {
            let what = format!("has more than {MAX_DOCUMENT_BYTES} bytes as one document; export as NDJSON");
            return Err(FileError::new(path, what));
        }
        let beside = manifest_path(path);
        let mut export = Self {
            path: path.to_owned(),
            input,
            format,
            manifest: None,
            flaw: None,
        };
        if beside.exists() {
            match read_manifest(&beside) {
                Ok(manifest) => {
                    export.flaw = differs(export.input.path(), &manifest)?;
                    export.manifest = Some(manifest);
                }
                Err(what) => export.flaw = Some(what.to_string()),
            }
        }
        Ok(export)
    }

    /// Where it lies, as it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How the file differs from its manifest.
    pub fn manifest_flaw(&self) -> Option<&str> {
        self.flaw.as_deref()
    }

    /// The manifest, if there is one.
    pub fn manifest(&self) -> Option<&ExportManifest> {
        self.manifest.as_ref()
    }

    pub(crate) fn events(&self) -> Option<u64> {
        self.manifest.as_ref().map(|manifest| manifest.events)
    }

    pub(crate) fn not_checked(&self) -> Vec<String> {
        if self.manifest.is_some() || self.flaw.is_some() {
            return Vec::new();
        }
        vec!["whether the export is whole: it has no manifest beside it".into()]
    }

    /// Hands over every event as a row; a broken line is named and does not stop the rest.
    ///
    /// # Errors
    /// The file cannot be read, or as one document is not JSON.
    pub fn for_each(
        &self,
        each: &mut dyn FnMut(Result<Item, String>) -> ControlFlow<()>,
    ) -> Result<(), FileError> {
        let input = files::open_text(self.input.path()).map_err(|e| FileError::new(&self.path, e))?;
        let shown = self.path.display();
        match self.format {
            ExportFormat::Ndjson => for_each_line(input, MAX_LINE_BYTES, &mut |number, line| {
                let place = format!("{shown} line {number}");
                match line {
                    Err(error) => each(Err(format!("{shown} {error}"))),
                    Ok(line) if number == 1 && is_header(line) => ControlFlow::Continue(()),
                    Ok(line) => each(read_line(line, &place)),
                }
            })
            .map_err(|e| FileError::new(&self.path, e)),
            ExportFormat::Json => {
                let mut number = 0;
                let mut element = |json: &str| {
                    number += 1;
                    each(read_line(json.as_bytes(), &format!("{shown} event {number}")))
                };
                let mut stopped = false;
                let seed = Document {
                    each: &mut element,
                    stopped: &mut stopped,
                };
                let mut json = serde_json::Deserializer::from_reader(input);
                match seed.deserialize(&mut json) {
                    Err(error) if !stopped => Err(FileError::new(
                        &self.path,
                        format!("is not a whole export: {error}"),
                    )),
                    _ => Ok(()),
                }
            }
        }
    }
}

fn recognise(input: &InputFile) -> Result<ExportFormat, FileError> {
    let path = input.shown();
    let file = files::open_text(input.path()).map_err(|e| FileError::new(path, e))?;
    let mut start = Vec::new();
    file.take(4096)
        .read_to_end(&mut start)
        .map_err(|e| FileError::new(path, e))?;
    let first = start.split(|b| *b == b'\n').next().unwrap_or_default();
    if let Ok(header) = serde_json::from_slice::<Header>(first) {
        if header.schema == SCHEMA {
            return Ok(ExportFormat::Ndjson);
        }
        let what = format!("is of schema {:?}; this program reads {SCHEMA:?}", header.schema);
        return Err(FileError::new(path, what));
    }
    let text = String::from_utf8_lossy(&start);
    let squeezed: String = text.chars().filter(|c| !c.is_whitespace()).take(200).collect();
    if squeezed.contains(&format!("\"schema\":\"{SCHEMA}\"")) {
        return Ok(ExportFormat::Json);
    }
    Err(FileError::new(
        path,
        format!("is not an export: it does not begin with schema {SCHEMA:?}"),
    ))
}

fn is_header(line: &[u8]) -> bool {
    serde_json::from_slice::<Header>(line).is_ok_and(|header| header.kind == "header")
}

fn read_line(line: &[u8], place: &str) -> Result<Item, String> {
    let named = |what: String| format!("{place}: {what}");
    let line: Line =
        serde_json::from_slice(line).map_err(|e| named(format!("not an exported event: {e}")))?;
    if line.kind != "event" {
        return Err(named(format!("a line of type {:?}", line.kind)));
    }
    let event = line.event.into_event().map_err(named)?;
    let held = line.held;
    let origin = match (held.table, held.status) {
        (Table::Outbox | Table::OlderOutbox, status) => Origin::Outbox {
            local_seq: held.row,
            status: status.unwrap_or(OutboxStatus::Unknown),
        },
        (Table::Pulled | Table::OlderPulled, _) => Origin::Pulled,
        (Table::Quarantined, _) => Origin::Quarantined,
    };
    Ok(Item {
        place: place.to_owned(),
        row: HeldRow {
            place: RowPlace {
                file: Arc::from(Path::new(&held.file)),
                table: held.table,
                row: held.row,
            },
            origin,
            event_id: event.event_id,
            stream: event.stream,
            claimed_sequence: held.claimed_sequence.filter(|n| *n > 0),
            older_log_sequence: None,
            awaits_acknowledgement: false,
            sequenced_at: held.sequenced_at,
            noted_at: None,
            content: Content::Signed(Box::new(event)),
            flaw: None,
        },
    })
}

fn read_manifest(path: &Path) -> Result<ExportManifest, FileError> {
    let file = files::open_text(path).map_err(|e| FileError::new(path, e))?;
    let manifest: ExportManifest = serde_json::from_reader(file.take(1 << 30))
        .map_err(|e| FileError::new(path, format!("is not a manifest: {e}")))?;
    if manifest.schema != MANIFEST_SCHEMA {
        let what = format!(
            "is of schema {:?}; this program reads {MANIFEST_SCHEMA:?}",
            manifest.schema
        );
        return Err(FileError::new(path, what));
    }
    Ok(manifest)
}

fn differs(path: &Path, manifest: &ExportManifest) -> Result<Option<String>, FileError> {
    let mut file = File::open(path).map_err(|e| FileError::new(path, e))?;
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer).map_err(|e| FileError::new(path, e))? {
            0 => break,
            read => {
                hash.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
    Ok(if bytes != manifest.bytes {
        Some(format!(
            "has {bytes} bytes, its manifest says {}: cut off or changed",
            manifest.bytes
        ))
    } else if hex::encode(hash.finalize()) != manifest.sha256.to_ascii_lowercase() {
        Some("is not what its manifest says: its SHA-256 is another".into())
    } else {
        None
    })
}

/// The document form, read without holding more than one event.
struct Document<'a> {
    each: &'a mut dyn FnMut(&str) -> ControlFlow<()>,
    stopped: &'a mut bool,
}

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an export")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "events" {
                map.next_value_seed(Events(&mut self))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct Events<'a, 'b>(&'a mut Document<'b>);

impl<'de> DeserializeSeed<'de> for Events<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Events<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(element) = seq.next_element::<Box<RawValue>>()? {
            if (self.0.each)(element.get()).is_break() {
                *self.0.stopped = true;
                return Err(serde::de::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}
