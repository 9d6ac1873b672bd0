-- The last number that was given out.
UPDATE ves_sequence_counters SET current_sequence = $3, updated_at = $4::text::timestamptz
WHERE tenant_id = $1 AND store_id = $2
