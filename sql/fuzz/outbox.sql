-- An outbox whose columns take any value as it is: what is tried is the reader, not the schema.
CREATE TABLE _ves_outbox (
    local_seq INTEGER PRIMARY KEY,
    event_id BLOB UNIQUE,
    command_id BLOB,
    tenant_id BLOB,
    store_id BLOB,
    entity_type BLOB,
    entity_id BLOB,
    event_type BLOB,
    ves_version BLOB,
    payload BLOB,
    payload_kind BLOB,
    payload_encrypted BLOB,
    payload_plain_hash BLOB,
    payload_cipher_hash BLOB,
    agent_key_id BLOB,
    agent_signature BLOB,
    agent_signature_scheme BLOB,
    agent_signature_bundle BLOB,
    base_version BLOB,
    source_agent BLOB,
    created_at BLOB,
    sync_status BLOB,
    remote_sequence BLOB
);
CREATE TABLE _ves_sync_state (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    updated_at TEXT
);
