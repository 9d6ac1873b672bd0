-- Each row of entity_versions, by what an index on (tenant_id, store_id, entity_type, entity_id) holds of it.
SELECT
    uuid_hash_extended(tenant_id, 0) # uuid_hash_extended(store_id, 1) # hashtextextended(entity_type, 2) # hashtextextended(entity_id, 3) AS key,
    tenant_id AS tenant_id, store_id AS store_id, NULL::bigint AS number,
    'the version of ' || entity_type || ' ' || entity_id AS label
FROM entity_versions
