INSERT INTO ves_command_dedupe (tenant_id, store_id, command_id, created_at) VALUES (?1, ?2, ?3, ?4);
