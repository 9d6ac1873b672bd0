-- Rows of ves_events as they arrive, in PostgreSQL's binary format.
COPY pg_temp.stage_ves_events (
    line, event_id, command_id, ves_version, tenant_id, store_id, source_agent_id, agent_key_id, entity_type,
    entity_id, event_type, created_at, created_at_str, sequenced_at, payload_kind, payload,
    payload_encrypted, payload_plain_hash, payload_cipher_hash, event_signing_hash, agent_signature,
    sequence_number, base_version, agent_signature_scheme, agent_signature_bundle
) FROM STDIN (FORMAT binary)
