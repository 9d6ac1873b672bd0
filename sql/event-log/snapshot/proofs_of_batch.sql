-- How many proofs there are about a batch, by whatever stream they say it is of.
SELECT COUNT(*) FROM ves_validity_proofs WHERE batch_id = $1
