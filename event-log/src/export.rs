//! A log, or a part of one, as lines of JSON. The form is described in `docs/log-export.md`.

use std::borrow::Cow;
use std::io::{self, BufRead, Write};
use std::ops::ControlFlow;

use cli_common::Progress;
use serde::{Deserialize, Serialize};
use ves::{
    AgentId, CommandId, Event, EventId, Hash32, Payload, Receipt, SequencerId, SignatureBytes,
    SignatureScheme, SigningKey, StoreId, StreamKey, TenantId, Timestamp,
};

use crate::entry::{Commitment, LogEntry};
use crate::error::{LogError, RowError};
use crate::outline::{Outline, Scope, StreamOutline};
use crate::view::View;

/// The form that this version writes, and the only one that it reads.
pub const EXPORT_SCHEMA: &str = "log-export/1";

/// The longest line that is read. The sequencer takes payloads of 1 MiB.
const MAX_LINE: u64 = 32 << 20;

/// How many keys, and how many commitments and streams, are held in memory.
const MAX_OUTLINE: usize = 8_000_000;

/// How many events, and about how many bytes of lines, a reader is handed at once.
const CHUNK_EVENTS: usize = 1024;
const CHUNK_BYTES: usize = 8 << 20;

/// The table that errors of lines name.
const TABLE: &str = "log export";

/// Why a log export cannot be read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The input failed.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The first line is not that of a log export.
    #[error("is not a log export: {0}")]
    NotAnExport(String),
    /// A log export of another version.
    #[error("has the schema {0:?}; this version reads {EXPORT_SCHEMA:?}")]
    OtherSchema(String),
    /// A line that nothing after it can be trusted without.
    #[error("line {line}: {what}")]
    Line {
        /// Its number, counted from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The end is missing.
    #[error("is cut off after line {0}: its last line is not of type \"end\"")]
    Truncated(u64),
}

/// An event as it was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedEntry {
    /// The event. If the payload was left out its text is empty, which is no JSON: a check that does not look at
    /// [`ExportedEntry::redacted`] fails rather than passes.
    pub entry: LogEntry,
    /// The payload was left out; its hashes are there.
    pub redacted: bool,
}

/// How much was exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportCounts {
    /// Agents' keys.
    pub keys: u64,
    /// Streams.
    pub streams: u64,
    /// Commitments.
    pub commitments: u64,
    /// Events.
    pub events: u64,
    /// Rows that could not be read.
    pub unreadable: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderLine<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    schema: Cow<'a, str>,
    /// Whether it has all streams.
    whole: bool,
    /// Whether payloads were left out.
    redacted: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyLine<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    tenant_id: TenantId,
    agent_id: AgentId,
    key_id: u32,
    public_key: Hash32,
    #[serde(borrow)]
    status: Cow<'a, str>,
    valid_from: Option<Timestamp>,
    valid_to: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    key_algorithm: i16,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamLine<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    tenant_id: TenantId,
    store_id: StoreId,
    /// The numbers that were looked at, where not all were.
    range: Option<(u64, u64)>,
    events: u64,
    first: Option<u64>,
    last: Option<u64>,
    counter: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CommitmentLine<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    batch_id: ves::BatchId,
    tenant_id: TenantId,
    store_id: StoreId,
    ves_version: u32,
    tree_depth: u32,
    leaf_count: u32,
    padded_leaf_count: u32,
    merkle_root: Hash32,
    prev_state_root: Hash32,
    new_state_root: Hash32,
    sequence_start: u64,
    sequence_end: u64,
    committed_at: Timestamp,
    chain_id: Option<u32>,
    chain_tx_hash: Option<Hash32>,
    chain_block_number: Option<u64>,
    anchored_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventLine<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    tenant_id: TenantId,
    store_id: StoreId,
    sequence_number: u64,
    event_id: EventId,
    command_id: Option<CommandId>,
    ves_version: u32,
    source_agent_id: AgentId,
    agent_key_id: u32,
    #[serde(borrow)]
    entity_type: Cow<'a, str>,
    #[serde(borrow)]
    entity_id: Cow<'a, str>,
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    created_at: Timestamp,
    #[serde(borrow)]
    created_at_str: Cow<'a, str>,
    sequenced_at: Timestamp,
    payload_kind: u32,
    /// The JSON text as stored. Missing if payloads were left out.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    payload: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    payload_encrypted: Option<Cow<'a, str>>,
    payload_plain_hash: Hash32,
    payload_cipher_hash: Hash32,
    event_signing_hash: Hash32,
    agent_signature: SignatureBytes,
    base_version: Option<i64>,
    agent_signature_scheme: i16,
    #[serde(borrow)]
    agent_signature_bundle: Option<Cow<'a, str>>,
    #[serde(borrow)]
    receipt: Option<ReceiptJson<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiptJson<'a> {
    event_id: EventId,
    sequencer_id: SequencerId,
    sequence_number: u64,
    sequenced_at: Timestamp,
    receipt_hash: Hash32,
    sequencer_signature: Option<SignatureBytes>,
    sequencer_key_version: i32,
    receipt_signature_scheme: i16,
    #[serde(borrow)]
    receipt_signature_bundle: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UnreadableLine<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    table: Cow<'a, str>,
    tenant_id: Option<TenantId>,
    store_id: Option<StoreId>,
    sequence_number: Option<u64>,
    #[serde(borrow)]
    what: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndLine<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    counts: ExportCounts,
}

