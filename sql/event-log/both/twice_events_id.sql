-- Rows of ves_events that share their event_id, and in which columns they differ. A row for each copy.
SELECT
    CAST(x.event_id AS text), x.tenant_id, x.store_id, x.sequence_number,
    'event ' || x.event_id, twice.copies, twice.differing
FROM ves_events x
JOIN (
    SELECT
        event_id, COUNT(*) AS copies,
        CASE WHEN COUNT(DISTINCT command_id) > 1 OR COUNT(command_id) NOT IN (0, COUNT(*)) THEN ' command_id' ELSE '' END
            || CASE WHEN COUNT(DISTINCT ves_version) > 1 OR COUNT(ves_version) NOT IN (0, COUNT(*)) THEN ' ves_version' ELSE '' END
            || CASE WHEN COUNT(DISTINCT tenant_id) > 1 OR COUNT(tenant_id) NOT IN (0, COUNT(*)) THEN ' tenant_id' ELSE '' END
            || CASE WHEN COUNT(DISTINCT store_id) > 1 OR COUNT(store_id) NOT IN (0, COUNT(*)) THEN ' store_id' ELSE '' END
            || CASE WHEN COUNT(DISTINCT source_agent_id) > 1 OR COUNT(source_agent_id) NOT IN (0, COUNT(*)) THEN ' source_agent_id' ELSE '' END
            || CASE WHEN COUNT(DISTINCT agent_key_id) > 1 OR COUNT(agent_key_id) NOT IN (0, COUNT(*)) THEN ' agent_key_id' ELSE '' END
            || CASE WHEN COUNT(DISTINCT entity_type) > 1 OR COUNT(entity_type) NOT IN (0, COUNT(*)) THEN ' entity_type' ELSE '' END
            || CASE WHEN COUNT(DISTINCT entity_id) > 1 OR COUNT(entity_id) NOT IN (0, COUNT(*)) THEN ' entity_id' ELSE '' END
            || CASE WHEN COUNT(DISTINCT event_type) > 1 OR COUNT(event_type) NOT IN (0, COUNT(*)) THEN ' event_type' ELSE '' END
            || CASE WHEN COUNT(DISTINCT created_at) > 1 OR COUNT(created_at) NOT IN (0, COUNT(*)) THEN ' created_at' ELSE '' END
            || CASE WHEN COUNT(DISTINCT created_at_str) > 1 OR COUNT(created_at_str) NOT IN (0, COUNT(*)) THEN ' created_at_str' ELSE '' END
            || CASE WHEN COUNT(DISTINCT sequenced_at) > 1 OR COUNT(sequenced_at) NOT IN (0, COUNT(*)) THEN ' sequenced_at' ELSE '' END
            || CASE WHEN COUNT(DISTINCT payload_kind) > 1 OR COUNT(payload_kind) NOT IN (0, COUNT(*)) THEN ' payload_kind' ELSE '' END
            || CASE WHEN COUNT(DISTINCT payload) > 1 OR COUNT(payload) NOT IN (0, COUNT(*)) THEN ' payload' ELSE '' END
            || CASE WHEN COUNT(DISTINCT payload_encrypted) > 1 OR COUNT(payload_encrypted) NOT IN (0, COUNT(*)) THEN ' payload_encrypted' ELSE '' END
            || CASE WHEN COUNT(DISTINCT payload_plain_hash) > 1 OR COUNT(payload_plain_hash) NOT IN (0, COUNT(*)) THEN ' payload_plain_hash' ELSE '' END
            || CASE WHEN COUNT(DISTINCT payload_cipher_hash) > 1 OR COUNT(payload_cipher_hash) NOT IN (0, COUNT(*)) THEN ' payload_cipher_hash' ELSE '' END
            || CASE WHEN COUNT(DISTINCT event_signing_hash) > 1 OR COUNT(event_signing_hash) NOT IN (0, COUNT(*)) THEN ' event_signing_hash' ELSE '' END
            || CASE WHEN COUNT(DISTINCT agent_signature) > 1 OR COUNT(agent_signature) NOT IN (0, COUNT(*)) THEN ' agent_signature' ELSE '' END
            || CASE WHEN COUNT(DISTINCT sequence_number) > 1 OR COUNT(sequence_number) NOT IN (0, COUNT(*)) THEN ' sequence_number' ELSE '' END
            || CASE WHEN COUNT(DISTINCT base_version) > 1 OR COUNT(base_version) NOT IN (0, COUNT(*)) THEN ' base_version' ELSE '' END
            || CASE WHEN COUNT(DISTINCT agent_signature_scheme) > 1 OR COUNT(agent_signature_scheme) NOT IN (0, COUNT(*)) THEN ' agent_signature_scheme' ELSE '' END
            || CASE WHEN COUNT(DISTINCT agent_signature_bundle) > 1 OR COUNT(agent_signature_bundle) NOT IN (0, COUNT(*)) THEN ' agent_signature_bundle' ELSE '' END AS differing
    FROM ves_events
    GROUP BY event_id
    HAVING COUNT(*) > 1
    ORDER BY event_id
    LIMIT 1000
) AS twice ON x.event_id = twice.event_id
ORDER BY x.event_id
