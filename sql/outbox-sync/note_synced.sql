-- The agent's notes on rows that are synced now, in outboxes that have them.
UPDATE _ves_outbox
   SET synced_at = coalesce(synced_at, datetime('now')), rejection_reason = NULL, last_error = NULL
 WHERE rowid IN (SELECT row FROM temp.planned_own WHERE to_status = 'synced');