fn hex_bytes(bytes: Option<&Vec<u8>>) -> Option<Cow<'_, str>> {
    bytes.map(|bytes| hex::encode(bytes).into())
}

fn bytes_of(hex: Option<&str>) -> Result<Option<Vec<u8>>, String> {
    hex.map(|hex| hex::decode(hex).map_err(|e| format!("a signature bundle is not hex: {e}")))
        .transpose()
}

impl<'a> EventLine<'a> {
    fn of(entry: &'a LogEntry, redact: bool) -> Self {
        let event = &entry.event;
        let (mut payload, mut payload_encrypted) = match &event.payload {
            Payload::Plain(json) => (Some(json.as_str().into()), None),
            Payload::Encrypted(json) => (None, Some(json.as_str().into())),
        };
        if redact {
            (payload, payload_encrypted) = (None, None);
        }
        Self {
            kind: "event".into(),
            tenant_id: event.stream.tenant_id,
            store_id: event.stream.store_id,
            sequence_number: entry.sequence_number,
            event_id: event.event_id,
            command_id: event.command_id,
            ves_version: event.ves_version,
            source_agent_id: event.source_agent_id,
            agent_key_id: event.agent_key_id,
            entity_type: event.entity_type.as_str().into(),
            entity_id: event.entity_id.as_str().into(),
            event_type: event.event_type.as_str().into(),
            created_at: entry.created_at_column,
            created_at_str: event.created_at.as_str().into(),
            sequenced_at: entry.sequenced_at,
            payload_kind: event.payload.kind(),
            payload,
            payload_encrypted,
            payload_plain_hash: event.payload_plain_hash,
            payload_cipher_hash: event.payload_cipher_hash,
            event_signing_hash: entry.event_signing_hash,
            agent_signature: event.agent_signature,
            base_version: event.base_version,
            agent_signature_scheme: event.agent_signature_scheme.0,
            agent_signature_bundle: hex_bytes(event.agent_signature_bundle.as_ref()),
            receipt: entry.receipt.as_ref().map(|receipt| ReceiptJson {
                event_id: receipt.event_id,
                sequencer_id: receipt.sequencer_id,
                sequence_number: receipt.sequence_number,
                sequenced_at: receipt.sequenced_at,
                receipt_hash: receipt.receipt_hash,
                sequencer_signature: receipt.sequencer_signature,
                sequencer_key_version: receipt.sequencer_key_version,
                receipt_signature_scheme: receipt.receipt_signature_scheme,
                receipt_signature_bundle: hex_bytes(receipt.receipt_signature_bundle.as_ref()),
            }),
        }
    }

    fn stream(&self) -> StreamKey {
        StreamKey::new(self.tenant_id, self.store_id)
    }

