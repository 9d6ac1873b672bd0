//! Writing an export.

use std::io::{self, Write};
use std::ops::ControlFlow;

use cli_common::Progress;
use serde::Serialize;
use ves::{AgentId, SigningKey, TenantId};

use super::EXPORT_SCHEMA;
use super::lines::{
    CommitmentLine, EndLine, EventLine, ExportCounts, HeaderLine, KeyLine, StreamLine, UnreadableLine,
    hex_bytes,
};
use super::read::MAX_LINE;
use crate::entry::{Commitment, LogEntry};
use crate::error::{LogError, RowError};
use crate::outline::{Outline, Scope};
use crate::view::View;

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
        public_key_bundle: hex_bytes(key.public_key_bundle.as_ref()),
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
    /// The line that is being written.
    line: Vec<u8>,
}

impl Lines<'_> {
    fn put(&mut self, line: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut *self.out, line)?;
        self.out.write_all(b"\n")
    }

    /// Writes an event, or that its line would be too long to be read.
    fn event(&mut self, entry: &LogEntry, redact: bool) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, &EventLine::of(entry, redact))?;
        self.line.push(b'\n');
        if self.line.len() as u64 >= MAX_LINE {
            let what = format!(
                "event {} takes a line of {} bytes, and an export has lines of less than {} MiB",
                entry.event.event_id,
                self.line.len(),
                MAX_LINE >> 20
            );
            self.line = Vec::new();
            let row = RowError {
                table: "ves_events",
                stream: Some(entry.event.stream),
                sequence: Some(entry.sequence_number),
                what,
            };
            return self.unreadable(&row, None);
        }
        self.counts.events += 1;
        self.out.write_all(&self.line)
    }

    fn unreadable(&mut self, row: &RowError, key: Option<(TenantId, AgentId, u32)>) -> io::Result<()> {
        self.counts.unreadable += 1;
        self.put(&UnreadableLine {
            kind: "unreadable".into(),
            table: row.table.into(),
            tenant_id: (row.stream.map(|s| s.tenant_id)).or(key.map(|(tenant, ..)| tenant)),
            store_id: row.stream.map(|s| s.store_id),
            sequence_number: row.sequence,
            agent_id: key.map(|(_, agent, _)| agent),
            key_id: key.map(|(.., id)| id),
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
        line: Vec::new(),
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
                Ok(entry) => lines.event(&entry, redact),
                Err(row) => lines.unreadable(&row, None),
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
        lines.unreadable(row, None)?;
    }
    for key in &outline.unreadable_keys {
        lines.unreadable(&key.error, key.name)?;
    }
    Ok(())
}
