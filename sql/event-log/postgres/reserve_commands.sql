-- Commands that are about to be accepted, as the sequencer reserves them before it locks the counter: those that are
-- remembered stay as they are. In one order, so that two repairs cannot wait for each other.
INSERT INTO ves_command_dedupe (tenant_id, store_id, command_id, created_at)
SELECT tenant_id, store_id, command_id, created_at
FROM pg_temp.stage_ves_command_dedupe
WHERE line BETWEEN $1 AND $2
ORDER BY tenant_id, store_id, command_id
ON CONFLICT DO NOTHING
RETURNING tenant_id, store_id, command_id
