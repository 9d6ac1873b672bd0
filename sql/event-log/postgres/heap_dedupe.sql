-- Each row of ves_command_dedupe, by what an index on (tenant_id, store_id, command_id) holds of it.
SELECT
    uuid_hash_extended(tenant_id, 0) # uuid_hash_extended(store_id, 1) # uuid_hash_extended(command_id, 2) AS key,
    tenant_id AS tenant_id, store_id AS store_id, NULL::bigint AS number,
    'command ' || command_id AS label
FROM ves_command_dedupe
