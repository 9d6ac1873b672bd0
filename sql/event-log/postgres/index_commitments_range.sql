-- What an index on ves_commitments (tenant_id, store_id, sequence_start, sequence_end)
-- holds, in its order: with every other way switched off, only such an index can answer.
SELECT
    uuid_hash_extended(tenant_id, 0) # uuid_hash_extended(store_id, 1) # hashint8extended(sequence_start::bigint, 2) # hashint8extended(sequence_end::bigint, 3) AS key
FROM ves_commitments
ORDER BY tenant_id, store_id, sequence_start, sequence_end
