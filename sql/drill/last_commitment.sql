-- The end of the stream's last commitment, and the state root after it.
SELECT sequence_end, new_state_root FROM ves_commitments WHERE tenant_id = $1 AND store_id = $2
ORDER BY sequence_end DESC LIMIT 1
