-- How many commitments each stream has, and the range that they reach over.
SELECT tenant_id, store_id, COUNT(*), MIN(sequence_start), MAX(sequence_end)
FROM ves_commitments
WHERE ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR store_id = $2)
GROUP BY tenant_id, store_id
