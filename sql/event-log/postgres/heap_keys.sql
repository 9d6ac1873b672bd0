-- Each row of agent_signing_keys, by what an index on (tenant_id, agent_id, key_id) holds of it.
SELECT
    uuid_hash_extended(tenant_id, 0) # uuid_hash_extended(agent_id, 1) # hashint8extended(key_id::bigint, 2) AS key,
    tenant_id AS tenant_id, NULL::uuid AS store_id, NULL::bigint AS number,
    'key ' || key_id || ' of agent ' || agent_id AS label
FROM agent_signing_keys
