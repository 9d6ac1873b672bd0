//! Reading an export.

use std::borrow::Cow;
use std::io::{self, BufRead};
use std::ops::ControlFlow;

use serde::Deserialize;
use ves::{AgentId, SigningKey, StreamKey, TenantId};

use super::lines::{
    CommitmentLine, EndLine, EventLine, ExportCounts, ExportedEntry, HeaderLine, KeyLine, StreamLine,
    UnreadableLine, bytes_of,
};
use super::{EXPORT_SCHEMA, ExportError};
use crate::entry::{Commitment, UnreadableKey};
use crate::error::RowError;
use crate::outline::{Outline, StreamOutline};
use crate::pipeline::Pipeline;

/// The longest line that is read or written. The sequencer takes payloads of 1 MiB.
pub(super) const MAX_LINE: u64 = 32 << 20;
/// How many keys, and how many commitments and streams, are held in memory.
const MAX_OUTLINE: usize = 8_000_000;
/// How many events, and about how many bytes of lines, a reader is handed at once.
const CHUNK_EVENTS: usize = 1024;
const CHUNK_BYTES: usize = 8 << 20;
/// The table that errors of lines name.
const TABLE: &str = "log export";
/// The tables that an event is read from.
const EVENT_TABLES: [&str; 2] = ["ves_events", "ves_sequencer_receipts"];

/// Reads a log export in one pass: first what is beside the events, then the events in order.
///
/// All of it is hostile input. A line that is wrong in itself is given as a [`RowError`] in its place; one that leaves
/// it open what the rest is, ends the reading.
#[derive(Debug)]
pub struct ExportReader<R> {
    input: R,
    /// How many lines were read.
    line: u64,
    buffer: Vec<u8>,
    /// The line in `buffer` was read, and nobody has looked at it yet.
    held: bool,
    redacted: bool,
    order: Order,
}

/// What the lines must be together: as announced, in order, as many as the end says.
#[derive(Debug, Default)]
struct Order {
    counts: ExportCounts,
    outline: Outline,
    /// The place of the last event, which the next one must lie behind.
    last: Option<(usize, u64)>,
    /// How many rows there were of each stream.
    seen: Vec<u64>,
    /// How many rows there were of no known stream.
    astray: u64,
    /// The last line was there.
    ended: bool,
}

/// Some lines of the events' part, as they stand there.
#[derive(Default)]
struct RawLines {
    /// The number of the first of them, counted from 1.
    first: u64,
    text: Vec<u8>,
    /// Where in the text each ends, without its line break.
    ends: Vec<usize>,
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

/// What a line of the events' part says by itself.
enum Line {
    Event {
        stream: StreamKey,
        sequence: u64,
        entry: Result<Box<ExportedEntry>, String>,
    },
    /// It may have been an event.
    Faulty(RowError),
    Unreadable(RowError),
    End(ExportCounts),
    /// Nothing behind it can be trusted.
    Fatal(ExportError),
}

impl RawLines {
    /// The lines with their numbers.
    fn read(&self, redacted: bool) -> Vec<(u64, Line)> {
        let mut begin = 0;
        let mut lines = Vec::with_capacity(self.ends.len());
        for (end, number) in self.ends.iter().zip(self.first..) {
            lines.push((number, read_line(number, &self.text[begin..*end], redacted)));
            begin = *end;
        }
        lines
    }
}

fn read_line(number: u64, text: &[u8], redacted: bool) -> Line {
    let kind = match kind(text) {
        Ok(kind) => kind,
        Err(error) => return Line::Faulty(bad_row(number, None, None, error)),
    };
    match kind.as_ref() {
        "event" => match serde_json::from_slice::<EventLine<'_>>(text) {
            Ok(line) => Line::Event {
                stream: line.stream(),
                sequence: line.sequence_number,
                entry: line.read(redacted).map(Box::new),
            },
            Err(error) => Line::Faulty(bad_row(number, None, None, error)),
        },
        "unreadable" => {
            read_unreadable(number, text).map_or_else(Line::Fatal, |read| Line::Unreadable(read.row))
        }
        "end" => match serde_json::from_slice::<EndLine<'_>>(text) {
            Ok(line) => Line::End(line.counts),
            Err(error) => Line::Fatal(bad(number, error)),
        },
        other => {
            let what = format!(
                "has the type {:?}, which has no place among the events",
                short(other)
            );
            Line::Fatal(bad(number, what))
        }
    }
}

