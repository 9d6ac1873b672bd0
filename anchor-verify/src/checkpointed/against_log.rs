//! A log, or a part of one, held against the checkpoints of its streams.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use checkpoints::{History, StreamCheckpoints};
use cli_common::finding::Code;
use cli_common::{Cancel, Progress};
use event_log::{Hole, LogEntry, Place, RowError, StreamFilter};
use ves::merkle;
use ves::span::Span;
use ves::{Spans, StreamKey};

use super::finding::CheckpointFinding;
use super::walk::{Lane, Walk};
use crate::verify::source::Chunk;
use crate::verify::{DbSource, LogSource, VerifyError};

/// What a log says to the checkpoints of its streams.
#[derive(Default)]
pub struct ComparedLog<'a> {
    /// The log's name, without secrets.
    pub name: Option<String>,
    /// Where it was looked at.
    pub place: Option<Place>,
    lanes: BTreeMap<(StreamKey, &'a str), Lane<'a>>,
    /// What is wrong with it.
    pub(super) findings: Vec<CheckpointFinding>,
    /// What was not checked.
    pub(super) not_checked: Vec<String>,
}

impl<'a> ComparedLog<'a> {
    fn new(name: &str, place: Option<&Place>) -> Self {
        Self {
            name: Some(name.to_owned()),
            place: place.cloned(),
            not_checked: place.and_then(Place::reservation).into_iter().collect(),
            ..Self::default()
        }
    }

    /// What was found of one deployment's checkpoints of a stream.
    pub(super) fn take(&mut self, of: &'a StreamCheckpoints) -> Option<Lane<'a>> {
        self.lanes.remove(&(of.stream, of.deployment.as_str()))
    }

    /// Keeps what came of a walk. `part` if the leaves were those of a part of the log.
    fn keep(&mut self, stream: &StreamKey, walk: Walk<'a>, hole: Option<Hole>, part: bool) {
        let (lanes, hole) = walk.finish(hole);
        let code = match &hole {
            // Told with the checkpoints that it leaves out of reach.
            None | Some(Hole::Missing(_)) => None,
            Some(Hole::Unreadable(_)) => Some(Code::EventUnreadable),
            Some(Hole::Duplicate(_)) => Some(Code::EventDuplicate),
        };
        if let Some((code, hole)) = code.zip(hole) {
            let mut finding = CheckpointFinding::new(code, format!("{hole}: no root is known behind it"));
            finding.stream = Some(*stream);
            finding.from = lanes.first().map(|lane| lane.reached + 1);
            self.findings.push(finding);
        }
        for mut lane in lanes {
            lane.of_part = part;
            let key = (lane.of.stream, lane.of.deployment.as_str());
            self.lanes.insert(key, lane);
        }
    }

    /// The streams of the log that no checkpoint speaks of.
    fn unknown(&mut self, streams: impl Iterator<Item = (StreamKey, u64)>, history: &History) {
        for (stream, events) in streams {
            if events > 0 && !history.of(&stream).any(|of| of.current().is_some()) {
                let what = format!("stream {stream}: {events} event(s), of which no checkpoint was given");
                self.not_checked.push(what);
            }
        }
    }

    /// How many numbers lie behind the last checkpoint that binds them.
    fn behind(&mut self, stream: &StreamKey, last: u64, head: Option<u64>) {
        if let Some(head) = head.filter(|head| *head > last) {
            let what = format!(
                "stream {stream}: {} number(s) after the last checkpoint ({} to {head})",
                head - last,
                last + 1
            );
            self.not_checked.push(what);
        }
    }
}

/// Reads the leaves of a database or snapshot, as far as checkpoints reach.
///
/// # Errors
/// If the log cannot be read, or the work is cancelled.
pub fn of_db<'a>(
    source: &mut DbSource,
    name: &str,
    history: &'a History,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<ComparedLog<'a>, VerifyError> {
    let mut compared = ComparedLog::new(name, source.place());
    let (runtime, view) = source.parts();
    let states = runtime.block_on(view.streams(&StreamFilter::default()))?;
    unreadable(&states.unreadable, &mut compared);
    let mut heads: BTreeMap<StreamKey, (u64, Option<u64>)> = BTreeMap::new();
    for state in states.rows {
        heads.insert(state.stream, (state.event_count, state.last));
    }
    let walks: BTreeMap<StreamKey, Walk<'a>> = walks(history);
    let total = walks.values().map(Walk::highest).fold(0, u64::saturating_add);
    progress.start("reading leaves", Some(total));
    for (stream, mut walk) in walks {
        let Some(range) = Span::up_to(walk.highest()) else {
            compared.keep(&stream, walk, None, false);
            continue;
        };
        let end = runtime.block_on(view.for_each_leaf(&stream, range, &mut |leaves| {
            progress.advance(leaves.len() as u64);
            walk.leaves(leaves);
            match cancel.is_cancelled() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }))?;
        cancel.check()?;
        let head = heads.get(&stream).and_then(|(_, last)| *last);
        compared.behind(&stream, walk.highest(), head);
        compared.keep(&stream, walk, end.hole, false);
    }
    progress.finish();
    let streams = heads.iter().map(|(stream, (events, _))| (*stream, *events));
    compared.unknown(streams, history);
    Ok(compared)
}

fn walks(history: &History) -> BTreeMap<StreamKey, Walk<'_>> {
    let streams = history.streams.iter().map(|of| of.stream);
    streams
        .filter_map(|stream| Some((stream, Walk::new(history, &stream)?)))
        .collect()
}

