-- Counters that were changed after a time.
SELECT tenant_id, store_id, current_sequence, updated_at
FROM ves_sequence_counters
WHERE updated_at > $1::timestamptz
ORDER BY tenant_id, store_id
