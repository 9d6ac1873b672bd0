-- How many commitments of the older log each stream has, and the highest number in one of them.
SELECT tenant_id, store_id, COUNT(*), MAX(sequence_end)
FROM commitments
WHERE ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR store_id = $2)
GROUP BY tenant_id, store_id
