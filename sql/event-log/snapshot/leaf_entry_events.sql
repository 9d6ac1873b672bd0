-- What the leaves of a range are made of, in order: the first columns of both/leaf_entries.sql.
SELECT event_id, event_signing_hash, agent_signature, sequence_number
FROM ves_events
WHERE tenant_id = $1 AND store_id = $2 AND sequence_number BETWEEN $3 AND $4
ORDER BY sequence_number
