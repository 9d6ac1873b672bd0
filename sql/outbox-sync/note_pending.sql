-- The agent's notes on a row that is to be sent again, in outboxes that have them.
UPDATE _ves_outbox SET synced_at = NULL, rejection_reason = NULL, last_error = NULL WHERE rowid = ?1;
