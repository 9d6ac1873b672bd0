-- Proofs about batches, from one on, so many.
SELECT tenant_id, store_id, proof_id, batch_id
FROM ves_validity_proofs
WHERE ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR store_id = $2) AND ($3 IS NULL OR proof_id > $3)
ORDER BY proof_id
LIMIT $4
