-- Rows of ves_commitments that share their tenant_id, store_id, sequence_start, and in which columns they differ. A row for each copy.
SELECT
    CAST(x.tenant_id AS text) || ' ' || CAST(x.store_id AS text) || ' ' || CAST(x.sequence_start AS text), x.tenant_id, x.store_id, x.sequence_start,
    'commitment ' || x.batch_id, twice.copies, twice.differing
FROM ves_commitments x
JOIN (
    SELECT
        tenant_id, store_id, sequence_start, COUNT(*) AS copies,
        CASE WHEN COUNT(DISTINCT batch_id) > 1 OR COUNT(batch_id) NOT IN (0, COUNT(*)) THEN ' batch_id' ELSE '' END
            || CASE WHEN COUNT(DISTINCT ves_version) > 1 OR COUNT(ves_version) NOT IN (0, COUNT(*)) THEN ' ves_version' ELSE '' END
            || CASE WHEN COUNT(DISTINCT tree_depth) > 1 OR COUNT(tree_depth) NOT IN (0, COUNT(*)) THEN ' tree_depth' ELSE '' END
            || CASE WHEN COUNT(DISTINCT leaf_count) > 1 OR COUNT(leaf_count) NOT IN (0, COUNT(*)) THEN ' leaf_count' ELSE '' END
            || CASE WHEN COUNT(DISTINCT padded_leaf_count) > 1 OR COUNT(padded_leaf_count) NOT IN (0, COUNT(*)) THEN ' padded_leaf_count' ELSE '' END
            || CASE WHEN COUNT(DISTINCT merkle_root) > 1 OR COUNT(merkle_root) NOT IN (0, COUNT(*)) THEN ' merkle_root' ELSE '' END
            || CASE WHEN COUNT(DISTINCT prev_state_root) > 1 OR COUNT(prev_state_root) NOT IN (0, COUNT(*)) THEN ' prev_state_root' ELSE '' END
            || CASE WHEN COUNT(DISTINCT new_state_root) > 1 OR COUNT(new_state_root) NOT IN (0, COUNT(*)) THEN ' new_state_root' ELSE '' END
            || CASE WHEN COUNT(DISTINCT sequence_end) > 1 OR COUNT(sequence_end) NOT IN (0, COUNT(*)) THEN ' sequence_end' ELSE '' END
            || CASE WHEN COUNT(DISTINCT committed_at) > 1 OR COUNT(committed_at) NOT IN (0, COUNT(*)) THEN ' committed_at' ELSE '' END
            || CASE WHEN COUNT(DISTINCT chain_id) > 1 OR COUNT(chain_id) NOT IN (0, COUNT(*)) THEN ' chain_id' ELSE '' END
            || CASE WHEN COUNT(DISTINCT chain_tx_hash) > 1 OR COUNT(chain_tx_hash) NOT IN (0, COUNT(*)) THEN ' chain_tx_hash' ELSE '' END
            || CASE WHEN COUNT(DISTINCT chain_block_number) > 1 OR COUNT(chain_block_number) NOT IN (0, COUNT(*)) THEN ' chain_block_number' ELSE '' END
            || CASE WHEN COUNT(DISTINCT anchored_at) > 1 OR COUNT(anchored_at) NOT IN (0, COUNT(*)) THEN ' anchored_at' ELSE '' END AS differing
    FROM ves_commitments
    GROUP BY tenant_id, store_id, sequence_start
    HAVING COUNT(*) > 1
    ORDER BY tenant_id, store_id, sequence_start
    LIMIT 1000
) AS twice ON x.tenant_id = twice.tenant_id AND x.store_id = twice.store_id AND x.sequence_start = twice.sequence_start
ORDER BY x.tenant_id, x.store_id, x.sequence_start
