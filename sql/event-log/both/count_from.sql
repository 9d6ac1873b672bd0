-- How many events a stream has from a number on.
SELECT count(*) AS count FROM ves_events WHERE tenant_id = $1 AND store_id = $2 AND sequence_number >= $3
