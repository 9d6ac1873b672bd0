-- The events of a stream in a range of numbers, in order: the first columns of both/entries.sql.
SELECT
    event_id, command_id, ves_version, source_agent_id, agent_key_id, entity_type, entity_id, event_type,
    created_at, created_at_str, sequenced_at, payload_kind, payload, payload_encrypted, payload_plain_hash,
    payload_cipher_hash, event_signing_hash, agent_signature, sequence_number, base_version,
    agent_signature_scheme, agent_signature_bundle
FROM ves_events
WHERE tenant_id = $1 AND store_id = $2 AND sequence_number BETWEEN $3 AND $4
ORDER BY sequence_number
