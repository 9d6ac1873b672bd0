-- Every row of ves_sequence_counters, for a snapshot.
SELECT
    tenant_id, store_id, current_sequence, updated_at
FROM ves_sequence_counters
ORDER BY tenant_id, store_id
