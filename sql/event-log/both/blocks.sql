-- How many numbers of a stream are there in each block of $3 from $1 to $2, by the index alone.
WITH RECURSIVE blocks (low) AS (
    SELECT CAST($1 AS bigint)
    UNION ALL
    SELECT low + CAST($3 AS bigint) FROM blocks WHERE low <= CAST($2 AS bigint) - CAST($3 AS bigint)
)
SELECT low, (
    SELECT COUNT(*) FROM ves_events
    WHERE tenant_id = $4 AND store_id = $5 AND sequence_number BETWEEN low AND
        CASE WHEN low > CAST($2 AS bigint) - CAST($3 AS bigint) THEN CAST($2 AS bigint) ELSE low + CAST($3 AS bigint) - 1 END
)
FROM blocks
ORDER BY low