    fn read(self, may_be_redacted: bool) -> Result<ExportedEntry, String> {
        let stream = self.stream();
        let given = (self.payload_kind, self.payload, self.payload_encrypted);
        let (payload, redacted) = match given {
            (0, Some(json), None) => (Payload::Plain(json.into_owned()), false),
            (1, None, Some(json)) => (Payload::Encrypted(json.into_owned()), false),
            (0, None, None) if may_be_redacted => (Payload::Plain(String::new()), true),
            (1, None, None) if may_be_redacted => (Payload::Encrypted(String::new()), true),
            (kind, ..) => {
                return Err(format!(
                    "payload_kind is {kind}, and the payload is not there or not of that kind"
                ));
            }
        };
        let receipt = self
            .receipt
            .map(|receipt| -> Result<Receipt, String> {
                Ok(Receipt {
                    event_id: receipt.event_id,
                    sequencer_id: receipt.sequencer_id,
                    sequence_number: receipt.sequence_number,
                    sequenced_at: receipt.sequenced_at,
                    receipt_hash: receipt.receipt_hash,
                    sequencer_signature: receipt.sequencer_signature,
                    sequencer_key_version: receipt.sequencer_key_version,
                    receipt_signature_scheme: receipt.receipt_signature_scheme,
                    receipt_signature_bundle: bytes_of(receipt.receipt_signature_bundle.as_deref())?,
                })
            })
            .transpose()?;
        Ok(ExportedEntry {
            entry: LogEntry {
                event: Event {
                    event_id: self.event_id,
                    stream,
                    ves_version: self.ves_version,
                    source_agent_id: self.source_agent_id,
                    agent_key_id: self.agent_key_id,
                    entity_type: self.entity_type.into_owned(),
                    entity_id: self.entity_id.into_owned(),
                    event_type: self.event_type.into_owned(),
                    created_at: self.created_at_str.into_owned(),
                    payload,
                    payload_plain_hash: self.payload_plain_hash,
                    payload_cipher_hash: self.payload_cipher_hash,
                    agent_signature: self.agent_signature,
                    agent_signature_scheme: SignatureScheme(self.agent_signature_scheme),
                    agent_signature_bundle: bytes_of(self.agent_signature_bundle.as_deref())?,
                    command_id: self.command_id,
                    base_version: self.base_version,
                },
                sequence_number: self.sequence_number,
                event_signing_hash: self.event_signing_hash,
                created_at_column: self.created_at,
                sequenced_at: self.sequenced_at,
                receipt,
            },
            redacted,
        })
    }
}

fn key_line(key: &SigningKey) -> KeyLine<'_> {
    KeyLine {
        kind: "key".into(),
        tenant_id: key.tenant_id,
        agent_id: key.agent_id,
        key_id: key.key_id,
        public_key: key.public_key,
        status: key.status.as_str().into(),
        valid_from: key.valid_from,
        valid_to: key.valid_to,
        revoked_at: key.revoked_at,
        key_algorithm: key.key_algorithm,
    }
}

fn commitment_line(c: &Commitment) -> CommitmentLine<'static> {
    CommitmentLine {
        kind: "commitment".into(),
        batch_id: c.batch_id,
        tenant_id: c.stream.tenant_id,
        store_id: c.stream.store_id,
        ves_version: c.ves_version,
        tree_depth: c.tree_depth,
        leaf_count: c.leaf_count,
        padded_leaf_count: c.padded_leaf_count,
        merkle_root: c.merkle_root,
        prev_state_root: c.prev_state_root,
        new_state_root: c.new_state_root,
        sequence_start: c.sequence_start,
        sequence_end: c.sequence_end,
        committed_at: c.committed_at,
        chain_id: c.chain_id,
        chain_tx_hash: c.chain_tx_hash,
        chain_block_number: c.chain_block_number,
        anchored_at: c.anchored_at,
    }
}

struct Lines<'a> {
    out: &'a mut dyn Write,
    counts: ExportCounts,
}

impl Lines<'_> {
    fn put(&mut self, line: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut *self.out, line)?;
        self.out.write_all(b"\n")
    }

    fn unreadable(&mut self, row: &RowError) -> io::Result<()> {
        self.counts.unreadable += 1;
        self.put(&UnreadableLine {
            kind: "unreadable".into(),
            table: row.table.into(),
            tenant_id: row.stream.map(|s| s.tenant_id),
            store_id: row.stream.map(|s| s.store_id),
            sequence_number: row.sequence,
            what: row.what.as_str().into(),
        })
    }
}

