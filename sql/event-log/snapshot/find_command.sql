-- A command of a stream, if it is remembered as accepted.
SELECT command_id, created_at
FROM ves_command_dedupe
WHERE tenant_id = $1 AND store_id = $2 AND command_id = $3
