-- One row of ves_validity_proofs.
INSERT INTO ves_validity_proofs (
    proof_id, batch_id, tenant_id, store_id, proof_type, proof_version, proof, proof_hash, public_inputs,
    submitted_at
) VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
)
