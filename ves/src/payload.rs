//! Payload hashes. A plaintext payload is hashed in canonical form; an encrypted one is bound by the
//! hash of its ciphertext, and its plaintext hash is salted: it can be checked with the key only.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use crate::digest::{Hash32, Preimage};
use crate::event::Event;
use crate::jcs::{Canonicalizer, JcsError, canonicalize};
use crate::kernel::Batch;

const PLAIN_DOMAIN: &str = "VES_PAYLOAD_PLAIN_V1";

/// `payload_plain_hash` of a plaintext payload: SHA-256(`VES_PAYLOAD_PLAIN_V1` ‖ JCS(payload)).
///
/// # Errors
/// Text without a canonical form, see [`canonicalize`].
pub fn plain_hash(payload_json: &str) -> Result<Hash32, JcsError> {
    Ok(Preimage::new("VES_PAYLOAD_PLAIN_V1")
        .bytes(canonicalize(payload_json)?.as_bytes())
        .finish())
}

/// `payload_plain_hash` of an encrypted payload, for who knows the plaintext and its salt:
/// SHA-256(`VES_PAYLOAD_PLAIN_V1` ‖ salt(16) ‖ JCS(payload)).
///
/// # Errors
/// Text without a canonical form.
pub fn salted_plain_hash(salt: &[u8; 16], payload_json: &str) -> Result<Hash32, JcsError> {
    let canonical = canonicalize(payload_json)?;
    Ok(Preimage::new("VES_PAYLOAD_PLAIN_V1")
        .bytes(salt)
        .bytes(canonical.as_bytes())
        .finish())
}

/// [`plain_hash`] of many payloads, several times as fast: canonicalised in one pass each, and hashed
/// side by side. A hasher is meant to be reused, some hundreds of payloads at a time.
///
/// ```
/// let mut hasher = ves::payload::PayloadHasher::default();
/// hasher.push("{\"a\": 1}").unwrap();
/// assert!(hasher.push("{").is_err());
/// hasher.push("[]").unwrap();
/// assert_eq!(hasher.hash()[1], ves::payload::plain_hash("[]").unwrap());
/// ```
#[derive(Debug, Clone, Default)]
pub struct PayloadHasher {
    canonicalizer: Canonicalizer,
    batch: Batch,
}

impl PayloadHasher {
    /// Adds a plaintext payload.
    ///
    /// # Errors
    /// The same as [`plain_hash`]'s; the payload is not added then.
    pub fn push(&mut self, payload_json: &str) -> Result<(), JcsError> {
        let message = self.batch.start();
        message.extend_from_slice(PLAIN_DOMAIN.as_bytes());
        self.canonicalizer.append(payload_json, message)?;
        self.batch.finish();
        Ok(())
    }

    /// How many payloads were added since the last [`PayloadHasher::hash`].
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// How much memory the payloads take, for callers who hash before it grows too large.
    pub fn byte_len(&self) -> usize {
        self.batch.byte_len()
    }

    /// The hashes of the payloads that were added, in their order; none are left afterwards.
    pub fn hash(&mut self) -> &[Hash32] {
        self.batch.hash()
    }
}

/// `payload_cipher_hash` of every plaintext event: 32 zero bytes.
pub const NO_CIPHER_HASH: Hash32 = Hash32::ZERO;

/// Why an encrypted payload's hash could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum EncryptedPayloadError {
    /// The JSON lacks a field or has one of the wrong type.
    #[error("encrypted payload: {0}")]
    Json(#[from] serde_json::Error),
    /// A `…_b64u` field is not base64url.
    #[error("encrypted payload: {field} is not base64url: {source}")]
    Base64 {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        source: base64::DecodeError,
    },
    /// A field has the wrong number of bytes.
    #[error("encrypted payload: {field} has {found} bytes, not {expected}")]
    Length {
        /// The field.
        field: &'static str,
        /// How many bytes it has.
        found: usize,
        /// How many it must have.
        expected: usize,
    },
}

