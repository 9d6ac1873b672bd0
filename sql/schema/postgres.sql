-- The tables of a StateSet Sequencer database that this toolkit reads and repairs, for tests.
--
-- This is not the sequencer's own migration: it holds the same tables, columns, keys, checks, indexes and triggers
-- as a real server's after all its migrations (level 16), so that data copied out of a real database (COPY text, one
-- block a table) loads unchanged, and so that a repair that the real database would refuse is refused here too. That
-- they are the same is a test (test-support/tests/levels.rs, from fixtures/data/real-schema). Load it into an empty
-- database:
--
--   psql -X -v ON_ERROR_STOP=1 -f sql/schema/postgres.sql
--
-- A stream is one (tenant_id, store_id). Hashes are SHA-256 (32 bytes), signatures Ed25519 (64 bytes).

BEGIN;

-- The log -----------------------------------------------------------------------------------------------------

-- One accepted event. sequence_number is its place in the stream: the first is 1, and none is left out.
-- created_at_str is the time as the agent wrote and signed it; created_at is the same moment, for queries only.
CREATE TABLE ves_events (
    event_id               uuid PRIMARY KEY,  -- unique over all streams
    command_id             uuid,
    ves_version            int4 NOT NULL DEFAULT 1 CHECK (ves_version >= 1),
    tenant_id              uuid NOT NULL,
    store_id               uuid NOT NULL,
    source_agent_id        uuid NOT NULL,
    agent_key_id           int4 NOT NULL,
    entity_type            varchar(128) NOT NULL,
    entity_id              varchar(512) NOT NULL,
    event_type             varchar(256) NOT NULL,
    created_at             timestamptz NOT NULL,
    created_at_str         text NOT NULL,
    sequenced_at           timestamptz NOT NULL DEFAULT now(),
    payload_kind           int4 NOT NULL DEFAULT 0 CHECK (payload_kind IN (0, 1)),  -- 0 plaintext, 1 encrypted
    payload                jsonb,
    payload_encrypted      jsonb,
    payload_plain_hash     bytea NOT NULL CHECK (length(payload_plain_hash) = 32),
    payload_cipher_hash    bytea NOT NULL CHECK (length(payload_cipher_hash) = 32),
    event_signing_hash     bytea NOT NULL CHECK (length(event_signing_hash) = 32),
    agent_signature        bytea NOT NULL CHECK (length(agent_signature) = 64),
    sequence_number        int8 NOT NULL,
    base_version           int8,
    agent_signature_scheme int2 NOT NULL DEFAULT 0,  -- 0, 1 Ed25519; 2 ML-DSA-65; 3 both
    agent_signature_bundle bytea,
    CONSTRAINT uq_ves_events_sequence UNIQUE (tenant_id, store_id, sequence_number),
    CONSTRAINT chk_payload_kind_plaintext
        CHECK (payload_kind <> 0 OR (payload IS NOT NULL AND payload_encrypted IS NULL)),
    CONSTRAINT chk_payload_kind_encrypted
        CHECK (payload_kind <> 1 OR (payload IS NULL AND payload_encrypted IS NOT NULL))
);
CREATE INDEX idx_ves_events_tenant_store_seq ON ves_events (tenant_id, store_id, sequence_number);
CREATE INDEX idx_ves_events_entity ON ves_events (tenant_id, store_id, entity_type, entity_id, sequence_number);
CREATE INDEX idx_ves_events_agent ON ves_events (tenant_id, source_agent_id, sequenced_at);
CREATE INDEX idx_ves_events_command ON ves_events (command_id) WHERE command_id IS NOT NULL;

-- What the sequencer signed for an event: that it has this number.
CREATE TABLE ves_sequencer_receipts (
    event_id                 uuid PRIMARY KEY REFERENCES ves_events (event_id),
    sequencer_id             uuid NOT NULL,
    sequence_number          int8 NOT NULL,
    sequenced_at             timestamptz NOT NULL DEFAULT now(),
    receipt_hash             bytea NOT NULL CHECK (length(receipt_hash) = 32),
    sequencer_signature      bytea CHECK (sequencer_signature IS NULL OR length(sequencer_signature) = 64),
    sequencer_key_version    int4 NOT NULL DEFAULT 0,
    receipt_signature_scheme int2 NOT NULL DEFAULT 0,
    receipt_signature_bundle bytea
);
CREATE INDEX idx_ves_receipts_event ON ves_sequencer_receipts (event_id);
CREATE INDEX idx_ves_receipts_sequencer ON ves_sequencer_receipts (sequencer_id, sequenced_at);

