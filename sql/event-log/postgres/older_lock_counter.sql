-- What gives out numbers of events holds this row while it does.
SELECT current_sequence FROM sequence_counters WHERE tenant_id = $1 AND store_id = $2 FOR UPDATE
