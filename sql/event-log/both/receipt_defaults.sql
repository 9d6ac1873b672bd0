-- Who gave the newest receipt of a stream, and how.
SELECT r.sequencer_id, r.sequencer_key_version, r.receipt_signature_scheme
FROM ves_events e
JOIN ves_sequencer_receipts r ON r.event_id = e.event_id
WHERE e.tenant_id = $1 AND e.store_id = $2
ORDER BY e.sequence_number DESC
LIMIT 1
