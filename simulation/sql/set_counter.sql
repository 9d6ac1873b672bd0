INSERT INTO ves_sequence_counters (tenant_id, store_id, current_sequence, updated_at) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (tenant_id, store_id) DO UPDATE SET current_sequence = excluded.current_sequence, updated_at = excluded.updated_at;
