//! Taking groups of rows back.

use event_log::{JournalCounts, JournalEntry, JournalState, Renumbered, Repair};
use ves::{BatchId, CommandId, EventId, Hash32, Timestamp};

use super::group::{Back, Group};
use super::report::UndoneStream;
use crate::apply::{GROUP, TOOL};
use crate::error::RecoveryError;

/// Puts back what made room for the rest, when the rest is out again.
pub(super) async fn put_back(
    repair: &mut Repair,
    back: Back,
    counter_left: u64,
    undone: &mut UndoneStream,
) -> Result<(), RecoveryError> {
    let highest = back
        .moved
        .iter()
        .map(|(_, was, is)| was.sequence.max(is.sequence));
    let highest = highest.max().unwrap_or(0);
    let moved = back.moved.into_iter().map(|(event_id, was, is)| Renumbered {
        event_id,
        from: is.sequence,
        to: was.sequence,
        sequenced_at: was.sequenced_at,
    });
    let moved: Vec<Renumbered> = moved.collect();
    repair.renumber_events(&moved, highest.max(counter_left)).await?;
    for receipts in back.receipts.chunks(GROUP) {
        repair.insert_receipts(receipts).await?;
    }
    undone.moved_back = moved.len() as u64;
    // Of an event that was moved the receipt was replaced.
    undone.receipts = undone.receipts.saturating_sub(undone.moved_back);
    // They were reserved when the locks were taken.
    undone.commands_back = back.commands.len() as u64;
    undone.commitments_back = repair.insert_commitments(&back.commitments).await?;
    Ok(())
}

/// Takes out what was inserted, and sets back what was raised or set.
pub(super) async fn take_back(
    repair: &mut Repair,
    group: &Group,
    undone: &mut UndoneStream,
) -> Result<(), RecoveryError> {
    let stream = *repair.stream();
    let all = |what: &str, done: u64, wanted: usize| {
        if done == wanted as u64 {
            return Ok(done);
        }
        let what = format!("{done} {what} instead of {wanted} were taken back");
        Err(RecoveryError::Outcome { stream, what })
    };
    let removed = repair.remove_receipts(&group.receipts).await?;
    undone.receipts += all("receipts", removed, group.receipts.len())?;
    let events: Vec<EventId> = group.events.iter().map(|(id, _)| *id).collect();
    let removed = repair.remove_events(&events).await?;
    undone.events += all("events", removed, events.len())?;
    let commands: Vec<CommandId> = group.commands.iter().map(|(id, _)| *id).collect();
    let removed = repair.remove_commands(&commands).await?;
    undone.commands += all("commands", removed, commands.len())?;
    for key in &group.keys {
        let removed = repair.remove_key(key.agent_id, key.key_id, key.public_key);
        undone.keys += all("keys", removed.await?.into(), 1)?;
    }
    for (entity, before, after) in &group.versions {
        let done = repair.take_back_entity_version(entity, *after, *before);
        undone.entity_versions += all("entity versions", done.await?.into(), 1)?;
    }
    for (before, after) in &group.projections {
        let done = repair.take_back_projection(*after, *before);
        all("projections", done.await?.into(), 1)?;
        undone.projection = Some(*before);
    }
    let batches: Vec<BatchId> = group.commitments.iter().map(|(id, _)| *id).collect();
    let removed = repair.remove_commitments(&batches).await?;
    undone.commitments += all("commitments", removed, batches.len())?;
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
