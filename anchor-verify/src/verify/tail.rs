//! The events that are verified, held against signed checkpoints as they go by: what anchors do not reach, checkpoints may.

use std::collections::{BTreeMap, BTreeSet};

use checkpoints::History;
use cli_common::finding::{Code, Severity};
use event_log::Outline;
use ves::StreamKey;

use crate::checkpointed::finding::{CheckpointFinding, findings_of, log_findings};
use crate::checkpointed::walk::{Lane, Walk};
use crate::verify::report::{Checkpointed, Failure, VerifiedStream};

/// The trees of the streams that checkpoints bind.
pub(super) type Walks<'a> = BTreeMap<StreamKey, Walk<'a>>;

/// What came of it.
#[derive(Default)]
pub(super) struct Tail {
    /// What does not hold.
    pub problems: Vec<Failure>,
    /// What was not checked.
    pub not_checked: Vec<String>,
}

/// A walk for each stream that is looked at and that a checkpoint binds. Of a whole log, also for those that it does not
/// have: it should.
pub(super) fn walks<'a>(history: &'a History, outline: &Outline) -> Walks<'a> {
    let has = |stream: &StreamKey| outline.streams.iter().any(|held| held.stream == *stream);
    let streams = history.streams.iter().map(|of| of.stream);
    streams
        .filter(|stream| outline.whole || has(stream))
        .filter_map(|stream| Some((stream, Walk::new(history, &stream)?)))
        .collect()
}

impl Tail {
    /// What checkpoints say, after all events went by. `partly` are streams of which not all events did.
    pub fn of(
        history: &History,
        walks: Walks<'_>,
        outline: &Outline,
        partly: &BTreeSet<StreamKey>,
        streams: &mut [VerifiedStream],
    ) -> Self {
        let mut tail = Self::default();
        for finding in findings_of(history) {
            tail.take(&finding);
        }
        for (stream, walk) in walks {
            let held = outline.streams.iter().find(|held| held.stream == stream);
            let is_part = partly.contains(&stream) || held.is_some_and(|held| held.range.is_some());
            let (lanes, _) = walk.finish(None);
            let best = lanes.iter().filter_map(checkpointed).max_by_key(|found| found.to);
            if let Some(summary) = streams.iter_mut().find(|summary| summary.stream == stream) {
                summary.checkpointed = best;
            }
            for mut lane in lanes {
                lane.of_part = is_part;
                if is_part && lane.unreached() > 0 {
                    tail.not_checked.push(format!(
                        "stream {stream}: {} checkpoint(s): not all events that they cover are in the input",
                        lane.unreached()
                    ));
                }
                log_findings(&lane)
                    .into_iter()
                    .for_each(|finding| tail.take(&finding));
            }
        }
        for summary in streams.iter().filter(|summary| summary.events > 0) {
            if !history.of(&summary.stream).any(|of| of.current().is_some()) {
                let what = format!("stream {}: no checkpoint of it was given", summary.stream);
                tail.not_checked.push(what);
            }
        }
        if !history.streams.iter().any(|of| of.current().is_some()) {
            let what = "of the checkpoints that were given none counts: nothing can be proven by them";
            tail.problems
                .push(Failure::new(Code::CheckpointNone.as_str(), what));
        }
        tail
    }

    fn take(&mut self, finding: &CheckpointFinding) {
        let of = finding.stream.map(|stream| format!("stream {stream}: "));
        let what = format!("{}{}", of.unwrap_or_default(), finding.message);
        if finding.severity == Severity::Notice {
            self.not_checked
                .push(format!("a checkpoint that does not count: {what}"));
            return;
        }
        let failure = Failure::new(finding.code.as_str(), what);
        self.problems.push(match finding.from {
            Some(from) => failure.at(from, None),
            None => failure,
        });
    }
}

/// The largest checkpoint whose root the events give.
fn checkpointed(lane: &Lane<'_>) -> Option<Checkpointed> {
    let held = lane.matched.filter(|held| held.checkpoint.size > 0)?;
    Some(Checkpointed {
        to: held.checkpoint.size,
        root: held.checkpoint.root,
        origin: held.checkpoint.origin.to_string(),
        time: held.checkpoint.time,
        word: held.trust.describe(),
        matching: lane.matches,
    })
}
