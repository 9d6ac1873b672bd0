-- Every row of commitments, for a snapshot.
SELECT
    batch_id, tenant_id, store_id, prev_state_root, new_state_root, events_root, sequence_start,
    sequence_end, event_count, committed_at, chain_tx_hash
FROM commitments
ORDER BY batch_id
