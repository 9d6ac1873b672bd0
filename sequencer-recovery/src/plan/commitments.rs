//! Commitments that go back: the anchors have them, and the log lost them.

use anchor_verify::AnchoredBatch;
use ves::{Timestamp, stream};

use super::planned::{PlannedBatch, PlannedCommitment, PlannedEvent};
use crate::stream::batches::BatchVerdict;
use crate::stream::examine::Examined;

/// The anchored batches that the log has no commitment for, as far as they continue the log's last one and
/// their events are all there again; and why it stops, if it stops early.
pub(super) fn planned_commitments(
    examined: &Examined,
    solved: &[PlannedBatch],
    events: &[PlannedEvent],
    chain_id: Option<u64>,
) -> (Vec<PlannedCommitment>, Option<String>) {
    let stream = examined.state.stream;
    let mut planned: Vec<PlannedCommitment> = Vec::new();
    let last = examined.commitments.iter().max_by_key(|c| c.sequence_end);
    let mut end = last.map(|c| c.sequence_end);
    let mut state_root = last.map_or(stream::GENESIS_STATE_ROOT, |c| c.new_state_root);
    let forgotten = examined.anchored.iter().filter(|a| !is_committed(examined, a));
    for anchor in forgotten {
        let stop = |why: &str| {
            let range = format!("{}-{}", anchor.sequence_start, anchor.sequence_end);
            Some(format!(
                "batch {} ({range}) does not go back: {why}",
                anchor.batch_id
            ))
        };
        if anchor.contested {
            return (planned, stop("the anchors contradict each other"));
        }
        if end.is_some_and(|end| end.checked_add(1) != Some(anchor.sequence_start)) {
            return (planned, stop("it does not continue the commitment before it"));
        }
        let verdict = examined
            .batches
            .iter()
            .find(|b| b.batch_id == anchor.batch_id)
            .map(|b| b.verdict);
        let whole = verdict == Some(BatchVerdict::MatchesAnchors)
            || solved
                .iter()
                .any(|s| s.batch_id == anchor.batch_id && s.merkle_root == anchor.events_root);
        if !whole {
            return (planned, stop("its events are not all back"));
        }
        let follows = stream::state_root(
            &stream,
            &state_root,
            &anchor.events_root,
            anchor.sequence_start,
            anchor.sequence_end,
            anchor.event_count,
        );
        if follows != anchor.state_root {
            return (
                planned,
                stop("its anchored state root does not follow from the one before"),
            );
        }
        let place = anchor.places.first();
        let anchored_at = place
            .and_then(|p| p.block_timestamp)
            .and_then(Timestamp::from_unix_seconds);
        let last_event = events.iter().rev().find(|e| e.sequence <= anchor.sequence_end);
        planned.push(PlannedCommitment {
            batch_id: anchor.batch_id,
            sequence_start: anchor.sequence_start,
            sequence_end: anchor.sequence_end,
            merkle_root: anchor.events_root,
            prev_state_root: state_root,
            new_state_root: anchor.state_root,
            committed_at: anchored_at
                .or(last_event.map(|e| e.sequenced_at))
                .unwrap_or(Timestamp(0)),
            chain_id,
            chain_tx_hash: place.map(|p| p.transaction_hash),
            chain_block_number: place.map(|p| p.block_number),
            anchored_at,
        });
        end = Some(anchor.sequence_end);
        state_root = anchor.state_root;
    }
    (planned, None)
}

fn is_committed(examined: &Examined, anchor: &AnchoredBatch) -> bool {
    examined.commitments.iter().any(|c| {
        c.batch_id == anchor.batch_id
            || (c.sequence_start <= anchor.sequence_end && anchor.sequence_start <= c.sequence_end)
    })
}
