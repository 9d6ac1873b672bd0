-- Rows of ves_command_dedupe that share their tenant_id, store_id, command_id, and in which columns they differ. A row for each copy.
SELECT
    CAST(x.tenant_id AS text) || ' ' || CAST(x.store_id AS text) || ' ' || CAST(x.command_id AS text), x.tenant_id, x.store_id, CAST(NULL AS bigint),
    'command ' || x.command_id, twice.copies, twice.differing
FROM ves_command_dedupe x
JOIN (
    SELECT
        tenant_id, store_id, command_id, COUNT(*) AS copies,
        CASE WHEN COUNT(DISTINCT created_at) > 1 OR COUNT(created_at) NOT IN (0, COUNT(*)) THEN ' created_at' ELSE '' END AS differing
    FROM ves_command_dedupe
    GROUP BY tenant_id, store_id, command_id
    HAVING COUNT(*) > 1
    ORDER BY tenant_id, store_id, command_id
    LIMIT 1000
) AS twice ON x.tenant_id = twice.tenant_id AND x.store_id = twice.store_id AND x.command_id = twice.command_id
ORDER BY x.tenant_id, x.store_id, x.command_id
