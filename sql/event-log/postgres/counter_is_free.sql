-- The counter's row, if no transaction holds it: who gives out numbers of the stream does.
SELECT 1 AS free FROM ves_sequence_counters WHERE tenant_id = $1 AND store_id = $2 FOR KEY SHARE SKIP LOCKED
