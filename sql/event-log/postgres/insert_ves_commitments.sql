-- Rows of ves_commitments: one array a column.
INSERT INTO ves_commitments (
    batch_id, tenant_id, store_id, ves_version, tree_depth, leaf_count, padded_leaf_count, merkle_root,
    prev_state_root, new_state_root, sequence_start, sequence_end, committed_at, chain_id, chain_tx_hash,
    chain_block_number, anchored_at
)
SELECT
    batch_id, tenant_id, store_id, ves_version::int4, tree_depth::int4, leaf_count::int4,
    padded_leaf_count::int4, merkle_root, prev_state_root, new_state_root, sequence_start, sequence_end,
    committed_at::timestamptz, chain_id::int4, chain_tx_hash, chain_block_number, anchored_at::timestamptz
FROM unnest(
    $1::uuid[], $2::uuid[], $3::uuid[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::bytea[],
    $9::bytea[], $10::bytea[], $11::int8[], $12::int8[], $13::text[], $14::int8[], $15::bytea[],
    $16::int8[], $17::text[]
) AS given (
    batch_id, tenant_id, store_id, ves_version, tree_depth, leaf_count, padded_leaf_count, merkle_root,
    prev_state_root, new_state_root, sequence_start, sequence_end, committed_at, chain_id, chain_tx_hash,
    chain_block_number, anchored_at
)
