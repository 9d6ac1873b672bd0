-- The highest number in a stream of events.
SELECT MAX(sequence_number) FROM events WHERE tenant_id = $1 AND store_id = $2
