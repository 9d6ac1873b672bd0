//! An event as a service sends it, as an entry of a log.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use event_log::LogEntry;
use grpc_client::messages::{
    EncryptedPayload, EventEnvelope, RecipientKey, SequencedEvent, SignatureBundle, Timestamp,
};
use serde_json::json;
use ves::{CommandId, Event, Hash32, Payload, SignatureBytes, SignatureScheme, StreamKey};

/// An event that was pulled.
pub(super) struct Pulled {
    /// It, with its time as the service writes it.
    pub entry: LogEntry,
    /// What the service says of its receipt.
    pub receipt_hash: Option<Hash32>,
}

/// Reads an event of a stream. What it says in words of others is not repeated in errors but for names of fields.
pub(super) fn pulled(sent: &SequencedEvent, stream: StreamKey) -> Result<Pulled, String> {
    let number = sent.sequence_number;
    read(sent, stream).map_err(|what| format!("number {number}: {what}"))
}

/// An event that a service sent for a stream, as an entry of a log. Nothing of it is checked.
///
/// # Errors
/// It cannot be read, in words; the text of others is not repeated.
pub fn pulled_entry(sent: &SequencedEvent, stream: StreamKey) -> Result<LogEntry, String> {
    pulled(sent, stream).map(|pulled| pulled.entry)
}

fn read(sent: &SequencedEvent, stream: StreamKey) -> Result<Pulled, String> {
    let envelope = sent.envelope.as_ref().ok_or("it comes without its event")?;
    let of = StreamKey::new(
        id("tenant_id", &envelope.tenant_id)?,
        id("store_id", &envelope.store_id)?,
    );
    if of != stream {
        return Err(format!("it is of another stream, {of}"));
    }
    let created = envelope.created_at.as_ref().ok_or("created_at is missing")?;
    let sequenced = sent.sequenced_at.as_ref().ok_or("sequenced_at is missing")?;
    let event = Event {
        event_id: id("event_id", &envelope.event_id)?,
        stream,
        ves_version: envelope.ves_version,
        source_agent_id: id("source_agent", &envelope.source_agent)?,
        agent_key_id: envelope.agent_key_id,
        entity_type: envelope.entity_type.clone(),
        entity_id: envelope.entity_id.clone(),
        event_type: envelope.event_type.clone(),
        created_at: rendering(created)?,
        payload: payload(envelope)?,
        payload_plain_hash: hash("payload_plain_hash", &envelope.payload_plain_hash)?,
        payload_cipher_hash: hash("payload_cipher_hash", &envelope.payload_cipher_hash)?,
        agent_signature: SignatureBytes(exact("agent_signature", &envelope.agent_signature)?),
        agent_signature_scheme: SignatureScheme(
            i16::try_from(envelope.agent_signature_scheme).map_err(|_| "agent_signature_scheme is none")?,
        ),
        agent_signature_bundle: envelope.agent_signature_bundle.as_ref().map(bundle),
        command_id: command(&envelope.command_id)?,
        base_version: match i64::try_from(envelope.base_version) {
            Ok(0) => None,
            Ok(version) => Some(version),
            Err(_) => return Err("base_version is larger than any".into()),
        },
    };
    let receipt_hash = match sent.receipt_hash.as_slice() {
        [] => None,
        bytes => Some(hash("receipt_hash", bytes)?),
    };
    let entry = LogEntry {
        sequence_number: sent.sequence_number,
        event_signing_hash: event.signing_hash(),
        created_at_column: time("created_at", created)?,
        sequenced_at: time("sequenced_at", sequenced)?,
        receipt: None,
        event,
    };
    Ok(Pulled { entry, receipt_hash })
}

fn id<T: std::str::FromStr>(field: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{field} is no UUID"))
}

fn command(text: &str) -> Result<Option<CommandId>, String> {
    match text {
        "" => Ok(None),
        text => id("command_id", text).map(Some),
    }
}

fn exact<const N: usize>(field: &str, bytes: &[u8]) -> Result<[u8; N], String> {
    bytes
        .try_into()
        .map_err(|_| format!("{field} has {} bytes, not {N}", bytes.len()))
}

fn hash(field: &str, bytes: &[u8]) -> Result<Hash32, String> {
    exact(field, bytes).map(Hash32)
}

