-- Rows of ves_commitments that share their batch_id, and in which columns they differ. A row for each copy.
SELECT
    CAST(x.batch_id AS text), x.tenant_id, x.store_id, x.sequence_start,
    'commitment ' || x.batch_id, twice.copies, twice.differing
FROM ves_commitments x
JOIN (
    SELECT
        batch_id, COUNT(*) AS copies,
        CASE WHEN COUNT(DISTINCT tenant_id) > 1 OR COUNT(tenant_id) NOT IN (0, COUNT(*)) THEN ' tenant_id' ELSE '' END
            || CASE WHEN COUNT(DISTINCT store_id) > 1 OR COUNT(store_id) NOT IN (0, COUNT(*)) THEN ' store_id' ELSE '' END
            || CASE WHEN COUNT(DISTINCT ves_version) > 1 OR COUNT(ves_version) NOT IN (0, COUNT(*)) THEN ' ves_version' ELSE '' END
            || CASE WHEN COUNT(DISTINCT tree_depth) > 1 OR COUNT(tree_depth) NOT IN (0, COUNT(*)) THEN ' tree_depth' ELSE '' END
            || CASE WHEN COUNT(DISTINCT leaf_count) > 1 OR COUNT(leaf_count) NOT IN (0, COUNT(*)) THEN ' leaf_count' ELSE '' END
            || CASE WHEN COUNT(DISTINCT padded_leaf_count) > 1 OR COUNT(padded_leaf_count) NOT IN (0, COUNT(*)) THEN ' padded_leaf_count' ELSE '' END
            || CASE WHEN COUNT(DISTINCT merkle_root) > 1 OR COUNT(merkle_root) NOT IN (0, COUNT(*)) THEN ' merkle_root' ELSE '' END
            || CASE WHEN COUNT(DISTINCT prev_state_root) > 1 OR COUNT(prev_state_root) NOT IN (0, COUNT(*)) THEN ' prev_state_root' ELSE '' END
            || CASE WHEN COUNT(DISTINCT new_state_root) > 1 OR COUNT(new_state_root) NOT IN (0, COUNT(*)) THEN ' new_state_root' ELSE '' END
            || CASE WHEN COUNT(DISTINCT sequence_start) > 1 OR COUNT(sequence_start) NOT IN (0, COUNT(*)) THEN ' sequence_start' ELSE '' END
            || CASE WHEN COUNT(DISTINCT sequence_end) > 1 OR COUNT(sequence_end) NOT IN (0, COUNT(*)) THEN ' sequence_end' ELSE '' END
            || CASE WHEN COUNT(DISTINCT committed_at) > 1 OR COUNT(committed_at) NOT IN (0, COUNT(*)) THEN ' committed_at' ELSE '' END
            || CASE WHEN COUNT(DISTINCT chain_id) > 1 OR COUNT(chain_id) NOT IN (0, COUNT(*)) THEN ' chain_id' ELSE '' END
            || CASE WHEN COUNT(DISTINCT chain_tx_hash) > 1 OR COUNT(chain_tx_hash) NOT IN (0, COUNT(*)) THEN ' chain_tx_hash' ELSE '' END
            || CASE WHEN COUNT(DISTINCT chain_block_number) > 1 OR COUNT(chain_block_number) NOT IN (0, COUNT(*)) THEN ' chain_block_number' ELSE '' END
            || CASE WHEN COUNT(DISTINCT anchored_at) > 1 OR COUNT(anchored_at) NOT IN (0, COUNT(*)) THEN ' anchored_at' ELSE '' END AS differing
    FROM ves_commitments
    GROUP BY batch_id
    HAVING COUNT(*) > 1
    ORDER BY batch_id
    LIMIT 1000
) AS twice ON x.batch_id = twice.batch_id
ORDER BY x.batch_id
