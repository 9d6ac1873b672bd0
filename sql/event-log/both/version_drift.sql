-- Entities whose stored version is not the number of their events in the stream, of both logs together.
SELECT
    COALESCE(counted.entity_type, stored.entity_type), COALESCE(counted.entity_id, stored.entity_id),
    stored.version, COALESCE(counted.events, 0)
FROM (
    SELECT entity_type, entity_id, COUNT(*) AS events
    FROM (
        SELECT entity_type, entity_id FROM ves_events WHERE tenant_id = $1 AND store_id = $2
        UNION ALL
        SELECT entity_type, entity_id FROM events WHERE tenant_id = $1 AND store_id = $2
    ) AS logged
    GROUP BY entity_type, entity_id
) AS counted
FULL JOIN (
    SELECT entity_type, entity_id, version
    FROM entity_versions
    WHERE tenant_id = $1 AND store_id = $2
) AS stored ON stored.entity_type = counted.entity_type AND stored.entity_id = counted.entity_id
WHERE stored.version IS NULL OR stored.version <> COALESCE(counted.events, 0)
ORDER BY 1, 2
