-- As set_own, in the older shape, whose state is whether it was acknowledged.
UPDATE outbox
   SET pushed_at = CASE p.to_status
           WHEN 'synced' THEN coalesce(pushed_at, strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')) END,
       acked_at = CASE p.to_status
           WHEN 'synced' THEN coalesce(acked_at, strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')) END,
       remote_sequence = p.to_sequence
  FROM temp.planned_own AS p
 WHERE outbox.rowid = p.row;
