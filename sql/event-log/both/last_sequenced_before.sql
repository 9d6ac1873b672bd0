-- When the nearest event below a number was sequenced, and which number it has.
SELECT sequenced_at, sequence_number
FROM ves_events
WHERE tenant_id = $1 AND store_id = $2 AND sequence_number < $3
ORDER BY sequence_number DESC
LIMIT 1
