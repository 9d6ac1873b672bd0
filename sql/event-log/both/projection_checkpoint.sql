-- How far the read models have followed a stream.
SELECT last_projected_sequence FROM projection_checkpoints WHERE tenant_id = $1 AND store_id = $2
