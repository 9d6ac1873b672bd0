-- Whether a proof about events is there.
SELECT proof_id FROM ves_compliance_proofs WHERE proof_id = $1
