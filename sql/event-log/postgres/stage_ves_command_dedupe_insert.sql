-- The lines that arrived, into ves_command_dedupe: here its types, constraints and triggers have their say.
INSERT INTO ves_command_dedupe (
    tenant_id, store_id, command_id, created_at
)
SELECT
    tenant_id, store_id, command_id, created_at
FROM pg_temp.stage_ves_command_dedupe
WHERE line BETWEEN $1 AND $2
