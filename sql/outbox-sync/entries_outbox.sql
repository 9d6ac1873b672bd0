-- How many rows there are by an index of the table: SQLite counts the smallest one that has them all.
SELECT count(*) FROM _ves_outbox;
