-- The version of an entity becomes the number of its events, unless it is higher.
INSERT INTO entity_versions (tenant_id, store_id, entity_type, entity_id, version, updated_at)
SELECT tenant_id, store_id, entity_type, entity_id, COUNT(*), strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
FROM ves_events
WHERE tenant_id = $1 AND store_id = $2 AND entity_type = $3 AND entity_id = $4
GROUP BY tenant_id, store_id, entity_type, entity_id
ON CONFLICT (tenant_id, store_id, entity_type, entity_id) DO UPDATE
SET version = excluded.version, updated_at = excluded.updated_at
WHERE entity_versions.version < excluded.version
