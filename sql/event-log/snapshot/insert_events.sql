-- One row of events.
INSERT INTO events (
    event_id, command_id, sequence_number, tenant_id, store_id, entity_type, entity_id, event_type,
    payload_encrypted, payload_hash, base_version, source_agent, signature, created_at, sequenced_at
) VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15
)
