//! Whether a stream is as an apply left it, or as it was before.

use std::collections::BTreeSet;

use event_log::Repair;
use ves::{CommandId, EventId, Hash32, SigningKey, StreamKey};

use super::Undoing;
use super::group::{Group, MovedBack};
use crate::apply::undo_file::{Anchored, UndoSealed, UndoSection};
use crate::apply::{Found, stored_leaves};
use crate::error::RecoveryError;

/// How a stream differs from the two states that the bundle knows of: the first difference of each.
pub(super) struct Compared {
    pub(super) from_left: Option<String>,
    pub(super) from_before: Option<String>,
}

impl Compared {
    pub(super) fn left(&mut self, what: impl FnOnce() -> String) {
        if self.from_left.is_none() {
            self.from_left = Some(what());
        }
    }

    pub(super) fn before(&mut self, what: impl FnOnce() -> String) {
        if self.from_before.is_none() {
            self.from_before = Some(what());
        }
    }

    /// One thing that is in one of two states, or in neither.
    pub(super) fn is<T: PartialEq + std::fmt::Display>(
        &mut self,
        what: &str,
        found: &T,
        left: &T,
        before: &T,
    ) {
        if found != left {
            self.left(|| format!("{what} is {found} and was left at {left}"));
        }
        if found != before {
            self.before(|| format!("{what} is {found} and was {before}"));
        }
    }
}

impl Undoing<'_> {
    /// Compares the stream whose turn it is with both states.
    pub(super) async fn compare(
        &mut self,
        section: &UndoSection,
        counter: Option<u64>,
    ) -> Result<Compared, RecoveryError> {
        let stream = section.opened.stream;
        let (repair, bundle, cancel) = (&mut self.repair, self.bundle, self.cancel);
        let (opened, sealed) = (&section.opened, &section.sealed);
        let found = Found::read(repair.view(), &stream, counter, None).await?;
        let mut compared = Compared {
            from_left: None,
            from_before: None,
        };
        let as_left = found.fingerprint == sealed.fingerprint_after;
        if !as_left {
            compared.counts(&found, counter, sealed);
        }
        let anchored = Anchored::of(&found.commitments);
        if let Some(left) = sealed.anchored_after.filter(|left| *left != anchored) {
            compared.left(|| {
                format!(
                    "{} of its commitments are anchored (chain_tx_hash) and {} were, or by other transactions",
                    anchored.count, left.count
                )
            });
        }
        if found.fingerprint != opened.fingerprint_before {
            compared.before(|| "its events, receipts, commitments or counter differ".into());
        }
        let mut lines = bundle.lines(section).map_err(RecoveryError::Bundle)?;
        while let Some(group) = Group::next(&mut lines)? {
            cancel.check()?;
            compare_group(repair, &self.back, &group, &mut compared).await?;
        }
        if !as_left {
            compared.left(|| "an event, receipt or commitment was changed, added or removed".into());
        }
        Ok(compared)
    }
}

impl Compared {
    /// What says best how a stream moved on: its head, its counter, its commitments.
    fn counts(&mut self, found: &Found, counter: Option<u64>, sealed: &UndoSealed) {
        let number = |counter: Option<u64>| counter.map_or("missing".to_owned(), |c| c.to_string());
        if found.head > sealed.head_after {
            let (added, last) = (found.head, sealed.head_after);
            self.left(|| format!("event {added} was added; the last was {last}"));
        }
        if counter != Some(sealed.counter_after) {
            let left = sealed.counter_after;
            self.left(|| format!("the counter is {} and was left at {left}", number(counter)));
        }
        let commitments = found.commitments.len() as u64;
        if commitments != sealed.commitments_after {
            let left = sealed.commitments_after;
            self.left(|| format!("there are {commitments} commitments and {left} were left"));
        }
    }
}

