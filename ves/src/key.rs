//! Agents' keys: which key may sign when, and whether a signature holds.
//!
//! A signature is accepted exactly where `ed25519-dalek`'s (non-strict) `verify` accepts it, because
//! that is what the sequencer calls.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::digest::{Hash32, SignatureBytes};
use crate::ed25519::{self, Claim, PreparedKey};
use crate::event::Event;
use crate::id::{AgentId, TenantId};
use crate::signature::SignatureCheck;
use crate::time::Timestamp;

/// A row of `agent_signing_keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// The tenant that registered the key.
    pub tenant_id: TenantId,
    /// The agent that signs with it.
    pub agent_id: AgentId,
    /// The number of the key, counted by agent.
    pub key_id: u32,
    /// The Ed25519 public key; zero where there is only a post-quantum one.
    pub public_key: Hash32,
    /// `active`, `revoked` or `expired`.
    pub status: String,
    /// Not valid before this time.
    pub valid_from: Option<Timestamp>,
    /// Not valid from this time on.
    pub valid_to: Option<Timestamp>,
    /// Revoked at this time.
    pub revoked_at: Option<Timestamp>,
    /// 1 = Ed25519, 3 = ML-DSA-65, 5 = both.
    pub key_algorithm: i16,
}

impl SigningKey {
    /// Why the key may not sign at `at`; `None` if it may.
    ///
    /// The sequencer judges keys at the moment of acceptance; for a log that means the event's
    /// `sequenced_at`. Status `expired` without `valid_to` is accepted, as the sequencer does
    ///; status `revoked` without a time is refused at all times.
    pub fn refusal_at(&self, at: Timestamp) -> Option<String> {
        if let Some(from) = self.valid_from.filter(|from| at < *from) {
            return Some(format!("the key is valid from {from}, the event is of {at}"));
        }
        if let Some(to) = self.valid_to.filter(|to| at >= *to) {
            return Some(format!("the key was valid until {to}, the event is of {at}"));
        }
        match self.revoked_at {
            Some(revoked) if at >= revoked => {
                Some(format!("the key was revoked at {revoked}, the event is of {at}"))
            }
            None if self.status == "revoked" => Some("the key is revoked, without a time".into()),
            _ => None,
        }
    }
}

/// An Ed25519 key as it is used: parsed once, and prepared once it has proved to be used often.
#[derive(Debug)]
struct UsedKey {
    key: VerifyingKey,
    /// How many signatures were checked together with others.
    uses: AtomicUsize,
    /// `None` inside if the registry had prepared enough keys before.
    prepared: OnceLock<Option<PreparedKey>>,
}

/// How many keys a registry prepares, at half a MiB each (see [`PreparedKey`]). The others are checked one by one,
/// which takes many times as long.
const MAX_PREPARED: usize = 128;

/// A signature of an event, to be checked together with others.
#[derive(Debug, Clone, Copy)]
pub struct EventSignature<'a> {
    /// The event.
    pub event: &'a Event,
    /// What was signed, stored or recomputed: see [`KeyRegistry::check`].
    pub signing_hash: Hash32,
    /// The time that its key is judged at.
    pub at: Timestamp,
}

/// A key's name: tenant, agent and key number.
type KeyName = (TenantId, AgentId, u32);

/// A key, and its parsed form if it is a point.
type Registered = (SigningKey, Option<Arc<UsedKey>>);

/// The keys of a log, found by tenant, agent and key number.
#[derive(Debug, Default, Clone)]
pub struct KeyRegistry {
    /// Shared by copies, so that each thread or task may have one.
    keys: Arc<HashMap<KeyName, Registered>>,
    /// Keys that are registered, and of which no more is known.
    unreadable: Arc<HashSet<KeyName>>,
    prepared: Arc<AtomicUsize>,
}

impl KeyRegistry {
    /// A registry of these keys; of two with the same number the later one counts.
    pub fn new(keys: impl IntoIterator<Item = SigningKey>) -> Self {
        let mut registry = Self::default();
        for key in keys {
            registry.insert(key);
        }
        registry
    }

    /// Adds a key.
    pub fn insert(&mut self, key: SigningKey) {
        // Parsed once: decompressing the point costs about as much as a tenth of a verification.
        let used = VerifyingKey::from_bytes(&key.public_key.0).ok().map(|key| {
            Arc::new(UsedKey {
                key,
                uses: AtomicUsize::new(0),
                prepared: OnceLock::new(),
            })
        });
        Arc::make_mut(&mut self.keys).insert((key.tenant_id, key.agent_id, key.key_id), (key, used));
    }

