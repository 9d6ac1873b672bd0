-- What the journal says of a plan and a stream, in the order of time.
SELECT written_at, state, plan_id, tenant_id, store_id, tool, counter_before, counter_after, counts
FROM sequencer_recovery_journal
WHERE plan_id = $1 AND tenant_id = $2 AND store_id = $3
ORDER BY written_at
