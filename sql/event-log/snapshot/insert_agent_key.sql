-- A key that is registered again; one that is there under its number stays.
INSERT INTO agent_signing_keys (
    tenant_id, agent_id, key_id, public_key, status, valid_from, valid_to, revoked_at, created_at, key_algorithm,
    public_key_bundle
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, NULLIF($11, x''))
ON CONFLICT DO NOTHING
