-- What an index on agent_signing_keys (tenant_id, agent_id, key_id)
-- holds, in its order: with every other way switched off, only such an index can answer.
SELECT
    uuid_hash_extended(tenant_id, 0) # uuid_hash_extended(agent_id, 1) # hashint8extended(key_id::bigint, 2) AS key
FROM agent_signing_keys
ORDER BY tenant_id, agent_id, key_id
