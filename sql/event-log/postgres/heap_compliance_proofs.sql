-- Each row of ves_compliance_proofs, by what an index on (proof_id) holds of it.
SELECT
    uuid_hash_extended(proof_id, 0) AS key,
    tenant_id AS tenant_id, store_id AS store_id, NULL::bigint AS number,
    'proof ' || proof_id AS label
FROM ves_compliance_proofs
