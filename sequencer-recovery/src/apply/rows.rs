//! The rows that a plan's lines become, each checked again.

use std::collections::BTreeMap;

use event_log::{Commitment, Entity, LogEntry, ReceiptDefaults, View};
use rayon::prelude::*;
use ves::merkle::{self, leaf_hash};
use ves::receipt::receipt_hash;
use ves::verify::{EventVerdict, verify_events};
use ves::{EventCheck, EventId, Hash32, KeyRegistry, Receipt, SignatureCheck, StreamKey, Timestamp};

use super::ApplyOptions;
use crate::error::RecoveryError;
use crate::grade::Grade;
use crate::plan::planned::{PlannedCommitment, PlannedEvent, PlannedStream};
use crate::stream::sequencer_keys::{KeyVersions, Signers};

/// Entity versions as they were and as they became.
pub(super) type Versions = BTreeMap<Entity, (Option<i64>, i64)>;

pub(super) fn planned_leaf(stream: &StreamKey, planned: &PlannedEvent) -> Hash32 {
    leaf_of(stream, planned.sequence, &planned.event)
}

pub(super) fn leaf_of(stream: &StreamKey, sequence: u64, event: &ves::Event) -> Hash32 {
    leaf_hash(stream, sequence, &event.signing_hash(), &event.agent_signature)
}

/// Makes the receipts of one stream.
pub(crate) struct Receipts {
    /// Who they are from; `None` if neither the log nor the operator says so.
    from: Option<ReceiptDefaults>,
    signers: Signers,
}

impl Receipts {
    /// As the stream's receipts are, with the keys that the operator gives.
    pub(super) async fn read(
        view: &mut View,
        stream: &StreamKey,
        versions: KeyVersions,
        options: &ApplyOptions,
    ) -> Result<Self, RecoveryError> {
        let found = view.receipt_defaults(stream).await?;
        let from = found.or(options.sequencer_id.map(|sequencer_id| ReceiptDefaults {
            sequencer_id,
            sequencer_key_version: 0,
            receipt_signature_scheme: 1,
        }));
        let default = from.map_or(0, |from| from.sequencer_key_version);
        let signers = versions.signers(&options.sequencer_keys, default);
        let signers = signers.map_err(|wrong| RecoveryError::Refused {
            stream: *stream,
            sequence: wrong.sequence,
            what: wrong.what,
        })?;
        Ok(Self { from, signers })
    }

    /// Makes a receipt, signed if the key in force at its place was given.
    pub(crate) fn make(
        &mut self,
        event_id: EventId,
        sequence_number: u64,
        sequenced_at: Timestamp,
        receipt_hash: Hash32,
    ) -> Result<Receipt, String> {
        let Some(from) = self.from else {
            return Err(
                "the log has no receipt to learn the sequencer's id from: give --sequencer-id".into(),
            );
        };
        let (sequencer_key_version, signed) = self.signers.sign(sequence_number, &receipt_hash);
        let scheme = match &signed {
            // 0 and 1 both stand for Ed25519: as the log has it.
            Some(signed) if signed.bundle.is_some() || from.receipt_signature_scheme > 1 => signed.scheme.0,
            _ => from.receipt_signature_scheme,
        };
        Ok(Receipt {
            event_id,
            sequencer_id: from.sequencer_id,
            sequence_number,
            sequenced_at,
            receipt_hash,
            sequencer_signature: signed.as_ref().and_then(|signed| signed.ed25519),
            sequencer_key_version,
            receipt_signature_scheme: scheme,
            receipt_signature_bundle: signed.and_then(|signed| signed.bundle),
        })
    }

    /// What to tell of those that could not be signed.
    pub(super) fn unsigned(&self) -> impl Iterator<Item = String> {
        self.signers.unsigned()
    }

    /// The receipt of a planned event: the one that a witness saved, or a new one.
    pub(super) fn restored(
        &mut self,
        planned: &PlannedEvent,
        stream: &StreamKey,
        signing_hash: &Hash32,
    ) -> Result<Receipt, String> {
        let event_id = planned.event.event_id;
        let hash = receipt_hash(stream, &event_id, planned.sequence, signing_hash);
        let Some(receipt) = &planned.receipt else {
            return self.make(event_id, planned.sequence, planned.sequenced_at, hash);
        };
        let fits = receipt.receipt_hash == hash
            && receipt.event_id == event_id
            && receipt.sequence_number == planned.sequence
            && receipt.sequenced_at == planned.sequenced_at;
        if fits {
            Ok(receipt.clone())
        } else {
            Err("its saved receipt is of another event".into())
        }
    }

