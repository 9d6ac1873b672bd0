-- Where rows of ves_command_dedupe arrive, with the line that each is. Gone with the transaction.
CREATE TEMPORARY TABLE stage_ves_command_dedupe (
    line int8 NOT NULL,
    tenant_id uuid,
    store_id uuid,
    command_id uuid,
    created_at timestamptz
) ON COMMIT DROP
