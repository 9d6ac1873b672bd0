-- How many events of a stream have a number, and the first and last of the numbers.
SELECT COUNT(*), MIN(sequence_number), MAX(sequence_number)
FROM ves_events
WHERE tenant_id = $1 AND store_id = $2 AND sequence_number >= 1
