-- Which numbers each stream has, for a log whose streams are long: each stream is found by a step through the index of the
-- numbers, and counted in blocks of some hundred numbers or a 1024th of it. First a row with how many streams there are, at
-- most $3 + 1: if that many, nothing follows. Then for each stream a row with how many numbers are below 1; and the blocks, as in
-- parts.sql: those without holes, those with holes and more than $4 rows, and of the others the ranges that are there. The
-- numbers must be unique, and not NULL.
WITH RECURSIVE stream AS (
    (
        SELECT tenant_id, store_id
        FROM ves_events
        WHERE ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR store_id = $2)
        ORDER BY tenant_id, store_id
        LIMIT 1
    )
    UNION ALL
    SELECT next.tenant_id, next.store_id
    FROM stream
    CROSS JOIN LATERAL (
        SELECT tenant_id, store_id
        FROM ves_events
        WHERE (tenant_id, store_id) > (stream.tenant_id, stream.store_id)
            AND ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR store_id = $2)
        ORDER BY tenant_id, store_id
        LIMIT 1
    ) AS next
), few AS MATERIALIZED (
    SELECT tenant_id, store_id FROM stream LIMIT CAST($3 AS bigint) + 1
), bounds AS MATERIALIZED (
    SELECT
        tenant_id, store_id,
        (
            SELECT sequence_number FROM ves_events e
            WHERE e.tenant_id = few.tenant_id AND e.store_id = few.store_id AND sequence_number >= 1
            ORDER BY sequence_number LIMIT 1
        ) AS first,
        (
            SELECT sequence_number FROM ves_events e
            WHERE e.tenant_id = few.tenant_id AND e.store_id = few.store_id AND sequence_number >= 1
            ORDER BY sequence_number DESC LIMIT 1
        ) AS last,
        (
            SELECT COUNT(*) FROM ves_events e
            WHERE e.tenant_id = few.tenant_id AND e.store_id = few.store_id AND sequence_number < 1
        ) AS below
    FROM few
    WHERE (SELECT COUNT(*) FROM few) <= CAST($3 AS bigint)
), blocks AS (
    SELECT
        tenant_id, store_id, block AS first,
        -- The last block may end where numbers do: nothing here goes beyond.
        CASE WHEN bounds.last - block < width THEN bounds.last ELSE block + (width - 1) END AS last
    FROM bounds
    CROSS JOIN LATERAL (SELECT GREATEST(256, (bounds.last - bounds.first) / 1024 + 1) AS width) AS cut
    CROSS JOIN LATERAL generate_series(bounds.first, bounds.last, width) AS block
), counted AS MATERIALIZED (
    SELECT
        tenant_id, store_id, first, last,
        (
            SELECT COUNT(*) FROM ves_events e
            WHERE e.tenant_id = blocks.tenant_id AND e.store_id = blocks.store_id
                AND sequence_number BETWEEN blocks.first AND blocks.last
        ) AS count
    FROM blocks
), judged AS (
    SELECT *, count = last - first + 1 AS whole, count > CAST($4 AS bigint) AS large
    FROM counted
    WHERE count > 0
)
SELECT CAST(NULL AS uuid) AS tenant_id, CAST(NULL AS uuid) AS store_id, CAST(NULL AS bigint) AS first, CAST(NULL AS bigint) AS last, COUNT(*) AS count
FROM few
UNION ALL
SELECT tenant_id, store_id, NULL, NULL, below
FROM bounds
UNION ALL
SELECT tenant_id, store_id, first, last, count
FROM judged
WHERE whole OR large
UNION ALL
SELECT tenant_id, store_id, island.first, island.last, island.last - island.first + 1
FROM judged
CROSS JOIN LATERAL (
    SELECT MIN(sequence_number) AS first, MAX(sequence_number) AS last
    FROM (
        SELECT sequence_number, sequence_number - ROW_NUMBER() OVER (ORDER BY sequence_number) AS island
        FROM ves_events e
        WHERE e.tenant_id = judged.tenant_id AND e.store_id = judged.store_id
            AND sequence_number BETWEEN judged.first AND judged.last
    ) AS numbered
    GROUP BY island
) AS island
WHERE NOT whole AND NOT large
ORDER BY 1 NULLS FIRST, 2 NULLS FIRST, 3 NULLS FIRST
