-- A row that is no longer as it was when the plan was made.
SELECT p.row FROM temp.planned_own AS p
 WHERE NOT EXISTS (SELECT 1 FROM _ves_outbox AS o
                    WHERE o.rowid = p.row AND lower(o.event_id) = p.event_id AND o.sync_status IS p.from_status
                      AND o.remote_sequence IS p.from_sequence)
 LIMIT 1;
