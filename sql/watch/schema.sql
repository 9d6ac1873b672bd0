-- The memory of `sequencer-recovery watch`.
CREATE TABLE IF NOT EXISTS notes (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS streams (
    tenant_id TEXT NOT NULL,
    store_id TEXT NOT NULL,
    head INTEGER NOT NULL,
    checked INTEGER NOT NULL,
    leaf BLOB,
    counter INTEGER NOT NULL,
    committed INTEGER NOT NULL,
    anchored INTEGER NOT NULL,
    highest INTEGER NOT NULL,
    highest_by TEXT NOT NULL,
    seen_at TEXT NOT NULL,
    PRIMARY KEY (tenant_id, store_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alarms (
    source TEXT NOT NULL,
    code TEXT NOT NULL,
    tenant_id TEXT,
    store_id TEXT,
    first INTEGER,
    last INTEGER,
    count INTEGER NOT NULL,
    message TEXT NOT NULL,
    opened_at TEXT NOT NULL
);
