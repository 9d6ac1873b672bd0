-- Takes back commitments of a stream. What proves something about them would go too: lock_commitments and
-- proofs_of_batches first.
DELETE FROM ves_commitments WHERE tenant_id = $1 AND store_id = $2 AND batch_id = ANY ($3)
