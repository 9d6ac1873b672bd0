-- Rows of entity_versions that share their tenant_id, store_id, entity_type, entity_id, and in which columns they differ. A row for each copy.
SELECT
    CAST(x.tenant_id AS text) || ' ' || CAST(x.store_id AS text) || ' ' || CAST(x.entity_type AS text) || ' ' || CAST(x.entity_id AS text), x.tenant_id, x.store_id, CAST(NULL AS bigint),
    'the version of ' || x.entity_type || ' ' || x.entity_id, twice.copies, twice.differing
FROM entity_versions x
JOIN (
    SELECT
        tenant_id, store_id, entity_type, entity_id, COUNT(*) AS copies,
        CASE WHEN COUNT(DISTINCT version) > 1 OR COUNT(version) NOT IN (0, COUNT(*)) THEN ' version' ELSE '' END
            || CASE WHEN COUNT(DISTINCT updated_at) > 1 OR COUNT(updated_at) NOT IN (0, COUNT(*)) THEN ' updated_at' ELSE '' END AS differing
    FROM entity_versions
    GROUP BY tenant_id, store_id, entity_type, entity_id
    HAVING COUNT(*) > 1
    ORDER BY tenant_id, store_id, entity_type, entity_id
    LIMIT 1000
) AS twice ON x.tenant_id = twice.tenant_id AND x.store_id = twice.store_id AND x.entity_type = twice.entity_type AND x.entity_id = twice.entity_id
ORDER BY x.tenant_id, x.store_id, x.entity_type, x.entity_id
