DELETE FROM ves_command_dedupe WHERE (tenant_id, store_id, command_id) IN (
    SELECT tenant_id, store_id, command_id FROM ves_command_dedupe ORDER BY created_at DESC LIMIT ?1
);
