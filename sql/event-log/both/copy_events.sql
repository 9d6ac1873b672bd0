-- Every row of events, for a snapshot.
SELECT
    event_id, command_id, sequence_number, tenant_id, store_id, entity_type, entity_id, event_type,
    payload_encrypted, payload_hash, base_version, source_agent, signature, created_at, sequenced_at
FROM events
ORDER BY tenant_id, store_id, sequence_number
