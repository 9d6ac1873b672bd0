-- The tables of a snapshot: a sequencer's log in one SQLite file, version 1 of the format.
--
-- The same tables, columns, keys and checks as in PostgreSQL (schema/postgres.sql says what they mean), so that a log
-- is read, audited, planned for and repaired in the same words on both. How the types are written:
--
--   uuid          TEXT, lower-case and hyphenated
--   bytea         BLOB
--   timestamptz   TEXT, RFC 3339 in UTC with six digits of a second: 2026-11-20T05:57:11.194000Z
--   jsonb         TEXT, as PostgreSQL renders it
--   int2/4/8      INTEGER
--
-- Both sort alike in these forms: uuids and times by their text, which is their order in PostgreSQL too.
-- A file made from a database is a copy of what was there, even where that breaks a check below; the checks bind
-- whoever writes afterwards. Readers trust none of them: a file can be made with anything in it.

PRAGMA page_size = 8192;
PRAGMA journal_mode = DELETE;         -- one file: a reader needs no -wal and leaves nothing beside it
PRAGMA application_id = 1447383884;   -- 'VESL'
PRAGMA user_version = 1;

BEGIN;

-- What this file is: format, version, taken_at, source (without secrets).
CREATE TABLE snapshot_meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
INSERT INTO snapshot_meta (key, value) VALUES ('format', 'event-log-snapshot'), ('version', '1');

-- The log -----------------------------------------------------------------------------------------------------

CREATE TABLE ves_events (
    event_id               TEXT NOT NULL PRIMARY KEY,
    command_id             TEXT,
    ves_version            INTEGER NOT NULL DEFAULT 1,
    tenant_id              TEXT NOT NULL,
    store_id               TEXT NOT NULL,
    source_agent_id        TEXT NOT NULL,
    agent_key_id           INTEGER NOT NULL,
    entity_type            TEXT NOT NULL CHECK (length(entity_type) <= 128),
    entity_id              TEXT NOT NULL CHECK (length(entity_id) <= 512),
    event_type             TEXT NOT NULL CHECK (length(event_type) <= 256),
    created_at             TEXT NOT NULL,
    created_at_str         TEXT NOT NULL,
    sequenced_at           TEXT NOT NULL,
    payload_kind           INTEGER NOT NULL,
    payload                TEXT,
    payload_encrypted      TEXT,
    payload_plain_hash     BLOB NOT NULL CHECK (length(payload_plain_hash) = 32),
    payload_cipher_hash    BLOB NOT NULL CHECK (length(payload_cipher_hash) = 32),
    event_signing_hash     BLOB NOT NULL CHECK (length(event_signing_hash) = 32),
    agent_signature        BLOB NOT NULL CHECK (length(agent_signature) = 64),
    sequence_number        INTEGER NOT NULL,
    base_version           INTEGER,
    agent_signature_scheme INTEGER NOT NULL DEFAULT 0,
    agent_signature_bundle BLOB,
    CONSTRAINT uq_ves_events_sequence UNIQUE (tenant_id, store_id, sequence_number),
    CONSTRAINT ck_ves_events_payload CHECK (
        (payload_kind = 0 AND payload IS NOT NULL AND payload_encrypted IS NULL)
        OR (payload_kind = 1 AND payload IS NULL AND payload_encrypted IS NOT NULL)
    )
) STRICT;
CREATE INDEX ix_ves_events_entity ON ves_events (tenant_id, store_id, entity_type, entity_id);

CREATE TABLE ves_sequencer_receipts (
    event_id                 TEXT NOT NULL PRIMARY KEY REFERENCES ves_events (event_id),
    sequencer_id             TEXT NOT NULL,
    sequence_number          INTEGER NOT NULL,
    sequenced_at             TEXT NOT NULL,
    receipt_hash             BLOB NOT NULL CHECK (length(receipt_hash) = 32),
    sequencer_signature      BLOB CHECK (length(sequencer_signature) = 64),
    sequencer_key_version    INTEGER NOT NULL DEFAULT 0,
    receipt_signature_scheme INTEGER NOT NULL DEFAULT 0,
    receipt_signature_bundle BLOB
) STRICT;

