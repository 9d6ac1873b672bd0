use super::*;
use crate::id::{EventId, StreamKey};
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
        public_key_bundle: None,
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

/// Valid from a time on, and up to before another; revoked from a time on, or always where nobody knows since when.
#[test]
fn a_key_is_refused_outside_of_its_window_and_the_reason_says_which_side() {
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let row = signed_event(&key).1;
    let why = |row: &SigningKey, seconds| row.refusal_at(at(seconds));
    let (from, to) = (at(100), at(200));
    assert_eq!(
        why(&row, 99).unwrap(),
        format!("the key is valid from {from}, the event is of {}", at(99))
    );
    assert_eq!(
        (why(&row, 100), why(&row, 101), why(&row, 199)),
        (None, None, None)
    );
    for outside in [200, 201] {
        assert_eq!(
            why(&row, outside).unwrap(),
            format!("the key was valid until {to}, the event is of {}", at(outside))
        );
    }
    let always = SigningKey {
        valid_from: None,
        valid_to: None,
        ..row.clone()
    };
    assert_eq!((why(&always, -9), why(&always, 9_999)), (None, None));
    // The time decides, whatever the status says.
    for status in ["revoked", "active"] {
        let revoked = SigningKey {
            status: status.into(),
            revoked_at: Some(at(150)),
            ..always.clone()
        };
        assert_eq!(why(&revoked, 149), None);
        for since in [150, 151] {
            assert_eq!(
                why(&revoked, since).unwrap(),
                format!(
                    "the key was revoked at {}, the event is of {}",
                    at(150),
                    at(since)
                )
            );
        }
    }
    let once = SigningKey {
        status: "revoked".into(),
        ..always
    };
    assert_eq!(why(&once, 1).unwrap(), "the key is revoked, without a time");
}

#[test]
fn two_rows_are_of_one_public_key_only_if_all_of_its_parts_are_equal() {
    let row = |ed25519, ml_dsa| signed_by(&signer(ed25519, ml_dsa), 9).1;
    let rows = [
        row(Some(1), None),
        row(Some(2), None),
        row(None, Some(1)),
        row(None, Some(2)),
        row(Some(1), Some(1)),
        row(Some(1), Some(2)),
        row(Some(2), Some(1)),
    ];
    for (i, one) in rows.iter().enumerate() {
        for (j, two) in rows.iter().enumerate() {
            assert_eq!(one.same_public_key(two), i == j, "{i} {j}");
        }
    }
    // What else is in the row says nothing of the key; of one with a bundle neither does the column beside it.
    let moved = SigningKey {
        key_id: 2,
        status: "revoked".into(),
        public_key: Hash32([9; 32]),
        ..rows[4].clone()
    };
    assert!(moved.same_public_key(&rows[4]));
    // Of rows that cannot be used the columns are compared.
    let unknown = SigningKey {
        key_algorithm: 9,
        ..rows[0].clone()
    };
    let other = SigningKey {
        public_key: Hash32([9; 32]),
        ..unknown.clone()
    };
    assert!(unknown.same_public_key(&unknown) && !unknown.same_public_key(&other));
    assert!(!unknown.same_public_key(&rows[0]) && !rows[0].same_public_key(&unknown));
    assert_eq!(unknown.flaw().unwrap(), "algorithm 9 signs nothing that is known");
    assert_eq!(rows.iter().find_map(SigningKey::flaw), None);
}

#[test]
fn a_public_key_is_named_by_all_of_its_parts() {
    let name = |ed25519, ml_dsa| signed_by(&signer(ed25519, ml_dsa), 9).1.public_name();
    let (ed25519, ml_dsa) = (name(Some(1), None), name(None, Some(2)));
    let key = ed25519_dalek::SigningKey::from_bytes(&[1; 32]).verifying_key();
    assert_eq!(ed25519, hex::encode(key.to_bytes()));
    let fingerprint = ml_dsa.strip_prefix("ML-DSA-65 ").unwrap();
    assert_eq!(fingerprint.len(), 64);
    assert_eq!(name(Some(1), Some(2)), format!("{ed25519} with {ml_dsa}"));
}

