//! What anchors say of the log, as far as they are known by now.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anchor_verify::{AnchorView, AnchoredBatch};
use event_log::StreamFilter;
use ves::StreamKey;
use ves::span::Span;

use crate::error::RecoveryError;
use crate::finding::{Code, Finding, Remedy};
use crate::stream::survey::{judge_anchors, read_anchors};
use crate::watch_memory::Remembered;

/// Batches that begin within so many numbers are compared in one go.
const MOST_NUMBERS: u64 = 20_000;

/// The anchored batches of each stream, by start.
#[derive(Debug, Clone, Default)]
pub struct AnchoredStreams {
    /// The chain that they are of, if the file says so.
    pub chain_id: Option<u64>,
    batches: BTreeMap<StreamKey, Vec<AnchoredBatch>>,
}

impl AnchoredStreams {
    /// Reads anchors files; gives what they say against each other, too. `known` are the log's streams, by which the names of
    /// SetRegistry are resolved.
    ///
    /// # Errors
    /// One that cannot be used, or that contradicts another.
    pub fn read(
        paths: &[PathBuf],
        known: &[StreamKey],
        filter: &StreamFilter,
    ) -> Result<(Self, Vec<Finding>), RecoveryError> {
        let Some(file) = read_anchors(paths)? else {
            return Ok((Self::default(), Vec::new()));
        };
        let view = AnchorView::of(&file, known);
        let findings = judge_anchors(&view, filter);
        let of_streams = view.streams.into_iter();
        let batches = of_streams.filter_map(|of| Some((of.stream.filter(|s| filter.admits(s))?, of.batches)));
        Ok((
            Self {
                chain_id: file.chain_id,
                batches: batches.collect(),
            },
            findings,
        ))
    }

    /// The streams that are anchored.
    pub fn streams(&self) -> impl Iterator<Item = StreamKey> + '_ {
        self.batches.keys().copied()
    }

    /// The batches of a stream.
    pub fn of(&self, stream: &StreamKey) -> &[AnchoredBatch] {
        self.batches.get(stream).map_or(&[], Vec::as_slice)
    }

    /// The highest number of a stream that is anchored.
    pub fn last(&self, stream: &StreamKey) -> Option<u64> {
        self.of(stream).iter().map(|batch| batch.sequence_end).max()
    }

    /// Numbers that are anchored and that the log does not reach.
    pub fn tail(&self, stream: &StreamKey, last: u64) -> Option<Finding> {
        let batch = self.of(stream).iter().max_by_key(|batch| batch.sequence_end)?;
        let tail = Span::new(last + 1, batch.sequence_end)?;
        let message = format!(
            "{} number(s) after the last event were given out: batch {} is anchored up to {}",
            tail.count(),
            batch.batch_id,
            batch.sequence_end
        );
        let finding = Finding::new(Code::GapTail, message).stream(*stream);
        Some(finding.range(tail.start(), tail.end()).remedy(Remedy::Plan))
    }

    /// Which batches are to be compared next: those behind the last one that was, as far as the rows were judged.
    pub fn due(&self, stream: &StreamKey, of: &Remembered) -> Option<Span> {
        let new =
            |batch: &&AnchoredBatch| batch.sequence_end > of.anchored && batch.sequence_end <= of.checked;
        let mut due: Option<Span> = None;
        for batch in self.of(stream).iter().filter(new) {
            let span = Span::new(batch.sequence_start, batch.sequence_end)?;
            let (start, end) = due.map_or((span.start(), span.end()), |due| {
                (due.start().min(span.start()), due.end().max(span.end()))
            });
            if due.is_some() && end - start >= MOST_NUMBERS {
                break;
            }
            due = Span::new(start, end);
        }
        due
    }
}
