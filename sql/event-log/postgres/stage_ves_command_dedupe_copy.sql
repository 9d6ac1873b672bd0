-- Rows of ves_command_dedupe as they arrive, in PostgreSQL's binary format.
COPY pg_temp.stage_ves_command_dedupe (
    line, tenant_id, store_id, command_id, created_at
) FROM STDIN (FORMAT binary)
