-- All rows from one on, in the order of the file. The reader finds the columns by name.
SELECT rowid, * FROM _ves_quarantined_events WHERE rowid >= ?1 ORDER BY rowid;
