//! Many events verified together: the same verdicts as one by one, several times as fast.
//!
//! Payload hashes, signing hashes and signatures are each computed side by side over the whole group. Groups of a few
//! hundred events are enough; callers spread groups over threads.

use crate::digest::Hash32;
use crate::event::{Event, EventCheck, Payload};
use crate::kernel::Batch;
use crate::key::{EventSignature, KeyRegistry};
use crate::payload::{NO_CIPHER_HASH, PayloadHasher};
use crate::signature::SignatureCheck;
use crate::time::Timestamp;

/// What came out of verifying one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventVerdict {
    /// The signing hash, recomputed: [`Event::signing_hash`].
    pub signing_hash: Hash32,
    /// As [`Event::check_payload`].
    pub payload: EventCheck,
    /// As [`KeyRegistry::check`] over the recomputed signing hash: a stored one that is wrong must not carry a
    /// signature through.
    pub signature: SignatureCheck,
}

/// Verifies events, each with its key judged at the time beside it. The verdicts come in the order of the events.
pub fn verify_events(events: &[(&Event, Timestamp)], keys: &KeyRegistry) -> Vec<EventVerdict> {
    let signing_hashes = signing_hashes(events);
    let payloads = check_payloads(events);
    let signatures: Vec<EventSignature<'_>> = events
        .iter()
        .zip(&signing_hashes)
        .map(|((event, at), signing_hash)| EventSignature {
            event,
            signing_hash: *signing_hash,
            at: *at,
        })
        .collect();
    let signatures = keys.check_many(&signatures);
    signing_hashes
        .into_iter()
        .zip(payloads)
        .zip(signatures)
        .map(|((signing_hash, payload), signature)| EventVerdict {
            signing_hash,
            payload,
            signature,
        })
        .collect()
}

fn signing_hashes(events: &[(&Event, Timestamp)]) -> Vec<Hash32> {
    let mut batch = Batch::default();
    for (event, _) in events {
        event.append_signing_preimage(batch.start());
        batch.finish();
    }
    batch.hash().to_vec()
}

fn check_payloads(events: &[(&Event, Timestamp)]) -> Vec<EventCheck> {
    let mut hasher = PayloadHasher::default();
    // Those whose hash is computed with the others; the rest are checked alone.
    let mut together = Vec::with_capacity(events.len());
    let mut checks: Vec<Option<EventCheck>> = Vec::with_capacity(events.len());
    for (index, (event, _)) in events.iter().enumerate() {
        let plain = match &event.payload {
            Payload::Plain(json) if event.payload_cipher_hash == NO_CIPHER_HASH => Some(json),
            _ => None,
        };
        match plain.map(|json| hasher.push(json)) {
            Some(Ok(())) => {
                together.push(index);
                checks.push(None);
            }
            _ => checks.push(Some(event.check_payload())),
        }
    }
    for (index, hash) in together.into_iter().zip(hasher.hash()) {
        let (event, _) = events[index];
        // A mismatch is put in words by the plain path.
        checks[index] = Some(if *hash == event.payload_plain_hash {
            EventCheck::Matches
        } else {
            event.check_payload()
        });
    }
    checks
        .into_iter()
        .zip(events)
        .map(|(check, (event, _))| check.unwrap_or_else(|| event.check_payload()))
        .collect()
}
