use std::time::Instant;
use ves::key::EventSignature;
use ves::*;
fn main() {
    let signer = Signer::of(None, Some(&[2; 32])).unwrap();
    let hybrid = Signer::of(Some(ed25519_dalek::SigningKey::from_bytes(&[1; 32])), Some(&[2; 32])).unwrap();
    for (name, by) in [("ML-DSA-65", signer), ("hybrid", hybrid)] {
        let tenant = TenantId(uuid::Uuid::from_u128(1));
        let stream = StreamKey::new(tenant, StoreId(uuid::Uuid::from_u128(2)));
        let agent = AgentId(uuid::Uuid::from_u128(4));
        let row = SigningKey { tenant_id: tenant, agent_id: agent, key_id: 1, public_key: by.public_key(), status: "active".into(), valid_from: None, valid_to: None, revoked_at: None, key_algorithm: by.algorithm(), public_key_bundle: by.public_key_bundle() };
        let events: Vec<Event> = (0..2000u32).map(|n| {
            let mut e = Event { event_id: EventId(uuid::Uuid::from_u128(n.into())), stream, ves_version: 1, source_agent_id: agent, agent_key_id: 1, entity_type: "o".into(), entity_id: n.to_string(), event_type: "x".into(), created_at: "2026-01-01T00:00:00Z".into(), payload: Payload::Plain("{}".into()), payload_plain_hash: payload::plain_hash("{}").unwrap(), payload_cipher_hash: payload::NO_CIPHER_HASH, agent_signature: SignatureBytes::ZERO, agent_signature_scheme: SignatureScheme(0), agent_signature_bundle: None, command_id: None, base_version: None };
            let s = by.sign(&e.signing_hash());
            e.agent_signature = s.ed25519.unwrap_or(SignatureBytes::ZERO); e.agent_signature_scheme = s.scheme; e.agent_signature_bundle = s.bundle; e }).collect();
        let hashes: Vec<Hash32> = events.iter().map(Event::signing_hash).collect();
        let reg = KeyRegistry::new([row]);
        let sigs: Vec<EventSignature<'_>> = events.iter().zip(&hashes).map(|(event, h)| EventSignature { event, signing_hash: *h, at: Timestamp(0) }).collect();
        let run = |s: &[EventSignature<'_>]| { for c in s.chunks(256) { assert!(reg.check_many(c).iter().all(SignatureCheck::is_valid)); } };
        run(&sigs[..256]);
        let t = Instant::now(); run(&sigs); let one = t.elapsed();
        let t = Instant::now(); std::thread::scope(|s| { let (a, b) = sigs.split_at(1000); s.spawn(|| run(a)); s.spawn(|| run(b)); }); let two = t.elapsed();
        let t = Instant::now(); for e in &events { let b = post_quantum::SignatureBundle::read(e.agent_signature_bundle.as_ref().unwrap()); assert!(b.is_some()); } let parse = t.elapsed();
        let t = Instant::now(); for s in &sigs[..500] { let r = KeyRegistry::new([reg.iter().next().unwrap().clone()]); assert!(r.check(s.event, &s.signing_hash, s.at).is_valid()); } let naive = t.elapsed();
        println!("{name}: one thread {:.0}/s, two threads {:.0}/s, bundle parse {:?}, key anew each {:.0}/s", 2000.0/one.as_secs_f64(), 2000.0/two.as_secs_f64(), parse/2000, 500.0/naive.as_secs_f64());
    }
}