-- The last number that the sequencer gave out in a stream of ves_events. It is trusted blindly: behind the log it
-- stops the stream, ahead of the log it leaves a hole.
CREATE TABLE ves_sequence_counters (
    tenant_id        uuid NOT NULL,
    store_id         uuid NOT NULL,
    current_sequence int8 NOT NULL DEFAULT 0,
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, store_id)
);

-- Commands that were accepted once. A row that outlives its event makes the sequencer refuse that event.
CREATE TABLE ves_command_dedupe (
    tenant_id  uuid NOT NULL,
    store_id   uuid NOT NULL,
    command_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, store_id, command_id)
);

-- How many events each entity has had, of both logs.
CREATE TABLE entity_versions (
    tenant_id   uuid NOT NULL,
    store_id    uuid NOT NULL,
    entity_type varchar(128) NOT NULL,
    entity_id   varchar(512) NOT NULL,
    version     int8 NOT NULL DEFAULT 0,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, store_id, entity_type, entity_id)
);
CREATE INDEX idx_entity_versions_lookup ON entity_versions (tenant_id, store_id, entity_type, entity_id);

-- A batch of consecutive events under one Merkle root; sequence_start and sequence_end are both in it.
CREATE TABLE ves_commitments (
    batch_id           uuid PRIMARY KEY,
    tenant_id          uuid NOT NULL,
    store_id           uuid NOT NULL,
    ves_version        int4 NOT NULL DEFAULT 1,
    tree_depth         int4 NOT NULL,
    leaf_count         int4 NOT NULL,
    padded_leaf_count  int4 NOT NULL,
    merkle_root        bytea NOT NULL CHECK (length(merkle_root) = 32),
    prev_state_root    bytea NOT NULL CHECK (length(prev_state_root) = 32),
    new_state_root     bytea NOT NULL CHECK (length(new_state_root) = 32),
    sequence_start     int8 NOT NULL,
    sequence_end       int8 NOT NULL,
    committed_at       timestamptz NOT NULL DEFAULT now(),
    chain_id           int4,
    chain_tx_hash      bytea,
    chain_block_number int8,
    anchored_at        timestamptz,
    CONSTRAINT chk_sequence_range CHECK (sequence_end >= sequence_start),
    CONSTRAINT chk_leaf_count CHECK (leaf_count = sequence_end - sequence_start + 1),
    CONSTRAINT chk_ves_commitments_chain_tx_hash_len CHECK (chain_tx_hash IS NULL OR length(chain_tx_hash) = 32)
);
CREATE UNIQUE INDEX ux_ves_commitments_stream_start ON ves_commitments (tenant_id, store_id, sequence_start);
CREATE INDEX idx_ves_commitments_sequence ON ves_commitments (tenant_id, store_id, sequence_start, sequence_end);
CREATE INDEX idx_ves_commitments_pending ON ves_commitments (tenant_id, store_id) WHERE chain_tx_hash IS NULL;

-- Proofs about a batch or an event; they go with what they are about, and are of its stream.
CREATE TABLE ves_validity_proofs (
    proof_id      uuid PRIMARY KEY,
    batch_id      uuid NOT NULL REFERENCES ves_commitments (batch_id) ON DELETE CASCADE,
    tenant_id     uuid NOT NULL,
    store_id      uuid NOT NULL,
    proof_type    varchar(32) NOT NULL,
    proof_version int4 NOT NULL DEFAULT 1 CHECK (proof_version >= 1),
    proof         bytea NOT NULL,
    proof_hash    bytea NOT NULL CHECK (length(proof_hash) = 32),
    public_inputs jsonb,
    submitted_at  timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX ux_ves_validity_proofs_batch_type_version
    ON ves_validity_proofs (batch_id, proof_type, proof_version);
CREATE INDEX idx_ves_validity_proofs_batch ON ves_validity_proofs (batch_id);
CREATE INDEX idx_ves_validity_proofs_stream_submitted ON ves_validity_proofs (tenant_id, store_id, submitted_at);

CREATE FUNCTION enforce_ves_validity_proof_stream_match() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM ves_commitments c
        WHERE c.batch_id = NEW.batch_id AND c.tenant_id = NEW.tenant_id AND c.store_id = NEW.store_id
    ) THEN
        RAISE EXCEPTION 'batch % is not of this stream, or not there', NEW.batch_id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER tg_ves_validity_proofs_stream_match BEFORE INSERT OR UPDATE ON ves_validity_proofs
    FOR EACH ROW EXECUTE FUNCTION enforce_ves_validity_proof_stream_match();

