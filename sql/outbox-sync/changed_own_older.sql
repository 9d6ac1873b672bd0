-- As changed_own, in the older shape, whose state is whether it was acknowledged.
SELECT p.row FROM temp.planned_own AS p
 WHERE NOT EXISTS (SELECT 1 FROM outbox AS o
                    WHERE o.rowid = p.row AND lower(o.event_id) = p.event_id
                      AND CASE WHEN o.acked_at IS NULL THEN 'pending' ELSE 'synced' END IS p.from_status
                      AND o.remote_sequence IS p.from_sequence)
 LIMIT 1;
