-- The agent's notes on rows that are to be sent again, in outboxes that have them.
UPDATE _ves_outbox
   SET synced_at = NULL, rejection_reason = NULL, last_error = NULL
 WHERE rowid IN (SELECT row FROM temp.planned_own WHERE to_status <> 'synced');