CREATE TABLE ves_compliance_proofs (
    proof_id           uuid PRIMARY KEY,
    event_id           uuid NOT NULL REFERENCES ves_events (event_id) ON DELETE CASCADE,
    tenant_id          uuid NOT NULL,
    store_id           uuid NOT NULL,
    proof_type         varchar(32) NOT NULL,
    proof_version      int4 NOT NULL DEFAULT 1 CHECK (proof_version >= 1),
    policy_id          varchar(64) NOT NULL,
    policy_params      jsonb NOT NULL DEFAULT '{}',
    policy_hash        bytea NOT NULL CHECK (length(policy_hash) = 32),
    proof              bytea NOT NULL,
    proof_hash         bytea NOT NULL CHECK (length(proof_hash) = 32),
    public_inputs      jsonb,
    submitted_at       timestamptz NOT NULL DEFAULT now(),
    witness_commitment bytea CHECK (witness_commitment IS NULL OR length(witness_commitment) = 32)
);
CREATE UNIQUE INDEX ux_ves_compliance_proofs_event_policy_proof
    ON ves_compliance_proofs (event_id, proof_type, proof_version, policy_hash);
CREATE INDEX idx_ves_compliance_proofs_event ON ves_compliance_proofs (event_id);
CREATE INDEX idx_ves_compliance_proofs_stream_submitted
    ON ves_compliance_proofs (tenant_id, store_id, submitted_at);

CREATE FUNCTION enforce_ves_compliance_proof_stream_match() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM ves_events e
        WHERE e.event_id = NEW.event_id AND e.tenant_id = NEW.tenant_id AND e.store_id = NEW.store_id
    ) THEN
        RAISE EXCEPTION 'event % is not of this stream, or not there', NEW.event_id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER tg_ves_compliance_proofs_stream_match BEFORE INSERT OR UPDATE ON ves_compliance_proofs
    FOR EACH ROW EXECUTE FUNCTION enforce_ves_compliance_proof_stream_match();

-- The keys that agents sign with. The sequencer judges them at the time of the request, not of the event.
CREATE TABLE agent_signing_keys (
    tenant_id                  uuid NOT NULL,
    agent_id                   uuid NOT NULL,
    key_id                     int4 NOT NULL,
    public_key                 bytea NOT NULL CHECK (length(public_key) = 32),
    status                     varchar(16) NOT NULL DEFAULT 'active'
                               CHECK (status IN ('active', 'revoked', 'expired')),
    valid_from                 timestamptz,
    valid_to                   timestamptz,
    revoked_at                 timestamptz,
    metadata                   text,
    created_at                 timestamptz NOT NULL DEFAULT now(),
    expires_at                 timestamptz,
    grace_until                timestamptz,
    rotation_reason            varchar(50),
    key_algorithm              int2 NOT NULL DEFAULT 1,  -- 1 Ed25519, 3 ML-DSA-65, 5 both
    public_key_bundle          bytea,
    proof_of_possession        bytea,
    proof_of_possession_bundle bytea,
    PRIMARY KEY (tenant_id, agent_id, key_id),
    CONSTRAINT chk_validity_window CHECK (valid_from IS NULL OR valid_to IS NULL OR valid_from <= valid_to),
    CONSTRAINT chk_revoked_consistent CHECK (
        (status = 'revoked' AND revoked_at IS NOT NULL) OR (status <> 'revoked' AND revoked_at IS NULL)
    ),
    CONSTRAINT chk_grace_after_expiry CHECK (grace_until IS NULL OR expires_at IS NULL OR grace_until >= expires_at)
);
CREATE INDEX idx_agent_keys_tenant_agent ON agent_signing_keys (tenant_id, agent_id);
CREATE INDEX idx_agent_keys_active ON agent_signing_keys (tenant_id, agent_id, status) WHERE status = 'active';
CREATE INDEX idx_agent_keys_expiring ON agent_signing_keys (expires_at)
    WHERE expires_at IS NOT NULL AND status = 'active';
