//! What the sequencer would find wrong with an event as such, before it looks at keys, commands and versions.

use serde::Deserialize;
use ves::{Event, EventCheck, Payload, Timestamp};

use outbox_sync::check::has_escaped_nul;

use super::rejection::{Reason, Rejection};

/// What the sequencer takes, in bytes: a longer `entity_type`, `entity_id` or `event_type` is refused.
const LIMITS: [usize; 3] = [128, 512, 256];

/// The largest payload that the sequencer takes.
const MAX_PAYLOAD: usize = 1 << 20;

/// What the sequencer would find wrong with an event as such, before it looks at keys, commands and versions. The order is the sequencer's own, so that the word is the one that it would say.
pub fn flaw(event: &Event) -> Option<Rejection> {
    flaw_of_checked(event, None)
}

/// [`flaw`] of an event whose payload hash was recomputed already.
pub(crate) fn flaw_of_checked(event: &Event, payload: Option<&EventCheck>) -> Option<Rejection> {
    let schema = |field: &str, message: String| {
        Some(Rejection::new(
            Reason::SchemaValidation,
            format!("{field}: {message}"),
        ))
    };
    if event.ves_version != 1 {
        let message = format!("version {}, and only 1 is known", event.ves_version);
        return Some(Rejection::new(Reason::UnsupportedVersion, message));
    }
    let names = [
        ("entity_type", &event.entity_type),
        ("entity_id", &event.entity_id),
        ("event_type", &event.event_type),
    ];
    for ((field, value), limit) in names.into_iter().zip(LIMITS) {
        if value.is_empty() || value.len() > limit {
            return schema(field, format!("{} bytes instead of 1 to {limit}", value.len()));
        }
    }
    let json = event.payload.json();
    if has_escaped_nul(json) || json.contains('\0') || names.iter().any(|(_, value)| value.contains('\0')) {
        let message = "it holds a NUL character, which no log can hold";
        return Some(Rejection::new(Reason::NulCharacter, message));
    }
    if json.len() > MAX_PAYLOAD {
        let message = format!("a payload of {} bytes, more than 1 MiB", json.len());
        return Some(Rejection::new(Reason::PayloadTooLarge, message));
    }
    if let Payload::Encrypted(json) = &event.payload
        && let Some((field, message)) = envelope_flaw(json)
    {
        return schema(field, message);
    }
    if event.created_at.parse::<Timestamp>().is_err() {
        return schema("created_at", "not an RFC 3339 time".into());
    }
    if event.base_version.is_some_and(|version| version < 0) {
        return schema("base_version", "below 0".into());
    }
    let payload = payload.cloned().unwrap_or_else(|| event.check_payload());
    if let EventCheck::Mismatch(message) = payload {
        let reason = match event.payload {
            Payload::Plain(_) => Reason::InvalidPayloadHash,
            Payload::Encrypted(_) => Reason::InvalidCipherHash,
        };
        return Some(Rejection::new(reason, message));
    }
    None
}

/// The envelope of an encrypted payload, as far as the sequencer looks at it.
#[derive(Deserialize)]
struct Envelope {
    nonce_b64u: String,
    ciphertext_b64u: String,
    tag_b64u: String,
    recipients: Vec<Recipient>,
}

/// Somebody who can open the payload.
#[derive(Deserialize)]
struct Recipient {
    recipient_kid: u32,
    enc_b64u: String,
    ct_b64u: String,
}

/// How long a decoded part must be.
#[derive(Clone, Copy)]
enum Length {
    /// So many bytes.
    Exactly(usize),
    /// One byte or more.
    Some,
}

