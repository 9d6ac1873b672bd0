-- Which of the given commands of a stream are remembered as accepted.
SELECT command_id, created_at
FROM ves_command_dedupe
WHERE tenant_id = $1 AND store_id = $2 AND command_id = ANY ($3)
