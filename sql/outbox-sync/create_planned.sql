-- What is to be changed, in tables of this connection alone: filling them holds up nobody.
PRAGMA temp_store = MEMORY;
CREATE TEMP TABLE planned_own (
    row INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL,
    from_status TEXT,
    from_sequence INTEGER,
    to_status TEXT NOT NULL,
    to_sequence INTEGER
);
CREATE TEMP TABLE planned_aside (
    row INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL,
    from_sequence INTEGER,
    why TEXT NOT NULL
);
