-- The keys of agents, of one tenant or of all.
SELECT tenant_id, agent_id, key_id, public_key, status, valid_from, valid_to, revoked_at, key_algorithm,
    public_key_bundle
FROM agent_signing_keys
WHERE $1 IS NULL OR tenant_id = $1
ORDER BY tenant_id, agent_id, key_id
