-- Rows of projection_checkpoints that share their tenant_id, store_id, and in which columns they differ. A row for each copy.
SELECT
    CAST(x.tenant_id AS text) || ' ' || CAST(x.store_id AS text), x.tenant_id, x.store_id, CAST(NULL AS bigint),
    'the projection checkpoint', twice.copies, twice.differing
FROM projection_checkpoints x
JOIN (
    SELECT
        tenant_id, store_id, COUNT(*) AS copies,
        CASE WHEN COUNT(DISTINCT last_projected_sequence) > 1 OR COUNT(last_projected_sequence) NOT IN (0, COUNT(*)) THEN ' last_projected_sequence' ELSE '' END
            || CASE WHEN COUNT(DISTINCT updated_at) > 1 OR COUNT(updated_at) NOT IN (0, COUNT(*)) THEN ' updated_at' ELSE '' END AS differing
    FROM projection_checkpoints
    GROUP BY tenant_id, store_id
    HAVING COUNT(*) > 1
    ORDER BY tenant_id, store_id
    LIMIT 1000
) AS twice ON x.tenant_id = twice.tenant_id AND x.store_id = twice.store_id
ORDER BY x.tenant_id, x.store_id
