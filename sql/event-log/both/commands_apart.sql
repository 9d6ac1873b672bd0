-- Commands of a stream that are remembered as accepted while no event has them, and those of events that are not remembered.
SELECT CAST(MIN(of_event) AS bigint), command_id, MAX(created_at)
FROM (
    SELECT command_id, created_at, 0 AS of_event
    FROM ves_command_dedupe WHERE tenant_id = $1 AND store_id = $2
    UNION ALL
    SELECT command_id, NULL, 1
    FROM ves_events WHERE tenant_id = $1 AND store_id = $2 AND command_id IS NOT NULL
) AS known
GROUP BY command_id
HAVING MAX(of_event) = 0 OR MIN(of_event) = 1
ORDER BY command_id
