//! The keys of other agents that an outbox fetched.

use ves::post_quantum::{PublicKeyBundle, WrittenKeyBundle};
use ves::{SigningKey, TenantId};

/// The number of an algorithm, by its number or its name in whatever spelling.
fn algorithm(written: &str) -> Option<i16> {
    let plain: String = written
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    match (
        plain.as_str(),
        plain.contains("ed25519"),
        plain.contains("mldsa65"),
    ) {
        ("1", ..) | (_, true, false) => Some(1),
        ("3", ..) | (_, false, true) => Some(3),
        ("5", ..) | (_, true, true) => Some(5),
        _ => None,
    }
}

/// A bundle as the sequencer stores it, or with its keys in hex.
fn bundle(json: &str) -> Result<Vec<u8>, String> {
    if PublicKeyBundle::read(json.as_bytes()).is_some_and(|bundle| bundle.ml_dsa_65().is_some()) {
        return Ok(json.as_bytes().to_vec());
    }
    let written: Result<WrittenKeyBundle, _> = serde_json::from_str(json);
    written
        .map(|written| written.0)
        .map_err(|_| "_ves_peer_keys: public_key_bundle holds no ML-DSA-65 key".to_owned())
}

/// A row of `_ves_peer_keys`. Columns are found by name.
pub(super) fn peer_key(row: &rusqlite::Row<'_>, tenant_id: TenantId) -> Result<SigningKey, String> {
    let text = |name: &str| -> Result<Option<String>, String> {
        row.get::<_, Option<String>>(name)
            .map_err(|error| format!("_ves_peer_keys: {name}: {error}"))
    };
    let required = |name: &str| text(name)?.ok_or_else(|| format!("_ves_peer_keys: {name} is missing"));
    let time = |name: &str| -> Result<Option<ves::Timestamp>, String> {
        let parse = |value: String| value.parse().map_err(|e| format!("_ves_peer_keys: {name}: {e}"));
        text(name)?.map(parse).transpose()
    };
    let written = required("algorithm")?;
    let key_algorithm = algorithm(&written).ok_or_else(|| {
        let written: String = written.chars().take(40).collect();
        format!("_ves_peer_keys: a key of algorithm {written:?}, which is not known")
    })?;
    let public_key_bundle = match (key_algorithm, row.as_ref().column_index("public_key_bundle")) {
        (3 | 5, Ok(_)) => text("public_key_bundle")?.map(|json| bundle(&json)).transpose()?,
        _ => None,
    };
    let key_id: i64 = row
        .get("key_id")
        .map_err(|error| format!("_ves_peer_keys: key_id: {error}"))?;
    let revoked_at = time("revoked_at")?;
    Ok(SigningKey {
        tenant_id,
        agent_id: required("agent_id")?
            .parse()
            .map_err(|e| format!("_ves_peer_keys: agent_id: {e}"))?,
        key_id: u32::try_from(key_id).map_err(|_| format!("_ves_peer_keys: key_id is {key_id}"))?,
        public_key: required("public_key")?
            .parse()
            .map_err(|e| format!("_ves_peer_keys: public_key: {e}"))?,
        status: if revoked_at.is_some() { "revoked" } else { "active" }.into(),
        valid_from: time("valid_from")?,
        valid_to: time("valid_to")?,
        revoked_at,
        key_algorithm,
        public_key_bundle,
    })
}
