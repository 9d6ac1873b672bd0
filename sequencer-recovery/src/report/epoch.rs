//! The recovery epoch: which history the log continues after the repair, for agents that have no access to the
//! database. The file's format is `outbox-sync`'s (docs/epoch.md).

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use event_log::{JournalState, Log, LogError, StreamFilter, View};
use outbox_sync::epoch::{EpochStream, RecoveryEpoch, RestoredNumber};
use uuid::Uuid;
use ves::{Hash32, StreamKey};

use crate::error::RecoveryError;
use crate::plan::plan_file::PlanFile;
use crate::plan::planned::PlanLine;

/// Draws the epoch up from a plan and the log that it was applied to. Not signed yet.
///
/// # Errors
/// What the log's database says; a plan that cannot be read; a log that contradicts itself.
pub async fn epoch(log: &Log, plan: &PlanFile) -> Result<RecoveryEpoch, RecoveryError> {
    let recovered = recovered_heads(plan)?;
    draw(&mut log.view().await?, plan.id(), &|stream, head, _| {
        // A stream that the plan does not speak of was given back whole, as far as anybody knows.
        recovered.get(stream).copied().unwrap_or(head)
    })
    .await
}

/// Draws the epoch up from the log and its journal of repairs: that of the plan, or of the one that was applied last. Not
/// signed yet.
///
/// # Errors
/// What the log's database says; [`RecoveryError::NoEpoch`] if the journal does not tell of such a plan.
pub async fn epoch_of_journal(log: &Log, plan_id: Option<Hash32>) -> Result<RecoveryEpoch, RecoveryError> {
    let mut view = log.view().await?;
    // An entry that cannot be read may be the one that says that a plan was taken back, and agents act on an epoch without
    // looking at the log: none is drawn up before the entry can be read.
    let entries = view
        .journal_newest(&StreamFilter::default(), u32::MAX)
        .await?
        .all()?;
    let none = |what: &str| RecoveryError::NoEpoch {
        what: what.to_owned(),
    };
    // The newest entry of a plan and stream says whether it stands.
    let mut standing: BTreeMap<(Hash32, StreamKey), Option<u64>> = BTreeMap::new();
    let mut newest = None;
    let mut seen = std::collections::BTreeSet::new();
    for entry in entries.iter().filter(|entry| !entry.counts.counters_only) {
        if seen.insert((entry.plan_id, entry.stream)) && entry.state == JournalState::Applied {
            newest = newest.or(Some(entry.plan_id));
            standing.insert((entry.plan_id, entry.stream), entry.counts.recovered_head);
        }
    }
    let plan_id = plan_id.or(newest);
    let plan_id = plan_id.ok_or_else(|| none("the journal of repairs tells of no plan that was applied"))?;
    let mut recovered = BTreeMap::new();
    for ((_, stream), head) in standing.into_iter().filter(|((of, _), _)| *of == plan_id) {
        let head = head.ok_or_else(|| {
            none(
                "the journal was written by an older release, which did not note where the \
             recovery ended",
            )
        })?;
        recovered.insert(stream, head);
    }
    if recovered.is_empty() {
        return Err(none(
            "the journal does not say that this plan was applied, or it was taken back",
        ));
    }
    draw(&mut view, plan_id, &|stream, _, whole| {
        recovered.get(stream).copied().unwrap_or(whole)
    })
    .await
}

/// Says where the recovery ended in a stream, of its head and of where its first hole is.
type RecoveredHead<'a> = &'a (dyn Fn(&StreamKey, u64, u64) -> u64 + Sync);

async fn draw(
    view: &mut View,
    plan_id: Hash32,
    recovered: RecoveredHead<'_>,
) -> Result<RecoveryEpoch, RecoveryError> {
    let time = view.database_time().await?;
    let mut streams = Vec::new();
    // Rows of no known stream may be a stream's last, or all there is of one: agents would take what they hold for lost, and
    // hand it over again.
    for state in view.streams(&StreamFilter::default()).await?.all()? {
        let head = state.last.unwrap_or(0);
        let first = view.present_ranges(&state.stream).await?.into_iter().next();
        let whole = first
            .filter(|range| *range.start() == 1)
            .map_or(0, |range| *range.end());
        let recovered_head = recovered(&state.stream, head, whole).min(head);
        let mut restored = Vec::new();
        if recovered_head < head {
            let mut unreadable = None;
            view.for_each_leaf_input(&state.stream, recovered_head + 1..=head, &mut |chunk| {
                for input in chunk {
                    match input {
                        Ok(input) => restored.push(RestoredNumber {
                            sequence_number: input.sequence_number,
                            event_id: input.event_id,
                        }),
                        Err(row) => unreadable = Some(row),
                    }
                }
                ControlFlow::Continue(())
            })
            .await?;
            // What is above the recovered head and not named as restored is handed over again.
            if let Some(row) = unreadable {
                return Err(LogError::from(row).into());
            }
        }
        streams.push(EpochStream {
            stream: state.stream,
            recovered_head,
            head,
            counter: state.counter.unwrap_or(0).max(head),
            restored,
            generation: None,
        });
    }
    // The plan's id names the epoch too: applying a plan again gives the same epoch.
    let mut id = [0; 16];
    id.copy_from_slice(&plan_id.0[..16]);
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
        if let PlanLine::Stream(stream) = &line {
            current = Some(stream.stream);
            heads.insert(stream.stream, stream.head_before);
        }
        let head = current.and_then(|stream| heads.get_mut(&stream));
        if let (Some(lost), Some(head)) = (line.first_lost(), head) {
            *head = (*head).min(lost.saturating_sub(1));
        }
        Ok(())
    })?;
    Ok(heads)
}