CREATE TABLE ves_sequence_counters (
    tenant_id        TEXT NOT NULL,
    store_id         TEXT NOT NULL,
    current_sequence INTEGER NOT NULL DEFAULT 0,
    updated_at       TEXT NOT NULL,
    PRIMARY KEY (tenant_id, store_id)
) STRICT;

CREATE TABLE ves_command_dedupe (
    tenant_id  TEXT NOT NULL,
    store_id   TEXT NOT NULL,
    command_id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (tenant_id, store_id, command_id)
) STRICT;

CREATE TABLE entity_versions (
    tenant_id   TEXT NOT NULL,
    store_id    TEXT NOT NULL,
    entity_type TEXT NOT NULL CHECK (length(entity_type) <= 128),
    entity_id   TEXT NOT NULL CHECK (length(entity_id) <= 512),
    version     INTEGER NOT NULL DEFAULT 0,
    updated_at  TEXT NOT NULL,
    PRIMARY KEY (tenant_id, store_id, entity_type, entity_id)
) STRICT;

CREATE TABLE ves_commitments (
    batch_id           TEXT NOT NULL PRIMARY KEY,
    tenant_id          TEXT NOT NULL,
    store_id           TEXT NOT NULL,
    ves_version        INTEGER NOT NULL DEFAULT 1,
    tree_depth         INTEGER NOT NULL,
    leaf_count         INTEGER NOT NULL,
    padded_leaf_count  INTEGER NOT NULL,
    merkle_root        BLOB NOT NULL CHECK (length(merkle_root) = 32),
    prev_state_root    BLOB NOT NULL CHECK (length(prev_state_root) = 32),
    new_state_root     BLOB NOT NULL CHECK (length(new_state_root) = 32),
    sequence_start     INTEGER NOT NULL,
    sequence_end       INTEGER NOT NULL,
    committed_at       TEXT NOT NULL,
    chain_id           INTEGER,
    chain_tx_hash      BLOB CHECK (length(chain_tx_hash) = 32),
    chain_block_number INTEGER,
    anchored_at        TEXT,
    UNIQUE (tenant_id, store_id, sequence_start),
    CHECK (sequence_end >= sequence_start),
    CHECK (leaf_count = sequence_end - sequence_start + 1)
) STRICT;

CREATE TABLE ves_validity_proofs (
    proof_id      TEXT NOT NULL PRIMARY KEY,
    batch_id      TEXT NOT NULL REFERENCES ves_commitments (batch_id) ON DELETE CASCADE,
    tenant_id     TEXT NOT NULL,
    store_id      TEXT NOT NULL,
    proof_type    TEXT NOT NULL,
    proof_version INTEGER NOT NULL,
    proof         BLOB NOT NULL,
    proof_hash    BLOB NOT NULL CHECK (length(proof_hash) = 32),
    public_inputs TEXT,
    submitted_at  TEXT NOT NULL
) STRICT;

CREATE TABLE ves_compliance_proofs (
    proof_id           TEXT NOT NULL PRIMARY KEY,
    event_id           TEXT NOT NULL REFERENCES ves_events (event_id) ON DELETE CASCADE,
    tenant_id          TEXT NOT NULL,
    store_id           TEXT NOT NULL,
    proof_type         TEXT NOT NULL,
    proof_version      INTEGER NOT NULL,
    policy_id          TEXT NOT NULL,
    policy_params      TEXT NOT NULL DEFAULT '{}',
    policy_hash        BLOB NOT NULL CHECK (length(policy_hash) = 32),
    proof              BLOB NOT NULL,
    proof_hash         BLOB NOT NULL CHECK (length(proof_hash) = 32),
    public_inputs      TEXT,
    submitted_at       TEXT NOT NULL,
    witness_commitment BLOB
) STRICT;

