-- What an index on ves_command_dedupe (tenant_id, store_id, command_id)
-- holds, in its order: with every other way switched off, only such an index can answer.
SELECT
    uuid_hash_extended(tenant_id, 0) # uuid_hash_extended(store_id, 1) # uuid_hash_extended(command_id, 2) AS key
FROM ves_command_dedupe
ORDER BY tenant_id, store_id, command_id
