//! Agents of the tests: their keys, events and outboxes, and the command that hands them over.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use ed25519_dalek::Signer;
use rusqlite::params;
use serde_json::Value;
use ves::{
    AgentId, Event, EventId, Hash32, KeyRegistry, Payload, SignatureBytes, SignatureScheme, SigningKey,
    StreamKey,
};

use super::sequencer::{API_KEY, Sequencer};

pub fn uuid(n: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(n)
}

pub fn agent(n: u8) -> (AgentId, ed25519_dalek::SigningKey, SigningKey) {
    let key = ed25519_dalek::SigningKey::from_bytes(&[n; 32]);
    let id = AgentId(uuid(1000 + u128::from(n)));
    let registered = SigningKey {
        tenant_id: uuid(1).into(),
        agent_id: id,
        key_id: 1,
        public_key: Hash32(key.verifying_key().to_bytes()),
        status: "active".into(),
        valid_from: None,
        valid_to: None,
        revoked_at: None,
        key_algorithm: 1,
        public_key_bundle: None,
    };
    (id, key, registered)
}

pub fn registry() -> KeyRegistry {
    KeyRegistry::new([agent(1).2, agent(2).2])
}

/// A signed event of an agent.
pub fn event(by: u8, n: u128, payload: &str) -> Event {
    let (id, key, _) = agent(by);
    let mut event = Event {
        event_id: EventId(uuid((u128::from(by) << 64) + n)),
        stream: StreamKey::new(uuid(1).into(), uuid(2).into()),
        ves_version: 1,
        source_agent_id: id,
        agent_key_id: 1,
        entity_type: "order".into(),
        entity_id: format!("O-{}", n % 7),
        event_type: "order.created".into(),
        created_at: "2026-01-01T00:00:00.123Z".into(),
        payload: Payload::Plain(payload.into()),
        payload_plain_hash: ves::payload::plain_hash(payload).unwrap(),
        payload_cipher_hash: Hash32::ZERO,
        agent_signature: SignatureBytes::ZERO,
        agent_signature_scheme: SignatureScheme::ED25519,
        agent_signature_bundle: None,
        command_id: None,
        base_version: None,
    };
    sign(&mut event, &key);
    event
}

pub fn sign(event: &mut Event, key: &ed25519_dalek::SigningKey) {
    event.agent_signature = SignatureBytes(key.sign(&event.signing_hash().0).to_bytes());
}

/// An outbox with these events, all pending.
pub fn outbox(path: &Path, events: &[Event]) {
    let mut connection = super::create(path, super::OUTBOX_V3, 0);
    let transaction = connection.transaction().unwrap();
    for e in events {
        transaction
            .execute(
                "INSERT INTO _ves_outbox (event_id, tenant_id, store_id, entity_type, entity_id, event_type, payload, \
                 payload_plain_hash, payload_cipher_hash, agent_key_id, agent_signature, source_agent, created_at, \
                 sync_status, command_id, base_version) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 'pending', ?14, ?15)",
                params![
                    e.event_id.to_string(),
                    e.stream.tenant_id.to_string(),
                    e.stream.store_id.to_string(),
                    e.entity_type,
                    e.entity_id,
                    e.event_type,
                    e.payload.json(),
                    format!("0x{}", e.payload_plain_hash),
                    format!("0x{}", e.payload_cipher_hash),
                    e.agent_key_id,
                    format!("0x{}", e.agent_signature),
                    e.source_agent_id.to_string(),
                    e.created_at,
                    e.command_id.map(|c| c.to_string()),
                    e.base_version,
                ],
            )
            .unwrap();
    }
    transaction.commit().unwrap();
}

pub fn command(folder: &Path, sequencer: &Sequencer, arguments: &[&str]) -> Command {
    command_to(&sequencer.url, folder, sequencer, arguments)
}

/// As [`command`], to the sequencer at another URL.
pub fn command_to(url: &str, folder: &Path, sequencer: &Sequencer, arguments: &[&str]) -> Command {
    let mut command = command_bare(folder);
    command
        .args([
            "push",
            "--format",
            "json",
            "--url",
            url,
            "--receipts",
            "receipts.ndjson",
        ])
        .args(["--sequencer-public-key", &sequencer.public_key()])
        .args(arguments);
    command
}

pub fn push(folder: &Path, sequencer: &Sequencer, arguments: &[&str]) -> (i32, Value, String) {
    push_to(&sequencer.url, folder, sequencer, arguments)
}

/// As [`push`], to the sequencer at another URL.
pub fn push_to(url: &str, folder: &Path, sequencer: &Sequencer, arguments: &[&str]) -> (i32, Value, String) {
    let output = command_to(url, folder, sequencer, arguments).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out} {err}"));
    (output.status.code().unwrap(), value, super::without_time(&err))
}

pub fn events(by: u8, count: u128) -> Vec<Event> {
    (0..count)
        .map(|n| event(by, n, &format!("{{\"n\":{n}}}")))
        .collect()
}

/// The event ids of the sequencer's log, in its order; each at most once.
pub fn log(sequencer: &Sequencer) -> Vec<EventId> {
    let ids: Vec<EventId> = sequencer
        .state
        .lock()
        .unwrap()
        .log
        .iter()
        .map(|e| e.event_id)
        .collect();
    assert_eq!(
        ids.iter().collect::<BTreeSet<_>>().len(),
        ids.len(),
        "each event once"
    );
    ids
}

/// The program in a folder, with the key to the sequencer and no arguments.
pub fn command_bare(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outbox-sync"));
    command
        .current_dir(folder)
        .env_remove("DATABASE_URL")
        .env("SEQUENCER_API_KEY", API_KEY)
        // A run that is killed leaves its private copy.
        .env("TMPDIR", folder);
    command
}
