-- The counter goes back to what it was, if it is what it was left at.
UPDATE ves_sequence_counters SET current_sequence = $1, updated_at = now()
WHERE tenant_id = $2 AND store_id = $3 AND current_sequence = $4
