//! Events as JSON in the form of the sequencer's HTTP ingest: how they are exported and pushed.
//!
//! Payloads go out as the text that they are kept in, number for number: reading them into values and writing
//! those would change numbers that a double cannot hold.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use ves::{
    AgentId, CommandId, Event, EventId, Hash32, Payload, SignatureBytes, SignatureScheme, StoreId, StreamKey,
    TenantId,
};

/// An event in the form of `POST /api/v1/ves/events/ingest`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WireEvent {
    ves_version: u32,
    event_id: EventId,
    tenant_id: TenantId,
    store_id: StoreId,
    source_agent_id: AgentId,
    agent_key_id: u32,
    entity_type: String,
    entity_id: String,
    event_type: String,
    created_at: String,
    payload_kind: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload_encrypted: Option<Box<RawValue>>,
    #[serde(serialize_with = "prefixed")]
    payload_plain_hash: Hash32,
    #[serde(serialize_with = "prefixed")]
    payload_cipher_hash: Hash32,
    #[serde(serialize_with = "prefixed")]
    agent_signature: SignatureBytes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command_id: Option<CommandId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base_version: Option<i64>,
    #[serde(default, skip_serializing_if = "is_default")]
    agent_signature_scheme: SignatureScheme,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agent_signature_bundle: Option<Box<RawValue>>,
}

fn is_default(scheme: &SignatureScheme) -> bool {
    *scheme == SignatureScheme::default()
}

/// Hex with `0x` before it, as agents send it.
fn prefixed<T: Bytes, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    let bytes = value.bytes();
    let mut text = [0; 2 + 2 * 64];
    text[..2].copy_from_slice(b"0x");
    let digits = &mut text[2..2 + 2 * bytes.len()];
    hex::encode_to_slice(bytes, digits).map_err(serde::ser::Error::custom)?;
    let text = std::str::from_utf8(&text[..2 + 2 * bytes.len()]).map_err(serde::ser::Error::custom)?;
    serializer.serialize_str(text)
}

/// A hash or a signature: at most 64 bytes.
trait Bytes {
    fn bytes(&self) -> &[u8];
}

impl Bytes for Hash32 {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Bytes for SignatureBytes {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// JSON text as one line. Within strings JSON has no line breaks.
fn raw(name: &str, json: &str) -> Result<Box<RawValue>, String> {
    let text = if json.contains(['\n', '\r']) {
        json.replace(['\n', '\r'], " ")
    } else {
        json.to_owned()
    };
    RawValue::from_string(text).map_err(|error| format!("{name} is not JSON: {error}"))
}

impl WireEvent {
    /// The form of an event.
    ///
    /// # Errors
    /// A payload or bundle that is not JSON.
    pub fn new(event: &Event) -> Result<Self, String> {
        let (payload, payload_encrypted) = match &event.payload {
            Payload::Plain(json) => (Some(raw("payload", json)?), None),
            Payload::Encrypted(json) => (None, Some(raw("payload_encrypted", json)?)),
        };
        let bundle = event.agent_signature_bundle.as_deref().map(|bytes| {
            let json = std::str::from_utf8(bytes).map_err(|_| "agent_signature_bundle is not UTF-8")?;
            raw("agent_signature_bundle", json)
        });
        Ok(Self {
            ves_version: event.ves_version,
            event_id: event.event_id,
            tenant_id: event.stream.tenant_id,
            store_id: event.stream.store_id,
            source_agent_id: event.source_agent_id,
            agent_key_id: event.agent_key_id,
            entity_type: event.entity_type.clone(),
            entity_id: event.entity_id.clone(),
            event_type: event.event_type.clone(),
            created_at: event.created_at.clone(),
            payload_kind: event.payload.kind(),
            payload,
            payload_encrypted,
            payload_plain_hash: event.payload_plain_hash,
            payload_cipher_hash: event.payload_cipher_hash,
            agent_signature: event.agent_signature,
            command_id: event.command_id,
            base_version: event.base_version,
            agent_signature_scheme: event.agent_signature_scheme,
            agent_signature_bundle: bundle.transpose()?,
        })
    }

