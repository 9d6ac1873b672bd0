-- How many numbers of a part of a stream are there in each block of $2 numbers, the first of which begins at $1. In one
-- pass: a query for each block could be planned to go through the whole stream each time.
WITH blocks AS (
    SELECT $1 + (sequence_number - $1) / $2 * $2 AS first, COUNT(*) AS count
    FROM ves_events
    WHERE tenant_id = $3 AND store_id = $4 AND sequence_number BETWEEN $5 AND $6
    GROUP BY 1
)
-- The last block may end where numbers do: nothing here goes beyond.
SELECT first, CASE WHEN $6 - first < $2 THEN $6 ELSE first + ($2 - 1) END, count
FROM blocks
ORDER BY first
