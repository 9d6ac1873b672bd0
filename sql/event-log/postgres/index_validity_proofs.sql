-- What an index on ves_validity_proofs (proof_id)
-- holds, in its order: with every other way switched off, only such an index can answer.
SELECT
    uuid_hash_extended(proof_id, 0) AS key
FROM ves_validity_proofs
ORDER BY proof_id
