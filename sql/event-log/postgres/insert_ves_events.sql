-- Rows of ves_events: one array a column.
INSERT INTO ves_events (
    event_id, command_id, ves_version, tenant_id, store_id, source_agent_id, agent_key_id, entity_type,
    entity_id, event_type, created_at, created_at_str, sequenced_at, payload_kind, payload,
    payload_encrypted, payload_plain_hash, payload_cipher_hash, event_signing_hash, agent_signature,
    sequence_number, base_version, agent_signature_scheme, agent_signature_bundle
)
SELECT
    event_id, command_id, ves_version::int4, tenant_id, store_id, source_agent_id, agent_key_id::int4,
    entity_type, entity_id, event_type, created_at::timestamptz, created_at_str, sequenced_at::timestamptz,
    payload_kind::int4, payload::jsonb, payload_encrypted::jsonb, payload_plain_hash, payload_cipher_hash,
    event_signing_hash, agent_signature, sequence_number, base_version, agent_signature_scheme::int2,
    agent_signature_bundle
FROM unnest(
    $1::uuid[], $2::uuid[], $3::int8[], $4::uuid[], $5::uuid[], $6::uuid[], $7::int8[], $8::text[],
    $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::int8[], $15::text[], $16::text[],
    $17::bytea[], $18::bytea[], $19::bytea[], $20::bytea[], $21::int8[], $22::int8[], $23::int8[],
    $24::bytea[]
) AS given (
    event_id, command_id, ves_version, tenant_id, store_id, source_agent_id, agent_key_id, entity_type,
    entity_id, event_type, created_at, created_at_str, sequenced_at, payload_kind, payload,
    payload_encrypted, payload_plain_hash, payload_cipher_hash, event_signing_hash, agent_signature,
    sequence_number, base_version, agent_signature_scheme, agent_signature_bundle
)
