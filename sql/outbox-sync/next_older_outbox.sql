-- The first row from one on: names the row that could not be read, so that reading goes on behind it.
SELECT min(rowid) FROM outbox WHERE rowid >= ?1;
