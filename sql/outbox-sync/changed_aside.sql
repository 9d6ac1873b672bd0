-- A pulled row that is no longer as it was when the plan was made.
SELECT p.row FROM temp.planned_aside AS p
 WHERE NOT EXISTS (SELECT 1 FROM _ves_pulled_events AS e
                    WHERE e.rowid = p.row AND lower(e.event_id) = p.event_id AND e.sequence_number IS p.from_sequence)
 LIMIT 1;
