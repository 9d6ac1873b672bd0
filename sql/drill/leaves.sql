-- What the leaves of the stream's events are made of, from a number on.
SELECT sequence_number, event_signing_hash, agent_signature FROM ves_events
WHERE tenant_id = $1 AND store_id = $2 AND sequence_number >= $3 ORDER BY sequence_number LIMIT $4
