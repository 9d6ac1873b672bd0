-- The first key of ves_events (tenant_id, store_id, sequence_number)
-- that more than one row has, as an index on these columns holds them, which is read in its order.
SELECT COUNT(*) FROM (
    SELECT 1
    FROM ves_events
    GROUP BY tenant_id, store_id, sequence_number
    HAVING COUNT(*) > 1
    ORDER BY tenant_id, store_id, sequence_number
    LIMIT 1
) AS repeated
