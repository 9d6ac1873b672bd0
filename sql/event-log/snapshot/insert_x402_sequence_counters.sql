-- One row of x402_sequence_counters.
INSERT INTO x402_sequence_counters (
    tenant_id, store_id, current_sequence, updated_at
) VALUES (
    $1, $2, $3, $4
)
