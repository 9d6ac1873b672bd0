//! The keys of other agents that an outbox fetched.

use ves::{SigningKey, TenantId};

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
    let algorithm = required("algorithm")?;
    if !algorithm.to_ascii_lowercase().contains("ed25519") && algorithm != "1" {
        let algorithm: String = algorithm.chars().take(40).collect();
        return Err(format!(
            "_ves_peer_keys: a key of algorithm {algorithm:?}, which is not checked here"
        ));
    }
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
        key_algorithm: 1,
    })
}
