-- How far projections have followed.
INSERT INTO projection_checkpoints (tenant_id, store_id, last_projected_sequence, updated_at)
VALUES ($1, $2, $3, $4::text::timestamptz) ON CONFLICT (tenant_id, store_id)
DO UPDATE SET last_projected_sequence = excluded.last_projected_sequence, updated_at = excluded.updated_at
