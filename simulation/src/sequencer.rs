//! The sequencer, as it goes on over a repaired log: it takes what agents still hold and what they make anew, gives each the
//! number after the counter, and writes what the real one writes.

use std::path::Path;

use ed25519_dalek::Signer as _;
use fixtures::{Agent, Rng, SyncStatus, World};
use rusqlite::{Connection, OptionalExtension as _, Transaction, named_params, params};
use ves::payload::{NO_CIPHER_HASH, plain_hash};
use ves::receipt::{receipt_hash, sign_receipt_hash};
use ves::{CommandId, Event, EventId, Payload, SignatureBytes, StreamKey, Timestamp};

const COUNTER: &str = include_str!("../sql/counter.sql");
const SET_COUNTER: &str = include_str!("../sql/set_counter.sql");
const KNOWS_KEY: &str = include_str!("../sql/knows_key.sql");
const HAS_EVENT: &str = include_str!("../sql/has_event.sql");
const HAS_COMMAND: &str = include_str!("../sql/has_command.sql");
const VERSION: &str = include_str!("../sql/version.sql");
const INSERT_EVENT: &str = include_str!("../sql/insert_event.sql");
const INSERT_RECEIPT: &str = include_str!("../sql/insert_receipt.sql");
const INSERT_COMMAND: &str = include_str!("../sql/insert_command.sql");
const RAISE_VERSION: &str = include_str!("../sql/raise_version.sql");

/// A number that was given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenNumber {
    /// To whom.
    pub event: EventId,
    /// In which stream.
    pub stream: StreamKey,
    /// The number.
    pub number: u64,
}

/// Takes so many events into each stream.
///
/// # Errors
/// What the sequencer could not write: the log that it was given is not sound.
pub fn run_on(log: &Path, world: &World, rng: &mut Rng, events: usize) -> Result<Vec<GivenNumber>, String> {
    let mut given = Vec::new();
    let mut work = || -> rusqlite::Result<()> {
        let mut db = Connection::open(log)?;
        let mut at = world.disaster_at();
        for stream in world.log().streams.keys() {
            let agents: Vec<usize> = (0..world.agents().len())
                .filter(|agent| world.agents()[*agent].stream == *stream)
                .collect();
            for _ in 0..events {
                at.0 += rng.between(1_000, 5_000_000);
                let agent = rng.pick(&agents);
                let event = match waiting(world, agent, rng) {
                    Some(event) if rng.chance(0.6) => event,
                    _ => fresh(world, &world.agents()[agent], at, rng),
                };
                let transaction = db.transaction()?;
                given.extend(take(&transaction, world, &event, at)?);
                transaction.commit()?;
            }
        }
        Ok(())
    };
    work().map_err(|e| format!("the sequencer cannot go on over the repaired log: {e}"))?;
    Ok(given)
}

/// An event that waits in the agent's outbox.
fn waiting(world: &World, agent: usize, rng: &mut Rng) -> Option<Event> {
    let rows = &world
        .outboxes()
        .iter()
        .find(|outbox| outbox.agent == agent && !outbox.lost)?
        .rows;
    let waiting: Vec<&Event> = rows
        .iter()
        .filter(|row| matches!(row.status, SyncStatus::Pending | SyncStatus::Failed) && !row.tampered)
        .map(|row| &row.event)
        .collect();
    (!waiting.is_empty()).then(|| rng.pick(&waiting).clone())
}

/// A new event, signed with the agent's newest key.
fn fresh(world: &World, agent: &Agent, at: Timestamp, rng: &mut Rng) -> Event {
    let payload = format!("{{\"after\": {}}}", rng.below(1_000_000));
    let mut event = Event {
        event_id: EventId(rng.uuid()),
        stream: agent.stream,
        ves_version: 1,
        source_agent_id: agent.agent_id,
        agent_key_id: agent.keys.len() as u32,
        entity_type: "order".into(),
        entity_id: format!("E-{}", rng.below(4)),
        event_type: "order.updated".into(),
        created_at: at.to_string(),
        payload_plain_hash: plain_hash(&payload).unwrap_or(NO_CIPHER_HASH),
        payload: Payload::Plain(payload),
        payload_cipher_hash: NO_CIPHER_HASH,
        agent_signature: SignatureBytes::ZERO,
        agent_signature_scheme: ves::SignatureScheme::ED25519,
        agent_signature_bundle: None,
        command_id: rng.chance(0.3).then(|| CommandId(rng.uuid())),
        base_version: None,
    };
    if let Some(key) = agent.keys.last() {
        event.agent_signature = SignatureBytes(key.sign(&event.signing_hash().0).to_bytes());
    }
    debug_assert!(world.agents().iter().any(|a| a.agent_id == event.source_agent_id));
    event
}

