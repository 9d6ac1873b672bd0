-- One entry of the journal; a counter that was not there is empty.
INSERT INTO sequencer_recovery.journal (
    written_at, state, plan_id, tenant_id, store_id, tool, counter_before, counter_after, counts
)
VALUES (
    $1::text::timestamptz, $2, $3, $4, $5, $6, nullif($7, '')::int8, nullif($8, '')::int8, $9::text::jsonb
)
