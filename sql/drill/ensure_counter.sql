-- The stream's counter, where it has none.
INSERT INTO ves_sequence_counters (tenant_id, store_id, current_sequence, updated_at)
VALUES ($1, $2, 0, $3::text::timestamptz) ON CONFLICT (tenant_id, store_id) DO NOTHING