/// What the sequencer does with one event: nothing with one that it has, or that it refuses.
fn take(
    db: &Transaction<'_>,
    world: &World,
    event: &Event,
    at: Timestamp,
) -> rusqlite::Result<Option<GivenNumber>> {
    let (tenant, store) = (
        event.stream.tenant_id.to_string(),
        event.stream.store_id.to_string(),
    );
    let id = event.event_id.to_string();
    let there = |sql: &str, parameters: &[&dyn rusqlite::ToSql]| {
        db.query_row(sql, parameters, |row| row.get::<_, i64>(0))
            .optional()
    };
    let agent = event.source_agent_id.to_string();
    let key = there(KNOWS_KEY, &[&tenant, &agent, &event.agent_key_id])?;
    if key.is_none() || there(HAS_EVENT, &[&id])?.is_some() {
        return Ok(None);
    }
    let command = event.command_id.map(|command| command.to_string());
    if let Some(command) = &command
        && there(HAS_COMMAND, &[&tenant, &store, command])?.is_some()
    {
        return Ok(None);
    }
    let version = there(VERSION, &[&tenant, &store, &event.entity_type, &event.entity_id])?.unwrap_or(0);
    if event.base_version.is_some_and(|base| base != version) {
        return Ok(None);
    }
    let number = there(COUNTER, &[&tenant, &store])?.unwrap_or(0).unsigned_abs() + 1;
    let now = at.to_string();
    db.execute(SET_COUNTER, params![tenant, store, number as i64])?;
    if let Some(command) = &command {
        db.execute(INSERT_COMMAND, params![tenant, store, command, now])?;
    }
    let given = GivenNumber {
        event: event.event_id,
        stream: event.stream,
        number,
    };
    write(db, world, event, number, at)?;
    let entity = (&event.entity_type, &event.entity_id);
    db.execute(
        RAISE_VERSION,
        params![tenant, store, entity.0, entity.1, version + 1, now],
    )?;
    Ok(Some(given))
}

/// The event's row and that of its receipt.
fn write(
    db: &Transaction<'_>,
    world: &World,
    event: &Event,
    number: u64,
    at: Timestamp,
) -> rusqlite::Result<()> {
    let (id, now) = (event.event_id.to_string(), at.to_string());
    let signing_hash = event.signing_hash();
    let (plain, encrypted) = match &event.payload {
        Payload::Plain(json) => (Some(json), None),
        Payload::Encrypted(json) => (None, Some(json)),
    };
    let created_at: Timestamp = event.created_at.parse().unwrap_or(at);
    db.execute(
        INSERT_EVENT,
        named_params! {
            ":event_id": id,
            ":command_id": event.command_id.map(|command| command.to_string()),
            ":ves_version": event.ves_version,
            ":tenant_id": event.stream.tenant_id.to_string(),
            ":store_id": event.stream.store_id.to_string(),
            ":source_agent_id": event.source_agent_id.to_string(),
            ":agent_key_id": event.agent_key_id,
            ":entity_type": event.entity_type,
            ":entity_id": event.entity_id,
            ":event_type": event.event_type,
            ":created_at": created_at.to_string(),
            ":created_at_str": event.created_at,
            ":sequenced_at": now,
            ":payload_kind": event.payload.kind(),
            ":payload": plain,
            ":payload_encrypted": encrypted,
            ":payload_plain_hash": event.payload_plain_hash.0,
            ":payload_cipher_hash": event.payload_cipher_hash.0,
            ":event_signing_hash": signing_hash.0,
            ":agent_signature": event.agent_signature.0,
            ":sequence_number": number as i64,
            ":base_version": event.base_version,
        },
    )?;
    let hash = receipt_hash(&event.stream, &event.event_id, number, &signing_hash);
    let signature = sign_receipt_hash(world.sequencer_key(), &hash);
    db.execute(
        INSERT_RECEIPT,
        params![
            id,
            world.sequencer_id().to_string(),
            number as i64,
            now,
            hash.0,
            signature.0
        ],
    )?;
    Ok(())
}
