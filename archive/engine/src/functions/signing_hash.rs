//! `ves_signing_hash(ves_version, tenant_id, store_id, event_id, source_agent_id, agent_key_id, entity_type, entity_id,
//! event_type, created_at_str, payload_kind, payload_plain_hash, payload_cipher_hash)`: the hash that an event's agent
//! signed, as [`ves::Event::signing_hash`] computes it. The arguments are columns of `events` by these names.
//!
//! NULL where an argument is NULL, a number does not fit 32 bits, or the kind is neither 0 (in the open) nor 1 (encrypted).

use datafusion::arrow::array::ArrayRef;
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;
use uuid::Uuid;
use ves::{AgentId, Event, EventId, Hash32, Payload, SignatureBytes, StoreId, StreamKey, TenantId};

use super::scalar::{self, Columns, HASH, Kind, Parameter};

const PARAMETERS: &[Parameter] = &[
    ("ves_version", Kind::Number),
    ("tenant_id", Kind::Bytes(16)),
    ("store_id", Kind::Bytes(16)),
    ("event_id", Kind::Bytes(16)),
    ("source_agent_id", Kind::Bytes(16)),
    ("agent_key_id", Kind::Number),
    ("entity_type", Kind::Text),
    ("entity_id", Kind::Text),
    ("event_type", Kind::Text),
    ("created_at_str", Kind::Text),
    ("payload_kind", Kind::Number),
    ("payload_plain_hash", Kind::Bytes(32)),
    ("payload_cipher_hash", Kind::Bytes(32)),
];

/// The function.
pub fn function() -> ScalarUDF {
    scalar::function("ves_signing_hash", PARAMETERS, HASH, compute)
}

fn compute(columns: &Columns<'_>) -> Result<ArrayRef> {
    let versions = columns.numbers(0)?;
    let [tenants, stores, events, agents] = [
        columns.bytes::<16>(1)?,
        columns.bytes::<16>(2)?,
        columns.bytes::<16>(3)?,
        columns.bytes::<16>(4)?,
    ];
    let keys = columns.numbers(5)?;
    let [types, ids, names, times] = [
        columns.text(6)?,
        columns.text(7)?,
        columns.text(8)?,
        columns.text(9)?,
    ];
    let kinds = columns.numbers(10)?;
    let [plain, cipher] = [columns.bytes::<32>(11)?, columns.bytes::<32>(12)?];
    let hash = |row: usize| {
        if !columns.complete(row) {
            return None;
        }
        let payload = match kinds.value(row) {
            0 => Payload::Plain(String::new()),
            1 => Payload::Encrypted(String::new()),
            _ => return None,
        };
        let tenant = TenantId(Uuid::from_bytes(tenants.at(row)));
        // What does not enter the hash is left empty.
        let event = Event {
            event_id: EventId(Uuid::from_bytes(events.at(row))),
            stream: StreamKey::new(tenant, StoreId(Uuid::from_bytes(stores.at(row)))),
            ves_version: u32::try_from(versions.value(row)).ok()?,
            source_agent_id: AgentId(Uuid::from_bytes(agents.at(row))),
            agent_key_id: u32::try_from(keys.value(row)).ok()?,
            entity_type: types.value(row).to_owned(),
            entity_id: ids.value(row).to_owned(),
            event_type: names.value(row).to_owned(),
            created_at: times.value(row).to_owned(),
            payload,
            payload_plain_hash: Hash32(plain.at(row)),
            payload_cipher_hash: Hash32(cipher.at(row)),
            agent_signature: SignatureBytes([0; 64]),
            agent_signature_scheme: ves::SignatureScheme::ED25519,
            agent_signature_bundle: None,
            command_id: None,
            base_version: None,
        };
        Some(event.signing_hash())
    };
    scalar::hashes((0..columns.rows()).map(hash))
}
