//! A batch against what commitments and anchors say of it.

use event_log::{Commitment, StreamOutline};
use ves::{Hash32, merkle, stream};

use super::Progressing;
use crate::verify::plan::{Anchored, Plan};
use crate::verify::report::Failure;
use crate::verify::{bounds, code};

impl Progressing {
    pub(super) fn judge_commitments(&mut self, root: Option<Hash32>, held: &StreamOutline) {
        for (nth, at) in self.unit.commitments.clone().into_iter().enumerate() {
            let c = &held.commitments[at];
            if nth > 0 {
                let what = format!("commitment {} is a second one of this range", c.batch_id);
                self.fail(Failure::new(code::COMMITMENT_GAP, what));
            }
            self.judge_fields(c, root, held);
            let from_start = held.range.as_ref().is_none_or(|range| *range.start() <= 1);
            match at.checked_sub(1).map(|before| &held.commitments[before]) {
                Some(before) => self.judge_succession(c, before),
                None if from_start => {
                    if c.prev_state_root != stream::GENESIS_STATE_ROOT {
                        let what = format!(
                            "commitment {} is the first of its stream, and goes on from the state root {}",
                            c.batch_id, c.prev_state_root
                        );
                        self.fail(Failure::new(code::STATE_ROOT, what));
                    }
                }
                None => self.skip(
                    "previous state root: the commitment before is not in the input",
                    None,
                ),
            }
        }
    }

    /// A commitment against its own range, the events' root, and its state root.
    fn judge_fields(&mut self, c: &Commitment, root: Option<Hash32>, held: &StreamOutline) {
        let (start, end, id) = (self.unit.start, self.unit.end, c.batch_id);
        let leaves = u64::from(c.leaf_count);
        let counts = (u64::from(c.padded_leaf_count), c.tree_depth);
        if end - start != leaves.wrapping_sub(1)
            || counts != (merkle::padded_leaf_count(leaves), merkle::tree_depth(leaves))
        {
            let what = format!(
                "commitment {id} counts {leaves} leaves, {} with padding, and a depth of {}, over the numbers {start} \
                 to {end}",
                counts.0, counts.1
            );
            self.fail(Failure::new(code::COMMITMENT_GAP, what));
        }
        if let Some(root) = root.filter(|root| *root != c.merkle_root) {
            let what = format!(
                "commitment {id} has the root {}, the events give {root}",
                c.merkle_root
            );
            self.fail(Failure::new(code::COMMITMENT_ROOT, what));
        }
        let (previous, merkle_root) = (&c.prev_state_root, &c.merkle_root);
        let state_root = stream::state_root(&held.stream, previous, merkle_root, start, end, c.leaf_count);
        if state_root != c.new_state_root {
            let what = format!(
                "commitment {id} has the state root {}, its fields give {state_root}",
                c.new_state_root
            );
            self.fail(Failure::new(code::STATE_ROOT, what));
        }
    }

    /// A commitment against the one before it.
    fn judge_succession(&mut self, c: &Commitment, before: &Commitment) {
        if before.sequence_end.checked_add(1) != Some(self.unit.start) {
            let what = format!(
                "commitment {} starts at {}, commitment {} before it ends at {}",
                c.batch_id, self.unit.start, before.batch_id, before.sequence_end
            );
            self.fail(Failure::new(code::COMMITMENT_GAP, what));
        }
        if before.new_state_root != c.prev_state_root {
            let what = format!(
                "commitment {} goes on from the state root {}, commitment {} before it ended with {}",
                c.batch_id, c.prev_state_root, before.batch_id, before.new_state_root
            );
            self.fail(Failure::new(code::STATE_ROOT, what));
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
        if self.unit.anchored_at.is_none() && !self.unit.anchored.is_empty() {
            skipped.push("that all was there before it was anchored: the anchors name no time");
        }
        for c in &commitments {
            wrong.extend(bounds::commitment(c, &self.unit, plan));
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

    /// An anchored state root that does not follow from the one before.
    fn anchored_state_root(&self, a: &Anchored, previous: &Hash32, held: &StreamOutline) -> Option<Failure> {
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
fn disagreements(a: &Anchored, root: Option<Hash32>, commitments: &[&Commitment]) -> Vec<Failure> {
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
