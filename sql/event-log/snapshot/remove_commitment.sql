-- Takes back a commitment of a stream. What proves something about it would go too: proofs_of_batch first.
DELETE FROM ves_commitments WHERE tenant_id = $1 AND store_id = $2 AND batch_id = $3
