-- Rows of agent_signing_keys that share their tenant_id, agent_id, key_id, and in which columns they differ. A row for each copy.
SELECT
    CAST(x.tenant_id AS text) || ' ' || CAST(x.agent_id AS text) || ' ' || CAST(x.key_id AS text), x.tenant_id, CAST(NULL AS uuid), CAST(NULL AS bigint),
    'key ' || x.key_id || ' of agent ' || x.agent_id, twice.copies, twice.differing
FROM agent_signing_keys x
JOIN (
    SELECT
        tenant_id, agent_id, key_id, COUNT(*) AS copies,
        CASE WHEN COUNT(DISTINCT public_key) > 1 OR COUNT(public_key) NOT IN (0, COUNT(*)) THEN ' public_key' ELSE '' END
            || CASE WHEN COUNT(DISTINCT status) > 1 OR COUNT(status) NOT IN (0, COUNT(*)) THEN ' status' ELSE '' END
            || CASE WHEN COUNT(DISTINCT valid_from) > 1 OR COUNT(valid_from) NOT IN (0, COUNT(*)) THEN ' valid_from' ELSE '' END
            || CASE WHEN COUNT(DISTINCT valid_to) > 1 OR COUNT(valid_to) NOT IN (0, COUNT(*)) THEN ' valid_to' ELSE '' END
            || CASE WHEN COUNT(DISTINCT revoked_at) > 1 OR COUNT(revoked_at) NOT IN (0, COUNT(*)) THEN ' revoked_at' ELSE '' END
            || CASE WHEN COUNT(DISTINCT metadata) > 1 OR COUNT(metadata) NOT IN (0, COUNT(*)) THEN ' metadata' ELSE '' END
            || CASE WHEN COUNT(DISTINCT created_at) > 1 OR COUNT(created_at) NOT IN (0, COUNT(*)) THEN ' created_at' ELSE '' END
            || CASE WHEN COUNT(DISTINCT expires_at) > 1 OR COUNT(expires_at) NOT IN (0, COUNT(*)) THEN ' expires_at' ELSE '' END
            || CASE WHEN COUNT(DISTINCT grace_until) > 1 OR COUNT(grace_until) NOT IN (0, COUNT(*)) THEN ' grace_until' ELSE '' END
            || CASE WHEN COUNT(DISTINCT rotation_reason) > 1 OR COUNT(rotation_reason) NOT IN (0, COUNT(*)) THEN ' rotation_reason' ELSE '' END
            || CASE WHEN COUNT(DISTINCT key_algorithm) > 1 OR COUNT(key_algorithm) NOT IN (0, COUNT(*)) THEN ' key_algorithm' ELSE '' END
            || CASE WHEN COUNT(DISTINCT public_key_bundle) > 1 OR COUNT(public_key_bundle) NOT IN (0, COUNT(*)) THEN ' public_key_bundle' ELSE '' END
            || CASE WHEN COUNT(DISTINCT proof_of_possession) > 1 OR COUNT(proof_of_possession) NOT IN (0, COUNT(*)) THEN ' proof_of_possession' ELSE '' END
            || CASE WHEN COUNT(DISTINCT proof_of_possession_bundle) > 1 OR COUNT(proof_of_possession_bundle) NOT IN (0, COUNT(*)) THEN ' proof_of_possession_bundle' ELSE '' END AS differing
    FROM agent_signing_keys
    GROUP BY tenant_id, agent_id, key_id
    HAVING COUNT(*) > 1
    ORDER BY tenant_id, agent_id, key_id
    LIMIT 1000
) AS twice ON x.tenant_id = twice.tenant_id AND x.agent_id = twice.agent_id AND x.key_id = twice.key_id
ORDER BY x.tenant_id, x.agent_id, x.key_id
