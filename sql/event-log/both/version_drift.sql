-- Entities whose stored version is not the number of their events in the stream, of both logs together.
SELECT entity_type, entity_id, MAX(version), SUM(event)
FROM (
    SELECT entity_type, entity_id, version, 0 AS event
    FROM entity_versions WHERE tenant_id = $1 AND store_id = $2
    UNION ALL
    SELECT entity_type, entity_id, NULL, 1 FROM ves_events WHERE tenant_id = $1 AND store_id = $2
    UNION ALL
    SELECT entity_type, entity_id, NULL, 1 FROM events WHERE tenant_id = $1 AND store_id = $2
) AS known
GROUP BY entity_type, entity_id
HAVING MAX(version) IS NULL OR MAX(version) <> SUM(event)
