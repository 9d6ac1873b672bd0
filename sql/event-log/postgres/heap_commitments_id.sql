-- Each row of ves_commitments, by what an index on (batch_id) holds of it.
SELECT
    uuid_hash_extended(batch_id, 0) AS key,
    tenant_id AS tenant_id, store_id AS store_id, sequence_start::bigint AS number,
    'commitment ' || batch_id AS label
FROM ves_commitments
