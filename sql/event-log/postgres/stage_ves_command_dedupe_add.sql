-- As stage_ves_command_dedupe_insert.sql, where some may be there already: they stay as they are.
INSERT INTO ves_command_dedupe (
    tenant_id, store_id, command_id, created_at
)
SELECT
    tenant_id, store_id, command_id, created_at
FROM pg_temp.stage_ves_command_dedupe
WHERE line BETWEEN $1 AND $2
ON CONFLICT DO NOTHING