CREATE TABLE agent_signing_keys (
    tenant_id                  TEXT NOT NULL,
    agent_id                   TEXT NOT NULL,
    key_id                     INTEGER NOT NULL,
    public_key                 BLOB NOT NULL CHECK (length(public_key) = 32),
    status                     TEXT NOT NULL DEFAULT 'active'
                               CHECK (status IN ('active', 'revoked', 'expired')),
    valid_from                 TEXT,
    valid_to                   TEXT,
    revoked_at                 TEXT,
    metadata                   TEXT,
    created_at                 TEXT NOT NULL,
    expires_at                 TEXT,
    grace_until                TEXT,
    rotation_reason            TEXT,
    key_algorithm              INTEGER NOT NULL DEFAULT 1,
    public_key_bundle          BLOB,
    proof_of_possession        BLOB,
    proof_of_possession_bundle BLOB,
    PRIMARY KEY (tenant_id, agent_id, key_id)
) STRICT;

CREATE TABLE projection_checkpoints (
    tenant_id               TEXT NOT NULL,
    store_id                TEXT NOT NULL,
    last_projected_sequence INTEGER NOT NULL DEFAULT 0,
    updated_at              TEXT NOT NULL,
    PRIMARY KEY (tenant_id, store_id)
) STRICT;

-- The older log and the payment intents' numbers: copied; of them only counters are repaired ----------------------

CREATE TABLE events (
    event_id          TEXT NOT NULL PRIMARY KEY,
    command_id        TEXT,
    sequence_number   INTEGER NOT NULL,
    tenant_id         TEXT NOT NULL,
    store_id          TEXT NOT NULL,
    entity_type       TEXT NOT NULL,
    entity_id         TEXT NOT NULL,
    event_type        TEXT NOT NULL,
    payload_encrypted BLOB NOT NULL,
    payload_hash      BLOB NOT NULL,
    base_version      INTEGER,
    source_agent      TEXT NOT NULL,
    signature         BLOB,
    created_at        TEXT NOT NULL,
    sequenced_at      TEXT NOT NULL,
    UNIQUE (tenant_id, store_id, sequence_number)
) STRICT;
CREATE INDEX ix_events_entity ON events (tenant_id, store_id, entity_type, entity_id);

CREATE TABLE sequence_counters (
    tenant_id        TEXT NOT NULL,
    store_id         TEXT NOT NULL,
    current_sequence INTEGER NOT NULL DEFAULT 0,
    updated_at       TEXT NOT NULL,
    PRIMARY KEY (tenant_id, store_id)
) STRICT;

CREATE TABLE commitments (
    batch_id        TEXT NOT NULL PRIMARY KEY,
    tenant_id       TEXT NOT NULL,
    store_id        TEXT NOT NULL,
    prev_state_root BLOB NOT NULL,
    new_state_root  BLOB NOT NULL,
    events_root     BLOB NOT NULL,
    sequence_start  INTEGER NOT NULL,
    sequence_end    INTEGER NOT NULL,
    event_count     INTEGER NOT NULL,
    committed_at    TEXT NOT NULL,
    chain_tx_hash   BLOB
) STRICT;

CREATE TABLE event_command_dedupe (
    tenant_id  TEXT NOT NULL,
    store_id   TEXT NOT NULL,
    command_id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (tenant_id, store_id, command_id)
) STRICT;

-- Of an intent only its number. Files made before there was this table lack it, and are read all the same.
CREATE TABLE x402_payment_intents (
    intent_id       TEXT NOT NULL PRIMARY KEY,
    tenant_id       TEXT NOT NULL,
    store_id        TEXT NOT NULL,
    sequence_number INTEGER,
    UNIQUE (tenant_id, store_id, sequence_number)
) STRICT;

CREATE TABLE x402_sequence_counters (
    tenant_id        TEXT NOT NULL,
    store_id         TEXT NOT NULL,
    current_sequence INTEGER NOT NULL DEFAULT 0,
    updated_at       TEXT NOT NULL,
    PRIMARY KEY (tenant_id, store_id)
) STRICT;

COMMIT;
