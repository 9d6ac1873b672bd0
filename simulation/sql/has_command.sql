SELECT 1 FROM ves_command_dedupe WHERE tenant_id = ?1 AND store_id = ?2 AND command_id = ?3;
