-- The last number of each stream.
SELECT tenant_id, store_id, MAX(sequence_number) FILTER (WHERE sequence_number >= 1)
FROM ves_events
WHERE ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR store_id = $2)
GROUP BY tenant_id, store_id
