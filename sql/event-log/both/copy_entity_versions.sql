-- Every row of entity_versions, for a snapshot.
SELECT
    tenant_id, store_id, entity_type, entity_id, version, updated_at
FROM entity_versions
ORDER BY tenant_id, store_id, entity_type, entity_id
