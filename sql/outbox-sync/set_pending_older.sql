-- As set_pending, in the older shape.
UPDATE outbox
   SET pushed_at = NULL, acked_at = NULL, remote_sequence = ?1
 WHERE rowid = ?2 AND lower(event_id) = ?3
   AND CASE WHEN acked_at IS NULL THEN 'pending' ELSE 'synced' END IS ?4 AND remote_sequence IS ?5;
