-- Keeps a pulled row aside. Only if it is still as it was.
INSERT INTO _ves_set_aside_events
SELECT *, datetime('now'), ?4 FROM _ves_pulled_events
 WHERE rowid = ?1 AND lower(event_id) = ?2 AND sequence_number IS ?3;