    /// The event. Nothing of it is checked.
    ///
    /// # Errors
    /// The payload is not of the kind that it should be.
    pub fn into_event(self) -> Result<Event, String> {
        let text = |raw: Box<RawValue>| String::from(Box::<str>::from(raw));
        let payload = match (self.payload_kind, self.payload, self.payload_encrypted) {
            (0, Some(json), None) => Payload::Plain(text(json)),
            (1, None, Some(json)) => Payload::Encrypted(text(json)),
            (kind @ (0 | 1), ..) => {
                return Err(format!(
                    "payload_kind is {kind}, and the payload is not of that kind"
                ));
            }
            (kind, ..) => return Err(format!("payload_kind is {kind}, which nobody knows")),
        };
        Ok(Event {
            event_id: self.event_id,
            stream: StreamKey::new(self.tenant_id, self.store_id),
            ves_version: self.ves_version,
            source_agent_id: self.source_agent_id,
            agent_key_id: self.agent_key_id,
            entity_type: self.entity_type,
            entity_id: self.entity_id,
            event_type: self.event_type,
            created_at: self.created_at,
            payload,
            payload_plain_hash: self.payload_plain_hash,
            payload_cipher_hash: self.payload_cipher_hash,
            agent_signature: self.agent_signature,
            agent_signature_scheme: self.agent_signature_scheme,
            agent_signature_bundle: self.agent_signature_bundle.map(|raw| text(raw).into_bytes()),
            command_id: self.command_id,
            base_version: self.base_version,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_out_comes_back_number_for_number() {
        let event = Event {
            event_id: EventId(uuid::Uuid::from_u128(1)),
            stream: StreamKey::new(uuid::Uuid::from_u128(2).into(), uuid::Uuid::from_u128(3).into()),
            ves_version: 1,
            source_agent_id: AgentId(uuid::Uuid::from_u128(4)),
            agent_key_id: 1,
            entity_type: "order".into(),
            entity_id: "\u{2028}\"".into(),
            event_type: "t".into(),
            created_at: "2025-11-01T00:01:14.123456789+02:00".into(),
            payload: Payload::Plain("{\"n\": [1e16,10000000000000001,-0.0,1.50,\r\n \"\\u0000 é\"]}".into()),
            payload_plain_hash: Hash32([7; 32]),
            payload_cipher_hash: Hash32::ZERO,
            agent_signature: SignatureBytes([9; 64]),
            agent_signature_scheme: SignatureScheme(3),
            agent_signature_bundle: Some(b"{\"ed25519_signature\":[1]}".to_vec()),
            command_id: None,
            base_version: Some(-1),
        };
        let line = serde_json::to_string(&WireEvent::new(&event).unwrap()).unwrap();
        assert!(
            !line.contains('\n') && line.contains("[1e16,10000000000000001,-0.0,1.50,"),
            "{line}"
        );
        assert!(line.contains("\"0x0707"));
        let read: WireEvent = serde_json::from_str(&line).unwrap();
        let mut expected = event.clone();
        expected.payload =
            Payload::Plain("{\"n\": [1e16,10000000000000001,-0.0,1.50,   \"\\u0000 é\"]}".into());
        assert_eq!(read.into_event().unwrap(), expected);

        let broken = Event {
            payload: Payload::Plain("{".into()),
            ..event
        };
        assert!(WireEvent::new(&broken).is_err());
        for other in [
            line.replace("\"payload_kind\":0", "\"payload_kind\":1"),
            line.replace("\"payload_kind\":0", "\"payload_kind\":2"),
        ] {
            assert!(
                serde_json::from_str::<WireEvent>(&other)
                    .unwrap()
                    .into_event()
                    .is_err()
            );
        }
    }
}
