-- Receipts whose event is not there: how many, and the highest number that one of them gives.
SELECT COUNT(*), MAX(r.sequence_number)
FROM ves_sequencer_receipts r
WHERE NOT EXISTS (SELECT 1 FROM ves_events e WHERE e.event_id = r.event_id)
