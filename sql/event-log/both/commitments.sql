-- The commitments of a stream, in order.
SELECT
    batch_id, ves_version, tree_depth, leaf_count, padded_leaf_count, merkle_root, prev_state_root, new_state_root,
    sequence_start, sequence_end, committed_at, chain_id, chain_tx_hash, chain_block_number, anchored_at
FROM ves_commitments
WHERE tenant_id = $1 AND store_id = $2
ORDER BY sequence_start, batch_id
