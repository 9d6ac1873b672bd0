-- Every row of sequence_counters, for a snapshot.
SELECT
    tenant_id, store_id, current_sequence, updated_at
FROM sequence_counters
ORDER BY tenant_id, store_id
