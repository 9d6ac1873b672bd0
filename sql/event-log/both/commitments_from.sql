-- The commitments of a stream from the one that begins last below a number on, in order.
SELECT
    batch_id, ves_version, tree_depth, leaf_count, padded_leaf_count, merkle_root, prev_state_root, new_state_root,
    sequence_start, sequence_end, committed_at, chain_id, chain_tx_hash, chain_block_number, anchored_at
FROM ves_commitments
WHERE tenant_id = $1 AND store_id = $2 AND sequence_start >= COALESCE((
    SELECT MAX(c.sequence_start) FROM ves_commitments c
    WHERE c.tenant_id = $1 AND c.store_id = $2 AND c.sequence_start < $3
), 0)
ORDER BY sequence_start, batch_id
LIMIT $4
