//! The golden vectors: values that the real sequencer computed. All of them must come out equal.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;

use serde::Deserialize;
use ves::kernel::{self, Kernel, LeafInput};
use ves::key::EventSignature;
use ves::merkle::{self, InclusionProof, RootBuilder};
use ves::{
    AgentId, BatchId, CommandId, Event, EventCheck, EventId, Hash32, KeyRegistry, Payload, Receipt,
    SequencerId, SignatureBytes, SignatureCheck, SignatureScheme, SigningKey, StoreId, StreamKey, TenantId,
    Timestamp, jcs, payload, receipt, stream,
};

#[derive(Deserialize)]
struct Vectors {
    pad_leaf: Hash32,
    streams: Vec<VectorStream>,
    commitments: Vec<VectorCommitment>,
    events: Vec<VectorEvent>,
    inclusion_proofs: Vec<VectorProof>,
}

#[derive(Deserialize)]
struct VectorStream {
    #[serde(flatten)]
    key: StreamKey,
    stream_id: Hash32,
}

#[derive(Deserialize)]
struct VectorCommitment {
    batch_id: BatchId,
    #[serde(flatten)]
    stream: StreamKey,
    tree_depth: u32,
    leaf_count: u32,
    padded_leaf_count: u64,
    merkle_root: Hash32,
    prev_state_root: Hash32,
    new_state_root: Hash32,
    sequence_start: u64,
    sequence_end: u64,
}

#[derive(Deserialize)]
struct VectorEvent {
    event_id: EventId,
    command_id: Option<CommandId>,
    ves_version: u32,
    #[serde(flatten)]
    stream: StreamKey,
    source_agent_id: AgentId,
    agent_key_id: u32,
    entity_type: String,
    entity_id: String,
    event_type: String,
    created_at_timestamptz: Timestamp,
    created_at_str: String,
    sequenced_at: Timestamp,
    payload_kind: u32,
    payload_jsonb_text: Option<String>,
    payload_encrypted_text: Option<String>,
    payload_plain_hash: Hash32,
    payload_cipher_hash: Hash32,
    event_signing_hash: Hash32,
    agent_signature: SignatureBytes,
    sequence_number: u64,
    base_version: Option<i64>,
    agent_signature_scheme: SignatureScheme,
    /// The vectors have its length alone; it is taken from the log.
    #[serde(skip)]
    agent_signature_bundle: Option<Vec<u8>>,
    jcs: Option<String>,
    leaf_hash: Hash32,
    receipt: VectorReceipt,
}

#[derive(Deserialize)]
struct VectorReceipt {
    sequencer_id: SequencerId,
    sequence_number: u64,
    sequenced_at: Timestamp,
    receipt_hash: Hash32,
    sequencer_signature: Option<SignatureBytes>,
    sequencer_key_version: i32,
    receipt_signature_scheme: i16,
}

#[derive(Deserialize)]
struct VectorProof {
    batch_id: BatchId,
    leaf_index: u64,
    leaf_hash: Hash32,
    sequence_number: u64,
    proof_path: Vec<Hash32>,
    directions: Vec<bool>,
    merkle_root: Hash32,
}

impl VectorEvent {
    fn event(&self) -> Event {
        let payload = match self.payload_kind {
            0 => Payload::Plain(self.payload_jsonb_text.clone().expect("a plaintext payload")),
            1 => Payload::Encrypted(self.payload_encrypted_text.clone().expect("an encrypted payload")),
            other => panic!("payload kind {other}"),
        };
        Event {
            event_id: self.event_id,
            stream: self.stream,
            ves_version: self.ves_version,
            source_agent_id: self.source_agent_id,
            agent_key_id: self.agent_key_id,
            entity_type: self.entity_type.clone(),
            entity_id: self.entity_id.clone(),
            event_type: self.event_type.clone(),
            created_at: self.created_at_str.clone(),
            payload,
            payload_plain_hash: self.payload_plain_hash,
            payload_cipher_hash: self.payload_cipher_hash,
            agent_signature: self.agent_signature,
            agent_signature_scheme: self.agent_signature_scheme,
            agent_signature_bundle: self.agent_signature_bundle.clone(),
            command_id: self.command_id,
            base_version: self.base_version,
        }
    }
}