/// What is wrong with the envelope of an encrypted payload: which field, and how.
fn envelope_flaw(json: &str) -> Option<(&'static str, String)> {
    let envelope: Envelope = match serde_json::from_str(json) {
        Ok(envelope) => envelope,
        Err(error) => return Some(("payload_encrypted", error.to_string())),
    };
    part_flaw(
        "payload_encrypted.nonce_b64u",
        &envelope.nonce_b64u,
        Length::Exactly(12),
    )
    .or_else(|| {
        part_flaw(
            "payload_encrypted.ciphertext_b64u",
            &envelope.ciphertext_b64u,
            Length::Some,
        )
    })
    .or_else(|| {
        part_flaw(
            "payload_encrypted.tag_b64u",
            &envelope.tag_b64u,
            Length::Exactly(16),
        )
    })
    .or_else(|| recipients_flaw(&envelope.recipients))
}

fn recipients_flaw(recipients: &[Recipient]) -> Option<(&'static str, String)> {
    if recipients.is_empty() {
        return Some(("payload_encrypted.recipients", "there is none".into()));
    }
    if !recipients.is_sorted_by(|a, b| a.recipient_kid < b.recipient_kid) {
        let message = "not sorted by recipient_kid, or one twice";
        return Some(("payload_encrypted.recipients", message.into()));
    }
    recipients.iter().find_map(|recipient| {
        part_flaw(
            "payload_encrypted.recipients.enc_b64u",
            &recipient.enc_b64u,
            Length::Exactly(32),
        )
        .or_else(|| {
            part_flaw(
                "payload_encrypted.recipients.ct_b64u",
                &recipient.ct_b64u,
                Length::Exactly(48),
            )
        })
    })
}

/// What is wrong with one part: not base64url (with padding or without), or of another length.
fn part_flaw(field: &'static str, value: &str, length: Length) -> Option<(&'static str, String)> {
    use base64::Engine as _;
    let lenient = base64::engine::GeneralPurpose::new(
        &base64::alphabet::URL_SAFE,
        base64::engine::GeneralPurposeConfig::new()
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
    );
    match (lenient.decode(value), length) {
        (Err(_), _) => Some((field, "not base64url".to_owned())),
        (Ok(bytes), Length::Exactly(wanted)) if bytes.len() != wanted => {
            Some((field, format!("{} bytes instead of {wanted}", bytes.len())))
        }
        (Ok(bytes), Length::Some) if bytes.is_empty() => Some((field, "it is empty".to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::envelope_flaw;

    #[test]
    fn envelopes_are_looked_at_as_the_sequencer_does() {
        use base64::Engine as _;
        let text = |bytes: usize| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(vec![7; bytes]);
        let envelope = |nonce, ciphertext, tag, recipients: &[(u32, usize, usize)]| {
            let recipients: Vec<_> = recipients
                .iter()
                .map(|(kid, enc, ct)| {
                    serde_json::json!({"recipient_kid": kid, "enc_b64u": text(*enc), "ct_b64u": text(*ct)})
                })
                .collect();
            serde_json::json!({
                "nonce_b64u": text(nonce), "ciphertext_b64u": text(ciphertext), "tag_b64u": text(tag),
                "recipients": recipients,
            })
            .to_string()
        };
        let field =
            |json: &str| envelope_flaw(json).map(|(field, _)| field.trim_start_matches("payload_encrypted."));
        let good = (1, 32, 48);
        assert_eq!(field(&envelope(12, 5, 16, &[good, (2, 32, 48)])), None);
        for (json, wrong) in [
            (envelope(11, 5, 16, &[good]), "nonce_b64u"),
            (envelope(12, 0, 16, &[good]), "ciphertext_b64u"),
            (envelope(12, 5, 15, &[good]), "tag_b64u"),
            (envelope(12, 5, 16, &[]), "recipients"),
            (envelope(12, 5, 16, &[good, good]), "recipients"),
            (envelope(12, 5, 16, &[(1, 31, 48)]), "recipients.enc_b64u"),
            (envelope(12, 5, 16, &[(1, 32, 60)]), "recipients.ct_b64u"),
            ("{}".into(), "payload_encrypted"),
            ("".into(), "payload_encrypted"),
        ] {
            assert_eq!(field(&json), Some(wrong), "{json}");
        }
    }
}
