//! Taking groups of rows back.

use event_log::{JournalCounts, JournalEntry, JournalState, Renumbered, Repair};
use ves::{EventId, Hash32, Receipt, Timestamp};

use super::group::{GROUP, Group, MovedBack};
use super::report::UndoneStream;
use crate::apply::TOOL;
use crate::error::RecoveryError;

pub(super) async fn move_back(
    repair: &mut Repair,
    moved: Vec<MovedBack>,
    counter_left: u64,
    undone: &mut UndoneStream,
) -> Result<(), RecoveryError> {
    let ids: Vec<EventId> = moved.iter().map(|m| m.event_id).collect();
    for ids in ids.chunks(GROUP) {
        let removed = repair.remove_receipts(ids).await?;
        if removed != ids.len() as u64 {
            let what = format!("{removed} receipts instead of {} were taken back", ids.len());
            return Err(RecoveryError::Outcome {
                stream: *repair.stream(),
                what,
            });
        }
    }
    let back: Vec<Renumbered> = moved
        .iter()
        .map(|m| Renumbered {
            event_id: m.event_id,
            from: m.to,
            to: m.from,
            sequenced_at: m.sequenced_at,
        })
        .collect();
    let highest = moved.iter().map(|m| m.from.max(m.to)).max().unwrap_or(0);
    repair.renumber_events(&back, highest.max(counter_left)).await?;
    let receipts: Vec<Receipt> = moved.into_iter().filter_map(|m| m.receipt.map(|r| *r)).collect();
    for receipts in receipts.chunks(GROUP) {
        repair.insert_receipts(receipts).await?;
    }
    undone.moved_back = back.len() as u64;
    Ok(())
}

pub(super) async fn take_back(
    repair: &mut Repair,
    group: Group,
    undone: &mut UndoneStream,
) -> Result<(), RecoveryError> {
    let stream = *repair.stream();
    let all = |what: &str, done: u64, wanted: usize| {
        if done == wanted as u64 {
            return Ok(());
        }
        let what = format!("{done} {what} instead of {wanted} were taken back");
        Err(RecoveryError::Outcome { stream, what })
    };
    match group {
        Group::Key(key) => {
            let removed = repair
                .remove_key(key.agent_id, key.key_id, key.public_key)
                .await?;
            all("keys", removed.into(), 1)?;
            undone.keys += 1;
        }
        // These wait until all others are done.
        Group::Moved(_) | Group::Withdrawn(_) => {}
        Group::Events(events) => {
            let ids: Vec<EventId> = events.iter().map(|(_, id, _)| *id).collect();
            let receipts = repair.remove_receipts(&ids).await?;
            all("receipts", receipts, ids.len())?;
            let removed = repair.remove_events(&ids).await?;
            all("events", removed, ids.len())?;
            undone.receipts += receipts;
            undone.events += removed;
        }
        Group::Receipts(events) => {
            let removed = repair.remove_receipts(&events).await?;
            all("receipts", removed, events.len())?;
            undone.receipts += removed;
        }
        Group::Commands(commands) => {
            let removed = repair.remove_commands(&commands).await?;
            all("commands", removed, commands.len())?;
            undone.commands += removed;
        }
        // They were reserved when the locks were taken.
        Group::Forgotten(commands) => undone.commands_back += commands.len() as u64,
        Group::Version {
            entity,
            before,
            after,
        } => {
            let done = repair.take_back_entity_version(&entity, after, before).await?;
            all("entity versions", done.into(), 1)?;
            undone.entity_versions += 1;
        }
        Group::Commitments(batches) => {
            let removed = repair.remove_commitments(&batches).await?;
            all("commitments", removed, batches.len())?;
            undone.commitments += removed;
        }
        Group::Projection { before, after } => {
            let done = repair.take_back_projection(after, before).await?;
            all("projections", done.into(), 1)?;
            undone.projection = Some(before);
        }
    }
    Ok(())
}

pub(super) fn journal_entry(undone: &UndoneStream, plan_id: Hash32, written_at: Timestamp) -> JournalEntry {
    JournalEntry {
        written_at,
        state: JournalState::Undone,
        plan_id,
        stream: undone.stream,
        tool: TOOL.into(),
        counter_before: undone.counter_before,
        counter_after: undone.counter_after,
        counts: JournalCounts {
            // Tombstones and what was appended are among them.
            events: undone.events,
            moved: undone.moved_back,
            keys: undone.keys,
            receipts: undone.receipts,
            // As of the apply: those that it remembered, and those that it forgot.
            commands: undone.commands,
            commands_forgotten: undone.commands_back,
            entity_versions: undone.entity_versions,
            commitments: undone.commitments,
            commitments_superseded: undone.commitments_back,
            projection: undone.projection,
            ..JournalCounts::default()
        },
    }
}
