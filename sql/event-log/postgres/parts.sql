-- A part of a stream, cut into blocks of $2 numbers, the first of which begins at $1. A block without holes comes as it is, and
-- so does one with more than $7 rows and holes, which is to be cut again; of the others, the ranges that are there. All in
-- one statement: a stream with a hundred holes would take a hundred questions to the server otherwise. The numbers of a
-- stream must be unique.
WITH counted AS MATERIALIZED (
    SELECT (sequence_number - CAST($1 AS bigint)) / CAST($2 AS bigint) AS block, COUNT(*) AS count
    FROM ves_events
    WHERE tenant_id = $3 AND store_id = $4 AND sequence_number BETWEEN $5 AND $6
    GROUP BY block
), blocks AS (
    -- The last block may end where numbers do: nothing here goes beyond.
    SELECT
        first,
        CASE WHEN $6 - first < $2 THEN $6 ELSE first + ($2 - 1) END AS last,
        count
    FROM (SELECT $1 + block * $2 AS first, count FROM counted) AS begun
), judged AS (
    SELECT first, last, count, count = last - first + 1 AS whole, count > CAST($7 AS bigint) AS large
    FROM blocks
)
SELECT first, last, count
FROM judged
WHERE whole OR large
UNION ALL
SELECT island.first, island.last, island.last - island.first + 1
FROM judged
CROSS JOIN LATERAL (
    SELECT MIN(sequence_number) AS first, MAX(sequence_number) AS last
    FROM (
        SELECT sequence_number, sequence_number - ROW_NUMBER() OVER (ORDER BY sequence_number) AS island
        FROM ves_events
        WHERE tenant_id = $3 AND store_id = $4 AND sequence_number BETWEEN judged.first AND judged.last
    ) AS numbered
    GROUP BY island
) AS island
WHERE NOT whole AND NOT large
ORDER BY 1
