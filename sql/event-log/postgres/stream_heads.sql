-- The last number of each stream: one step in the index for each, and no row is counted.
SELECT s.tenant_id, s.store_id, (
    SELECT MAX(e.sequence_number) FROM ves_events e
    WHERE e.tenant_id = s.tenant_id AND e.store_id = s.store_id AND e.sequence_number >= 1
)
FROM (
    WITH RECURSIVE known AS (
        (SELECT tenant_id, store_id FROM ves_events ORDER BY tenant_id, store_id LIMIT 1)
        UNION ALL
        SELECT following.tenant_id, following.store_id
        FROM known CROSS JOIN LATERAL (
            SELECT e.tenant_id, e.store_id FROM ves_events e
            WHERE (e.tenant_id, e.store_id) > (known.tenant_id, known.store_id)
            ORDER BY e.tenant_id, e.store_id LIMIT 1
        ) following
    )
    SELECT tenant_id, store_id FROM known
) s
WHERE ($1 IS NULL OR s.tenant_id = $1) AND ($2 IS NULL OR s.store_id = $2)
