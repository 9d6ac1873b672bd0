-- Whether a proof about batches is there.
SELECT proof_id FROM ves_validity_proofs WHERE proof_id = $1
