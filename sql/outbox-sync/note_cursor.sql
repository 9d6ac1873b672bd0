-- When it was changed, where that is kept.
UPDATE _ves_sync_state SET updated_at = datetime('now') WHERE key = ?1;
