-- As wrong_own, in the older shape.
SELECT p.row FROM temp.planned_own AS p
 WHERE NOT EXISTS (SELECT 1 FROM outbox AS o
                    WHERE o.rowid = p.row
                      AND CASE WHEN o.acked_at IS NULL THEN 'pending' ELSE 'synced' END IS p.to_status
                      AND o.remote_sequence IS p.to_sequence)
 LIMIT 1;
