-- A commitment.
INSERT INTO ves_commitments (batch_id, tenant_id, store_id, ves_version, tree_depth, leaf_count, padded_leaf_count, merkle_root,
    prev_state_root, new_state_root, sequence_start, sequence_end, committed_at)
VALUES ($1, $2, $3, 1, $4, $5, $6, $7, $8, $9, $10, $11, $12::text::timestamptz)
