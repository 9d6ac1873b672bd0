//! The recovery epoch: which history the log continues after the repair, for agents that have no access to the
//! database. The file's format is `outbox-sync`'s (docs/epoch.md).

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use event_log::{Log, StreamFilter};
use outbox_sync::epoch::{EpochStream, RecoveryEpoch, RestoredNumber};
use uuid::Uuid;
use ves::StreamKey;

use crate::error::RecoveryError;
use crate::plan_file::{PlanFile, PlanLine};

/// Draws the epoch up from a plan and the log that it was applied to. Not signed yet.
///
/// # Errors
/// What the log's database says; a plan that cannot be read; a log that contradicts itself.
pub async fn epoch(log: &Log, plan: &PlanFile) -> Result<RecoveryEpoch, RecoveryError> {
    let recovered = recovered_heads(plan)?;
    let mut view = log.view().await?;
    let time = view.database_time().await?;
    let mut streams = Vec::new();
    for state in view.streams(&StreamFilter::default()).await?.all()? {
        let head = state.last.unwrap_or(0);
        // A stream that the plan does not speak of was given back whole, as far as anybody knows.
        let recovered_head = recovered.get(&state.stream).copied().unwrap_or(head).min(head);
        let mut restored = Vec::new();
        if recovered_head < head {
            view.for_each_leaf_input(&state.stream, recovered_head + 1..=head, &mut |chunk| {
                restored.extend(chunk.into_iter().flatten().map(|input| RestoredNumber {
                    sequence_number: input.sequence_number,
                    event_id: input.event_id,
                }));
                ControlFlow::Continue(())
            })
            .await?;
        }
        streams.push(EpochStream {
            stream: state.stream,
            recovered_head,
            head,
            counter: state.counter.unwrap_or(0).max(head),
            restored,
        });
    }
    // The plan's id names the epoch too: applying a plan again gives the same epoch.
    let mut id = [0; 16];
    id.copy_from_slice(&plan.id().0[..16]);
    RecoveryEpoch::new(Uuid::new_v8(id), time, streams).map_err(|what| RecoveryError::Io {
        path: "the epoch".into(),
        source: std::io::Error::other(what),
    })
}

/// For each stream of the plan the highest number that the recovery gave back without a hole below it.
fn recovered_heads(plan: &PlanFile) -> Result<BTreeMap<StreamKey, u64>, RecoveryError> {
    let mut heads: BTreeMap<StreamKey, u64> = BTreeMap::new();
    let mut current = None;
    plan.read(|line| {
        let first_missing = match line {
            PlanLine::Stream(stream) => {
                current = Some(stream.stream);
                heads.insert(stream.stream, stream.head_before);
                return Ok(());
            }
            PlanLine::Event(event) => event.sequence,
            PlanLine::Open(open) => open.from,
            // What stands from there on is of another history than before the recovery, wherever it stands now.
            PlanLine::Move(moved) => moved.from.min(moved.to),
            PlanLine::Reissue(reissue) => reissue.sequence,
            _ => return Ok(()),
        };
        if let Some(head) = current.and_then(|stream| heads.get_mut(&stream)) {
            *head = (*head).min(first_missing.saturating_sub(1));
        }
        Ok(())
    })?;
    Ok(heads)
}
