-- Never down.
UPDATE sequence_counters
SET current_sequence = $1, updated_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
WHERE tenant_id = $2 AND store_id = $3 AND current_sequence <= $1