/// To the microsecond, as the log's columns have it.
fn time(field: &str, time: &Timestamp) -> Result<ves::Timestamp, String> {
    let micros = time
        .seconds
        .checked_mul(1_000_000)
        .filter(|_| (0..1_000_000_000).contains(&time.nanos))
        .and_then(|micros| micros.checked_add(i64::from(time.nanos / 1000)));
    micros.map(ves::Timestamp).ok_or(format!("{field} is no time"))
}

/// In words, with as many digits of the second as it has: three, six or nine.
fn rendering(created: &Timestamp) -> Result<String, String> {
    let seconds = time("created_at", created)?.0.div_euclid(1_000_000);
    let text = ves::Timestamp(seconds * 1_000_000).to_string();
    let whole = text
        .strip_suffix(".000000Z")
        .filter(|whole| whole.len() == 19)
        .ok_or("created_at is no time")?;
    let nanos = created.nanos;
    Ok(match nanos {
        0 => format!("{whole}+00:00"),
        _ if nanos % 1_000_000 == 0 => format!("{whole}.{:03}+00:00", nanos / 1_000_000),
        _ if nanos % 1000 == 0 => format!("{whole}.{:06}+00:00", nanos / 1000),
        _ => format!("{whole}.{nanos:09}+00:00"),
    })
}

fn payload(envelope: &EventEnvelope) -> Result<Payload, String> {
    match (envelope.payload_kind, &envelope.payload_encrypted) {
        (1, None) => {
            let text = String::from_utf8(envelope.payload.clone()).map_err(|_| "its payload is no text")?;
            Ok(Payload::Plain(text))
        }
        (2, Some(encrypted)) if envelope.payload.is_empty() => {
            encrypted_json(encrypted).map(Payload::Encrypted)
        }
        (kind, _) => Err(format!(
            "payload_kind is {kind}, and the payload is not there or not of that kind"
        )),
    }
}

/// The envelope of a ciphertext, as the log has it.
fn encrypted_json(sent: &EncryptedPayload) -> Result<String, String> {
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let mut recipients = Vec::new();
    for bytes in &sent.recipients {
        let recipient: RecipientKey =
            grpc_client::messages::read(bytes).map_err(|_| "a recipient of it cannot be read")?;
        recipients.push(json!({
            "recipient_kid": recipient.recipient_kid,
            "enc_b64u": text(&recipient.ephemeral_public_key),
            "ct_b64u": text(&recipient.wrapped_dek),
        }));
    }
    let hpke = sent.hpke.clone().unwrap_or_default();
    let envelope = json!({
        "enc_version": sent.enc_version,
        "aead": sent.aead,
        "nonce_b64u": text(&sent.nonce),
        "ciphertext_b64u": text(&sent.ciphertext),
        "tag_b64u": text(&sent.tag),
        "hpke": {"mode": hpke.mode, "kem": hpke.kem, "kdf": hpke.kdf, "aead": hpke.aead},
        "recipients": recipients,
    });
    Ok(envelope.to_string())
}

/// The bytes of a bundle, as the sequencer stores it.
fn bundle(sent: &SignatureBundle) -> Vec<u8> {
    let bytes = |bytes: &Vec<u8>| (!bytes.is_empty()).then(|| bytes.clone());
    let ed25519 = bytes(&sent.ed25519_signature);
    let ml_dsa = bytes(&sent.ml_dsa_65_signature);
    format!(
        r#"{{"ed25519_signature":{},"ml_dsa_65_signature":{}}}"#,
        json!(ed25519),
        json!(ml_dsa)
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_service_writes_them() {
        let at = |seconds, nanos| rendering(&Timestamp { seconds, nanos });
        assert_eq!(at(0, 0).unwrap(), "1970-01-01T00:00:00+00:00");
        assert_eq!(
            at(1_772_359_200, 120_000_000).unwrap(),
            "2026-03-01T10:00:00.120+00:00"
        );
        assert_eq!(
            at(1_772_359_200, 120_001_000).unwrap(),
            "2026-03-01T10:00:00.120001+00:00"
        );
        assert_eq!(
            at(-1, 999_999_999).unwrap(),
            "1969-12-31T23:59:59.999999999+00:00"
        );
        for (seconds, nanos) in [
            (i64::MAX, 0),
            (i64::MIN, 0),
            (0, -1),
            (0, 1_000_000_000),
            (1 << 50, 0),
        ] {
            assert!(at(seconds, nanos).is_err(), "{seconds} {nanos}");
        }
    }
}
