-- Takes back receipts of a stream's events.
DELETE FROM ves_sequencer_receipts
WHERE event_id IN (SELECT event_id FROM ves_events WHERE tenant_id = $1 AND store_id = $2 AND event_id = ANY ($3))
