//! What the stream is like under the locks: as the plan expects it, as the plan leaves it, or otherwise.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, RangeInclusive};

use event_log::View;
use ves::merkle::leaf_hash;
use ves::{Hash32, KeyRegistry, SignatureCheck, StreamKey};

use super::rows::{leaf_of, planned_leaf};
use super::sections::Sections;
use crate::accept_keys::PlannedKey;
use crate::error::RecoveryError;
use crate::fingerprint::FingerprintBuilder;
use crate::plan_file::PlannedStream;

/// The stream as found under the locks.
pub(crate) struct Found {
    pub(crate) fingerprint: Hash32,
    /// How many events it has.
    pub(crate) events: u64,
    /// The last number, 0 if there is none.
    pub(crate) head: u64,
    /// How many commitments it has.
    pub(crate) commitments: u64,
    /// The first receipt with a signature.
    pub(super) first_signed: Option<u64>,
    /// That signature does not hold under the given key.
    pub(super) receipt_signed_by_another: bool,
}

impl Found {
    pub(crate) async fn read(
        view: &mut View,
        stream: &StreamKey,
        counter: Option<u64>,
        sequencer_key: Option<&ed25519_dalek::SigningKey>,
    ) -> Result<Self, RecoveryError> {
        let commitments = view.commitments(stream).await?.rows;
        let mut fingerprint = FingerprintBuilder::new(stream, counter, &commitments);
        let mut before = Self {
            fingerprint: Hash32::ZERO,
            events: 0,
            head: 0,
            commitments: commitments.len() as u64,
            first_signed: None,
            receipt_signed_by_another: false,
        };
        let public = sequencer_key.map(ed25519_dalek::SigningKey::verifying_key);
        view.for_each_entry(stream, 1..=i64::MAX as u64, &mut |chunk| {
            for row in chunk {
                let entry = match row {
                    Ok(entry) => entry,
                    // A row that cannot be read is not in the fingerprint of the audit either, but it is there.
                    Err(row) => {
                        if let Some(number) = row.sequence.filter(|number| *number > before.head) {
                            before.events += 1;
                            before.head = number;
                        }
                        continue;
                    }
                };
                fingerprint.entry(&entry);
                before.events += u64::from(entry.sequence_number > before.head);
                before.head = entry.sequence_number;
                if let Some(receipt) = entry.receipt.filter(|r| r.sequencer_signature.is_some())
                    && before.first_signed.is_none()
                {
                    before.first_signed = Some(entry.sequence_number);
                    before.receipt_signed_by_another =
                        receipt.check_signature(public.as_ref()) == SignatureCheck::Invalid;
                }
            }
            ControlFlow::Continue(())
        })
        .await?;
        before.fingerprint = fingerprint.finish();
        Ok(before)
    }
}

/// Whether everything that the plan wants is there already; if not, the first thing that is not.
pub(super) async fn not_yet_applied(
    view: &mut View,
    header: &PlannedStream,
    counter: Option<u64>,
    lines: &mut Sections,
) -> Result<Option<String>, RecoveryError> {
    let stream = header.stream;
    if counter < header.counter_after {
        let show = |c: Option<u64>| c.map_or("missing".to_owned(), |c| c.to_string());
        return Ok(Some(format!(
            "the plan was made at counter {} and sets {}, the counter is {}",
            show(header.counter_before),
            show(header.counter_after),
            show(counter)
        )));
    }
    let registered = KeyRegistry::new(view.keys(Some(stream.tenant_id)).await?.rows);
    for PlannedKey { key, .. } in lines.keys()? {
        let there = registered.get(key.tenant_id, key.agent_id, key.key_id);
        if there.is_none_or(|there| there.public_key != key.public_key) {
            return Ok(Some(format!(
                "key {} of agent {} is not registered",
                key.key_id, key.agent_id
            )));
        }
    }
    let moves = lines.next_moves()?;
    for planned in &moves.moves {
        let there = stored_leaves(view, &stream, planned.to..=planned.to).await?;
        if there.get(&planned.to) != Some(&planned.leaf) {
            let what = format!("event {} is not at {}", planned.event_id, planned.to);
            return Ok(Some(what));
        }
    }
    loop {
        let mut group = lines.next_group()?;
        if group.is_empty() {
            group = lines.next_tombstones(stream)?;
        }
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            break;
        };
        let stored = stored_leaves(view, &stream, first.sequence..=last.sequence).await?;
        for planned in &group {
            let leaf = planned_leaf(&stream, planned);
            match stored.get(&planned.sequence) {
                Some(there) if *there == leaf => {}
                there => return Ok(Some(differs(planned.sequence, there.is_some()))),
            }
        }
    }
    let (commitments, _) = lines.rest()?;
    let stored = view.commitments(&stream).await?.rows;
    for superseded in moves.superseded {
        if stored.iter().any(|c| c.batch_id == superseded.batch_id) {
            return Ok(Some(format!("commitment {} is still there", superseded.batch_id)));
        }
    }
    for planned in commitments {
        if !stored
            .iter()
            .any(|c| c.batch_id == planned.batch_id && c.merkle_root == planned.merkle_root)
        {
            return Ok(Some(format!("commitment {} is not there", planned.batch_id)));
        }
    }
    loop {
        let group = lines.next_appends()?;
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            return Ok(None);
        };
        let stored = stored_leaves(view, &stream, first.sequence..=last.sequence).await?;
        for planned in &group {
            let there = stored.get(&planned.sequence);
            if there != Some(&leaf_of(&stream, planned.sequence, &planned.event)) {
                return Ok(Some(differs(planned.sequence, there.is_some())));
            }
        }
    }
}

/// How a position differs from what the plan has for it.
fn differs(sequence: u64, filled: bool) -> String {
    if filled {
        format!("position {sequence} holds another event")
    } else {
        format!("the events, commitments or receipts differ, and {sequence} is empty")
    }
}

pub(crate) async fn stored_leaves(
    view: &mut View,
    stream: &StreamKey,
    range: RangeInclusive<u64>,
) -> Result<BTreeMap<u64, Hash32>, RecoveryError> {
    let mut leaves = BTreeMap::new();
    view.for_each_leaf_input(stream, range, &mut |chunk| {
        for input in chunk.into_iter().flatten() {
            let leaf = leaf_hash(
                stream,
                input.sequence_number,
                &input.event_signing_hash,
                &input.agent_signature,
            );
            leaves.insert(input.sequence_number, leaf);
        }
        ControlFlow::Continue(())
    })
    .await?;
    Ok(leaves)
}
