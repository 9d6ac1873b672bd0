-- Every row of ves_command_dedupe, for a snapshot.
SELECT
    tenant_id, store_id, command_id, created_at
FROM ves_command_dedupe
ORDER BY tenant_id, store_id, command_id
