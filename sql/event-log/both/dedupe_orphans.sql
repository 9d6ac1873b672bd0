-- Commands of a stream that are remembered as accepted while no event has them.
SELECT d.command_id, d.created_at
FROM ves_command_dedupe d
WHERE d.tenant_id = $1 AND d.store_id = $2 AND NOT EXISTS (
    SELECT 1 FROM ves_events e
    WHERE e.tenant_id = $1 AND e.store_id = $2 AND e.command_id = d.command_id
)
ORDER BY d.command_id
