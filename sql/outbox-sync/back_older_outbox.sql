-- Rows of a range backwards: how far a damaged file can be read from behind.
SELECT rowid, * FROM outbox WHERE rowid >= ?1 AND rowid < ?2 ORDER BY rowid DESC;
