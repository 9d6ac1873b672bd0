-- One row of commitments.
INSERT INTO commitments (
    batch_id, tenant_id, store_id, prev_state_root, new_state_root, events_root, sequence_start,
    sequence_end, event_count, committed_at, chain_tx_hash
) VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
)
