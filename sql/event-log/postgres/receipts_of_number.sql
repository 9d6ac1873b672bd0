-- The receipts of the events of a stream that have a number, whatever their columns.
SELECT r.*
FROM ves_sequencer_receipts r
WHERE r.event_id IN (
    SELECT e.event_id FROM ves_events e WHERE e.tenant_id = $1 AND e.store_id = $2 AND e.sequence_number = $3
)