#[derive(Deserialize)]
struct EncryptedJson {
    nonce_b64u: String,
    ciphertext_b64u: String,
    tag_b64u: String,
    recipients: Vec<RecipientJson>,
}

#[derive(Deserialize)]
struct RecipientJson {
    recipient_kid: u32,
    enc_b64u: String,
    ct_b64u: String,
}

const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, EncryptedPayloadError> {
    BASE64URL
        .decode(text)
        .map_err(|source| EncryptedPayloadError::Base64 { field, source })
}

fn decode_exact(field: &'static str, text: &str, expected: usize) -> Result<Vec<u8>, EncryptedPayloadError> {
    let bytes = decode(field, text)?;
    if bytes.len() == expected {
        Ok(bytes)
    } else {
        Err(EncryptedPayloadError::Length {
            field,
            found: bytes.len(),
            expected,
        })
    }
}

/// `recipients_hash` = SHA-256(`VES_RECIPIENTS_V1` ‖ for each recipient, sorted by kid: u32 kid ‖
/// u32 len(enc) ‖ enc ‖ u32 len(ct) ‖ ct). (The specification hashes their JCS; the code does this.)
fn recipients_hash(recipients: &[RecipientJson]) -> Result<Hash32, EncryptedPayloadError> {
    let mut sorted: Vec<&RecipientJson> = recipients.iter().collect();
    sorted.sort_by_key(|r| r.recipient_kid);
    let mut preimage = Preimage::new("VES_RECIPIENTS_V1");
    for recipient in sorted {
        preimage = preimage
            .u32(recipient.recipient_kid)
            .len_bytes(&decode("enc_b64u", &recipient.enc_b64u)?)
            .len_bytes(&decode("ct_b64u", &recipient.ct_b64u)?);
    }
    Ok(preimage.finish())
}

/// `payload_aad` = SHA-256(`VES_PAYLOAD_AAD_V1` ‖ tenant ‖ store ‖ event_id ‖ source_agent ‖
/// u32 agent_key_id ‖ ENC_STR(entity_type) ‖ ENC_STR(entity_id) ‖ ENC_STR(event_type) ‖
/// ENC_STR(created_at) ‖ payload_plain_hash). (The specification adds ves_version; the code does not.)
pub fn payload_aad(event: &Event) -> Hash32 {
    Preimage::new("VES_PAYLOAD_AAD_V1")
        .bytes(event.stream.tenant_id.as_bytes())
        .bytes(event.stream.store_id.as_bytes())
        .bytes(event.event_id.as_bytes())
        .bytes(event.source_agent_id.as_bytes())
        .u32(event.agent_key_id)
        .enc_str(&event.entity_type)
        .enc_str(&event.entity_id)
        .enc_str(&event.event_type)
        .enc_str(&event.created_at)
        .bytes(&event.payload_plain_hash.0)
        .finish()
}

/// `payload_cipher_hash` of an event whose encrypted payload is `encrypted_json`:
/// SHA-256(`VES_PAYLOAD_CIPHER_V1` ‖ u32 1 ‖ nonce(12) ‖ payload_aad ‖ u32 len(ciphertext) ‖
/// ciphertext ‖ tag(16) ‖ recipients_hash).
///
/// # Errors
/// JSON of another shape, fields that are not base64url, a nonce or tag of the wrong length.
pub fn cipher_hash(event: &Event, encrypted_json: &str) -> Result<Hash32, EncryptedPayloadError> {
    let encrypted: EncryptedJson = serde_json::from_str(encrypted_json)?;
    Ok(Preimage::new("VES_PAYLOAD_CIPHER_V1")
        .u32(1)
        .bytes(&decode_exact("nonce_b64u", &encrypted.nonce_b64u, 12)?)
        .bytes(&payload_aad(event).0)
        .len_bytes(&decode("ciphertext_b64u", &encrypted.ciphertext_b64u)?)
        .bytes(&decode_exact("tag_b64u", &encrypted.tag_b64u, 16)?)
        .bytes(&recipients_hash(&encrypted.recipients)?.0)
        .finish())
}
