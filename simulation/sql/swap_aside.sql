UPDATE ves_events SET sequence_number = -sequence_number
WHERE tenant_id = ?1 AND store_id = ?2 AND sequence_number IN (?3, ?4);
