-- Each row of ves_commitments, by what an index on (tenant_id, store_id, sequence_start, sequence_end) holds of it.
SELECT
    uuid_hash_extended(tenant_id, 0) # uuid_hash_extended(store_id, 1) # hashint8extended(sequence_start::bigint, 2) # hashint8extended(sequence_end::bigint, 3) AS key,
    tenant_id AS tenant_id, store_id AS store_id, sequence_start::bigint AS number,
    'batch ' || batch_id AS label
FROM ves_commitments
