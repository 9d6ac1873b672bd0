-- All rows from one on, in the order of the file. The reader finds the columns by name.
SELECT rowid, * FROM outbox WHERE rowid >= ?1 ORDER BY rowid;
