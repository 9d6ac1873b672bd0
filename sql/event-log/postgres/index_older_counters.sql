-- What an index on sequence_counters (tenant_id, store_id)
-- holds, in its order: with every other way switched off, only such an index can answer.
SELECT
    uuid_hash_extended(tenant_id, 0) # uuid_hash_extended(store_id, 1) AS key
FROM sequence_counters
ORDER BY tenant_id, store_id
