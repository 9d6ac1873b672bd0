-- Where rows of ves_events arrive, with the line that each is. Gone with the transaction.
CREATE TEMPORARY TABLE stage_ves_events (
    line int8 NOT NULL,
    event_id uuid,
    command_id uuid,
    ves_version int8,
    tenant_id uuid,
    store_id uuid,
    source_agent_id uuid,
    agent_key_id int8,
    entity_type text,
    entity_id text,
    event_type text,
    created_at timestamptz,
    created_at_str text,
    sequenced_at timestamptz,
    payload_kind int8,
    payload jsonb,
    payload_encrypted jsonb,
    payload_plain_hash bytea,
    payload_cipher_hash bytea,
    event_signing_hash bytea,
    agent_signature bytea,
    sequence_number int8,
    base_version int8,
    agent_signature_scheme int8,
    agent_signature_bundle bytea
) ON COMMIT DROP;
-- What is written ahead is written in pieces.
CREATE INDEX stage_ves_events_lines ON pg_temp.stage_ves_events (line)
