-- One row of projection_checkpoints.
INSERT INTO projection_checkpoints (
    tenant_id, store_id, last_projected_sequence, updated_at
) VALUES (
    $1, $2, $3, $4
)
