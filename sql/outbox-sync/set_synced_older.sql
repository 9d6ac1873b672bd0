-- As set_synced, in the older shape, whose state is whether it was acknowledged.
UPDATE outbox
   SET pushed_at = coalesce(pushed_at, strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')),
       acked_at = coalesce(acked_at, strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')), remote_sequence = ?1
 WHERE rowid = ?2 AND lower(event_id) = ?3
   AND CASE WHEN acked_at IS NULL THEN 'pending' ELSE 'synced' END IS ?4 AND remote_sequence IS ?5;
