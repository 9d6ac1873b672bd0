-- Every row of ves_commitments, for a snapshot.
SELECT
    batch_id, tenant_id, store_id, ves_version, tree_depth, leaf_count, padded_leaf_count, merkle_root,
    prev_state_root, new_state_root, sequence_start, sequence_end, committed_at, chain_id, chain_tx_hash,
    chain_block_number, anchored_at
FROM ves_commitments
ORDER BY tenant_id, store_id, sequence_start
