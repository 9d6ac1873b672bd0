-- How many events each stream has, and their first and last numbers. Rows without a number, or with one below 1, are
-- counted apart.
SELECT
    tenant_id, store_id,
    COUNT(*) FILTER (WHERE sequence_number >= 1),
    MIN(sequence_number) FILTER (WHERE sequence_number >= 1),
    MAX(sequence_number) FILTER (WHERE sequence_number >= 1),
    COUNT(*) FILTER (WHERE sequence_number < 1 OR sequence_number IS NULL)
FROM ves_events
WHERE ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR store_id = $2)
GROUP BY tenant_id, store_id
