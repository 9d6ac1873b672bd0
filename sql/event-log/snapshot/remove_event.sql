-- Takes back an event of a stream. What proves something about it would go too: proofs_of_event first.
DELETE FROM ves_events WHERE tenant_id = $1 AND store_id = $2 AND event_id = $3
