-- As twice_events_sequence.sql, where the rows cannot be compared.
SELECT
    CAST(x.tenant_id AS text) || ' ' || CAST(x.store_id AS text) || ' ' || CAST(x.sequence_number AS text), x.tenant_id, x.store_id, x.sequence_number,
    'event ' || x.event_id, twice.copies, twice.differing
FROM ves_events x
JOIN (
    SELECT
        tenant_id, store_id, sequence_number, COUNT(*) AS copies,
        '' AS differing
    FROM ves_events
    GROUP BY tenant_id, store_id, sequence_number
    HAVING COUNT(*) > 1
    ORDER BY tenant_id, store_id, sequence_number
    LIMIT 1000
) AS twice ON x.tenant_id = twice.tenant_id AND x.store_id = twice.store_id AND x.sequence_number = twice.sequence_number
ORDER BY x.tenant_id, x.store_id, x.sequence_number
