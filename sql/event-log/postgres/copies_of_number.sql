-- How many rows of a stream have a number.
SELECT COUNT(*) FROM ves_events WHERE tenant_id = $1 AND store_id = $2 AND sequence_number = $3
