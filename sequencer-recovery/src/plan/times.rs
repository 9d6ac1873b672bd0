//! The events of a plan with the times at which they were numbered.

use event_log::View;
use ves::merkle::leaf_hash;
use ves::{StreamKey, Timestamp};

use super::planned::PlannedEvent;
use crate::error::RecoveryError;
use crate::grade::Grade;
use crate::place::placement::Placement;
use crate::witness::evidence::StreamEvidence;

/// The events with the time at which they were numbered: as a witness knows it, or else that of the nearest
/// earlier event, so that times keep the order of numbers. The time enters no hash.
pub(super) async fn planned_events(
    view: &mut View,
    stream: &StreamKey,
    evidence: &StreamEvidence,
    placements: &[Placement],
    rewritten_from: Option<u64>,
) -> Result<Vec<PlannedEvent>, RecoveryError> {
    let mut events: Vec<PlannedEvent> = Vec::with_capacity(placements.len());
    let mut previous: Option<(u64, Timestamp)> = None;
    for placement in placements {
        let candidate = &evidence.candidates[placement.candidate];
        let known = placement.sequenced_at;
        let sequenced_at = match (known, previous) {
            (Some(at), _) => at,
            (None, Some((position, at))) if position + 1 == placement.position => at,
            (None, _) => match view
                .last_sequenced_before(stream, placement.position.min(rewritten_from.unwrap_or(u64::MAX)))
                .await?
            {
                Some(at) => previous.map_or(at, |(_, planned)| planned.max(at)),
                // The first event of a stream: its own time is the best there is.
                None => candidate.event.created_at.parse().unwrap_or(Timestamp(0)),
            },
        };
        previous = Some((placement.position, sequenced_at));
        let receipt = evidence
            .receipts
            .get(&placement.position)
            .into_iter()
            .flatten()
            .find(|held| {
                held.receipt.event_id == candidate.event.event_id
                    && held.receipt.hash_matches(stream, &candidate.signing_hash)
            })
            .map(|held| held.receipt.clone());
        events.push(PlannedEvent {
            sequence: placement.position,
            grade: placement.grade,
            basis: placement.basis.clone(),
            sequenced_at: receipt.as_ref().map_or(sequenced_at, |r| r.sequenced_at),
            sequenced_at_known: known.is_some(),
            receipt,
            leaf: (placement.grade == Grade::Checkpointed).then(|| {
                let signature = &candidate.event.agent_signature;
                leaf_hash(stream, placement.position, &candidate.signing_hash, signature)
            }),
            event: candidate.event.clone(),
        });
    }
    Ok(events)
}
