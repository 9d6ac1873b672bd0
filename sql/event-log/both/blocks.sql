-- How many numbers of a part of a stream are there in each block of $2 numbers, the first of which begins at $1. In one
-- pass: a query for each block could be planned to go through the whole stream each time.
SELECT (sequence_number - CAST($1 AS bigint)) / CAST($2 AS bigint) AS block, COUNT(*)
FROM ves_events
WHERE tenant_id = $3 AND store_id = $4 AND sequence_number BETWEEN $5 AND $6
GROUP BY block
ORDER BY block
