-- Every row of ves_compliance_proofs, for a snapshot.
SELECT
    proof_id, event_id, tenant_id, store_id, proof_type, proof_version, policy_id, policy_params,
    policy_hash, proof, proof_hash, public_inputs, submitted_at, witness_commitment
FROM ves_compliance_proofs
ORDER BY proof_id
