-- One event, as a script that goes row by row would insert it.
INSERT INTO ves_events (
    event_id, command_id, ves_version, tenant_id, store_id, source_agent_id, agent_key_id, entity_type,
    entity_id, event_type, created_at, created_at_str, sequenced_at, payload_kind, payload,
    payload_encrypted, payload_plain_hash, payload_cipher_hash, event_signing_hash, agent_signature,
    sequence_number, base_version, agent_signature_scheme, agent_signature_bundle
)
VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::text::timestamptz, $12, $13::text::timestamptz, $14, $15::text::jsonb,
    $16::text::jsonb, $17, $18, $19, $20, $21, $22, $23, $24
)
