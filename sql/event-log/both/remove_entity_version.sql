-- The version of an entity goes, if it is what it was left at.
DELETE FROM entity_versions
WHERE tenant_id = $1 AND store_id = $2 AND entity_type = $3 AND entity_id = $4 AND version = $5
