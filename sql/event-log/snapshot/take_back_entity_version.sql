-- The version of an entity goes back to what it was, if it is what it was left at.
UPDATE entity_versions SET version = $1, updated_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
WHERE tenant_id = $2 AND store_id = $3 AND entity_type = $4 AND entity_id = $5 AND version = $6
