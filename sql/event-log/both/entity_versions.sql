-- The stored versions of a stream's entities.
SELECT entity_type, entity_id, version
FROM entity_versions
WHERE tenant_id = $1 AND store_id = $2
ORDER BY entity_type, entity_id
