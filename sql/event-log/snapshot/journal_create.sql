-- The journal of repairs.
CREATE TABLE IF NOT EXISTS sequencer_recovery_journal (
    written_at     TEXT NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('applied', 'undone')),
    plan_id        BLOB NOT NULL CHECK (length(plan_id) = 32),
    tenant_id      TEXT NOT NULL,
    store_id       TEXT NOT NULL,
    tool           TEXT NOT NULL,
    counter_before INTEGER,
    counter_after  INTEGER,
    counts         TEXT NOT NULL
) STRICT;
