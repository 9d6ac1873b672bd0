-- What an index on events (tenant_id, store_id, sequence_number)
-- holds, in its order: with every other way switched off, only such an index can answer.
SELECT
    uuid_hash_extended(tenant_id, 0) # uuid_hash_extended(store_id, 1) # hashint8extended(sequence_number::bigint, 2) AS key
FROM events
ORDER BY tenant_id, store_id, sequence_number
