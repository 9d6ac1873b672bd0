-- One row of agent_signing_keys.
INSERT INTO agent_signing_keys (
    tenant_id, agent_id, key_id, public_key, status, valid_from, valid_to, revoked_at, metadata,
    created_at, expires_at, grace_until, rotation_reason, key_algorithm, public_key_bundle,
    proof_of_possession, proof_of_possession_bundle
) VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17
)
