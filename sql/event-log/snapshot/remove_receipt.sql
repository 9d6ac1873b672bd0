-- Takes back the receipt of a stream's event.
DELETE FROM ves_sequencer_receipts
WHERE event_id IN (SELECT event_id FROM ves_events WHERE tenant_id = $1 AND store_id = $2 AND event_id = $3)
