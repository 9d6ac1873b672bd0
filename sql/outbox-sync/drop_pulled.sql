-- Takes a pulled row away that was set aside.
DELETE FROM _ves_pulled_events WHERE rowid = ?1 AND lower(event_id) = ?2 AND sequence_number IS ?3;
