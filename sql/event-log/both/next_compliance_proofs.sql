-- Proofs about events, from one on, so many.
SELECT tenant_id, store_id, proof_id, event_id
FROM ves_compliance_proofs
WHERE ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR store_id = $2) AND ($3 IS NULL OR proof_id > $3)
ORDER BY proof_id
LIMIT $4