/// The name of an agent's key.
type KeyName = (TenantId, AgentId, u32);

/// A row that could not be read.
struct Unreadable {
    row: RowError,
    /// The key's name, if it is one of a key.
    key: Option<KeyName>,
    /// Whether it stands for an event, in that one's place.
    of_event: bool,
}

fn read_unreadable(number: u64, text: &[u8]) -> Result<Unreadable, ExportError> {
    let line: UnreadableLine<'_> = serde_json::from_slice(text).map_err(|e| bad(number, e))?;
    let stream = line
        .tenant_id
        .zip(line.store_id)
        .map(|(tenant, store)| StreamKey::new(tenant, store));
    let what = format!("{}: {}", line.table, line.what);
    let key = match (line.tenant_id, line.agent_id, line.key_id) {
        (Some(tenant), Some(agent), Some(key)) => Some((tenant, agent, key)),
        _ => None,
    };
    // Rows that belong to no place in a stream, and commitments, are told before the events.
    let of_event = line.sequence_number.is_some() && EVENT_TABLES.contains(&line.table.as_ref());
    Ok(Unreadable {
        row: bad_row(number, stream, line.sequence_number, what),
        key,
        of_event,
    })
}

fn bad(line: u64, what: impl std::fmt::Display) -> ExportError {
    ExportError::Line {
        line,
        what: what.to_string(),
    }
}

fn bad_row(
    line: u64,
    stream: Option<StreamKey>,
    sequence: Option<u64>,
    what: impl std::fmt::Display,
) -> RowError {
    RowError {
        table: TABLE,
        stream,
        sequence,
        what: format!("line {line}: {what}"),
    }
}

