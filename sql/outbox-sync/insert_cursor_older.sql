-- A value that was not there.
INSERT INTO sync_state (key, value, updated_at) VALUES (?2, ?1, datetime('now'));