async fn compare_group(
    repair: &mut Repair,
    back: &BTreeSet<(StreamKey, CommandId)>,
    group: &Group,
    compared: &mut Compared,
) -> Result<(), RecoveryError> {
    let stream = *repair.stream();
    match group {
        Group::Key(key) => compare_key(repair, &stream, key, compared).await?,
        Group::Events(events) => compare_events(repair, &stream, events, compared).await?,
        Group::Moved(events) => compare_moved(repair, &stream, events, compared).await?,
        // In the fingerprint.
        Group::Withdrawn(_) | Group::Receipts(_) => {}
        Group::Commands(commands) => {
            let known = repair.view().remembered_commands(&stream, commands).await?;
            let (known, count) = (known.len(), commands.len());
            compared.is("the number of commands remembered", &known, &count, &0);
        }
        Group::Forgotten(commands) => {
            // Those that were not remembered are reserved.
            let forgotten = commands.iter().filter(|(id, _)| back.contains(&(stream, *id)));
            let count = commands.len();
            compared.is("the number of commands forgotten", &forgotten.count(), &count, &0);
        }
        Group::Version {
            entity,
            before,
            after,
        } => {
            let found = repair.view().entity_version(&stream, entity).await?;
            let text = |version: Option<i64>| version.map_or("missing".to_owned(), |v| v.to_string());
            let what = format!("the version of {} {}", entity.entity_type, entity.entity_id);
            compared.is(&what, &text(found), &text(Some(*after)), &text(*before));
        }
        Group::Commitments(batches) if compared.from_left.is_none() => {
            let proofs = repair.proofs_of_batches(batches).await?;
            if proofs > 0 {
                compared.left(|| format!("{proofs} row(s) of ves_validity_proofs refer to its commitments"));
            }
        }
        Group::Commitments(_) => {}
        Group::Projection { before, after } => {
            let found = repair.view().projection_checkpoint(&stream).await?;
            let found = found.map_or("missing".to_owned(), |at| at.to_string());
            let (after, before) = (after.to_string(), before.to_string());
            compared.is("the projection checkpoint", &found, &after, &before);
        }
    }
    Ok(())
}

async fn compare_key(
    repair: &mut Repair,
    stream: &StreamKey,
    key: &SigningKey,
    compared: &mut Compared,
) -> Result<(), RecoveryError> {
    let registered = repair.view().keys(Some(stream.tenant_id)).await?.rows;
    let found = registered
        .into_iter()
        .find(|k| (k.agent_id, k.key_id) == (key.agent_id, key.key_id));
    let text = |found: Option<&SigningKey>| match found {
        None => "missing".to_owned(),
        Some(found) if found == key => key.public_name(),
        Some(found) => format!("{} ({}), changed since", found.public_name(), found.status),
    };
    let what = format!("key {} of agent {}", key.key_id, key.agent_id);
    compared.is(&what, &text(found.as_ref()), &text(Some(key)), &text(None));
    Ok(())
}

async fn compare_events(
    repair: &mut Repair,
    stream: &StreamKey,
    events: &[(u64, EventId, Hash32)],
    compared: &mut Compared,
) -> Result<(), RecoveryError> {
    let first = events.iter().map(|(at, ..)| *at).min().unwrap_or(0);
    let last = events.iter().map(|(at, ..)| *at).max().unwrap_or(0);
    if compared.from_left.is_none() {
        let stored = stored_leaves(repair.view(), stream, first..=last).await?;
        for (at, id, leaf) in events {
            match stored.get(at) {
                Some(there) if there == leaf => {}
                Some(_) => compared.left(|| format!("position {at} holds another event than {id}")),
                None => compared.left(|| format!("event {id} is no longer at {at}")),
            }
        }
    }
    if compared.from_left.is_none() {
        let ids: Vec<EventId> = events.iter().map(|(_, id, _)| *id).collect();
        let proofs = repair.proofs_of_events(&ids).await?;
        if proofs > 0 {
            compared.left(|| {
                format!("{proofs} row(s) of ves_compliance_proofs refer to events at {first}-{last}")
            });
        }
    }
    Ok(())
}

async fn compare_moved(
    repair: &mut Repair,
    stream: &StreamKey,
    events: &[MovedBack],
    compared: &mut Compared,
) -> Result<(), RecoveryError> {
    for event in events {
        if compared.from_left.is_some() {
            break;
        }
        let stored = stored_leaves(repair.view(), stream, event.to..=event.to).await?;
        if stored.get(&event.to) != Some(&event.leaf) {
            compared.left(|| format!("event {} is not at {}", event.event_id, event.to));
        }
    }
    Ok(())
}
