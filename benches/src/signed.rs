//! Signed events, and the keys that they are checked with.

use ves::event::{Event, Payload};
use ves::key::EventSignature;
use ves::{
    AgentId, EventId, KeyRegistry, SignatureBytes, SignatureScheme, Signer, SigningKey, Timestamp, payload,
};

use crate::{order, stream};

/// One order by each of these keys in turn, `times` times, and a registry of them.
pub fn events(signers: &[Signer], times: usize) -> (KeyRegistry, Vec<Event>) {
    let mut registry = KeyRegistry::default();
    let mut events = Vec::with_capacity(signers.len() * times);
    let agent = |at: usize| AgentId(uuid::Uuid::from_u128(at as u128 + 1));
    for (at, signer) in signers.iter().enumerate() {
        registry.insert(SigningKey {
            tenant_id: stream().tenant_id,
            agent_id: agent(at),
            key_id: 1,
            public_key: signer.public_key(),
            key_algorithm: signer.algorithm(),
            public_key_bundle: signer.public_key_bundle(),
            status: "active".into(),
            valid_from: None,
            valid_to: None,
            revoked_at: None,
        });
    }
    for i in 0..signers.len() * times {
        let at = i % signers.len();
        let payload = order(i);
        let mut event = Event {
            event_id: EventId(uuid::Uuid::from_u128(i as u128 + 1)),
            stream: stream(),
            ves_version: 1,
            source_agent_id: agent(at),
            agent_key_id: 1,
            entity_type: "order".into(),
            entity_id: format!("ORD-{i}"),
            event_type: "order.created".into(),
            created_at: "2026-01-01T00:00:00Z".into(),
            payload_plain_hash: payload::plain_hash(&payload).expect("an order is JSON"),
            payload: Payload::Plain(payload),
            payload_cipher_hash: payload::NO_CIPHER_HASH,
            agent_signature: SignatureBytes::ZERO,
            agent_signature_scheme: SignatureScheme::ED25519,
            agent_signature_bundle: None,
            command_id: None,
            base_version: None,
        };
        let signed = signers[at].sign(&event.signing_hash());
        event.agent_signature = signed.ed25519.unwrap_or(SignatureBytes::ZERO);
        event.agent_signature_scheme = signed.scheme;
        event.agent_signature_bundle = signed.bundle;
        events.push(event);
    }
    (registry, events)
}

/// What is to be checked of events.
pub fn signatures(events: &[Event]) -> Vec<EventSignature<'_>> {
    let signature = |event| EventSignature {
        event,
        signing_hash: event.signing_hash(),
        at: Timestamp(0),
    };
    events.iter().map(signature).collect()
}

/// The Ed25519 public keys of these keys.
pub fn parsed(signers: &[Signer]) -> Vec<ed25519_dalek::VerifyingKey> {
    let key = |signer: &Signer| signer.ed25519().map(ed25519_dalek::SigningKey::verifying_key);
    signers.iter().filter_map(key).collect()
}
