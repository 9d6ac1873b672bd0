-- Which of the given proofs about batches are there.
SELECT proof_id FROM ves_validity_proofs WHERE proof_id = ANY ($1)
