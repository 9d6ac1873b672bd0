-- The counter's row goes, if it is what it was left at.
DELETE FROM ves_sequence_counters WHERE tenant_id = $1 AND store_id = $2 AND current_sequence = $3
