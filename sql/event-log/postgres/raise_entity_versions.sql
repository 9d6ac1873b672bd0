-- The version of each given entity becomes the number of its events, unless it is higher.
INSERT INTO entity_versions (tenant_id, store_id, entity_type, entity_id, version, updated_at)
SELECT e.tenant_id, e.store_id, e.entity_type, e.entity_id, COUNT(*), now()
FROM ves_events e
JOIN unnest($3::text[], $4::text[]) AS given (entity_type, entity_id)
    ON given.entity_type = e.entity_type AND given.entity_id = e.entity_id
WHERE e.tenant_id = $1 AND e.store_id = $2
GROUP BY e.tenant_id, e.store_id, e.entity_type, e.entity_id
ON CONFLICT (tenant_id, store_id, entity_type, entity_id) DO UPDATE
SET version = excluded.version, updated_at = excluded.updated_at
WHERE entity_versions.version < excluded.version