CREATE INDEX idx_agent_keys_algorithm ON agent_signing_keys (tenant_id, key_algorithm);

-- How far the read models have followed.
CREATE TABLE projection_checkpoints (
    tenant_id               uuid NOT NULL,
    store_id                uuid NOT NULL,
    last_projected_sequence int8 NOT NULL DEFAULT 0,
    updated_at              timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, store_id)
);

-- The older log, still present beside the VES log, with a counter of its own ------------------------------------

CREATE TABLE events (
    event_id          uuid PRIMARY KEY,
    command_id        uuid,
    sequence_number   int8 NOT NULL,
    tenant_id         uuid NOT NULL,
    store_id          uuid NOT NULL,
    entity_type       varchar(128) NOT NULL,
    entity_id         varchar(512) NOT NULL,
    event_type        varchar(256) NOT NULL,
    payload_encrypted bytea NOT NULL,
    payload_hash      bytea NOT NULL,
    base_version      int8,
    source_agent      uuid NOT NULL,
    signature         bytea,
    created_at        timestamptz NOT NULL,
    sequenced_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT uq_events_sequence UNIQUE (tenant_id, store_id, sequence_number)
);
CREATE INDEX idx_events_tenant_store_seq ON events (tenant_id, store_id, sequence_number);
CREATE INDEX idx_events_entity ON events (tenant_id, store_id, entity_type, entity_id, sequence_number);
CREATE INDEX idx_events_type ON events (tenant_id, store_id, event_type, sequence_number);
CREATE INDEX idx_events_command ON events (command_id) WHERE command_id IS NOT NULL;

-- The counter of `events`, and of nothing else: the counter of ves_events is ves_sequence_counters.
CREATE TABLE sequence_counters (
    tenant_id        uuid NOT NULL,
    store_id         uuid NOT NULL,
    current_sequence int8 NOT NULL DEFAULT 0,
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, store_id)
);

CREATE TABLE commitments (
    batch_id        uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    store_id        uuid NOT NULL,
    prev_state_root bytea NOT NULL,
    new_state_root  bytea NOT NULL,
    events_root     bytea NOT NULL,
    sequence_start  int8 NOT NULL,
    sequence_end    int8 NOT NULL,
    event_count     int4 NOT NULL,
    committed_at    timestamptz NOT NULL DEFAULT now(),
    chain_tx_hash   bytea,
    CONSTRAINT chk_sequence_range CHECK (sequence_end >= sequence_start),
    CONSTRAINT chk_commitments_chain_tx_hash_len CHECK (chain_tx_hash IS NULL OR length(chain_tx_hash) = 32)
);
CREATE UNIQUE INDEX ux_commitments_stream_start ON commitments (tenant_id, store_id, sequence_start);
CREATE INDEX idx_commitments_tenant_store_range ON commitments (tenant_id, store_id, sequence_start, sequence_end);
CREATE INDEX idx_commitments_anchored ON commitments (chain_tx_hash) WHERE chain_tx_hash IS NOT NULL;

CREATE TABLE event_command_dedupe (
    tenant_id  uuid NOT NULL,
    store_id   uuid NOT NULL,
    command_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, store_id, command_id)
);

-- Payment intents have a sequence of their own too. The toolkit audits their numbers and raises their counter, and
-- does not repair them; here is as little of them as makes a stream (the real table has 34 columns).
CREATE TABLE x402_payment_intents (
    intent_id       uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    store_id        uuid NOT NULL,
    sequence_number int8,
    created_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, store_id, sequence_number)
);

CREATE TABLE x402_sequence_counters (
    tenant_id        uuid NOT NULL,
    store_id         uuid NOT NULL,
    current_sequence int8 NOT NULL DEFAULT 0,
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, store_id)
);

COMMIT;
