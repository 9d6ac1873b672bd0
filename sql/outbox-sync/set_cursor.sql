-- Only if it is still as it was.
UPDATE _ves_sync_state SET value = ?1 WHERE key = ?2 AND value = ?3;
