-- As twice_events_id.sql, where the rows cannot be compared.
SELECT
    CAST(x.event_id AS text), x.tenant_id, x.store_id, x.sequence_number,
    'event ' || x.event_id, twice.copies, twice.differing
FROM ves_events x
JOIN (
    SELECT
        event_id, COUNT(*) AS copies,
        '' AS differing
    FROM ves_events
    GROUP BY event_id
    HAVING COUNT(*) > 1
    ORDER BY event_id
    LIMIT 1000
) AS twice ON x.event_id = twice.event_id
ORDER BY x.event_id
