-- Rows of ves_command_dedupe as they arrive: one array a column, in one message.
INSERT INTO pg_temp.stage_ves_command_dedupe (line, tenant_id, store_id, command_id, created_at)
SELECT line, tenant_id, store_id, command_id, created_at::timestamptz
FROM unnest($1::int8[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[]) AS given (line, tenant_id, store_id, command_id, created_at)
