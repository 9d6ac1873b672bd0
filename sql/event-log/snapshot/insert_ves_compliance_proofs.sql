-- One row of ves_compliance_proofs.
INSERT INTO ves_compliance_proofs (
    proof_id, event_id, tenant_id, store_id, proof_type, proof_version, policy_id, policy_params,
    policy_hash, proof, proof_hash, public_inputs, submitted_at, witness_commitment
) VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14
)
