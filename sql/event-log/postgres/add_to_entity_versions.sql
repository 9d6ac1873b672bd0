-- The versions of entities go up, as when the sequencer accepts events: by how many, stands as text beside each.
INSERT INTO entity_versions (tenant_id, store_id, entity_type, entity_id, version, updated_at)
SELECT $1, $2, given.entity_type, given.entity_id, given.events::int8, now()
FROM UNNEST($3::text[], $4::text[], $5::text[]) AS given (entity_type, entity_id, events)
ON CONFLICT (tenant_id, store_id, entity_type, entity_id) DO UPDATE
SET version = entity_versions.version + excluded.version, updated_at = excluded.updated_at
RETURNING entity_type, entity_id, version
