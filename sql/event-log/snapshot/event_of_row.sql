-- The stream and number of the row that SQLite counts so, found by the table itself.
SELECT tenant_id, store_id, sequence_number FROM ves_events NOT INDEXED ORDER BY rowid LIMIT 1 OFFSET $1 - 1
