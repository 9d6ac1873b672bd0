-- An event under its number. Its time is cut to microseconds, as the sequencer does; PostgreSQL would round the text.
INSERT INTO ves_events (event_id, command_id, ves_version, tenant_id, store_id, source_agent_id, agent_key_id, entity_type,
    entity_id, event_type, created_at, created_at_str, sequenced_at, payload_kind, payload, payload_encrypted,
    payload_plain_hash, payload_cipher_hash, event_signing_hash, agent_signature, sequence_number, base_version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $22::text::timestamptz, $11, $12::text::timestamptz, $13, $14::text::jsonb,
    $15::text::jsonb, $16, $17, $18, $19, $20, $21)
