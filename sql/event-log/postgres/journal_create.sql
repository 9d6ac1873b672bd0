-- The journal of repairs, in a schema of its own. One session makes it, others wait (the key is "VESJRNL" in ASCII).
SELECT pg_advisory_xact_lock(24283072028626508);
CREATE SCHEMA IF NOT EXISTS sequencer_recovery;
CREATE TABLE IF NOT EXISTS sequencer_recovery.journal (
    written_at     timestamptz NOT NULL,
    state          text NOT NULL CHECK (state IN ('applied', 'undone')),
    plan_id        bytea NOT NULL CHECK (octet_length(plan_id) = 32),
    tenant_id      uuid NOT NULL,
    store_id       uuid NOT NULL,
    tool           text NOT NULL,
    counter_before int8,
    counter_after  int8,
    counts         jsonb NOT NULL
);
