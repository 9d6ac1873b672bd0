-- The first row from one on: names the row that could not be read, so that reading goes on behind it.
SELECT min(rowid) FROM pulled_events WHERE rowid >= ?1;
