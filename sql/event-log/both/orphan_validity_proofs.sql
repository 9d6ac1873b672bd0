-- Proofs about batches that are not there.
SELECT p.tenant_id, p.store_id, p.proof_id, p.batch_id
FROM ves_validity_proofs p
WHERE ($1 IS NULL OR p.tenant_id = $1) AND ($2 IS NULL OR p.store_id = $2)
    AND NOT EXISTS (SELECT 1 FROM ves_commitments o WHERE o.batch_id = p.batch_id)
ORDER BY p.tenant_id, p.store_id, p.proof_id
