-- One more event of the entity.
INSERT INTO entity_versions (tenant_id, store_id, entity_type, entity_id, version, updated_at)
VALUES ($1, $2, $3, $4, 1, $5::text::timestamptz) ON CONFLICT (tenant_id, store_id, entity_type, entity_id)
DO UPDATE SET version = entity_versions.version + 1, updated_at = excluded.updated_at
