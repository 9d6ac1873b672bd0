//! Whether a stream is as an apply left it, or as it was before.

use std::collections::{BTreeMap, BTreeSet};

use event_log::{Commitment, Repair};
use ves::{BatchId, CommandId, EventId, SigningKey, StreamKey, Timestamp};

use super::Undoing;
use super::group::Group;
use crate::apply::undo_file::change::Left;
use crate::apply::undo_file::{Anchored, UndoSealed, UndoSection};
use crate::apply::{Found, stored_leaves};
use crate::error::RecoveryError;

/// Positions that are nearer to each other than this are read together.
const NEAR: u64 = 1000;

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
        let expected = [sealed.fingerprint_after, opened.fingerprint_before];
        let found = Found::read(repair.view(), &stream, counter, None, &expected).await?;
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
        let committed = found.commitments.iter().map(|c| (c.batch_id, c)).collect();
        let mut rows = bundle.changes(section).map_err(RecoveryError::Bundle)?;
        while let Some(group) = Group::next(&mut rows)? {
            cancel.check()?;
            compare_group(repair, &self.back, &committed, &group, &mut compared).await?;
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

/// Compares rows with both states. Those that the fingerprint binds are looked at for what to say, and for what it does not
/// bind.
async fn compare_group(
    repair: &mut Repair,
    back: &BTreeSet<(StreamKey, CommandId)>,
    committed: &BTreeMap<BatchId, &Commitment>,
    group: &Group,
    compared: &mut Compared,
) -> Result<(), RecoveryError> {
    let stream = *repair.stream();
    compare_events(repair, group, compared).await?;
    compare_commands(repair, &group.commands, compared).await?;
    // Those that were not remembered are reserved.
    let forgotten = group.back.commands.iter();
    let forgotten = forgotten.filter(|(id, _)| back.contains(&(stream, *id))).count();
    compared.is(
        "the number of commands forgotten",
        &forgotten,
        &group.back.commands.len(),
        &0,
    );
    for key in &group.keys {
        compare_key(repair, &stream, key, compared).await?;
    }
    for (entity, before, after) in &group.versions {
        let found = repair.view().entity_version(&stream, entity).await?;
        let text = |version: Option<i64>| version.map_or("missing".to_owned(), |v| v.to_string());
        let what = format!("the version of {} {}", entity.entity_type, entity.entity_id);
        compared.is(&what, &text(found), &text(Some(*after)), &text(*before));
    }
    for (before, after) in &group.projections {
        let found = repair.view().projection_checkpoint(&stream).await?;
        let found = found.map_or("missing".to_owned(), |at| at.to_string());
        compared.is(
            "the projection checkpoint",
            &found,
            &after.to_string(),
            &before.to_string(),
        );
    }
    for (batch, left) in &group.commitments {
        if let (Left::As(left), Some(found)) = (left, committed.get(batch))
            && *found != &**left
        {
            compared.left(|| format!("the commitment of batch {batch} was changed"));
        }
    }
    if compared.from_left.is_none() {
        let batches: Vec<BatchId> = group.commitments.iter().map(|(batch, _)| *batch).collect();
        let proofs = repair.proofs_of_batches(&batches).await?;
        if proofs > 0 {
            compared.left(|| format!("{proofs} row(s) of ves_validity_proofs refer to its commitments"));
        }
    }
    Ok(())
}

async fn compare_commands(
    repair: &mut Repair,
    commands: &[(CommandId, Left<Timestamp>)],
    compared: &mut Compared,
) -> Result<(), RecoveryError> {
    let stream = *repair.stream();
    let ids: Vec<CommandId> = commands.iter().map(|(id, _)| *id).collect();
    let known = repair.view().remembered_since(&stream, &ids).await?;
    compared.is("the number of commands remembered", &known.len(), &ids.len(), &0);
    let known: BTreeMap<CommandId, Option<Timestamp>> = known.into_iter().collect();
    for (id, left) in commands {
        if let (Left::As(left), Some(found)) = (left, known.get(id))
            && *found != Some(*left)
        {
            compared.left(|| format!("command {id} is remembered since another moment"));
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

/// Events stand where they were left if their leaves do.
async fn compare_events(
    repair: &mut Repair,
    group: &Group,
    compared: &mut Compared,
) -> Result<(), RecoveryError> {
    if compared.from_left.is_some() {
        return Ok(());
    }
    let stream = *repair.stream();
    let (events, moved) = (&group.events, &group.back.moved);
    let inserted = events.iter().map(|(_, at)| at.sequence);
    let (first, last) = (inserted.clone().min(), inserted.clone().max());
    let mut at: Vec<u64> = inserted.chain(moved.iter().map(|(.., at)| at.sequence)).collect();
    at.sort_unstable();
    let mut stored = BTreeMap::new();
    for near in at.chunk_by(|one, next| next - one < NEAR) {
        if let [first, ..] = near
            && let [.., last] = near
        {
            stored.append(&mut stored_leaves(repair.view(), &stream, *first..=*last).await?);
        }
    }
    for (id, at) in events {
        let number = at.sequence;
        match stored.get(&number) {
            Some(there) if *there == at.leaf => {}
            Some(_) => compared.left(|| format!("position {number} holds another event than {id}")),
            None => compared.left(|| format!("event {id} is no longer at {number}")),
        }
    }
    for (id, _, at) in moved {
        if stored.get(&at.sequence) != Some(&at.leaf) {
            compared.left(|| format!("event {id} is not at {}", at.sequence));
        }
    }
    if let (None, Some(first), Some(last)) = (&compared.from_left, first, last) {
        let ids: Vec<EventId> = events.iter().map(|(id, _)| *id).collect();
        let proofs = repair.proofs_of_events(&ids).await?;
        if proofs > 0 {
            compared.left(|| {
                format!("{proofs} row(s) of ves_compliance_proofs refer to events at {first}-{last}")
            });
        }
    }
    Ok(())
}
