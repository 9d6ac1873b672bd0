-- Which of the given proofs about events are there.
SELECT proof_id FROM ves_compliance_proofs WHERE proof_id = ANY ($1)