    /// Adds the name of a key that is registered and that cannot be read: signatures by it are not checked.
    pub fn insert_unreadable(&mut self, name: (TenantId, AgentId, u32)) {
        Arc::make_mut(&mut self.unreadable).insert(name);
    }

    /// Whether a key is registered and cannot be read.
    pub fn is_unreadable(&self, tenant_id: TenantId, agent_id: AgentId, key_id: u32) -> bool {
        self.unreadable.contains(&(tenant_id, agent_id, key_id))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key of that number.
    pub fn get(&self, tenant_id: TenantId, agent_id: AgentId, key_id: u32) -> Option<&SigningKey> {
        self.keys.get(&(tenant_id, agent_id, key_id)).map(|(key, _)| key)
    }

    /// All keys, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &SigningKey> {
        self.keys.values().map(|(key, _)| key)
    }

    /// The key that an event names; an error if its signature cannot be checked.
    fn key_of(&self, event: &Event) -> Result<(&SigningKey, &UsedKey), SignatureCheck> {
        if !event.agent_signature_scheme.is_ed25519() {
            return Err(SignatureCheck::NotChecked(format!(
                "signature scheme {} is post-quantum",
                event.agent_signature_scheme.0
            )));
        }
        let id = (event.stream.tenant_id, event.source_agent_id, event.agent_key_id);
        match self.keys.get(&id) {
            Some((key, Some(used))) => Ok((key, used)),
            Some((_, None)) => Err(SignatureCheck::NotChecked(
                "the registered public key is not an Ed25519 point".into(),
            )),
            None if self.unreadable.contains(&id) => {
                let what = format!("the row of key {} of agent {} cannot be read", id.2, id.1);
                Err(SignatureCheck::NotChecked(what))
            }
            None => Err(SignatureCheck::KeyUnknown),
        }
    }

    /// Checks an event's signature over `signing_hash`, with its key judged at `at`.
    ///
    /// `signing_hash` is passed in since a log has both a stored and a recomputed one; an auditor
    /// passes the recomputed one.
    pub fn check(&self, event: &Event, signing_hash: &Hash32, at: Timestamp) -> SignatureCheck {
        match self.key_of(event) {
            Ok((key, used)) => judge(key, verify(&used.key, signing_hash, &event.agent_signature), at),
            Err(verdict) => verdict,
        }
    }

    /// [`KeyRegistry::check`] of many events, with the same verdicts in their order, in a fraction of
    /// the time where few keys signed them. For several threads, pass each a chunk of some hundreds.
    pub fn check_many(&self, signatures: &[EventSignature<'_>]) -> Vec<SignatureCheck> {
        let found: Vec<_> = signatures
            .iter()
            .map(|signature| self.key_of(signature.event))
            .collect();
        for (_, used) in found.iter().flatten() {
            used.uses.fetch_add(1, Ordering::Relaxed);
        }
        let prepared: Vec<Option<&PreparedKey>> = found
            .iter()
            .map(|found| found.as_ref().ok().and_then(|(_, used)| self.prepared(used)))
            .collect();
        let claims: Vec<Claim<'_>> = (signatures.iter().zip(&prepared))
            .filter_map(|(signature, key)| {
                let message = &signature.signing_hash.0;
                key.map(|key| Claim {
                    key,
                    message,
                    signature: &signature.event.agent_signature,
                })
            })
            .collect();
        let mut verified = ed25519::verify_many(&claims).into_iter();
        let verdicts = signatures
            .iter()
            .zip(found)
            .zip(prepared)
            .map(|((signature, found), prepared)| {
                let (key, used) = match found {
                    Ok(found) => found,
                    Err(verdict) => return verdict,
                };
                let holds = match prepared {
                    Some(_) => verified.next() == Some(true),
                    None => verify(
                        &used.key,
                        &signature.signing_hash,
                        &signature.event.agent_signature,
                    ),
                };
                judge(key, holds, signature.at)
            });
        verdicts.collect()
    }

    /// The prepared form of a key that is used often, as long as the registry prepares more.
    fn prepared<'a>(&self, used: &'a UsedKey) -> Option<&'a PreparedKey> {
        if used.uses.load(Ordering::Relaxed) < ed25519::worth_preparing_from() {
            return None;
        }
        let prepare = || {
            let before = self.prepared.fetch_add(1, Ordering::Relaxed);
            (before < MAX_PREPARED).then(|| PreparedKey::new(&used.key))
        };
        used.prepared.get_or_init(prepare).as_ref()
    }
}

