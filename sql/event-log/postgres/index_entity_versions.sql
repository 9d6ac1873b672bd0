-- What an index on entity_versions (tenant_id, store_id, entity_type, entity_id)
-- holds, in its order: with every other way switched off, only such an index can answer.
SELECT
    uuid_hash_extended(tenant_id, 0) # uuid_hash_extended(store_id, 1) # hashtextextended(entity_type, 2) # hashtextextended(entity_id, 3) AS key
FROM entity_versions
ORDER BY tenant_id, store_id, entity_type, entity_id
