-- Each row of projection_checkpoints, by what an index on (tenant_id, store_id) holds of it.
SELECT
    uuid_hash_extended(tenant_id, 0) # uuid_hash_extended(store_id, 1) AS key,
    tenant_id AS tenant_id, store_id AS store_id, NULL::bigint AS number,
    'the projection checkpoint' AS label
FROM projection_checkpoints