#[test]
fn a_registry_tells_keys_that_cannot_be_read_from_those_that_are_not_there() {
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let (event, row) = signed_event(&key);
    let name = (row.tenant_id, row.agent_id, row.key_id);
    let mut registry = KeyRegistry::default();
    assert_eq!((registry.len(), registry.is_empty()), (0, true));
    assert_eq!(judged(&registry, &event, at(150)), SignatureCheck::KeyUnknown);
    registry.insert_unreadable((name.0, name.1, 2));
    assert_eq!(judged(&registry, &event, at(150)), SignatureCheck::KeyUnknown);
    assert!(!registry.is_unreadable(name.0, name.1, name.2));
    registry.insert_unreadable(name);
    assert!(registry.is_unreadable(name.0, name.1, name.2));
    assert!(matches!(
        judged(&registry, &event, at(150)),
        SignatureCheck::NotChecked(_)
    ));
    // One that can be read counts, too.
    registry.insert(row.clone());
    registry.insert(SigningKey { key_id: 2, ..row });
    assert_eq!((registry.len(), registry.is_empty()), (2, false));
    assert_eq!(judged(&registry, &event, at(150)), SignatureCheck::Valid);
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
    for scheme in [4, 99, -1, i16::MAX] {
        let later = Event {
            agent_signature_scheme: SignatureScheme(scheme),
            ..event.clone()
        };
        let verdict = registry.check(&later, &later.signing_hash(), at(150));
        assert!(matches!(verdict, SignatureCheck::NotChecked(why) if why.contains("not known")));
    }
    assert_eq!(event.check_payload(), crate::EventCheck::Matches);
    let other = Event {
        payload: Payload::Plain("{\"a\":2}".into()),
        ..event
    };
    assert!(!other.check_payload().is_match());
}

#[test]
fn of_a_key_that_is_no_point_that_is_said_whatever_signed() {
    let (event, row) = signed_event(&ed25519_dalek::SigningKey::from_bytes(&[7; 32]));
    let encoded = |first: u8| {
        let mut bytes = [0x5a; 32];
        bytes[0] = first;
        Hash32(bytes)
    };
    let is_no_point = |encoded: &Hash32| VerifyingKey::from_bytes(&encoded.0).is_err();
    let no_point = (0..=u8::MAX).map(encoded).find(is_no_point).unwrap();
    assert_eq!(row.flaw(), None);
    let row = SigningKey {
        public_key: no_point,
        ..row
    };
    assert_eq!(row.flaw().as_deref(), Some(NO_POINT));
    let registry = KeyRegistry::new([row]);
    let said = SignatureCheck::NotChecked(NO_POINT.into());
    // A scheme that the key's algorithm does not sign by is no reason to call the signature wrong.
    for scheme in [0, 2] {
        let event = Event {
            agent_signature_scheme: SignatureScheme(scheme),
            ..event.clone()
        };
        let signing_hash = event.signing_hash();
        assert_eq!(registry.check(&event, &signing_hash, at(150)), said, "{scheme}");
        let signature = EventSignature {
            event: &event,
            signing_hash,
            at: at(150),
        };
        assert_eq!(registry.check_many(&[signature])[0], said, "{scheme}");
        // Since its comb was to be made.
        assert_eq!(registry.check(&event, &signing_hash, at(150)), said, "{scheme}");
    }
}

/// An event signed by each algorithm, with its key.
fn signed_by(signer: &crate::Signer, agent: u128) -> (Event, SigningKey) {
    let (mut event, row) = signed_event(&ed25519_dalek::SigningKey::from_bytes(&[7; 32]));
    event.source_agent_id = AgentId(Uuid::from_u128(agent));
    let signed = signer.sign(&event.signing_hash());
    event.agent_signature = signed.ed25519.unwrap_or(SignatureBytes::ZERO);
    event.agent_signature_scheme = signed.scheme;
    event.agent_signature_bundle = signed.bundle;
    let row = SigningKey {
        agent_id: event.source_agent_id,
        public_key: signer.public_key(),
        key_algorithm: signer.algorithm(),
        public_key_bundle: signer.public_key_bundle(),
        ..row
    };
    (event, row)
}

fn signer(ed25519: Option<u8>, ml_dsa: Option<u8>) -> crate::Signer {
    let ed25519 = ed25519.map(|n| ed25519_dalek::SigningKey::from_bytes(&[n; 32]));
    crate::Signer::of(ed25519, ml_dsa.map(|n| [n; 32]).as_ref()).unwrap()
}

/// Checks an event alone and among others; both must say the same.
fn judged(registry: &KeyRegistry, event: &Event, at: Timestamp) -> SignatureCheck {
    let signing_hash = event.signing_hash();
    let alone = registry.check(event, &signing_hash, at);
    let one = EventSignature {
        event,
        signing_hash,
        at,
    };
    assert_eq!(registry.check_many(&[one, one]), [alone.clone(), alone.clone()]);
    alone
}

