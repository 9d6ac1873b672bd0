-- Takes the pulled rows away that were set aside.
DELETE FROM _ves_pulled_events WHERE rowid IN (SELECT row FROM temp.planned_aside);
