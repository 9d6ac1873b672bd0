-- One row of entity_versions.
INSERT INTO entity_versions (
    tenant_id, store_id, entity_type, entity_id, version, updated_at
) VALUES (
    $1, $2, $3, $4, $5, $6
)
