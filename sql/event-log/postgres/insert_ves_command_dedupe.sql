-- Rows of ves_command_dedupe: one array a column.
INSERT INTO ves_command_dedupe (
    tenant_id, store_id, command_id, created_at
)
SELECT
    tenant_id, store_id, command_id, created_at::timestamptz
FROM unnest(
    $1::uuid[], $2::uuid[], $3::uuid[], $4::text[]
) AS given (
    tenant_id, store_id, command_id, created_at
)
ON CONFLICT DO NOTHING
