-- The agent's notes on a row that is synced now, in outboxes that have them.
UPDATE _ves_outbox
   SET synced_at = coalesce(synced_at, datetime('now')), rejection_reason = NULL, last_error = NULL
 WHERE rowid = ?1;
