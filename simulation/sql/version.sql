SELECT version FROM entity_versions
WHERE tenant_id = ?1 AND store_id = ?2 AND entity_type = ?3 AND entity_id = ?4;