fn judge(key: &SigningKey, holds: bool, at: Timestamp) -> SignatureCheck {
    match key.refusal_at(at) {
        _ if !holds => SignatureCheck::Invalid,
        Some(reason) => SignatureCheck::KeyNotValid(reason),
        None => SignatureCheck::Valid,
    }
}

/// Whether an Ed25519 signature over a 32-byte hash holds, exactly as `ed25519-dalek`'s `verify`.
pub fn verify(key: &VerifyingKey, message: &Hash32, signature: &SignatureBytes) -> bool {
    key.verify(&message.0, &Signature::from_bytes(&signature.0))
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{EventId, StreamKey};
    use crate::signature::SignatureScheme;
    use crate::{Payload, payload};
    use ed25519_dalek::Signer;
    use uuid::Uuid;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000)
    }

    fn signed_event(key: &ed25519_dalek::SigningKey) -> (Event, SigningKey) {
        let stream = StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(2).into());
        let mut event = Event {
            event_id: EventId(Uuid::from_u128(3)),
            stream,
            ves_version: 1,
            source_agent_id: AgentId(Uuid::from_u128(4)),
            agent_key_id: 1,
            entity_type: "order".into(),
            entity_id: "O-1".into(),
            event_type: "order.created".into(),
            created_at: "2026-01-01T00:00:00Z".into(),
            payload: Payload::Plain("{\"a\":1}".into()),
            payload_plain_hash: payload::plain_hash("{\"a\":1}").unwrap(),
            payload_cipher_hash: payload::NO_CIPHER_HASH,
            agent_signature: SignatureBytes::ZERO,
            agent_signature_scheme: SignatureScheme::ED25519,
            agent_signature_bundle: None,
            command_id: None,
            base_version: None,
        };
        event.agent_signature = SignatureBytes(key.sign(&event.signing_hash().0).to_bytes());
        let row = SigningKey {
            tenant_id: stream.tenant_id,
            agent_id: event.source_agent_id,
            key_id: 1,
            public_key: Hash32(key.verifying_key().to_bytes()),
            status: "active".into(),
            valid_from: Some(at(100)),
            valid_to: Some(at(200)),
            revoked_at: None,
            key_algorithm: 1,
        };
        (event, row)
    }

    #[test]
    fn windows_bound_what_a_key_may_sign() {
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let (event, row) = signed_event(&key);
        let hash = event.signing_hash();
        let registry = KeyRegistry::new([row.clone()]);
        assert_eq!(registry.check(&event, &hash, at(100)), SignatureCheck::Valid);
        assert!(matches!(
            registry.check(&event, &hash, at(99)),
            SignatureCheck::KeyNotValid(_)
        ));
        assert!(matches!(
            registry.check(&event, &hash, at(200)),
            SignatureCheck::KeyNotValid(_)
        ));
        let revoked = SigningKey {
            revoked_at: Some(at(150)),
            status: "revoked".into(),
            ..row.clone()
        };
        let registry = KeyRegistry::new([revoked]);
        assert_eq!(registry.check(&event, &hash, at(149)), SignatureCheck::Valid);
        assert!(matches!(
            registry.check(&event, &hash, at(150)),
            SignatureCheck::KeyNotValid(_)
        ));
        let expired = SigningKey {
            valid_to: None,
            status: "expired".into(),
            ..row
        };
        assert_eq!(
            KeyRegistry::new([expired]).check(&event, &hash, at(500)),
            SignatureCheck::Valid
        );
    }

    #[test]
    fn altered_events_unknown_keys_and_other_schemes_are_told_apart() {
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let (event, row) = signed_event(&key);
        let registry = KeyRegistry::new([row]);
        let altered = Event {
            entity_id: "O-2".into(),
            ..event.clone()
        };
        assert_eq!(
            registry.check(&altered, &altered.signing_hash(), at(150)),
            SignatureCheck::Invalid
        );
        let unknown = Event {
            agent_key_id: 2,
            ..event.clone()
        };
        assert_eq!(
            registry.check(&unknown, &unknown.signing_hash(), at(150)),
            SignatureCheck::KeyUnknown
        );
        let pq = Event {
            agent_signature_scheme: SignatureScheme(3),
            ..event.clone()
        };
        assert!(matches!(
            registry.check(&pq, &pq.signing_hash(), at(150)),
            SignatureCheck::NotChecked(_)
        ));
        assert_eq!(event.check_payload(), crate::EventCheck::Matches);
        let other = Event {
            payload: Payload::Plain("{\"a\":2}".into()),
            ..event
        };
        assert!(!other.check_payload().is_match());
    }

    #[test]
    fn many_are_judged_like_one_by_one_before_and_after_keys_are_prepared() {
        let keys: Vec<_> = (1..4)
            .map(|i| ed25519_dalek::SigningKey::from_bytes(&[i; 32]))
            .collect();
        let mut registry = KeyRegistry::default();
        let mut events = Vec::new();
        for (agent, key) in (10..).zip(&keys) {
            let (event, row) = signed_event(key);
            let agent_id = AgentId(Uuid::from_u128(agent));
            registry.insert(SigningKey { agent_id, ..row });
            let no_point = (0..)
                .map(|i| Hash32([i; 32]))
                .find(|key| VerifyingKey::from_bytes(&key.0).is_err())
                .unwrap();
            let scheme = SignatureScheme(2);
            registry.insert(SigningKey {
                agent_id,
                key_id: 2,
                public_key: no_point,
                ..registry_row(&registry, agent_id)
            });
            let mut event = Event {
                source_agent_id: agent_id,
                ..event
            };
            event.agent_signature = SignatureBytes(key.sign(&event.signing_hash().0).to_bytes());
            let altered = Event {
                entity_id: "other".into(),
                ..event.clone()
            };
            let unknown = Event {
                agent_key_id: 3,
                ..event.clone()
            };
            let unusable = Event {
                agent_key_id: 2,
                ..event.clone()
            };
            let other_scheme = Event {
                agent_signature_scheme: scheme,
                ..event.clone()
            };
            events.extend([event, altered, unknown, unusable, other_scheme]);
        }
        for round in 0..40 {
            let signatures: Vec<EventSignature<'_>> = events
                .iter()
                .cycle()
                .skip(round)
                .take(round * 3)
                .zip((90..210).cycle().step_by(7))
                .map(|(event, seconds)| EventSignature {
                    event,
                    signing_hash: event.signing_hash(),
                    at: at(seconds),
                })
                .collect();
            let one_by_one: Vec<SignatureCheck> = signatures
                .iter()
                .map(|s| registry.check(s.event, &s.signing_hash, s.at))
                .collect();
            assert_eq!(registry.check_many(&signatures), one_by_one, "round {round}");
        }
        assert_eq!(registry.prepared.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn so_many_keys_are_prepared_and_no_more() {
        let mut registry = KeyRegistry::default();
        let mut events = Vec::new();
        for n in 0..MAX_PREPARED + 3 {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&n.to_le_bytes());
            let key = ed25519_dalek::SigningKey::from_bytes(&seed);
            let (mut event, row) = signed_event(&key);
            let agent_id = AgentId(Uuid::from_u128(n as u128));
            registry.insert(SigningKey { agent_id, ..row });
            event.source_agent_id = agent_id;
            event.agent_signature = SignatureBytes(key.sign(&event.signing_hash().0).to_bytes());
            events.push(event);
        }
        let uses = ed25519::worth_preparing_from();
        let signatures: Vec<EventSignature<'_>> = (events.iter())
            .flat_map(|event| std::iter::repeat_n(event, uses))
            .map(|event| EventSignature {
                event,
                signing_hash: event.signing_hash(),
                at: at(100),
            })
            .collect();
        let verdicts = registry.check_many(&signatures);
        assert_eq!(verdicts.len(), events.len() * uses);
        assert!(
            verdicts.iter().all(|verdict| *verdict == SignatureCheck::Valid),
            "{verdicts:?}"
        );
        let prepared = registry
            .keys
            .values()
            .filter_map(|(_, used)| used.as_ref()?.prepared.get()?.as_ref());
        assert_eq!(prepared.count(), MAX_PREPARED);
    }

    fn registry_row(registry: &KeyRegistry, agent: AgentId) -> SigningKey {
        registry
            .get(TenantId(Uuid::from_u128(1)), agent, 1)
            .unwrap()
            .clone()
    }
}
