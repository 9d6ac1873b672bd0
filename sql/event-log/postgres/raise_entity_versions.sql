-- The version of each entity that arrived becomes the number of its events, of both logs, unless it is higher. Those
-- from a number on are not counted. What the version was is read as of before this statement.
WITH raised AS (
    INSERT INTO entity_versions (tenant_id, store_id, entity_type, entity_id, version, updated_at)
    SELECT $1, $2, given.entity_type, given.entity_id, COUNT(*), now()
    FROM pg_temp.stage_entities AS given
    JOIN (
        SELECT entity_type, entity_id FROM ves_events
        WHERE tenant_id = $1 AND store_id = $2 AND sequence_number < $3
        UNION ALL
        SELECT entity_type, entity_id FROM events WHERE tenant_id = $1 AND store_id = $2
    ) AS logged ON logged.entity_type = given.entity_type AND logged.entity_id = given.entity_id
    GROUP BY given.entity_type, given.entity_id
    ON CONFLICT (tenant_id, store_id, entity_type, entity_id) DO UPDATE
    SET version = excluded.version, updated_at = excluded.updated_at
    WHERE entity_versions.version < excluded.version
    RETURNING entity_type, entity_id, version
)
SELECT raised.entity_type, raised.entity_id, was.version AS before, raised.version AS after
FROM raised
LEFT JOIN entity_versions AS was
    ON was.tenant_id = $1 AND was.store_id = $2
    AND was.entity_type = raised.entity_type AND was.entity_id = raised.entity_id