/// Appends the next line of the input, without its line break; false at the end of the input. `line` counts the lines.
fn append_line(input: &mut impl BufRead, line: &mut u64, to: &mut Vec<u8>) -> Result<bool, ExportError> {
    let read = io::Read::take(input, MAX_LINE).read_until(b'\n', to)?;
    if read == 0 {
        return Ok(false);
    }
    *line += 1;
    if to.pop_if(|last| *last == b'\n').is_none() {
        return if read as u64 == MAX_LINE {
            Err(bad(*line, format_args!("is longer than {} MiB", MAX_LINE >> 20)))
        } else {
            Err(ExportError::Truncated(*line - 1))
        };
    }
    Ok(true)
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
            order: Order::default(),
        };
        reader.read_header()?;
        reader.read_outline()?;
        reader.order.seen = vec![0; reader.order.outline.streams.len()];
        Ok(reader)
    }

    /// What it holds beside the events.
    pub fn outline(&self) -> &Outline {
        &self.order.outline
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
        bad(self.line, what)
    }

    /// Reads the next line into the buffer; false at the end of the input.
    fn next_line(&mut self) -> Result<bool, ExportError> {
        self.buffer.clear();
        append_line(&mut self.input, &mut self.line, &mut self.buffer)
    }

    /// The next lines, and how it ended if there are no more.
    fn next_lines(&mut self) -> (RawLines, Option<Result<(), ExportError>>) {
        let mut lines = RawLines {
            first: self.line + 1,
            ..RawLines::default()
        };
        if std::mem::take(&mut self.held) {
            lines.first = self.line;
            lines.text.append(&mut self.buffer);
            lines.ends.push(lines.text.len());
        }
        while lines.ends.len() < CHUNK_EVENTS && lines.text.len() < CHUNK_BYTES {
            match append_line(&mut self.input, &mut self.line, &mut lines.text) {
                Ok(true) => lines.ends.push(lines.text.len()),
                Ok(false) => return (lines, Some(Ok(()))),
                Err(error) => return (lines, Some(Err(error))),
            }
        }
        (lines, None)
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
        (self.redacted, self.order.outline.whole) = (header.redacted, header.whole);
        Ok(())
    }

    fn read_outline(&mut self) -> Result<(), ExportError> {
        while self.next_line()? {
            let kind = kind(&self.buffer).map_err(|e| self.bad(e))?;
            match kind.as_ref() {
                "key" => {
                    self.order.counts.keys += 1;
                    let key = self.read_key()?;
                    let id = |key: &SigningKey| (key.tenant_id, key.agent_id, key.key_id);
                    // In order, so that no key can be given twice: which one counts would be open.
                    if self
                        .order
                        .outline
                        .keys
                        .last()
                        .is_some_and(|last| id(last) >= id(&key))
                    {
                        return Err(self.bad("the keys are not in order, or one is there twice"));
                    }
                    self.order.outline.keys.push(key);
                }
                "stream" => {
                    self.order.counts.streams += 1;
                    let line: StreamLine<'_> =
                        serde_json::from_slice(&self.buffer).map_err(|e| self.bad(e))?;
                    let stream = StreamKey::new(line.tenant_id, line.store_id);
                    if self
                        .order
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
                    self.order.outline.streams.push(StreamOutline {
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
                    self.order.counts.commitments += 1;
                    let line: CommitmentLine<'_> =
                        serde_json::from_slice(&self.buffer).map_err(|e| self.bad(e))?;
                    self.add_commitment(line.into())?;
                }
                "unreadable" => {
                    let Unreadable { row, key, of_event } = read_unreadable(self.line, &self.buffer)?;
                    if of_event {
                        // The first of the events, and it cannot be read.
                        self.held = true;
                        return Ok(());
                    }
                    self.order.counts.unreadable += 1;
                    if key.is_some() {
                        let key = UnreadableKey {
                            name: key,
                            error: row,
                        };
                        self.order.outline.unreadable_keys.push(key);
                    } else {
                        self.order.outline.unreadable.push(row);
                    }
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
            let held = self.order.counts.keys
                + self.order.counts.streams
                + self.order.counts.commitments
                + self.order.counts.unreadable;
            if held > MAX_OUTLINE as u64 {
                return Err(self.bad("there are more keys, streams and commitments than can be held"));
            }
        }
        Err(ExportError::Truncated(self.line))
    }

    /// The key in the buffer.
    fn read_key(&self) -> Result<SigningKey, ExportError> {
        let line: KeyLine<'_> = serde_json::from_slice(&self.buffer).map_err(|e| self.bad(e))?;
        Ok(SigningKey {
            tenant_id: line.tenant_id,
            agent_id: line.agent_id,
            key_id: line.key_id,
            public_key: line.public_key,
            status: line.status.into_owned(),
            valid_from: line.valid_from,
            valid_to: line.valid_to,
            revoked_at: line.revoked_at,
            key_algorithm: line.key_algorithm,
            public_key_bundle: bytes_of(line.public_key_bundle.as_deref()).map_err(|what| self.bad(what))?,
        })
    }

    fn add_commitment(&mut self, commitment: Commitment) -> Result<(), ExportError> {
        let line = self.line;
        let bad = |what: &str| ExportError::Line {
            line,
            what: what.into(),
        };
        let stream = self
            .order
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

    /// Gives the events to `each`, in order and in chunks: the memory that this takes does not grow with the export. This
    /// thread reads the lines; what they say is read on all threads of rayon's current pool.
    ///
    /// # Errors
    /// See [`ExportError`]. An end that counts something else than was there is given as a bad row.
    pub fn for_each_entry(
        &mut self,
        each: &mut dyn FnMut(Vec<Result<ExportedEntry, RowError>>) -> ControlFlow<()>,
    ) -> Result<(), ExportError> {
        let redacted = self.redacted;
        let mut pipeline = Pipeline::new(move |lines: RawLines| lines.read(redacted));
        let mut flow = Ok(ControlFlow::Continue(()));
        let end = loop {
            let (lines, end) = self.next_lines();
            let order = &mut self.order;
            pipeline.push(lines, &mut |lines| {
                if matches!(flow, Ok(ControlFlow::Continue(()))) {
                    flow = order.take(lines, each);
                }
            });
            if !matches!(flow, Ok(ControlFlow::Continue(()))) {
                return flow.map(|_| ());
            }
            if let Some(end) = end {
                break end;
            }
        };
        let order = &mut self.order;
        pipeline.finish(&mut |lines| {
            if matches!(flow, Ok(ControlFlow::Continue(()))) {
                flow = order.take(lines, each);
            }
        });
        match flow {
            Ok(ControlFlow::Break(())) => Ok(()),
            Err(error) => Err(error),
            Ok(ControlFlow::Continue(())) => {
                end?;
                if self.order.ended {
                    Ok(())
                } else {
                    Err(ExportError::Truncated(self.line))
                }
            }
        }
    }
}

impl Order {
    /// Takes the next lines, and gives their events to `each`.
    fn take(
        &mut self,
        lines: Vec<(u64, Line)>,
        each: &mut dyn FnMut(Vec<Result<ExportedEntry, RowError>>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ExportError> {
        let mut rows = Vec::with_capacity(lines.len());
        for (number, line) in lines {
            if self.ended {
                return Err(bad(number, "there is more behind the end"));
            }
            match line {
                Line::Event {
                    stream,
                    sequence,
                    entry,
                } => {
                    self.counts.events += 1;
                    self.count(Some(&stream));
                    let placed = entry.and_then(|entry| self.place(&stream, sequence).map(|()| *entry));
                    rows.push(placed.map_err(|what| bad_row(number, Some(stream), Some(sequence), what)));
                }
                Line::Faulty(row) => {
                    self.counts.events += 1;
                    self.count(None);
                    rows.push(Err(row));
                }
                Line::Unreadable(row) => {
                    self.counts.unreadable += 1;
                    self.count(row.stream.as_ref());
                    rows.push(Err(row));
                }
                Line::End(said) => {
                    self.ended = true;
                    // The rest was read all the same, so this is told rather than an end of the reading.
                    let wrong = self
                        .contradicted(&said)
                        .map(|what| bad_row(number, None, None, what));
                    rows.extend(wrong.or_else(|| self.miscounted(number)).map(Err));
                }
                Line::Fatal(error) => return Err(error),
            }
        }
        if rows.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        Ok(each(rows))
    }

    /// How what the end counts differs from what was there, if it does.
    fn contradicted(&self, said: &ExportCounts) -> Option<String> {
        let found = &self.counts;
        (said != found).then(|| {
            format!(
                "the end counts {} events, {} commitments, {} streams, {} keys; there were {}, {}, {}, {}",
                said.events,
                said.commitments,
                said.streams,
                said.keys,
                found.events,
                found.commitments,
                found.streams,
                found.keys
            )
        })
    }

    fn count(&mut self, stream: Option<&StreamKey>) {
        let known = |stream| self.outline.streams.binary_search_by_key(stream, |s| s.stream);
        match stream.map(known) {
            Some(Ok(index)) => self.seen[index] += 1,
            _ => self.astray += 1,
        }
    }

    /// A stream that has more or fewer events than it was announced with.
    fn miscounted(&self, number: u64) -> Option<RowError> {
        let fits = |events: u64, seen: u64| (seen..=seen + self.astray).contains(&events);
        let mut streams = self.outline.streams.iter().zip(&self.seen);
        let (stream, seen) = streams.find(|(stream, seen)| !fits(stream.events, **seen))?;
        let what = format!("{} events were announced, {seen} are there", stream.events);
        Some(bad_row(number, Some(stream.stream), None, what))
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

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}
