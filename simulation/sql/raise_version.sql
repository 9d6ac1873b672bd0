INSERT INTO entity_versions (tenant_id, store_id, entity_type, entity_id, version, updated_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (tenant_id, store_id, entity_type, entity_id)
DO UPDATE SET version = excluded.version, updated_at = excluded.updated_at;
