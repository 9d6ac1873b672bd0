SELECT current_sequence FROM ves_sequence_counters WHERE tenant_id = ?1 AND store_id = ?2;
