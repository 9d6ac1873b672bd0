-- The version of an entity becomes the number of its events, of both logs, unless it is higher. Those from a
-- number on are not counted.
INSERT INTO entity_versions (tenant_id, store_id, entity_type, entity_id, version, updated_at)
SELECT $1, $2, $3, $4, COUNT(*), strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
FROM (
    SELECT 1 FROM ves_events
    WHERE tenant_id = $1 AND store_id = $2 AND entity_type = $3 AND entity_id = $4 AND sequence_number < $5
    UNION ALL
    SELECT 1 FROM events WHERE tenant_id = $1 AND store_id = $2 AND entity_type = $3 AND entity_id = $4
)
WHERE true
HAVING COUNT(*) > 0
ON CONFLICT (tenant_id, store_id, entity_type, entity_id) DO UPDATE
SET version = excluded.version, updated_at = excluded.updated_at
WHERE entity_versions.version < excluded.version
