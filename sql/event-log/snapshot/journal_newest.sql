-- The newest entries of the journal.
SELECT written_at, state, plan_id, tenant_id, store_id, tool, counter_before, counter_after, counts
FROM sequencer_recovery_journal
WHERE ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR store_id = $2)
ORDER BY written_at DESC
LIMIT $3