/// Writes a log, or a part of it, as lines of JSON (`docs/log-export.md`). With `redact` payloads are left out; their
/// hashes stay. The same log gives the same bytes, and memory does not grow with the number of events.
///
/// # Errors
/// If the database fails, a named stream is not in the log, or `out` fails ([`LogError::Io`] with an empty path).
pub async fn write_export(
    view: &mut View,
    scope: &Scope,
    redact: bool,
    out: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<ExportCounts, LogError> {
    let io_error = |source| LogError::Io {
        path: Default::default(),
        source,
    };
    let outline = Outline::of_view(view, scope).await?;
    if let Some(missing) = scope
        .streams
        .iter()
        .find(|wanted| !outline.streams.iter().any(|s| s.stream == **wanted))
    {
        return Err(LogError::Refused {
            doing: "exporting the log",
            what: format!("stream {missing} is not in it"),
        });
    }
    let mut lines = Lines {
        out,
        counts: ExportCounts::default(),
    };
    write_outline(&mut lines, &outline, redact).map_err(io_error)?;
    let total = outline.streams.iter().map(|s| s.events).sum();
    progress.start("exporting events", Some(total));
    for stream in &outline.streams {
        let (Some(first), Some(last)) = (stream.first, stream.last) else {
            continue;
        };
        let mut failed = None;
        view.for_each_entry(&stream.stream, first..=last, &mut |chunk| {
            progress.advance(chunk.len() as u64);
            let written = chunk.into_iter().try_for_each(|row| match row {
                Ok(entry) => {
                    lines.counts.events += 1;
                    lines.put(&EventLine::of(&entry, redact))
                }
                Err(row) => lines.unreadable(&row),
            });
            match written {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })
        .await?;
        if let Some(error) = failed {
            return Err(io_error(error));
        }
    }
    progress.finish();
    let end = EndLine {
        kind: "end".into(),
        counts: lines.counts,
    };
    lines.put(&end).map_err(io_error)?;
    Ok(end.counts)
}

fn write_outline(lines: &mut Lines<'_>, outline: &Outline, redact: bool) -> io::Result<()> {
    lines.put(&HeaderLine {
        kind: "header".into(),
        schema: EXPORT_SCHEMA.into(),
        whole: outline.whole,
        redacted: redact,
    })?;
    for key in &outline.keys {
        lines.counts.keys += 1;
        lines.put(&key_line(key))?;
    }
    for stream in &outline.streams {
        lines.counts.streams += 1;
        lines.put(&StreamLine {
            kind: "stream".into(),
            tenant_id: stream.stream.tenant_id,
            store_id: stream.stream.store_id,
            range: stream.range.as_ref().map(|r| (*r.start(), *r.end())),
            events: stream.events,
            first: stream.first,
            last: stream.last,
            counter: stream.counter,
        })?;
        for commitment in &stream.commitments {
            lines.counts.commitments += 1;
            lines.put(&commitment_line(commitment))?;
        }
    }
    for row in &outline.unreadable {
        lines.unreadable(row)?;
    }
    Ok(())
}

/// Reads a log export in one pass: first what is beside the events, then the events in order.
///
/// All of it is hostile input. A line that is wrong in itself is given as a [`RowError`] in its place; one that leaves
/// it open what the rest is, ends the reading.
#[derive(Debug)]
pub struct ExportReader<R> {
    input: R,
    line: u64,
    buffer: Vec<u8>,
    /// The line in `buffer` was read, and nobody has looked at it yet.
    held: bool,
    redacted: bool,
    counts: ExportCounts,
    outline: Outline,
    /// The place of the last event, which the next one must lie behind.
    last: Option<(usize, u64)>,
    /// How many rows there were of each stream.
    seen: Vec<u64>,
    /// How many rows there were of no known stream.
    astray: u64,
}

#[derive(Deserialize)]
struct TypeOnly<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

/// The type of a line. Ours begin with it, so that most need not be read twice.
fn kind(line: &[u8]) -> Result<Cow<'_, str>, serde_json::Error> {
    if line.starts_with(b"{\"type\":\"event\"") {
        return Ok("event".into());
    }
    serde_json::from_slice::<TypeOnly<'_>>(line).map(|line| line.kind)
}

/// What follows the outline.
enum Item {
    Event(Box<ExportedEntry>),
    Bad(RowError),
    /// With what its counts contradict, if they do.
    End(Option<RowError>),
}

impl<R: BufRead> ExportReader<R> {
    /// Reads everything before the first event.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub fn new(input: R) -> Result<Self, ExportError> {
        let mut reader = Self {
            input,
            line: 0,
            buffer: Vec::new(),
            held: false,
            redacted: false,
            counts: ExportCounts::default(),
            outline: Outline::default(),
            last: None,
            seen: Vec::new(),
            astray: 0,
        };
        reader.read_header()?;
        reader.read_outline()?;
        reader.seen = vec![0; reader.outline.streams.len()];
        Ok(reader)
    }

    /// What it holds beside the events.
    pub fn outline(&self) -> &Outline {
        &self.outline
    }

    /// Whether payloads may be left out.
    pub fn redacted(&self) -> bool {
        self.redacted
    }

    /// What is behind the export, once [`ExportReader::for_each_entry`] has come to its end.
    pub fn into_inner(self) -> R {
        self.input
    }

    fn bad(&self, what: impl std::fmt::Display) -> ExportError {
        ExportError::Line {
            line: self.line,
            what: what.to_string(),
        }
    }

    fn bad_row(
        &self,
        stream: Option<StreamKey>,
        sequence: Option<u64>,
        what: impl std::fmt::Display,
    ) -> RowError {
        RowError {
            table: TABLE,
            stream,
            sequence,
            what: format!("line {}: {what}", self.line),
        }
    }

    /// Reads the next line into the buffer; false at the end of the input.
    fn next_line(&mut self) -> Result<bool, ExportError> {
        if std::mem::take(&mut self.held) {
            return Ok(true);
        }
        self.buffer.clear();
        let read = io::Read::take(&mut self.input, MAX_LINE).read_until(b'\n', &mut self.buffer)?;
        if read == 0 {
            return Ok(false);
        }
        self.line += 1;
        if self.buffer.pop_if(|last| *last == b'\n').is_none() {
            return if read as u64 == MAX_LINE {
                Err(self.bad(format_args!("is longer than {} MiB", MAX_LINE >> 20)))
            } else {
                Err(ExportError::Truncated(self.line - 1))
            };
        }
        Ok(true)
    }

    fn read_header(&mut self) -> Result<(), ExportError> {
        if !self.next_line()? {
            return Err(ExportError::NotAnExport("it is empty".into()));
        }
        // Another version may differ in everything but its name, so the name comes first.
        #[derive(Deserialize)]
        struct SchemaOnly {
            schema: String,
        }
        let schema: SchemaOnly =
            serde_json::from_slice(&self.buffer).map_err(|e| ExportError::NotAnExport(e.to_string()))?;
        if schema.schema != EXPORT_SCHEMA {
            return Err(ExportError::OtherSchema(schema.schema.chars().take(60).collect()));
        }
        let header: HeaderLine<'_> = serde_json::from_slice(&self.buffer).map_err(|e| self.bad(e))?;
        if header.kind != "header" {
            return Err(self.bad("the first line is not of type \"header\""));
        }
        (self.redacted, self.outline.whole) = (header.redacted, header.whole);
        Ok(())
    }

    fn read_outline(&mut self) -> Result<(), ExportError> {
        while self.next_line()? {
            let kind = kind(&self.buffer).map_err(|e| self.bad(e))?;
            match kind.as_ref() {
                "key" => {
                    self.counts.keys += 1;
                    let line: KeyLine<'_> = serde_json::from_slice(&self.buffer).map_err(|e| self.bad(e))?;
                    let key = SigningKey {
                        tenant_id: line.tenant_id,
                        agent_id: line.agent_id,
                        key_id: line.key_id,
                        public_key: line.public_key,
                        status: line.status.into_owned(),
                        valid_from: line.valid_from,
                        valid_to: line.valid_to,
                        revoked_at: line.revoked_at,
                        key_algorithm: line.key_algorithm,
                    };
                    let id = |key: &SigningKey| (key.tenant_id, key.agent_id, key.key_id);
                    // In order, so that no key can be given twice: which one counts would be open.
                    if self.outline.keys.last().is_some_and(|last| id(last) >= id(&key)) {
                        return Err(self.bad("the keys are not in order, or one is there twice"));
                    }
                    self.outline.keys.push(key);
                }
                "stream" => {
                    self.counts.streams += 1;
                    let line: StreamLine<'_> =
                        serde_json::from_slice(&self.buffer).map_err(|e| self.bad(e))?;
                    let stream = StreamKey::new(line.tenant_id, line.store_id);
                    if self
                        .outline
                        .streams
                        .last()
                        .is_some_and(|last| last.stream >= stream)
                    {
                        return Err(self.bad("the streams are not in order, or one is there twice"));
                    }
                    let numbers = [line.first, line.last].into_iter().flatten();
                    let in_range = |n: u64| n >= 1 && line.range.is_none_or(|(a, b)| (a..=b).contains(&n));
                    if !numbers.clone().all(in_range) || line.first.is_some() != line.last.is_some() {
                        return Err(self.bad("first and last do not fit each other or the range"));
                    }
                    self.outline.streams.push(StreamOutline {
                        stream,
                        range: line.range.map(|(from, to)| from..=to),
                        events: line.events,
                        first: line.first,
                        last: line.last,
                        counter: line.counter,
                        commitments: Vec::new(),
                    });
                }
                "commitment" => {
                    self.counts.commitments += 1;
                    let line: CommitmentLine<'_> =
                        serde_json::from_slice(&self.buffer).map_err(|e| self.bad(e))?;
                    self.add_commitment(line.into())?;
                }
                "unreadable" => {
                    self.counts.unreadable += 1;
                    let row = self.read_unreadable()?;
                    self.outline.unreadable.push(row);
                }
                "event" | "end" => {
                    self.held = true;
                    return Ok(());
                }
                other => {
                    let what = format!("has the type {:?}, which nobody knows", short(other));
                    return Err(self.bad(what));
                }
            }
            let held =
                self.counts.keys + self.counts.streams + self.counts.commitments + self.counts.unreadable;
            if held > MAX_OUTLINE as u64 {
                return Err(self.bad("there are more keys, streams and commitments than can be held"));
            }
        }
        Err(ExportError::Truncated(self.line))
    }

    fn add_commitment(&mut self, commitment: Commitment) -> Result<(), ExportError> {
        let line = self.line;
        let bad = |what: &str| ExportError::Line {
            line,
            what: what.into(),
        };
        let stream = self
            .outline
            .streams
            .last_mut()
            .filter(|stream| stream.stream == commitment.stream)
            .ok_or_else(|| bad("the commitment does not stand behind its stream"))?;
        let order = |c: &Commitment| (c.sequence_start, c.sequence_end, c.batch_id);
        if stream
            .commitments
            .last()
            .is_some_and(|last| order(last) >= order(&commitment))
        {
            return Err(bad("the commitments are not in order, or one is there twice"));
        }
        stream.commitments.push(commitment);
        Ok(())
    }

    fn read_unreadable(&self) -> Result<RowError, ExportError> {
        let line: UnreadableLine<'_> = serde_json::from_slice(&self.buffer).map_err(|e| self.bad(e))?;
        let stream = line
            .tenant_id
            .zip(line.store_id)
            .map(|(tenant, store)| StreamKey::new(tenant, store));
        let what = format!("{}: {}", line.table, line.what);
        Ok(self.bad_row(stream, line.sequence_number, what))
    }

    /// Gives the events to `each`, in order and in chunks: the memory that this takes does not grow with the export.
    ///
    /// # Errors
    /// See [`ExportError`]. An end that counts something else than was there is given as a bad row.
    pub fn for_each_entry(
        &mut self,
        each: &mut dyn FnMut(Vec<Result<ExportedEntry, RowError>>) -> ControlFlow<()>,
    ) -> Result<(), ExportError> {
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        loop {
            if !self.next_line()? {
                return Err(ExportError::Truncated(self.line));
            }
            bytes += self.buffer.len();
            match self.item()? {
                Item::Event(entry) => {
                    self.count(Some(&entry.entry.event.stream));
                    chunk.push(Ok(*entry));
                }
                Item::Bad(row) => {
                    self.count(row.stream.as_ref());
                    chunk.push(Err(row));
                }
                Item::End(wrong) => {
                    chunk.extend(wrong.map(Err));
                    if !chunk.is_empty() {
                        let _ = each(chunk);
                    }
                    return if self.next_line()? {
                        Err(self.bad("there is more behind the end"))
                    } else {
                        Ok(())
                    };
                }
            }
            if chunk.len() >= CHUNK_EVENTS || bytes >= CHUNK_BYTES {
                bytes = 0;
                if each(std::mem::take(&mut chunk)).is_break() {
                    return Ok(());
                }
            }
        }
    }

    fn count(&mut self, stream: Option<&StreamKey>) {
        let known = |stream| self.outline.streams.binary_search_by_key(stream, |s| s.stream);
        match stream.map(known) {
            Some(Ok(index)) => self.seen[index] += 1,
            _ => self.astray += 1,
        }
    }

    /// A stream that has more or fewer events than it was announced with.
    fn miscounted(&self) -> Option<RowError> {
        let fits = |events: u64, seen: u64| (seen..=seen + self.astray).contains(&events);
        let mut streams = self.outline.streams.iter().zip(&self.seen);
        let (stream, seen) = streams.find(|(stream, seen)| !fits(stream.events, **seen))?;
        let what = format!("{} events were announced, {seen} are there", stream.events);
        Some(self.bad_row(Some(stream.stream), None, what))
    }

    fn item(&mut self) -> Result<Item, ExportError> {
        let kind = match kind(&self.buffer) {
            Ok(kind) => kind,
            Err(error) => {
                // It may have been an event.
                self.counts.events += 1;
                return Ok(Item::Bad(self.bad_row(None, None, error)));
            }
        };
        match kind.as_ref() {
            "event" => {
                self.counts.events += 1;
                let line: EventLine<'_> = match serde_json::from_slice(&self.buffer) {
                    Ok(line) => line,
                    Err(error) => return Ok(Item::Bad(self.bad_row(None, None, error))),
                };
                let (stream, sequence) = (line.stream(), line.sequence_number);
                let entry = line
                    .read(self.redacted)
                    .and_then(|entry| self.place(&stream, sequence).map(|()| entry));
                Ok(match entry {
                    Ok(entry) => Item::Event(Box::new(entry)),
                    Err(what) => Item::Bad(self.bad_row(Some(stream), Some(sequence), what)),
                })
            }
            "unreadable" => {
                self.counts.unreadable += 1;
                self.read_unreadable().map(Item::Bad)
            }
            "end" => {
                let end: EndLine<'_> = serde_json::from_slice(&self.buffer).map_err(|e| self.bad(e))?;
                // The rest was read all the same, so this is told rather than an end of the reading.
                let wrong = (end.counts != self.counts).then(|| {
                    let (said, found) = (&end.counts, &self.counts);
                    let what = format!(
                        "the end counts {} events, {} commitments, {} streams, {} keys; there were {}, {}, {}, {}",
                        said.events,
                        said.commitments,
                        said.streams,
                        said.keys,
                        found.events,
                        found.commitments,
                        found.streams,
                        found.keys
                    );
                    self.bad_row(None, None, what)
                });
                Ok(Item::End(wrong.or_else(|| self.miscounted())))
            }
            other => {
                let what = format!(
                    "has the type {:?}, which has no place among the events",
                    short(other)
                );
                Err(self.bad(what))
            }
        }
    }

    /// Sees to it that an event stands where it must: in a stream that was announced, and behind the one before.
    fn place(&mut self, stream: &StreamKey, sequence: u64) -> Result<(), String> {
        let index = self
            .outline
            .streams
            .binary_search_by_key(stream, |s| s.stream)
            .map_err(|_| "the event is of a stream that was not announced".to_owned())?;
        let announced = &self.outline.streams[index];
        let within = announced.first.zip(announced.last);
        if within.is_none_or(|(first, last)| !(first..=last).contains(&sequence)) {
            return Err("the event's number is not among those that were announced".into());
        }
        if let Some((last_stream, last)) = self.last
            && (last_stream, last) >= (index, sequence)
        {
            return Err(if last_stream == index {
                format!("event {sequence} stands behind event {last}")
            } else {
                "the event stands behind those of a later stream".into()
            });
        }
        self.last = Some((index, sequence));
        Ok(())
    }
}

impl From<CommitmentLine<'_>> for Commitment {
    fn from(line: CommitmentLine<'_>) -> Self {
        Self {
            batch_id: line.batch_id,
            stream: StreamKey::new(line.tenant_id, line.store_id),
            ves_version: line.ves_version,
            tree_depth: line.tree_depth,
            leaf_count: line.leaf_count,
            padded_leaf_count: line.padded_leaf_count,
            merkle_root: line.merkle_root,
            prev_state_root: line.prev_state_root,
            new_state_root: line.new_state_root,
            sequence_start: line.sequence_start,
            sequence_end: line.sequence_end,
            committed_at: line.committed_at,
            chain_id: line.chain_id,
            chain_tx_hash: line.chain_tx_hash,
            chain_block_number: line.chain_block_number,
            anchored_at: line.anchored_at,
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}
