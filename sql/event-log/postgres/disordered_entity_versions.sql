-- How many entries of the index on entity_versions stand before one that they belong behind, by the collation of today:
-- searches miss them, though a walk through the whole index meets them.
SELECT COUNT(*)
FROM (
    SELECT
        tenant_id, store_id, entity_type, entity_id,
        LAG(tenant_id) OVER walk AS tenant_before, LAG(store_id) OVER walk AS store_before,
        LAG(entity_type) OVER walk AS type_before, LAG(entity_id) OVER walk AS id_before
    FROM (
        SELECT tenant_id, store_id, entity_type, entity_id
        FROM entity_versions
        ORDER BY tenant_id, store_id, entity_type, entity_id
    ) AS walked
    WINDOW walk AS ()
) AS entry
WHERE ROW(tenant_id, store_id, entity_type, entity_id) < ROW(tenant_before, store_before, type_before, id_before)
