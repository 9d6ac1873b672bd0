-- The tables of a StateSet Sequencer database that this toolkit reads and repairs, for tests.
--
-- This is not the sequencer's own migration: it holds the same tables, columns, keys and checks, so that data
-- copied out of a real database (COPY text, one block a table) loads unchanged, and so that a repair that the
-- real database would refuse is refused here too. Load it into an empty database:
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
    ves_version            int4 NOT NULL DEFAULT 1,
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
    payload_kind           int4 NOT NULL,     -- 0 plaintext, 1 encrypted
    payload                jsonb,
    payload_encrypted      jsonb,
    payload_plain_hash     bytea NOT NULL CHECK (octet_length(payload_plain_hash) = 32),
    payload_cipher_hash    bytea NOT NULL CHECK (octet_length(payload_cipher_hash) = 32),
    event_signing_hash     bytea NOT NULL CHECK (octet_length(event_signing_hash) = 32),
    agent_signature        bytea NOT NULL CHECK (octet_length(agent_signature) = 64),
    sequence_number        int8 NOT NULL,
    base_version           int8,
    agent_signature_scheme int2 NOT NULL DEFAULT 0,  -- 0, 1 Ed25519; 2 ML-DSA-65; 3 both
    agent_signature_bundle bytea,
    CONSTRAINT uq_ves_events_sequence UNIQUE (tenant_id, store_id, sequence_number),
    CONSTRAINT ck_ves_events_payload CHECK (
        (payload_kind = 0 AND payload IS NOT NULL AND payload_encrypted IS NULL)
        OR (payload_kind = 1 AND payload IS NULL AND payload_encrypted IS NOT NULL)
    )
);
CREATE INDEX ix_ves_events_entity ON ves_events (tenant_id, store_id, entity_type, entity_id);

-- What the sequencer signed for an event: that it has this number.
CREATE TABLE ves_sequencer_receipts (
    event_id                 uuid PRIMARY KEY REFERENCES ves_events (event_id),
    sequencer_id             uuid NOT NULL,
    sequence_number          int8 NOT NULL,
    sequenced_at             timestamptz NOT NULL,
    receipt_hash             bytea NOT NULL CHECK (octet_length(receipt_hash) = 32),
    sequencer_signature      bytea CHECK (octet_length(sequencer_signature) = 64),
    sequencer_key_version    int4 NOT NULL DEFAULT 0,
    receipt_signature_scheme int2 NOT NULL DEFAULT 0,
    receipt_signature_bundle bytea
);

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

-- A batch of consecutive events under one Merkle root; sequence_start and sequence_end are both in it.
CREATE TABLE ves_commitments (
    batch_id           uuid PRIMARY KEY,
    tenant_id          uuid NOT NULL,
    store_id           uuid NOT NULL,
    ves_version        int4 NOT NULL DEFAULT 1,
    tree_depth         int4 NOT NULL,
    leaf_count         int4 NOT NULL,
    padded_leaf_count  int4 NOT NULL,
    merkle_root        bytea NOT NULL CHECK (octet_length(merkle_root) = 32),
    prev_state_root    bytea NOT NULL CHECK (octet_length(prev_state_root) = 32),
    new_state_root     bytea NOT NULL CHECK (octet_length(new_state_root) = 32),
    sequence_start     int8 NOT NULL,
    sequence_end       int8 NOT NULL,
    committed_at       timestamptz NOT NULL DEFAULT now(),
    chain_id           int4,
    chain_tx_hash      bytea CHECK (octet_length(chain_tx_hash) = 32),
    chain_block_number int8,
    anchored_at        timestamptz,
    UNIQUE (tenant_id, store_id, sequence_start),
    CHECK (sequence_end >= sequence_start),
    CHECK (leaf_count = sequence_end - sequence_start + 1)
);

-- Proofs about a batch or an event; they go with what they are about.
CREATE TABLE ves_validity_proofs (
    proof_id      uuid PRIMARY KEY,
    batch_id      uuid NOT NULL REFERENCES ves_commitments (batch_id) ON DELETE CASCADE,
    tenant_id     uuid NOT NULL,
    store_id      uuid NOT NULL,
    proof_type    varchar(64) NOT NULL,
    proof_version int4 NOT NULL,
    proof         bytea NOT NULL,
    proof_hash    bytea NOT NULL CHECK (octet_length(proof_hash) = 32),
    public_inputs jsonb,
    submitted_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE ves_compliance_proofs (
    proof_id           uuid PRIMARY KEY,
    event_id           uuid NOT NULL REFERENCES ves_events (event_id) ON DELETE CASCADE,
    tenant_id          uuid NOT NULL,
    store_id           uuid NOT NULL,
    proof_type         varchar(64) NOT NULL,
    proof_version      int4 NOT NULL,
    policy_id          varchar(64) NOT NULL,
    policy_params      jsonb NOT NULL DEFAULT '{}',
    policy_hash        bytea NOT NULL CHECK (octet_length(policy_hash) = 32),
    proof              bytea NOT NULL,
    proof_hash         bytea NOT NULL CHECK (octet_length(proof_hash) = 32),
    public_inputs      jsonb,
    submitted_at       timestamptz NOT NULL DEFAULT now(),
    witness_commitment bytea
);

-- The keys that agents sign with. The sequencer judges them at the time of the request, not of the event.
CREATE TABLE agent_signing_keys (
    tenant_id                  uuid NOT NULL,
    agent_id                   uuid NOT NULL,
    key_id                     int4 NOT NULL,
    public_key                 bytea NOT NULL CHECK (octet_length(public_key) = 32),
    status                     varchar(16) NOT NULL DEFAULT 'active'
                               CHECK (status IN ('active', 'revoked', 'expired')),
    valid_from                 timestamptz,
    valid_to                   timestamptz,
    revoked_at                 timestamptz,
    metadata                   jsonb,
    created_at                 timestamptz NOT NULL DEFAULT now(),
    expires_at                 timestamptz,
    grace_until                timestamptz,
    rotation_reason            text,
    key_algorithm              int2 NOT NULL DEFAULT 1,  -- 1 Ed25519, 3 ML-DSA-65, 5 both
    public_key_bundle          bytea,
    proof_of_possession        bytea,
    proof_of_possession_bundle bytea,
    PRIMARY KEY (tenant_id, agent_id, key_id)
);

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
    UNIQUE (tenant_id, store_id, sequence_number)
);

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
    chain_tx_hash   bytea
);

CREATE TABLE event_command_dedupe (
    tenant_id  uuid NOT NULL,
    store_id   uuid NOT NULL,
    command_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, store_id, command_id)
);

-- Payment intents have a sequence of their own too. The toolkit audits their numbers and raises their counter, and
-- does not repair them; they are here as little of them as makes a stream.
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
