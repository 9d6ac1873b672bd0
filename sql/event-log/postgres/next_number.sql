-- The first number of a range that is there.
SELECT MIN(sequence_number)
FROM ves_events
WHERE tenant_id = $1 AND store_id = $2 AND sequence_number BETWEEN $3 AND $4
