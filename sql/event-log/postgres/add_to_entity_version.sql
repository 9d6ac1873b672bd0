-- The version of an entity goes up, as when the sequencer accepts events.
INSERT INTO entity_versions (tenant_id, store_id, entity_type, entity_id, version, updated_at)
VALUES ($1, $2, $3, $4, $5, now())
ON CONFLICT (tenant_id, store_id, entity_type, entity_id) DO UPDATE
SET version = entity_versions.version + excluded.version, updated_at = excluded.updated_at
