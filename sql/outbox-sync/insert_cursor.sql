-- A value that was not there.
INSERT INTO _ves_sync_state (key, value) VALUES (?2, ?1);
