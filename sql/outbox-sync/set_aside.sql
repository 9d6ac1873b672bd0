-- Keeps pulled rows aside.
INSERT INTO _ves_set_aside_events
SELECT e.*, datetime('now'), p.why
  FROM temp.planned_aside AS p CROSS JOIN _ves_pulled_events AS e ON e.rowid = p.row;
