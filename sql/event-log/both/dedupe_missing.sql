-- Events of a stream whose command is not remembered as accepted.
SELECT e.command_id, e.event_id, e.sequence_number
FROM ves_events e
WHERE e.tenant_id = $1 AND e.store_id = $2 AND e.command_id IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM ves_command_dedupe d
    WHERE d.tenant_id = $1 AND d.store_id = $2 AND d.command_id = e.command_id
)
ORDER BY e.sequence_number
