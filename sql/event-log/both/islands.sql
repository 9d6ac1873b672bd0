-- The numbers of a part of a stream that are there, as ranges: within a range, number minus rank stays the same.
-- DENSE_RANK, since a table that has lost its constraint can hold a number twice.
SELECT MIN(sequence_number), MAX(sequence_number)
FROM (
    SELECT sequence_number, sequence_number - DENSE_RANK() OVER (ORDER BY sequence_number) AS island
    FROM ves_events
    WHERE tenant_id = $1 AND store_id = $2 AND sequence_number BETWEEN $3 AND $4
) AS numbered
GROUP BY island
ORDER BY 1
