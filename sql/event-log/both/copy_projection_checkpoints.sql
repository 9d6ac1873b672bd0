-- Every row of projection_checkpoints, for a snapshot.
SELECT
    tenant_id, store_id, last_projected_sequence, updated_at
FROM projection_checkpoints
ORDER BY tenant_id, store_id