fn unreadable(rows: &[RowError], compared: &mut ComparedLog<'_>) {
    for row in rows.iter().take(UNREADABLE) {
        let mut finding = CheckpointFinding::new(Code::EventUnreadable, row.to_string());
        (finding.stream, finding.from) = (row.stream, row.sequence);
        compared.findings.push(finding);
    }
    if let Some(more @ 1..) = rows.len().checked_sub(UNREADABLE) {
        let what = format!("{more} more rows cannot be read");
        compared
            .findings
            .push(CheckpointFinding::new(Code::EventUnreadable, what));
    }
}

/// So many rows that cannot be read are told.
const UNREADABLE: usize = 50;

/// Takes the leaves of some events; of those that cannot be read no more than are told.
fn take(chunk: Chunk, walks: &mut BTreeMap<StreamKey, Walk<'_>>, bad: &mut Vec<RowError>) {
    let entries = chunk.read().into_iter().map(|row| row.map(|held| held.entry));
    let entries: Vec<Result<LogEntry, RowError>> = entries.collect();
    for row in entries {
        match row {
            Ok(entry) => {
                let (stream, number) = (entry.event.stream, entry.sequence_number);
                if let Some(walk) = walks.get_mut(&stream) {
                    let (hash, signature) = (&entry.event_signing_hash, &entry.event.agent_signature);
                    walk.leaf(number, merkle::leaf_hash(&stream, number, hash, signature));
                }
            }
            Err(row) if bad.len() <= UNREADABLE => bad.push(row),
            Err(_) => {}
        }
    }
}

/// Reads the leaves of an export or a bundle. Of a part that does not begin with number 1 there are no roots: its leaves
/// are compared with those that are proven.
///
/// # Errors
/// If it cannot be read to its end, or the work is cancelled.
pub fn of_source<'a>(
    source: &mut dyn LogSource,
    name: &str,
    history: &'a History,
    cancel: &Cancel,
) -> Result<ComparedLog<'a>, VerifyError> {
    let mut compared = ComparedLog::new(name, None);
    let outline = source.outline()?;
    unreadable(&outline.unreadable, &mut compared);
    let mut walks = walks(history);
    let every = Spans::from_iter([Span::up_to(u64::MAX)].into_iter().flatten());
    let wanted: Vec<(StreamKey, Spans)> = walks.keys().map(|stream| (*stream, every.clone())).collect();
    let mut bad = Vec::new();
    source.entries(&wanted, &mut |chunk| {
        take(chunk, &mut walks, &mut bad);
        match cancel.is_cancelled() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    cancel.check()?;
    unreadable(&bad, &mut compared);
    for (stream, walk) in walks {
        let held = outline.streams.iter().find(|held| held.stream == stream);
        let part = held.and_then(|held| held.range.clone());
        if held.is_none() && !outline.whole {
            let what = format!("stream {stream}: it is in no part of the log that was given");
            compared.not_checked.push(what);
            continue;
        }
        if let Some(part) = part {
            compared.not_checked.push(format!(
                "stream {stream}: what is not in the part of the log that was given, {} to {}",
                part.start(),
                part.end()
            ));
            compared.keep(&stream, walk, None, true);
            continue;
        }
        compared.behind(&stream, walk.highest(), held.and_then(|held| held.last));
        compared.keep(&stream, walk, None, false);
    }
    let streams = outline.streams.iter().map(|held| (held.stream, held.events));
    compared.unknown(streams, history);
    Ok(compared)
}
