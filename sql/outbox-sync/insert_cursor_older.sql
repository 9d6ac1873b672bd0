-- A value that was not there.
INSERT INTO sync_state (key, value) VALUES (?2, ?1);
