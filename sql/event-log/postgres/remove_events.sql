-- Takes back events of a stream. What proves something about them would go too: lock_events and proofs_of_events first.
DELETE FROM ves_events WHERE tenant_id = $1 AND store_id = $2 AND event_id = ANY ($3)
