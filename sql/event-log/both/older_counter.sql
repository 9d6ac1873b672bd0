-- The counter of one stream of events.
SELECT current_sequence FROM sequence_counters WHERE tenant_id = $1 AND store_id = $2
