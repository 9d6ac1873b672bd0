-- How many proofs there are about the given batches, by whatever stream they say they are of.
SELECT COUNT(*) FROM ves_validity_proofs WHERE batch_id = ANY ($1)
