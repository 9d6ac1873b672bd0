//! A batch against what commitments and anchors say of it.

use event_log::{Commitment, StreamOutline};
use ves::{Hash32, stream};

use super::Progressing;
use crate::rules::{self, Wrong};
use crate::verify::code;
use crate::verify::plan::{Plan, RangeAnchor};
use crate::verify::report::Failure;

impl Progressing {
    pub(super) fn judge_commitments(&mut self, root: Option<Hash32>, held: &StreamOutline) {
        for (nth, at) in self.unit.commitments.clone().into_iter().enumerate() {
            let c = &held.commitments[at];
            if nth > 0 {
                let what = format!("commitment {} is a second one of this range", c.batch_id);
                self.fail(Failure::new(code::COMMITMENT_GAP, what));
            }
            self.fail_all(rules::commitment(c));
            if let Some(root) = root.filter(|root| *root != c.merkle_root) {
                let what = format!(
                    "commitment {} has the root {}, the events give {root}",
                    c.batch_id, c.merkle_root
                );
                self.fail(Failure::new(code::COMMITMENT_ROOT, what));
            }
            let from_start = held.range.as_ref().is_none_or(|range| *range.start() <= 1);
            let before = at.checked_sub(1).map(|before| &held.commitments[before]);
            if before.is_some() || from_start {
                self.fail_all(rules::succession(before, c));
            } else {
                self.skip(
                    "previous state root: the commitment before is not in the input",
                    None,
                );
            }
        }
    }

    fn fail_all(&mut self, wrong: impl IntoIterator<Item = Wrong>) {
        for (code, what) in wrong {
            self.fail(Failure::new(code.as_str(), what));
        }
    }

    pub(super) fn judge_anchors(&mut self, root: Option<Hash32>, plan: &Plan) {
        let held = &plan.outline.streams[self.unit.stream];
        let here = (Some(held.stream), self.unit.start, self.unit.end);
        let commitments: Vec<_> = self
            .unit
            .commitments
            .iter()
            .map(|at| &held.commitments[*at])
            .collect();
        let mut wrong = Vec::new();
        let mut skipped = Vec::new();
        let named = |id| self.unit.anchored.iter().any(|a| a.batch_id == id);
        if commitments.iter().any(|c| !named(c.batch_id)) && !self.unit.anchored.is_empty() {
            skipped.push("batch id of the commitment: the range is anchored under another");
        }
        if self.unit.anchoring.at.is_none() && !self.unit.anchored.is_empty() {
            skipped.push("that all was there before it was anchored: the anchors name no time");
        }
        for c in &commitments {
            wrong.extend(self.anchored_otherwise(c, plan));
            let mut places = plan.by_batch.get(&c.batch_id).into_iter().flatten();
            if let Some((stream, start, end)) = places.find(|place| **place != here) {
                let stream = stream.map_or("another stream".to_owned(), |s| format!("stream {s}"));
                let what = format!(
                    "commitment {} has the batch id that is anchored for {stream}, {start} to {end}",
                    c.batch_id
                );
                wrong.push(Failure::new(code::ANCHOR_CONFLICT, what));
            }
        }
        for a in &self.unit.anchored {
            wrong.extend(disagreements(a, root, &commitments));
            if commitments.is_empty() {
                match plan.state_root_before(&self.unit) {
                    Some(previous) => wrong.extend(self.anchored_state_root(a, &previous, held)),
                    None => skipped.push("anchored state root: the batch before is not known"),
                }
                skipped.push("commitment: the input has none for this anchored batch");
            }
        }
        let trusted = self.unit.anchored.iter().any(|a| a.trusted);
        if let Some(failed) = self.unit.failed_anchors.first().filter(|_| !trusted) {
            let what = format!(
                "the anchor of batch {} in block {}: {}",
                failed.batch_id, failed.block_number, failed.why
            );
            wrong.push(Failure::new(code::ANCHOR_PROOF, what));
        }
        wrong.into_iter().for_each(|failure| self.fail(failure));
        skipped.into_iter().for_each(|what| self.skip(what, None));
    }

    /// What a commitment says of its anchoring that no anchor of its range says.
    fn anchored_otherwise(&self, c: &Commitment, plan: &Plan) -> Vec<Failure> {
        let anchoring = &self.unit.anchoring;
        let anchored = !self.unit.anchored.is_empty();
        let other_chain = || anchoring.other_chain(c);
        let other_place = || anchoring.other_place(c);
        let wrong = [
            anchoring.too_late(c),
            anchored.then(other_chain).flatten(),
            (anchored && !plan.anchored_elsewhere).then(other_place).flatten(),
        ];
        let failure = |(code, what): Wrong| Failure::new(code.as_str(), what);
        wrong.into_iter().flatten().map(failure).collect()
    }

    /// An anchored state root that does not follow from the one before.
    fn anchored_state_root(
        &self,
        a: &RangeAnchor,
        previous: &Hash32,
        held: &StreamOutline,
    ) -> Option<Failure> {
        let leaves = u32::try_from(self.unit.width()).unwrap_or(u32::MAX);
        let (start, end) = (self.unit.start, self.unit.end);
        let expected = stream::state_root(&held.stream, previous, &a.events_root, start, end, leaves);
        (expected != a.state_root).then(|| {
            let what = format!(
                "batch {} is anchored with the state root {}, the one before and its root give {expected}",
                a.batch_id, a.state_root
            );
            Failure::new(code::STATE_ROOT, what)
        })
    }
}

/// What the events, other anchors and commitments say otherwise than an anchor.
fn disagreements(a: &RangeAnchor, root: Option<Hash32>, commitments: &[&Commitment]) -> Vec<Failure> {
    let mut wrong = Vec::new();
    if a.contested {
        let what = format!(
            "batch {} is anchored, and other anchors contradict it (in range, roots or id)",
            a.batch_id
        );
        wrong.push(Failure::new(code::ANCHOR_CONFLICT, what));
    }
    if let Some(root) = root.filter(|root| *root != a.events_root) {
        let what = format!(
            "batch {} is anchored with the root {}, the events give {root}",
            a.batch_id, a.events_root
        );
        wrong.push(Failure::new(code::ANCHOR_ROOT, what));
    }
    for c in commitments {
        if (c.merkle_root, c.new_state_root) != (a.events_root, a.state_root) {
            let what = format!(
                "batch {} is anchored with the root {} and the state root {}, commitment {} has {} and {}",
                a.batch_id, a.events_root, a.state_root, c.batch_id, c.merkle_root, c.new_state_root
            );
            wrong.push(Failure::new(code::ANCHOR_CONFLICT, what));
        }
    }
    wrong
}
