-- How many numbers each stream has, and the first and last of them, by the index alone.
SELECT tenant_id, store_id, COUNT(sequence_number), MIN(sequence_number), MAX(sequence_number)
FROM ves_events
WHERE ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR store_id = $2)
GROUP BY tenant_id, store_id
