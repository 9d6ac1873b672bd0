-- A row that is not what was planned, after all was written.
SELECT p.row FROM temp.planned_own AS p
 WHERE NOT EXISTS (SELECT 1 FROM _ves_outbox AS o
                    WHERE o.rowid = p.row AND o.sync_status IS p.to_status AND o.remote_sequence IS p.to_sequence)
 LIMIT 1;
