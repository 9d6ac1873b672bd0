-- The counter of each stream of events.
SELECT tenant_id, store_id, current_sequence
FROM sequence_counters
WHERE ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR store_id = $2)