/// `VES_KERNEL=avx512|avx2|shani|portable` makes all of these tests use one hash kernel.
fn choose_kernel() {
    if let Ok(name) = std::env::var("VES_KERNEL") {
        kernel::force(name.parse().unwrap()).unwrap();
    }
}

fn load() -> Vectors {
    choose_kernel();
    let path = test_support::shared_data().join("vectors/ves-v1.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn load_keys() -> serde_json::Value {
    let path = test_support::shared_data().join("data/golden/keys.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The keys of golden/keys.json as an agent registry without windows.
fn registry(keys: &serde_json::Value) -> KeyRegistry {
    let mut registry = KeyRegistry::default();
    for agent in keys["agents"].as_array().unwrap() {
        for (key_id, public) in agent["ed25519_public_hex"].as_object().unwrap() {
            registry.insert(SigningKey {
                tenant_id: agent["tenant_id"].as_str().unwrap().parse::<TenantId>().unwrap(),
                agent_id: agent["agent_id"].as_str().unwrap().parse().unwrap(),
                key_id: key_id.parse().unwrap(),
                public_key: public.as_str().unwrap().parse().unwrap(),
                status: "active".into(),
                valid_from: None,
                valid_to: None,
                revoked_at: None,
                key_algorithm: 1,
                public_key_bundle: None,
            });
        }
    }
    registry
}

#[test]
fn streams_and_padding() {
    let vectors = load();
    assert_eq!(merkle::pad_leaf(), vectors.pad_leaf);
    assert_eq!(vectors.streams.len(), 6);
    for s in &vectors.streams {
        assert_eq!(stream::stream_id(&s.key), s.stream_id, "{}", s.key);
        let first: [u8; 8] = s.stream_id.0[..8].try_into().unwrap();
        assert_eq!(stream::advisory_lock_key(&s.key), i64::from_be_bytes(first));
    }
}

#[test]
fn every_event_hashes_as_the_sequencer_hashed_it() {
    let vectors = load();
    assert_eq!(vectors.events.len(), 2061);
    let mut encrypted = 0;
    let mut hasher = payload::PayloadHasher::default();
    for v in &vectors.events {
        let event = v.event();
        let id = v.event_id;
        if let Some(expected) = &v.jcs {
            assert_eq!(
                &jcs::canonicalize(event.payload.json()).unwrap(),
                expected,
                "{id}"
            );
            assert_eq!(
                payload::plain_hash(event.payload.json()).unwrap(),
                v.payload_plain_hash,
                "{id}"
            );
            hasher.push(event.payload.json()).unwrap();
        } else {
            encrypted += 1;
            assert_eq!(
                payload::cipher_hash(&event, event.payload.json()).unwrap(),
                v.payload_cipher_hash,
                "{id}"
            );
        }
        assert_eq!(event.check_payload(), EventCheck::Matches, "{id}");
        assert_eq!(event.signing_hash(), v.event_signing_hash, "{id}");
        assert_eq!(
            merkle::leaf_hash(
                &v.stream,
                v.sequence_number,
                &v.event_signing_hash,
                &v.agent_signature
            ),
            v.leaf_hash,
            "{id}"
        );
        assert_eq!(
            v.created_at_str.parse::<Timestamp>().unwrap(),
            v.created_at_timestamptz,
            "{id}"
        );
    }
    assert_eq!(encrypted, 567);
    let expected: Vec<Hash32> = vectors
        .events
        .iter()
        .filter(|v| v.jcs.is_some())
        .map(|v| v.payload_plain_hash)
        .collect();
    assert!(hasher.hash() == expected, "hashed together they differ");
}

/// A column of golden's rows by another, as its COPY text has them.
fn column(table: &str, of: &str, name: &str) -> HashMap<String, String> {
    let path = test_support::shared_data().join("data/golden/log.copy.sql");
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let head = lines
        .find(|line| line.starts_with(&format!("COPY {table} (")))
        .unwrap();
    let columns: Vec<&str> = head.split(['(', ')']).nth(1).unwrap().split(", ").collect();
    let at = |name: &str| columns.iter().position(|column| *column == name).unwrap();
    let rows = lines.take_while(|line| *line != "\\.");
    rows.map(|row| row.split('\t').collect::<Vec<_>>())
        .map(|row| (row[at(of)].to_owned(), row[at(name)].to_owned()))
        .collect()
}

fn bytes_of(column: &str) -> Option<Vec<u8>> {
    column
        .strip_prefix("\\\\x")
        .map(|digits| hex::decode(digits).unwrap())
}

/// Golden's registered keys with their algorithms and bundles, without windows.
fn whole_registry(keys: &serde_json::Value) -> KeyRegistry {
    let bundles = column("agent_signing_keys", "agent_id", "public_key_bundle");
    let algorithms = column("agent_signing_keys", "agent_id", "key_algorithm");
    let mut whole = registry(keys);
    for agent in keys["agents"].as_array().unwrap() {
        let id = agent["agent_id"].as_str().unwrap();
        let key_algorithm: i16 = algorithms[id].parse().unwrap();
        if key_algorithm != 1 {
            whole.insert(SigningKey {
                tenant_id: agent["tenant_id"].as_str().unwrap().parse::<TenantId>().unwrap(),
                agent_id: id.parse().unwrap(),
                key_id: 1,
                public_key: Hash32::ZERO,
                status: "active".into(),
                valid_from: None,
                valid_to: None,
                revoked_at: None,
                key_algorithm,
                public_key_bundle: bytes_of(&bundles[id]),
            });
        }
    }
    whole
}

#[test]
fn every_signature_of_every_scheme_holds() {
    let (mut vectors, keys) = (load(), load_keys());
    let registry = whole_registry(&keys);
    let bundles = column("ves_events", "event_id", "agent_signature_bundle");
    for v in &mut vectors.events {
        v.agent_signature_bundle = bytes_of(&bundles[&v.event_id.to_string()]);
    }
    let mut verdicts: HashMap<&str, usize> = HashMap::new();
    for v in &vectors.events {
        let event = v.event();
        let verdict = match registry.check(&event, &v.event_signing_hash, v.sequenced_at) {
            SignatureCheck::Valid if v.agent_signature_bundle.is_some() => "valid, with a bundle",
            SignatureCheck::Valid => "valid",
            other => panic!("{}: {other:?}", v.event_id),
        };
        *verdicts.entry(verdict).or_default() += 1;
        let wrong = Hash32([0x55; 32]);
        assert!(!registry.check(&event, &wrong, v.sequenced_at).is_valid());
    }
    assert_eq!(
        verdicts,
        HashMap::from([("valid", 2046), ("valid, with a bundle", 15)])
    );

    let events: Vec<Event> = vectors.events.iter().map(VectorEvent::event).collect();
    let signatures: Vec<EventSignature<'_>> = (events.iter().zip(&vectors.events))
        .map(|(event, v)| EventSignature {
            event,
            signing_hash: v.event_signing_hash,
            at: v.sequenced_at,
        })
        .collect();
    for chunk in signatures.chunks(500) {
        let one_by_one: Vec<SignatureCheck> = chunk
            .iter()
            .map(|s| registry.check(s.event, &s.signing_hash, s.at))
            .collect();
        assert_eq!(registry.check_many(chunk), one_by_one);
    }
}

#[test]
fn every_receipt_holds() {
    let (vectors, keys) = (load(), load_keys());
    let public: Hash32 = keys["sequencer_public_key_hex"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let public = ed25519_dalek::VerifyingKey::from_bytes(&public.0).unwrap();
    for v in &vectors.events {
        let r = &v.receipt;
        let row = Receipt {
            event_id: v.event_id,
            sequencer_id: r.sequencer_id,
            sequence_number: r.sequence_number,
            sequenced_at: r.sequenced_at,
            receipt_hash: r.receipt_hash,
            sequencer_signature: r.sequencer_signature,
            sequencer_key_version: r.sequencer_key_version,
            receipt_signature_scheme: r.receipt_signature_scheme,
            receipt_signature_bundle: None,
        };
        assert!(
            row.hash_matches(&v.stream, &v.event_signing_hash),
            "{}",
            v.event_id
        );
        assert_eq!(
            row.check_signature(&public.into()),
            SignatureCheck::Valid,
            "{}",
            v.event_id
        );
        let moved = Receipt {
            sequence_number: r.sequence_number + 1,
            ..row
        };
        assert!(!moved.hash_matches(&v.stream, &v.event_signing_hash));
        assert!(matches!(
            moved.check_signature(&ves::SequencerKeys::default()),
            SignatureCheck::NotChecked(_)
        ));
    }
}

#[test]
fn receipt_signatures_are_reproducible_from_the_sequencer_key() {
    let (vectors, keys) = (load(), load_keys());
    let seed: Hash32 = keys["sequencer_signing_seed_hex"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let key = ed25519_dalek::SigningKey::from_bytes(&seed.0);
    for v in vectors.events.iter().step_by(100) {
        let expected = v.receipt.sequencer_signature.unwrap();
        assert_eq!(
            receipt::sign_receipt_hash(&key, &v.receipt.receipt_hash),
            expected
        );
    }
}

#[test]
fn every_commitment_and_the_chain_of_state_roots() {
    let vectors = load();
    assert_eq!(vectors.commitments.len(), 39);
    let mut leaves: HashMap<(StreamKey, u64), Hash32> = HashMap::new();
    for e in &vectors.events {
        leaves.insert((e.stream, e.sequence_number), e.leaf_hash);
    }
    let mut by_stream: HashMap<StreamKey, Vec<&VectorCommitment>> = HashMap::new();
    for c in &vectors.commitments {
        let range: Vec<Hash32> = (c.sequence_start..=c.sequence_end)
            .map(|n| leaves[&(c.stream, n)])
            .collect();
        assert_eq!(range.len(), c.leaf_count as usize);
        assert_eq!(
            merkle::tree_depth(range.len() as u64),
            c.tree_depth,
            "{}",
            c.batch_id
        );
        assert_eq!(merkle::padded_leaf_count(range.len() as u64), c.padded_leaf_count);
        assert_eq!(merkle::root(&range), Some(c.merkle_root), "{}", c.batch_id);
        let mut builder = RootBuilder::default();
        range.iter().for_each(|leaf| builder.push(*leaf));
        assert_eq!(builder.root(), Some(c.merkle_root), "{}", c.batch_id);
        let state = stream::state_root(
            &c.stream,
            &c.prev_state_root,
            &c.merkle_root,
            c.sequence_start,
            c.sequence_end,
            c.leaf_count,
        );
        assert_eq!(state, c.new_state_root, "{}", c.batch_id);
        by_stream.entry(c.stream).or_default().push(c);
    }
    for chain in by_stream.values_mut() {
        chain.sort_by_key(|c| c.sequence_start);
        let mut previous = stream::GENESIS_STATE_ROOT;
        for c in chain {
            assert_eq!(c.prev_state_root, previous, "{}", c.batch_id);
            previous = c.new_state_root;
        }
    }
}

#[test]
fn every_leaf_and_root_by_every_kernel() {
    let vectors = load();
    let mut leaves: HashMap<(StreamKey, u64), LeafInput> = HashMap::new();
    for v in &vectors.events {
        let input = LeafInput {
            sequence_number: v.sequence_number,
            event_signing_hash: v.event_signing_hash,
            agent_signature: v.agent_signature,
        };
        leaves.insert((v.stream, v.sequence_number), input);
    }
    for kernel in Kernel::available() {
        for c in &vectors.commitments {
            let inputs: Vec<LeafInput> = (c.sequence_start..=c.sequence_end)
                .map(|n| leaves[&(c.stream, n)])
                .collect();
            let mut level = vec![vectors.pad_leaf; c.padded_leaf_count as usize];
            kernel.leaf_hashes(&c.stream, &inputs, &mut level[..inputs.len()]);
            while level.len() > 1 {
                kernel.parents_in_place(&mut level);
                level.truncate(level.len() / 2);
            }
            assert_eq!(level, [c.merkle_root], "{kernel}, {}", c.batch_id);
        }
    }
}

#[test]
fn every_inclusion_proof() {
    let vectors = load();
    let commitments: HashMap<BatchId, &VectorCommitment> =
        vectors.commitments.iter().map(|c| (c.batch_id, c)).collect();
    let mut leaves: HashMap<(StoreId, u64), Hash32> = HashMap::new();
    for e in &vectors.events {
        leaves.insert((e.stream.store_id, e.sequence_number), e.leaf_hash);
    }
    assert!(vectors.inclusion_proofs.len() >= 196);
    for p in &vectors.inclusion_proofs {
        let c = commitments[&p.batch_id];
        let proof = InclusionProof {
            leaf_index: p.leaf_index,
            proof_path: p.proof_path.clone(),
        };
        assert!(
            proof.verifies(&p.leaf_hash, &p.merkle_root),
            "{} {}",
            p.batch_id,
            p.leaf_index
        );
        assert_eq!(proof.directions(), p.directions);
        let range: Vec<Hash32> = (c.sequence_start..=c.sequence_end)
            .map(|n| leaves[&(c.stream.store_id, n)])
            .collect();
        assert_eq!(c.sequence_start + p.leaf_index, p.sequence_number);
        assert_eq!(
            merkle::inclusion_proof(&range, p.leaf_index as usize).unwrap(),
            proof
        );
        // One flipped bit anywhere breaks it.
        let mut broken = proof.clone();
        if let Some(sibling) = broken.proof_path.first_mut() {
            sibling.0[31] ^= 1;
            assert!(!broken.verifies(&p.leaf_hash, &p.merkle_root));
        }
    }
}

#[test]
fn verdicts_together_are_the_verdicts_one_by_one() {
    let (vectors, keys) = (load(), load_keys());
    let registry = registry(&keys);
    let mut events: Vec<(Event, Timestamp)> = vectors
        .events
        .iter()
        .map(|v| (v.event(), v.sequenced_at))
        .collect();
    // Every seventh is altered, in one way or another.
    for (index, (event, _)) in events.iter_mut().enumerate().step_by(7) {
        match index % 5 {
            0 => event.entity_id.push('x'),
            1 => event.payload = Payload::Plain("{\"a\":1,\"a\":2}".into()),
            2 => event.payload_plain_hash.0[3] ^= 1,
            3 => event.agent_signature.0[40] ^= 1,
            _ => event.payload_cipher_hash.0[0] ^= 1,
        }
    }
    for size in [1, 7, 64, 1000, events.len()] {
        for group in events.chunks(size) {
            let borrowed: Vec<(&Event, Timestamp)> = group.iter().map(|(e, at)| (e, *at)).collect();
            let verdicts = ves::verify::verify_events(&borrowed, &registry);
            assert_eq!(verdicts.len(), group.len());
            for ((event, at), verdict) in group.iter().zip(verdicts) {
                assert_eq!(verdict.signing_hash, event.signing_hash());
                assert_eq!(verdict.payload, event.check_payload());
                assert_eq!(
                    verdict.signature,
                    registry.check(event, &event.signing_hash(), *at)
                );
            }
        }
    }
}
