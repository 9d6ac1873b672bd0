-- The highest number in a stream's rows.
SELECT MAX(sequence_number) FROM ves_events WHERE tenant_id = $1 AND store_id = $2
