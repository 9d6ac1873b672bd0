-- The first key of entity_versions (tenant_id, store_id, entity_type, entity_id)
-- that more than one row has, as an index on these columns holds them, which is read in its order.
SELECT COUNT(*) FROM (
    SELECT 1
    FROM entity_versions
    GROUP BY tenant_id, store_id, entity_type, entity_id
    HAVING COUNT(*) > 1
    ORDER BY tenant_id, store_id, entity_type, entity_id
    LIMIT 1
) AS repeated