    /// The receipt of an event that is there and has none.
    pub(super) fn missing(&mut self, stream: &StreamKey, entry: &LogEntry) -> Result<Receipt, String> {
        let event = &entry.event;
        if !event.check_payload().is_match() || event.signing_hash() != entry.event_signing_hash {
            return Err("its event does not verify".into());
        }
        let at = entry.sequence_number;
        let hash = receipt_hash(stream, &event.event_id, at, &entry.event_signing_hash);
        self.make(event.event_id, at, entry.sequenced_at, hash)
    }
}

/// So many events are judged side by side on a thread.
const SIDE_BY_SIDE: usize = 256;

/// Judges events by themselves on all threads, each key at the time at which its event was numbered.
pub(super) fn judge_again(group: &[PlannedEvent], keys: &KeyRegistry) -> Vec<EventVerdict> {
    let events: Vec<_> = group.iter().map(|p| (&p.event, p.sequenced_at)).collect();
    let chunks = events.par_chunks(SIDE_BY_SIDE);
    chunks.flat_map_iter(|chunk| verify_events(chunk, keys)).collect()
}

/// A plan's digest protects from accidents only: hashes and signatures are checked again before anything is
/// written.
pub(super) fn verify_again(
    planned: &PlannedEvent,
    header: &PlannedStream,
    verdict: &EventVerdict,
) -> Result<Hash32, String> {
    let event = &planned.event;
    if event.stream != header.stream {
        return Err(format!("event {} is of stream {}", event.event_id, event.stream));
    }
    if planned.sequence == 0 {
        return Err("sequences start at 1".into());
    }
    if let EventCheck::Mismatch(what) = &verdict.payload {
        return Err(format!("event {} does not verify: {what}", event.event_id));
    }
    let in_batch = header
        .batches
        .iter()
        .any(|b| (b.sequence_start..=b.sequence_end).contains(&planned.sequence));
    match &verdict.signature {
        SignatureCheck::Valid => {}
        SignatureCheck::Invalid => {
            return Err(format!("the signature of event {} does not hold", event.event_id));
        }
        // The batch's root, recomputed before the commit, binds the signature's bytes.
        _ if planned.grade >= Grade::Committed && in_batch => {}
        // So does the leaf that a checkpoint confirms.
        _ if planned.grade == Grade::Checkpointed
            && planned.leaf == Some(planned_leaf(&header.stream, planned)) => {}
        // Judged when the plan was made, at the event's own time.
        SignatureCheck::KeyNotValid(_) => {}
        SignatureCheck::KeyUnknown => {
            return Err(format!("the key of event {} is not registered", event.event_id));
        }
        SignatureCheck::NotChecked(why) => {
            return Err(format!(
                "the signature of event {} is NOT CHECKED: {why}",
                event.event_id
            ));
        }
    }
    Ok(verdict.signing_hash)
}

pub(super) fn commitment_row(stream: &StreamKey, planned: &PlannedCommitment) -> Commitment {
    let count = planned.sequence_end - planned.sequence_start + 1;
    Commitment {
        batch_id: planned.batch_id,
        stream: *stream,
        ves_version: 1,
        tree_depth: merkle::tree_depth(count),
        leaf_count: u32::try_from(count).unwrap_or(u32::MAX),
        padded_leaf_count: u32::try_from(merkle::padded_leaf_count(count)).unwrap_or(u32::MAX),
        merkle_root: planned.merkle_root,
        prev_state_root: planned.prev_state_root,
        new_state_root: planned.new_state_root,
        sequence_start: planned.sequence_start,
        sequence_end: planned.sequence_end,
        committed_at: planned.committed_at,
        chain_id: planned.chain_id.and_then(|id| u32::try_from(id).ok()),
        chain_tx_hash: planned.chain_tx_hash,
        chain_block_number: planned.chain_block_number,
        anchored_at: planned.anchored_at,
    }
}
