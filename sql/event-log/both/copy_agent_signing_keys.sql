-- Every row of agent_signing_keys, for a snapshot.
SELECT
    tenant_id, agent_id, key_id, public_key, status, valid_from, valid_to, revoked_at, metadata,
    created_at, expires_at, grace_until, rotation_reason, key_algorithm, public_key_bundle,
    proof_of_possession, proof_of_possession_bundle
FROM agent_signing_keys
ORDER BY tenant_id, agent_id, key_id
