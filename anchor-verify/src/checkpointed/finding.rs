//! What is found of checkpoints: where they contradict each other or do not count, and where a log is not what was signed.

use std::collections::BTreeMap;

use checkpoints::history::{CheckpointPlace as Line, CountedCheckpoint, Refusal, RefusedEntry};
use checkpoints::{Conflict, History, Origin};
use cli_common::finding::{Code, Severity};
use serde::Serialize;
use ves::StreamKey;

use super::walk::Lane;

/// One thing that is so, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckpointFinding {
    /// The stable code.
    pub code: Code,
    /// What it means for the exit status.
    pub severity: Severity,
    /// The stream concerned, if it is known.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamKey>,
    /// The tree concerned: deployment, stream and generation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The first number concerned, or the size of the checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// The last number concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// The entries concerned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Line>,
    /// One plain sentence.
    pub message: String,
}

impl CheckpointFinding {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity(),
            stream: None,
            origin: None,
            from: None,
            to: None,
            places: Vec::new(),
            message: message.into(),
        }
    }

    pub(super) fn origin(mut self, origin: &Origin) -> Self {
        (self.stream, self.origin) = (Some(origin.stream), Some(origin.to_string()));
        self
    }

    pub(super) fn at(mut self, held: &CountedCheckpoint) -> Self {
        self = self.origin(&held.checkpoint.origin);
        self.places.push(held.place.clone());
        self
    }

    pub(super) fn range(mut self, from: u64, to: Option<u64>) -> Self {
        (self.from, self.to) = (Some(from), to);
        self
    }
}

impl CheckpointFinding {
    fn conflict(conflict: &Conflict) -> Self {
        Self {
            stream: Some(conflict.stream),
            origin: Some(conflict.origin.clone()),
            from: Some(conflict.size),
            to: None,
            places: conflict.places.clone(),
            ..Self::new(conflict.kind.code(), conflict.message.clone())
        }
    }

    fn refused((refused, more): (&RefusedEntry, usize)) -> Self {
        let more = match more {
            0 => String::new(),
            more => format!(" (and {more} more of this kind in the file)"),
        };
        Self {
            stream: refused.stream,
            places: vec![refused.place.clone()],
            ..Self::new(
                refused.kind.code(),
                format!("{}: {}{more}", refused.place, refused.why),
            )
        }
    }
}

/// What is wrong with checkpoints by themselves: where they contradict each other, and what does not count.
pub fn findings_of(history: &History) -> Vec<CheckpointFinding> {
    let conflicts = history.conflicts.iter().map(CheckpointFinding::conflict);
    let refused = refused(&history.refused).into_iter();
    conflicts.chain(refused.map(CheckpointFinding::refused)).collect()
}

/// So many refused entries of one kind in one file are told one by one.
const REFUSED: usize = 20;

/// Refused entries, those of one kind and file cut to some.
fn refused(all: &[RefusedEntry]) -> Vec<(&RefusedEntry, usize)> {
    let mut counts: BTreeMap<(&str, Refusal), usize> = BTreeMap::new();
    for refused in all {
        *counts.entry((&refused.place.file, refused.kind)).or_default() += 1;
    }
    let mut seen: BTreeMap<(&str, Refusal), usize> = BTreeMap::new();
    let mut told = Vec::new();
    for refused in all {
        let key: (&str, Refusal) = (&refused.place.file, refused.kind);
        let at = seen.entry(key).or_default();
        *at += 1;
        if *at <= REFUSED {
            let more = counts[&key].saturating_sub(REFUSED);
            told.push((refused, if *at == REFUSED { more } else { 0 }));
        }
    }
    told
}

/// What is wrong with a log by the checkpoints of one deployment.
pub fn log_findings(lane: &Lane<'_>) -> Vec<CheckpointFinding> {
    let mut found = Vec::new();
    let differs = lane.first_difference.map(|number| {
        format!("number {number} is the first of which the log has another event than the one that is proven")
    });
    match (&lane.mismatch, &differs) {
        (Some(mismatch), _) => {
            let size = mismatch.held.checkpoint.size;
            let more = match mismatch.count - 1 {
                0 => String::new(),
                more => format!(", and {more} larger one(s) have another too"),
            };
            let difference = differs.map_or(String::new(), |what| format!("; {what}"));
            let what = format!(
                "the first {size} events of the log have the root {}, the checkpoint ({}) says {}{more}{difference}",
                mismatch.root, mismatch.held.place, mismatch.held.checkpoint.root
            );
            let finding = CheckpointFinding::new(Code::CheckpointMismatch, what).at(mismatch.held);
            let from = lane.first_difference.unwrap_or(match lane.matched {
                Some(held) if held.checkpoint.size < size => held.checkpoint.size + 1,
                _ => 1,
            });
            found.push(finding.range(from, Some(size)));
        }
        (None, Some(what)) => {
            let mut finding = CheckpointFinding::new(Code::CheckpointMismatch, what.clone());
            finding.stream = Some(lane.of.stream);
            found.push(finding.range(lane.first_difference.unwrap_or_default(), None));
        }
        (None, None) => {}
    }
    if let Some(beyond) = lane.beyond().filter(|_| !lane.of_part) {
        let why = match &lane.stopped {
            Some(hole) => format!("the log is whole up to number {} only ({hole})", lane.reached),
            None => format!("the log ends at number {}", lane.reached),
        };
        let what = format!(
            "{why}; {} checkpoint(s) reach beyond it, the last to {} ({})",
            lane.unreached(),
            beyond.checkpoint.size,
            beyond.place
        );
        let finding = CheckpointFinding::new(Code::CheckpointBehind, what).at(beyond);
        found.push(finding.range(lane.reached + 1, Some(beyond.checkpoint.size)));
    }
    found
}
