-- One entry of the journal; a counter that was not there is empty.
INSERT INTO sequencer_recovery_journal (
    written_at, state, plan_id, tenant_id, store_id, tool, counter_before, counter_after, counts
)
VALUES ($1, $2, $3, $4, $5, $6, CAST(nullif($7, '') AS INTEGER), CAST(nullif($8, '') AS INTEGER), $9)
