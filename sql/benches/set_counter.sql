-- The last number given out.
UPDATE ves_sequence_counters SET current_sequence = $3, updated_at = now() WHERE tenant_id = $1 AND store_id = $2
