-- What a row of the older shape says now.
SELECT CASE WHEN acked_at IS NULL THEN 'pending' ELSE 'synced' END, remote_sequence FROM outbox WHERE rowid = ?1;
