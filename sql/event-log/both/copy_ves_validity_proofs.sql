-- Every row of ves_validity_proofs, for a snapshot.
SELECT
    proof_id, batch_id, tenant_id, store_id, proof_type, proof_version, proof, proof_hash, public_inputs,
    submitted_at
FROM ves_validity_proofs
ORDER BY proof_id
