-- The first key of ves_command_dedupe (tenant_id, store_id, command_id)
-- that more than one row has, as an index on these columns holds them, which is read in its order.
SELECT COUNT(*) FROM (
    SELECT 1
    FROM ves_command_dedupe
    GROUP BY tenant_id, store_id, command_id
    HAVING COUNT(*) > 1
    ORDER BY tenant_id, store_id, command_id
    LIMIT 1
) AS repeated
