INSERT INTO ves_events (
    event_id, command_id, ves_version, tenant_id, store_id, source_agent_id, agent_key_id, entity_type, entity_id,
    event_type, created_at, created_at_str, sequenced_at, payload_kind, payload, payload_encrypted, payload_plain_hash,
    payload_cipher_hash, event_signing_hash, agent_signature, sequence_number, base_version
) VALUES (
    :event_id, :command_id, :ves_version, :tenant_id, :store_id, :source_agent_id, :agent_key_id, :entity_type,
    :entity_id, :event_type, :created_at, :created_at_str, :sequenced_at, :payload_kind, :payload, :payload_encrypted,
    :payload_plain_hash, :payload_cipher_hash, :event_signing_hash, :agent_signature, :sequence_number, :base_version
);