#[test]
fn each_scheme_holds_by_the_key_of_its_algorithm_alone() {
    let signers = [
        signer(Some(1), None),
        signer(None, Some(2)),
        signer(Some(1), Some(2)),
    ];
    for (i, by) in signers.iter().enumerate() {
        let (event, _) = signed_by(by, 9);
        for (j, other) in signers.iter().enumerate() {
            let registry = KeyRegistry::new([signed_by(other, 9).1]);
            let expected = if i == j {
                SignatureCheck::Valid
            } else {
                SignatureCheck::Invalid
            };
            assert_eq!(judged(&registry, &event, at(150)), expected, "{i} {j}");
            // Whatever scheme the row is relabelled to, it does not pass by its own key: the scheme enters no hash.
            for scheme in (0..=3).filter(|s| *s != event.agent_signature_scheme.0) {
                let relabelled = Event {
                    agent_signature_scheme: SignatureScheme(scheme),
                    ..event.clone()
                };
                // A hybrid's halves hold by keys of one algorithm with the same parts, as for the sequencer; never
                // by the hybrid's own key.
                let same = scheme < 2 && i != 1 && j == 0 || scheme == 2 && i == 2 && j == 1;
                assert_eq!(
                    judged(&registry, &relabelled, at(150)).is_valid(),
                    same,
                    "{i} {j} {scheme}"
                );
            }
        }
    }
}

#[test]
fn a_hybrid_needs_both_halves_and_a_bundle_that_the_sequencer_reads() {
    let by = signer(Some(1), Some(2));
    let (event, row) = signed_by(&by, 9);
    let registry = KeyRegistry::new([row]);
    assert_eq!(judged(&registry, &event, at(150)), SignatureCheck::Valid);
    // The column is not what is checked.
    let zeros = Event {
        agent_signature: SignatureBytes::ZERO,
        ..event.clone()
    };
    assert_eq!(judged(&registry, &zeros, at(150)), SignatureCheck::Valid);
    let good: serde_json::Value =
        serde_json::from_slice(event.agent_signature_bundle.as_deref().unwrap()).unwrap();
    let altered = |half: &str, index: usize| {
        let mut bundle = good.clone();
        let byte = bundle[half][index].as_u64().unwrap();
        bundle[half][index] = (byte ^ 1).into();
        bundle.to_string()
    };
    let without = |half: &str, value: serde_json::Value| {
        let mut bundle = good.clone();
        bundle[half] = value;
        bundle.to_string()
    };
    let foreign = signed_by(&signer(Some(3), Some(4)), 9).0;
    let foreign: serde_json::Value =
        serde_json::from_slice(foreign.agent_signature_bundle.as_deref().unwrap()).unwrap();
    let bad = [
        altered("ed25519_signature", 0),
        altered("ml_dsa_65_signature", 0),
        altered("ml_dsa_65_signature", 3308),
        without("ed25519_signature", serde_json::Value::Null),
        without("ml_dsa_65_signature", serde_json::Value::Null),
        without("ed25519_signature", foreign["ed25519_signature"].clone()),
        without("ml_dsa_65_signature", foreign["ml_dsa_65_signature"].clone()),
        without("ed25519_signature", good["ml_dsa_65_signature"].clone()),
        without("ml_dsa_65_signature", good["ed25519_signature"].clone()),
        String::new(),
        "null".into(),
        "{}".into(),
    ];
    for bundle in &bad {
        let event = Event {
            agent_signature_bundle: Some(bundle.clone().into_bytes()),
            ..event.clone()
        };
        let verdict = judged(&registry, &event, at(150));
        assert_eq!(
            verdict,
            SignatureCheck::Invalid,
            "{}",
            &bundle[..bundle.len().min(60)]
        );
    }
    let none = Event {
        agent_signature_bundle: None,
        ..event
    };
    assert_eq!(judged(&registry, &none, at(150)), SignatureCheck::Invalid);
}

#[test]
fn windows_bound_post_quantum_keys_too_and_keys_without_their_bundle_check_nothing() {
    for by in [signer(None, Some(2)), signer(Some(1), Some(2))] {
        let (event, row) = signed_by(&by, 9);
        let registry = KeyRegistry::new([row.clone()]);
        for outside in [99, 200] {
            let verdict = judged(&registry, &event, at(outside));
            assert!(matches!(verdict, SignatureCheck::KeyNotValid(_)), "{verdict:?}");
        }
        let revoked = SigningKey {
            revoked_at: Some(at(150)),
            ..row.clone()
        };
        let registry = KeyRegistry::new([revoked]);
        assert_eq!(judged(&registry, &event, at(149)), SignatureCheck::Valid);
        let verdict = judged(&registry, &event, at(150));
        assert!(matches!(verdict, SignatureCheck::KeyNotValid(_)), "{verdict:?}");
        let halves = signer(Some(1), None).public_key_bundle();
        for bundle in [None, Some(b"{}".to_vec()), Some(b"{".to_vec()), halves] {
            let row = SigningKey {
                public_key_bundle: bundle,
                ..row.clone()
            };
            assert!(row.flaw().is_some());
            let verdict = judged(&KeyRegistry::new([row]), &event, at(150));
            assert!(matches!(verdict, SignatureCheck::NotChecked(_)), "{verdict:?}");
        }
    }
}

