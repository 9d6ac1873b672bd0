-- The checkpoint goes back to what it was, if it is what it was left at.
UPDATE projection_checkpoints
SET last_projected_sequence = $1, updated_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
WHERE tenant_id = $2 AND store_id = $3 AND last_projected_sequence = $4
