-- The rows of a stream that have a number, whatever their columns.
SELECT * FROM ves_events WHERE tenant_id = $1 AND store_id = $2 AND sequence_number = $3