#[test]
fn more_keys_than_are_kept_expanded_are_checked_all_the_same() {
    let signers: Vec<_> = (1..=3)
        .map(|n| signed_by(&signer(None, Some(n)), n.into()))
        .collect();
    let mut registry = KeyRegistry::new(signers.iter().map(|(_, key)| key.clone()));
    registry.expanded = Arc::new(Keep::new(1));
    for _ in 0..2 {
        for (event, _) in &signers {
            assert_eq!(judged(&registry, event, at(150)), SignatureCheck::Valid);
        }
    }
    let (event, _) = &signers[2];
    let moved = Event {
        source_agent_id: signers[0].0.source_agent_id,
        ..event.clone()
    };
    assert_eq!(judged(&registry, &moved, at(150)), SignatureCheck::Invalid);
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
    let prepared = used_keys(&registry)
        .filter(|used| used.comb.get().is_some() || used.table.get().is_some_and(Option::is_some));
    assert!(prepared.count() >= 3);
}

#[test]
fn so_many_keys_have_tables_and_no_more() {
    let (registry, events) = of_so_many_keys(MAX_TABLES + 3);
    let uses = match PreparedKey::combs(&[]) {
        Some(_) => ed25519::WORTH_MORE_THAN_A_COMB,
        None => ed25519::worth_preparing_from(),
    };
    assert_all_hold(&registry, &events, uses);
    let tables = used_keys(&registry).filter(|used| used.table.get().is_some_and(Option::is_some));
    assert_eq!(tables.count(), MAX_TABLES);
}

#[test]
fn keys_whose_combs_are_not_kept_are_judged_alike() {
    let (mut registry, mut events) = of_so_many_keys(21);
    registry.combs = Arc::new(Keep::new(2));
    assert_all_hold(&registry, &events, 3);
    let kept = used_keys(&registry)
        .filter(|used| used.comb.get().is_some())
        .count();
    assert_eq!(kept, 2 * usize::from(PreparedKey::combs(&[]).is_some()));
    for event in events.iter_mut().step_by(4) {
        event.agent_signature.0[5] ^= 1;
    }
    let verdicts = registry.check_many(&signatures(&events, 1));
    for (at, verdict) in verdicts.iter().enumerate() {
        let expected = if at % 4 == 0 {
            SignatureCheck::Invalid
        } else {
            SignatureCheck::Valid
        };
        assert_eq!(*verdict, expected, "{at}");
    }
}

fn used_keys(registry: &KeyRegistry) -> impl Iterator<Item = &UsedKey> {
    registry
        .keys
        .values()
        .filter_map(|(_, used)| match used.as_deref() {
            Ok(Material::Ed25519(used)) => Some(used),
            _ => None,
        })
}

fn signatures(events: &[Event], times: usize) -> Vec<EventSignature<'_>> {
    let events = events.iter().flat_map(|event| std::iter::repeat_n(event, times));
    events
        .map(|event| EventSignature {
            event,
            signing_hash: event.signing_hash(),
            at: at(100),
        })
        .collect()
}

fn assert_all_hold(registry: &KeyRegistry, events: &[Event], times: usize) {
    let verdicts = registry.check_many(&signatures(events, times));
    assert_eq!(verdicts.len(), events.len() * times);
    assert!(
        verdicts.iter().all(|verdict| *verdict == SignatureCheck::Valid),
        "{verdicts:?}"
    );
}

/// An event by each of so many keys.
fn of_so_many_keys(count: usize) -> (KeyRegistry, Vec<Event>) {
    let mut registry = KeyRegistry::default();
    let mut events = Vec::new();
    for n in 0..count {
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
    (registry, events)
}

fn registry_row(registry: &KeyRegistry, agent: AgentId) -> SigningKey {
    registry
        .get(TenantId(Uuid::from_u128(1)), agent, 1)
        .unwrap()
        .clone()
}
